//! The engine: check, apply and take back of resources with the ledger kept in step.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use k8swin_protocol::resource::{CheckOutcome, Content, Phase, Planned, ResourceId};
use k8swin_protocol::wire::{Checked, ResourceResult};
use k8swin_protocol::{HostPath, Sha256};
use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::ledger::{self, Entry, Ledger};
use crate::platform::{Permissions, Platform, PlatformError, Result};
use crate::resources::{Applied, Context, Prior, Removal, Resource, Table, file};

/// How often, and how many times, something that a resource waits for is looked for: two minutes.
const POLL: Duration = Duration::from_millis(500);
const POLLS: u32 = 240;

/// What happens while the engine works.
pub(crate) trait Watcher<P: ?Sized> {
    /// Work on a drifted resource begins.
    fn started(&mut self, difference: &str);

    /// A sign of life during long work.
    ///
    /// # Errors
    /// When the work must not go on.
    fn alive(&mut self, host: &mut P) -> Result<()>;
}

/// Nobody watches.
pub(crate) struct Nobody;

impl<P: ?Sized> Watcher<P> for Nobody {
    fn started(&mut self, _difference: &str) {}

    fn alive(&mut self, _host: &mut P) -> Result<()> {
        Ok(())
    }
}

/// How to take back one change.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Undo<R> {
    planned: Planned<R>,
    /// What was there right before it.
    before: Prior,
    /// What was there before the first change of the same order, where that could be told.
    at_start: Option<Prior>,
    /// The ledger's entry before it.
    entry: Option<Entry<R>>,
}

/// The engine, for the time of one request.
pub(crate) struct Engine<'a, R: Resource> {
    host: &'a mut R::Platform,
    ledger: Ledger<R>,
    /// The host's routes, while several resources are compared with them.
    table: Option<Rc<Table>>,
}

impl<'a, R: Resource> Engine<'a, R> {
    /// Reads the ledger.
    pub(crate) fn new(host: &'a mut R::Platform) -> Result<Self> {
        let ledger = Ledger::load(host)?;
        Ok(Self { host, ledger, table: None })
    }

    /// What is owned, in order.
    pub(crate) fn owned(&self) -> Vec<ResourceId> {
        self.ledger.owned()
    }

    /// The names of the services that are owned, in order.
    pub(crate) fn services(&self) -> Vec<String> {
        let services = self.ledger.entries().iter().filter_map(|entry| entry.planned.resource.service());
        services.map(str::to_owned).collect()
    }

    /// What is owned of a phase, newest first.
    pub(crate) fn owned_of(&self, phase: Phase) -> Vec<ResourceId> {
        let entries = self.ledger.entries().iter().rev().filter(|entry| entry.planned.phase == phase);
        entries.map(|entry| entry.planned.resource.id()).collect()
    }

    /// An owned resource as it was last planned.
    pub(crate) fn planned(&self, id: &ResourceId) -> Option<Planned<R>> {
        self.ledger.entry(id).map(|entry| entry.planned.clone())
    }

    /// The cluster that the host belongs to.
    pub(crate) fn cluster(&self) -> Option<String> {
        (!self.ledger.entries().is_empty()).then(|| self.ledger.cluster.clone())
    }

    /// The name under which owned resources are recorded.
    pub(crate) fn set_cluster(&mut self, cluster: String) -> Result<()> {
        match self.cluster() {
            Some(other) if other != cluster => Err(PlatformError::new(
                format!("apply the plan of the cluster {cluster}"),
                format!("the host belongs to the cluster {other}"),
            )
            .with_hint(format!("reset it with the inventory of {other} first"))),
            _ => {
                self.ledger.cluster = cluster;
                Ok(())
            }
        }
    }

