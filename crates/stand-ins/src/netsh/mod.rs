//! `netsh`: what it is asked for, what it does, and what it remembers.

mod request;
mod rule;
mod run;

pub use request::{Request, Route, parse};
pub use rule::{Protocol, RULES, Rule, name_of};
pub(crate) use run::change;
pub use run::{Desk, Persistent, REMOTE_ACCESS, StoredRoute, boot, run};
