//! `inventory.toml` → [`Cluster`]. Pure: parsing and validation, all errors at once, with line, key and remedy.
//!
//! The way of the data: text → TOML with positions → the keys of each table, converted one by one (`section`, `values`,
//! `draft`) → cross-checks between hosts and ranges (`check`) → [`Cluster`]. Nothing here reads a file: the caller
//! gives the text and says which file it came from, which names the file in errors and anchors relative paths.
//!
//! [`schema`] lists every key; [`init`] writes a new inventory; [`twin`] turns one into the inventory of its
//! simulated twin.

mod check;
pub mod checks;
pub mod cluster;
mod connection;
mod diagnostics;
mod draft;
mod error;
mod excerpt;
pub mod init;
pub mod network;
mod parse;
pub mod schema;
mod section;
pub mod twin;
mod values;

pub use checks::{Check, Ignored};
pub use cluster::{Cluster, Host};
pub use error::{InventoryError, InventoryErrors};
pub use parse::{MAX_BYTES, parse};