    /// Compares all resources with the host. Changes nothing.
    pub(crate) fn check_all(&mut self, planned: &[Planned<R>]) -> Result<Checked> {
        let mut differing = Vec::new();
        let mut missing = BTreeSet::new();
        self.with_table(planned, |engine| {
            for resource in planned.iter().map(|planned| &planned.resource) {
                let context = engine.context(resource)?;
                let outcome = resource.check(engine.host, &context)?;
                if outcome != CheckOutcome::InSync {
                    missing.extend(engine.missing_blob(resource, &context)?);
                    differing.push((resource.id(), outcome));
                }
            }
            Ok(())
        })?;
        let known: BTreeSet<_> = planned.iter().map(|planned| planned.resource.id()).collect();
        let orphans = self.owned().into_iter().filter(|id| !known.contains(id)).collect();
        Ok(Checked {
            in_sync: planned.len() - differing.len(),
            differing,
            missing_blobs: missing.into_iter().collect(),
            orphans,
        })
    }

    /// Checks a resource and applies it if it drifted.
    pub(crate) fn apply(
        &mut self,
        planned: &Planned<R>,
        watcher: &mut dyn Watcher<R::Platform>,
    ) -> Result<ResourceResult> {
        let _held = self.hold(&planned.resource)?;
        self.apply_held(planned, watcher)
    }

    /// As [`Engine::apply`], when the caller holds the network.
    pub(crate) fn apply_held(
        &mut self,
        planned: &Planned<R>,
        watcher: &mut dyn Watcher<R::Platform>,
    ) -> Result<ResourceResult> {
        let (resource, id) = (&planned.resource, planned.resource.id());
        let context = self.context(resource)?;
        let difference = match self.settled(resource, &context, watcher)? {
            CheckOutcome::Drifted { difference, .. } => difference,
            CheckOutcome::InSync | CheckOutcome::Unknown { .. } => {
                if let Some(entry) = self.ledger.entry_mut(&id)
                    && entry.planned != *planned
                {
                    entry.planned = planned.clone();
                    self.ledger.save(self.host)?;
                }
                return Ok(ResourceResult::Unchanged);
            }
        };
        watcher.started(&difference);
        if self.ledger.entry(&id).is_some_and(|entry| resource.replaces(&entry.planned.resource)) {
            self.take_back_held(&id, Removal::Prune)?;
        }
        self.record_intent(planned)?;
        self.make_folders(resource)?;
        let applied = resource.apply(self.host, &context, watcher)?;
        if let Some(entry) = self.ledger.entry_mut(&id)
            && entry.started_with != resource.inputs()
        {
            entry.started_with = resource.inputs();
            self.ledger.save(self.host)?;
        }
        if let Applied::AfterReboot(reason) = applied {
            return Ok(ResourceResult::NeedsReboot { reason });
        }
        self.changed(planned)
    }

    /// The result of a resource that was changed.
    fn changed(&mut self, planned: &Planned<R>) -> Result<ResourceResult> {
        let (resource, id) = (&planned.resource, planned.resource.id());
        let context = self.context(resource)?;
        match resource.check(self.host, &context)? {
            CheckOutcome::InSync => Ok(ResourceResult::Changed),
            CheckOutcome::Drifted { difference, .. } => Err(PlatformError::new(
                format!("apply {id}"),
                format!("every step succeeded, but it still differs: {difference}"),
            )
            .with_hint("something else on the host may change it back")),
            CheckOutcome::Unknown { waits_for } => {
                Err(PlatformError::new(format!("check {id}"), format!("{waits_for} is gone again")))
            }
        }
    }

    /// The network resources that are owned and not known to be in place, in order.
    pub(crate) fn network_to_mend(&mut self) -> Result<Vec<ResourceId>> {
        let planned = self.ledger.entries().iter().map(|entry| &entry.planned);
        let network: Vec<_> = planned.filter(|planned| planned.resource.is_network()).cloned().collect();
        self.with_table(&network, |engine| {
            let mut to_mend = Vec::new();
            for resource in network.iter().map(|planned| &planned.resource) {
                let context = engine.context(resource)?;
                // What cannot be checked is told by whoever mends it.
                if resource.check(engine.host, &context) != Ok(CheckOutcome::InSync) {
                    to_mend.push(resource.id());
                }
            }
            Ok(to_mend)
        })
    }

