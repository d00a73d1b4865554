//! The ledger: what k8swin changed on this host and what was there before, so that it can be taken back.
//!
//! An entry is written before its resource is first changed and never overwritten by a later run: however often a run is
//! killed, `prior` stays what the host had before k8swin came. Nothing in it is secret: files are named by digest.

use std::collections::BTreeMap;

use k8swin_protocol::resource::{Planned, ResourceId};
use k8swin_protocol::{HostPath, Os, Sha256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::platform::{Permissions, Platform, PlatformError, Result};
use crate::resources::{Prior, Resource};

const VERSION: u32 = 1;

/// What k8swin changed on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger<R> {
    version: u32,
    /// The cluster that the host belongs to.
    pub(crate) cluster: String,
    /// Folders that were made because a file needed them, in the order in which they were made.
    pub(crate) folders: Vec<HostPath>,
    /// In the order in which resources were first applied.
    entries: Vec<Entry<R>>,
    /// Where each is among them: a host has a route to every other one.
    #[serde(skip)]
    places: BTreeMap<ResourceId, usize>,
}

/// A resource that k8swin changed, or was about to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry<R> {
    /// The resource as it was last planned.
    pub(crate) planned: Planned<R>,
    /// What was there before k8swin.
    pub(crate) prior: Prior,
    /// For services: the digest of the inputs with which it was last started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) started_with: Option<Sha256>,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        Self {
            version: VERSION,
            cluster: String::new(),
            folders: Vec::new(),
            entries: Vec::new(),
            places: BTreeMap::new(),
        }
    }
}

/// Where the ledger lies.
pub(crate) fn path(os: Os) -> HostPath {
    os.state().join("ledger.json")
}

/// The folder with what files held before.
pub(crate) fn backup_folder(os: Os) -> HostPath {
    os.state().join("backup")
}

impl<R: Resource + Serialize + DeserializeOwned> Ledger<R> {
    /// Reads the ledger; an absent one is empty.
    pub(crate) fn load(host: &mut (impl Platform + ?Sized)) -> Result<Self> {
        let path = path(host.os());
        if host.stat(&path)?.is_none() {
            return Ok(Self::default());
        }
        let bytes = host.read_file(&path)?;
        let unreadable = |answer: String| {
            PlatformError::new(format!("read {path}"), answer).with_hint(
                "use the version of k8swin that wrote it, or remove the file by hand to disown what it lists",
            )
        };
        let mut ledger: Self =
            serde_json::from_slice(bytes.expose()).map_err(|error| unreadable(format!("not a ledger: {error}")))?;
        if ledger.version != VERSION {
            return Err(unreadable(format!("a ledger of version {}, expected {VERSION}", ledger.version)));
        }
        ledger.index();
        Ok(ledger)
    }

    fn index(&mut self) {
        let ids = self.entries.iter().map(|entry| entry.planned.resource.id());
        self.places = ids.enumerate().map(|(place, id)| (id, place)).collect();
    }

    /// Writes the ledger.
    pub(crate) fn save(&self, host: &mut (impl Platform + ?Sized)) -> Result<()> {
        let path = path(host.os());
        ensure_folder(host, &host.os().state())?;
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| PlatformError::new(format!("write {path}"), error.to_string()))?;
        let permissions = Permissions::secret_file(host.os());
        host.write_file(&path, &json, &permissions)
    }

    /// All entries, in the order in which resources were first applied.
    pub(crate) fn entries(&self) -> &[Entry<R>] {
        &self.entries
    }

    /// The entry of a resource.
    pub(crate) fn entry(&self, id: &ResourceId) -> Option<&Entry<R>> {
        self.entries.get(*self.places.get(id)?)
    }

    /// The entry of a resource.
    pub(crate) fn entry_mut(&mut self, id: &ResourceId) -> Option<&mut Entry<R>> {
        self.entries.get_mut(*self.places.get(id)?)
    }

    /// Adds an entry, or puts it in the place of the one of the same resource.
    pub(crate) fn put(&mut self, entry: Entry<R>) {
        let id = entry.planned.resource.id();
        match self.entry_mut(&id) {
            Some(place) => *place = entry,
            None => {
                self.places.insert(id, self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// Strikes out the entry of a resource.
    pub(crate) fn remove(&mut self, id: &ResourceId) {
        if let Some(place) = self.places.remove(id) {
            self.entries.remove(place);
            for other in self.places.values_mut().filter(|other| **other > place) {
                *other -= 1;
            }
        }
    }

    /// What is owned, in order.
    pub(crate) fn owned(&self) -> Vec<ResourceId> {
        self.entries.iter().map(|entry| entry.planned.resource.id()).collect()
    }

    /// Where, besides its own place, a file with that digest should lie on this host.
    pub(crate) fn copies(&self, sha256: Sha256) -> Vec<HostPath> {
        let files = self.entries.iter().filter_map(|entry| entry.planned.resource.file());
        files.filter(|file| file.content.digest() == sha256).map(|file| file.path.clone()).collect()
    }
}

/// Creates a folder of the agent's own, with those above it.
pub(crate) fn ensure_folder(host: &mut (impl Platform + ?Sized), path: &HostPath) -> Result<()> {
    if host.stat(path)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        ensure_folder(host, &parent)?;
    }
    let permissions = Permissions::secret_directory(host.os());
    host.create_directory(path, &permissions)
}

/// Removes the agent's own folder if nothing is in it: a host that is only looked at keeps no trace.
pub(crate) fn remove_empty_state_folder(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let state = host.os().state();
    if host.stat(&state)?.is_some() && host.list_directory(&state)?.is_empty() {
        host.remove_directory(&state)?;
    }
    Ok(())
}

/// Removes what an empty ledger leaves behind: itself and the backups.
pub(crate) fn remove_records(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let (ledger, backups) = (path(host.os()), backup_folder(host.os()));
    if host.stat(&ledger)?.is_some() {
        host.remove_file(&ledger)?;
    }
    if host.stat(&backups)?.is_some() {
        host.remove_tree(&backups)?;
    }
    remove_empty_state_folder(host)
}
