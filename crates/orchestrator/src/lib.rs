//! A run: sessions, preflight, phases, verify, lock, journal. Knows no operating system.
//!
//! Each command is one function here ([`up`], [`plan`], [`preflight`], …). It takes a valid
//! [`Cluster`](k8swin_inventory::Cluster) and [`Options`], tells what happens through [`event::Event`]s, and returns plain
//! data of [`report`]. Printing is the caller's business.

mod api;
mod blob;
mod board;
mod build;
mod commands;
mod depot;
mod docker_version;
mod error;
pub mod event;
mod fleet;
mod journal;
mod member;
mod outcome;
mod preflight;
mod probe;
pub mod report;
mod session;
mod ship;
mod stages;
mod state;
mod supplies;
mod upload;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
pub use commands::{kubeconfig, plan, preflight, reset, status, up, verify};
pub use error::{RunError, RunExit};
use event::Event;
use k8swin_inventory::Ignored;
use k8swin_transport::Secrets;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How a run goes about its work.
#[derive(Clone)]
pub struct Options {
    /// The folder for the PKI and the journal of this cluster.
    pub state_dir: Utf8PathBuf,
    /// The folder for downloads and digests of all clusters.
    pub cache_dir: Utf8PathBuf,
    /// At most this many hosts at once.
    pub parallel: usize,
    /// At most this many hosts receive files at once.
    pub uploads: usize,
    /// At most this many nodes that are in service are restarted, or have their services restarted, at once; a quarter of all
    /// workers if it is not said.
    pub max_unavailable: Option<usize>,
    /// Who runs this, shown to whoever finds the lock taken: `user@laptop`.
    pub owner: String,
    /// Take the lock from whoever holds it.
    pub break_lock: bool,
    /// Preflight checks whose findings do not count, beside those of the inventory.
    pub ignore: Vec<Ignored>,
    /// Ends the run cleanly when it is cancelled.
    pub cancel: CancellationToken,
    /// Where events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Passwords and passphrases.
    pub secrets: Arc<Secrets>,
    /// OpenSSH's configuration file of this user.
    pub ssh_config: Option<Utf8PathBuf>,
    /// How long a host waits for the confirmation of a change of its network before it takes it back; zero: it does not
    /// wait, and applies it like anything else.
    pub confirm_within: Duration,
    /// How long a host may take to come back from a restart.
    pub restart_within: Duration,
    /// How long nodes may take to be Ready, and pods to run, before `verify` and the end of `up` judge them.
    pub ready_within: Duration,
    /// How often what is transient is tried.
    pub attempts: u32,
}