    /// Does something for several resources, for which the host's routes are read once. They do not change meanwhile.
    fn with_table<T>(&mut self, planned: &[Planned<R>], work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if planned.iter().filter(|planned| planned.resource.is_route()).count() > 1 {
            self.table = Some(Rc::new(Table::read(self.host)?));
        }
        let done = work(self);
        self.table = None;
        done
    }

    /// Whether a resource differs from the host.
    pub(crate) fn is_drifted(&mut self, planned: &Planned<R>) -> Result<bool> {
        let context = self.context(&planned.resource)?;
        Ok(matches!(planned.resource.check(self.host, &context)?, CheckOutcome::Drifted { .. }))
    }

    /// How to take back what applying a resource is about to change.
    pub(crate) fn undo_for(&mut self, planned: &Planned<R>, at_start: Option<Prior>) -> Result<Undo<R>> {
        let context = self.context(&planned.resource)?;
        let before = planned.resource.capture(self.host, &context)?;
        let entry = self.ledger.entry(&planned.resource.id()).cloned();
        Ok(Undo { planned: planned.clone(), before, at_start, entry })
    }

    /// What is there now of several resources, where that can be told.
    pub(crate) fn capture_all(&mut self, planned: &[Planned<R>]) -> Vec<Option<Prior>> {
        let capture = |engine: &mut Self| {
            let capture = |planned: &Planned<R>| {
                let context = engine.context(&planned.resource).ok()?;
                planned.resource.capture(engine.host, &context).ok()
            };
            Ok(planned.iter().map(capture).collect())
        };
        self.with_table(planned, capture).unwrap_or_else(|_| vec![None; planned.len()])
    }

    /// How to take back what applying those of several resources that drifted is about to change.
    pub(crate) fn undo_for_drifted(
        &mut self,
        planned: &[Planned<R>],
        at_start: impl Iterator<Item = Option<Prior>>,
    ) -> Result<Vec<Undo<R>>> {
        self.with_table(planned, |engine| {
            let mut undo = Vec::new();
            for (planned, at_start) in planned.iter().zip(at_start) {
                if engine.is_drifted(planned)? {
                    undo.push(engine.undo_for(planned, at_start)?);
                }
            }
            Ok(undo)
        })
    }

    /// The first of several resources that differs from the host.
    pub(crate) fn first_drifted(&mut self, planned: &[Planned<R>]) -> Result<Option<usize>> {
        self.with_table(planned, |engine| {
            for (position, planned) in planned.iter().enumerate() {
                if engine.is_drifted(planned)? {
                    return Ok(Some(position));
                }
            }
            Ok(None)
        })
    }

