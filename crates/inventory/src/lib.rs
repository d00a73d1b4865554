//! `inventory.toml` → [`Cluster`]. Pure: parsing and validation, all errors at once, with line, key and remedy.

pub mod cluster;

pub use cluster::{Cluster, Host};
