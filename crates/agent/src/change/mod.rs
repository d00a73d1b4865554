//! Changes of the network that cannot lock the administrator out (design §5).
//!
//! The serving agent writes an *order* and has the host's service manager start a process of its own, which a lost
//! connection does not end. That process holds the host's lock, applies the order's resources, notes its *progress*, and
//! takes everything back unless a *confirmation* appears in time. Each of the three files has one writer. An order whose
//! process is gone (the lock is free) was abandoned: it is taken back, so that the host is as it was; the next `Apply`
//! does it again.

mod process;
mod recovery;

use k8swin_protocol::resource::{Planned, ResourceId};
use k8swin_protocol::wire::ResourceResult;
use k8swin_protocol::{HostPath, Os};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use process::change;
pub(crate) use recovery::{recover, taken_back};

use crate::engine::Undo;
use crate::ledger;
use crate::platform::{Permissions, Platform, PlatformError, Result};

/// The name of the process for the service manager, and for those who find the host locked.
pub(crate) const NAME: &str = "k8swin-change";

/// What is to be changed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order<R> {
    /// Another one for each change.
    pub(crate) id: String,
    /// The run that asked for it.
    pub(crate) run: String,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// How long the confirmation may take.
    pub(crate) confirm_within_seconds: u32,
    /// In order.
    pub(crate) resources: Vec<Planned<R>>,
}

/// How far a change has come.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Progress<R> {
    /// How to take back what was changed, in the order of the changes.
    pub(crate) undo: Vec<Undo<R>>,
    /// Drifted resources on which work has begun, with what differed.
    pub(crate) started: Vec<(ResourceId, String)>,
    /// How work on each resource ended.
    pub(crate) results: Vec<(ResourceId, ResourceResult)>,
    /// Where the change stands.
    pub(crate) state: State,
}

/// Where a change stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum State {
    /// It is being made.
    Applying,
    /// It is made, and waits for its confirmation.
    Applied,
    /// It is being taken back: a confirmation comes too late.
    TakingBack,
    /// It stays.
    Kept,
    /// The host is as it was.
    TakenBack {
        /// Why, for people: `nobody confirmed it within 120 s`.
        why: String,
        /// What of it could not be taken back, if anything.
        trouble: Option<String>,
    },
}

impl State {
    /// Whether the change is over.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Kept | Self::TakenBack { .. })
    }
}

fn folder(os: Os) -> HostPath {
    os.state().join("change")
}

fn order_file(os: Os) -> HostPath {
    folder(os).join("order.json")
}

fn progress_file(os: Os) -> HostPath {
    folder(os).join("progress.json")
}

fn confirmation_file(os: Os) -> HostPath {
    folder(os).join("confirmed")
}

/// The change that was ordered last and is not yet forgotten.
pub(crate) fn order<R: DeserializeOwned>(host: &mut (impl Platform + ?Sized)) -> Result<Option<Order<R>>> {
    let path = order_file(host.os());
    read(host, &path)
}

/// The name of the change that was ordered last and is not yet forgotten.
pub(crate) fn ordered(host: &mut (impl Platform + ?Sized)) -> Result<Option<String>> {
    /// An order without its resources, of which there are as many as nodes.
    #[derive(Deserialize)]
    struct Head {
        id: String,
    }
    let path = order_file(host.os());
    Ok(read::<Head>(host, &path)?.map(|head| head.id))
}

/// Whether a change was ordered that is not yet forgotten.
pub(crate) fn order_exists(host: &mut crate::Host) -> Result<bool> {
    let there = match host {
        crate::Host::Linux(platform) => platform.stat(&order_file(Os::Linux))?,
        crate::Host::Windows(platform) => platform.stat(&order_file(Os::Windows))?,
    };
    Ok(there.is_some())
}

/// How far it has come; none before its process has begun.
pub(crate) fn progress<R: DeserializeOwned>(host: &mut (impl Platform + ?Sized)) -> Result<Option<Progress<R>>> {
    let path = progress_file(host.os());
    read(host, &path)
}

/// What was read of a change's progress last. It has much to say, mostly the same as before.
#[derive(Default)]
pub(crate) struct Seen(Vec<u8>);

impl Seen {
    /// How far the change has come, if that is news.
    pub(crate) fn news<R: DeserializeOwned>(
        &mut self,
        host: &mut (impl Platform + ?Sized),
    ) -> Result<Option<Progress<R>>> {
        let path = progress_file(host.os());
        if host.stat(&path)?.is_none() {
            return Ok(None);
        }
        let bytes = host.read_file(&path)?;
        if bytes.expose() == self.0 {
            return Ok(None);
        }
        let progress = parse(&path, bytes.expose())?;
        self.0 = bytes.expose().to_vec();
        Ok(Some(progress))
    }
}

/// Writes an order. Whoever does has the host's lock, and has recovered from an earlier change.
pub(crate) fn write_order<R: Serialize>(host: &mut (impl Platform + ?Sized), order: &Order<R>) -> Result<()> {
    let (path, folder) = (order_file(host.os()), folder(host.os()));
    ledger::ensure_folder(host, &folder)?;
    write(host, &path, order)
}

fn write_progress<R: Serialize>(host: &mut (impl Platform + ?Sized), progress: &Progress<R>) -> Result<()> {
    let path = progress_file(host.os());
    write(host, &path, progress)
}

/// Confirms the change that waits for it.
pub(crate) fn confirm(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let (path, permissions) = (confirmation_file(host.os()), Permissions::secret_file(host.os()));
    host.write_file(&path, b"", &permissions)
}

fn is_confirmed(host: &mut (impl Platform + ?Sized)) -> Result<bool> {
    let path = confirmation_file(host.os());
    Ok(host.stat(&path)?.is_some())
}

/// Forgets a change that is over.
pub(crate) fn forget(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let folder = folder(host.os());
    if host.stat(&folder)?.is_some() {
        host.forget_change()?;
        host.remove_tree(&folder)?;
    }
    ledger::remove_empty_state_folder(host)
}

fn read<T: DeserializeOwned>(host: &mut (impl Platform + ?Sized), path: &HostPath) -> Result<Option<T>> {
    if host.stat(path)?.is_none() {
        return Ok(None);
    }
    let bytes = host.read_file(path)?;
    parse(path, bytes.expose()).map(Some)
}

fn parse<T: DeserializeOwned>(path: &HostPath, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        PlatformError::new(format!("read {path}"), error.to_string())
            .with_hint("it was written by another version of k8swin: look at the host's network, then remove the file")
    })
}

fn write(host: &mut (impl Platform + ?Sized), path: &HostPath, value: &impl Serialize) -> Result<()> {
    let json =
        serde_json::to_vec(value).map_err(|error| PlatformError::new(format!("write {path}"), error.to_string()))?;
    let permissions = Permissions::secret_file(host.os());
    host.write_file(path, &json, &permissions)
}