    /// Applies routes, which do not stand in each other's way: the host's are read before and after all of them, and the
    /// ledger is written once. `started` is told what differs, `alive` called before each change. The results of all that were
    /// reached; the last one is the failure, if there was one.
    pub(crate) fn apply_routes(
        &mut self,
        routes: &[Planned<R>],
        started: &mut dyn FnMut(ResourceId, &str),
        alive: &mut dyn FnMut(&mut R::Platform) -> Result<()>,
    ) -> Result<Vec<(ResourceId, ResourceResult)>> {
        let _held = match routes.first() {
            Some(planned) => self.hold(&planned.resource)?,
            None => return Ok(Vec::new()),
        };
        let changed = self.with_table(routes, |engine| {
            let (mut drifted, mut dirty) = (Vec::new(), false);
            for planned in routes {
                let context = engine.context(&planned.resource)?;
                if let CheckOutcome::Drifted { difference, .. } = planned.resource.check(engine.host, &context)? {
                    started(planned.resource.id(), &difference);
                    dirty |= engine.note(planned)?;
                    drifted.push((planned, context));
                } else if let Some(entry) = engine.ledger.entry_mut(&planned.resource.id())
                    && entry.planned != *planned
                {
                    entry.planned = planned.clone();
                    dirty = true;
                }
            }
            if dirty {
                engine.ledger.save(engine.host)?;
            }
            let mut changed = BTreeMap::new();
            for (planned, context) in drifted {
                let applied = alive(engine.host)
                    .and_then(|()| planned.resource.apply(engine.host, &context, &mut Nobody).map(drop));
                let failed = applied.is_err();
                changed.insert(planned.resource.id(), applied);
                if failed {
                    break;
                }
            }
            Ok(changed)
        })?;
        self.with_table(routes, |engine| {
            let mut results = Vec::new();
            for planned in routes {
                let id = planned.resource.id();
                let result = match changed.get(&id) {
                    None => ResourceResult::Unchanged,
                    Some(Err(error)) => ResourceResult::Failed(error.clone().into()),
                    Some(Ok(_)) => engine.changed(planned).unwrap_or_else(|error| ResourceResult::Failed(error.into())),
                };
                let failed = matches!(result, ResourceResult::Failed(_));
                results.push((id, result));
                if failed {
                    break;
                }
            }
            Ok(results)
        })
    }

    /// Takes back one change.
    pub(crate) fn undo(&mut self, undo: &Undo<R>) -> Result<()> {
        let _held = self.hold(&undo.planned.resource)?;
        undo.planned.resource.take_back(self.host, &undo.before, Removal::Prune)?;
        let id = undo.planned.resource.id();
        match &undo.entry {
            Some(before) => self.ledger.put(before.clone()),
            None => self.ledger.remove(&id),
        }
        self.ledger.save(self.host)?;
        self.tidy()
    }

    /// Once all changes are taken back: what was there when the first one began.
    pub(crate) fn restore(&mut self, undo: &Undo<R>) -> Result<()> {
        let _held = self.hold(&undo.planned.resource)?;
        match &undo.at_start {
            Some(prior) => undo.planned.resource.take_back(self.host, prior, Removal::Prune),
            None => Ok(()),
        }
    }

    /// Restores what was there before a resource, and disowns it.
    pub(crate) fn take_back(&mut self, id: &ResourceId, removal: Removal) -> Result<()> {
        let Some(planned) = self.planned(id) else { return Ok(()) };
        let _held = self.hold(&planned.resource)?;
        self.take_back_held(id, removal)
    }

    fn take_back_held(&mut self, id: &ResourceId, removal: Removal) -> Result<()> {
        let Some(entry) = self.ledger.entry(id).cloned() else { return Ok(()) };
        entry.planned.resource.take_back(self.host, &entry.prior, removal)?;
        self.ledger.remove(id);
        self.remove_empty_folders()?;
        self.ledger.save(self.host)
    }

    /// What is left to do after removal: an empty ledger goes, with all that belongs to it.
    pub(crate) fn tidy(&mut self) -> Result<()> {
        if self.ledger.entries().is_empty() { ledger::remove_records(self.host) } else { Ok(()) }
    }

    /// The host.
    pub(crate) fn host(&mut self) -> &mut R::Platform {
        self.host
    }

    /// Keeps `k8swin-network` from undoing a change of the network before the ledger has it.
    fn hold(&mut self, resource: &R) -> Result<Option<std::fs::File>> {
        if resource.is_network() { self.host.hold_network() } else { Ok(None) }
    }

    /// The outcome of a check, once what it waits for is there.
    fn settled(
        &mut self,
        resource: &R,
        context: &Context,
        watcher: &mut dyn Watcher<R::Platform>,
    ) -> Result<CheckOutcome> {
        let mut polls = 0;
        loop {
            match resource.check(self.host, context)? {
                CheckOutcome::Unknown { waits_for } if polls == POLLS => {
                    let seconds = (POLL * POLLS).as_secs();
                    let attempted = format!("wait for {waits_for}");
                    return Err(PlatformError::new(attempted, format!("it was not there after {seconds} s"))
                        .with_hint("the services before it run, but do not answer: look at their logs"));
                }
                CheckOutcome::Unknown { .. } => {
                    polls += 1;
                    watcher.alive(self.host)?;
                    self.host.sleep(POLL);
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// Writes down, before the first change, what the host had; later runs only update what is planned.
    fn record_intent(&mut self, planned: &Planned<R>) -> Result<()> {
        if self.note(planned)? { self.ledger.save(self.host) } else { Ok(()) }
    }

    /// Notes in the ledger what is about to be changed; whether it must be written.
    fn note(&mut self, planned: &Planned<R>) -> Result<bool> {
        let id = planned.resource.id();
        let mut dirty = false;
        match self.ledger.entry_mut(&id) {
            Some(entry) if entry.planned == *planned => {}
            Some(entry) => {
                entry.planned = planned.clone();
                dirty = true;
            }
            None => {
                let context = self.context(&planned.resource)?;
                let prior = planned.resource.capture(self.host, &context)?;
                self.ledger.put(Entry { planned: planned.clone(), prior, started_with: None });
                dirty = true;
            }
        }
        for folder in self.missing_folders(&planned.resource)? {
            if !self.ledger.folders.contains(&folder) {
                self.ledger.folders.push(folder);
                dirty = true;
            }
        }
        Ok(dirty)
    }

    fn missing_folders(&mut self, resource: &R) -> Result<Vec<HostPath>> {
        let mut missing = Vec::new();
        for path in resource.paths() {
            let mut folder = path.parent();
            while let Some(path) = folder
                && self.host.stat(&path)?.is_none()
            {
                folder = path.parent();
                missing.push(path);
            }
        }
        missing.reverse();
        Ok(missing)
    }

    fn make_folders(&mut self, resource: &R) -> Result<()> {
        for folder in self.missing_folders(resource)? {
            let permissions = Permissions::public_directory(self.host.os());
            self.host.create_directory(&folder, &permissions)?;
        }
        Ok(())
    }

    /// Folders that were made because a file needed them go when they are empty, the deepest first.
    fn remove_empty_folders(&mut self) -> Result<()> {
        let mut kept = Vec::new();
        for folder in self.ledger.folders.iter().rev() {
            if self.host.stat(folder)?.is_none() {
                continue;
            }
            if self.host.list_directory(folder)?.is_empty() {
                self.host.remove_directory(folder)?;
            } else {
                kept.push(folder.clone());
            }
        }
        kept.reverse();
        self.ledger.folders = kept;
        Ok(())
    }

    fn context(&mut self, resource: &R) -> Result<Context> {
        let entry = self.ledger.entry(&resource.id());
        let (recorded, started_with) = (entry.is_some(), entry.and_then(|entry| entry.started_with));
        let mut copies = Vec::new();
        if let Some(file) = resource.file()
            && let Content::Blob(blob) = file.content
        {
            copies.push(blobs::path(self.host.os(), blob.sha256));
            let own = self.host.own_executable()?;
            if own.sha256 == blob.sha256 {
                copies.push(own.path);
            }
            copies.extend(self.ledger.copies(blob.sha256).into_iter().filter(|path| *path != file.path));
        }
        Ok(Context { recorded, started_with, copies, table: self.table.clone() })
    }

    fn missing_blob(&mut self, resource: &R, context: &Context) -> Result<Option<Sha256>> {
        let Some(planned) = resource.file() else { return Ok(None) };
        let Content::Blob(blob) = planned.content else { return Ok(None) };
        if !file::lacks_bytes(planned, self.host)? {
            return Ok(None);
        }
        for copy in &context.copies {
            if file::lies_at(copy, blob.sha256, blob.size, self.host)? {
                return Ok(None);
            }
        }
        Ok(Some(blob.sha256))
    }
}
