//! The service `k8swin-network`: what the ledger has of network resources is put in place at boot, before the kubelet
//! starts, and again whenever something else changed adapters, routes or rules.

use std::ops::ControlFlow;
use std::time::Duration;

use k8swin_protocol::facts::{Adapter, RouteEntry};
use k8swin_protocol::resource::{LinuxResource, ResourceId, WindowsResource};
use k8swin_protocol::wire::ResourceResult;

use crate::change;
use crate::engine::{Engine, Nobody};
use crate::platform::{Host, HostLock, Platform, PlatformError, Result};
use crate::resources::Resource;

/// After a boot, Docker and the adapters take their time: a minute and a half at most, which is less than the two minutes
/// that systemd gives our units to start.
const PAUSE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 45;

/// How often the adapters and routes are compared, and after how many times without a change the resources themselves
/// are checked: firewall rules show in neither.
struct Pace {
    pause: Duration,
    quiet: u32,
}

impl Pace {
    fn of(host: &Host) -> Self {
        match host {
            Host::Linux(_) => Self { pause: Duration::from_secs(2), quiet: 5 },
            // Where a check asks Docker, which takes its time.
            Host::Windows(_) => Self { pause: Duration::from_secs(10), quiet: u32::MAX },
        }
    }
}

/// Applies the network resources that this host owns, as often as it takes. Returns how many had to be changed.
///
/// # Errors
/// The first failure that is left when trying again no longer helps.
pub(crate) fn reconcile(host: &mut Host) -> Result<usize> {
    recover(host)?;
    let mut changed = 0;
    for _ in 1..ATTEMPTS {
        let attempt = attempt(host);
        changed += attempt.changed;
        if attempt.failure.is_none() {
            return Ok(changed);
        }
        sleep(host, PAUSE);
    }
    let attempt = attempt(host);
    attempt.failure.map_or(Ok(changed + attempt.changed), Err)
}

/// Keeps the network in place. `tell` hears of the first look, of each later one that changed something, and of each
/// failure that is not the one before, and says whether to go on. What failed is tried again with the next look.
pub fn keep(host: &mut Host, mut tell: impl FnMut(Result<usize>) -> ControlFlow<()>) {
    let first = reconcile(host);
    let mut failure = first.as_ref().err().cloned();
    let mut memory = Memory::new(if first.is_ok() { snapshot(host) } else { None });
    if tell(first).is_break() {
        return;
    }
    let pace = Pace::of(host);
    loop {
        sleep(host, pace.pause);
        if !memory.is_due(snapshot(host), pace.quiet) {
            continue;
        }
        let attempt = attempt(host);
        memory.in_place = if attempt.failure.is_none() { snapshot(host) } else { None };
        let news = attempt.changed > 0 && attempt.failure.is_none() || attempt.failure != failure;
        failure = attempt.failure;
        if news && tell(failure.clone().map_or(Ok(attempt.changed), Err)).is_break() {
            return;
        }
    }
}

/// What was seen of the adapters and routes.
struct Memory<S> {
    /// Right after the network was put in place; none when that failed.
    in_place: Option<S>,
    /// At the last look.
    last: Option<S>,
    /// Looks without a change.
    quiet: u32,
}

impl<S: PartialEq> Memory<S> {
    fn new(in_place: Option<S>) -> Self {
        Self { in_place, last: None, quiet: 0 }
    }

    /// Whether the resources must be looked at. A change counts when it has lasted for two looks: adapters come and go
    /// while Docker makes a network.
    fn is_due(&mut self, now: Option<S>, quiet: u32) -> bool {
        self.quiet = if now == self.in_place { self.quiet.saturating_add(1) } else { 0 };
        let due =
            now.is_none() || self.in_place.is_none() || self.quiet >= quiet || self.quiet == 0 && now == self.last;
        if due {
            self.quiet = 0;
        }
        self.last = now;
        due
    }
}

/// Takes back a change of the network that the last boot cut short. It stays noted for the run that made it.
fn recover(host: &mut Host) -> Result<()> {
    fn with<R: Resource>(host: &mut R::Platform) -> Result<()> {
        if change::progress::<R>(host)?.is_none() {
            return Ok(());
        }
        // Whoever has the lock is making the change, or brings it to its end.
        if let HostLock::Taken(_held) = host.try_lock("k8swin-network")? {
            change::recover::<R>(host)?;
        }
        Ok(())
    }
    match host {
        Host::Linux(platform) => with::<LinuxResource>(platform.as_mut()),
        Host::Windows(platform) => with::<WindowsResource>(platform.as_mut()),
    }
}

/// One try at every network resource.
#[derive(Default)]
struct Attempt {
    changed: usize,
    failure: Option<PlatformError>,
}

fn attempt(host: &mut Host) -> Attempt {
    match host {
        Host::Linux(platform) => attempt_all::<LinuxResource>(platform.as_mut()),
        Host::Windows(platform) => attempt_all::<WindowsResource>(platform.as_mut()),
    }
}

fn attempt_all<R: Resource>(host: &mut R::Platform) -> Attempt {
    let mut attempt = Attempt::default();
    let ids = match to_mend::<R>(host) {
        Ok(ids) => ids,
        Err(failure) => return Attempt { failure: Some(failure), ..attempt },
    };
    for id in ids {
        match apply::<R>(host, &id) {
            Ok(changed) => attempt.changed += usize::from(changed),
            Err(failure) => {
                attempt.failure.get_or_insert(failure);
            }
        }
    }
    attempt
}

fn to_mend<R: Resource>(host: &mut R::Platform) -> Result<Vec<ResourceId>> {
    let _held = host.hold_network()?;
    Engine::<R>::new(host)?.network_to_mend()
}

/// Puts one resource in place, unless the orchestrator's agent has disowned it since.
fn apply<R: Resource>(host: &mut R::Platform, id: &ResourceId) -> Result<bool> {
    let _held = host.hold_network()?;
    let mut engine = Engine::<R>::new(host)?;
    let Some(planned) = engine.planned(id) else { return Ok(false) };
    match engine.apply_held(&planned, &mut Nobody)? {
        ResourceResult::Unchanged => Ok(false),
        ResourceResult::Changed | ResourceResult::NeedsReboot { .. } => Ok(true),
        ResourceResult::Failed(failure) => {
            Err(PlatformError { attempted: failure.attempted, answer: failure.answer, hint: failure.hint })
        }
    }
}

fn sleep(host: &mut Host, duration: Duration) {
    match host {
        Host::Linux(linux) => linux.sleep(duration),
        Host::Windows(windows) => windows.sleep(duration),
    }
}

fn snapshot(host: &mut Host) -> Option<(Vec<Adapter>, Vec<RouteEntry>)> {
    match host {
        Host::Linux(linux) => {
            let mut adapters = linux.adapters().ok()?;
            // Those without an address are the pods' own: they come and go and carry no route of ours.
            adapters.retain(|adapter| !adapter.addresses.is_empty());
            Some((adapters, linux.routes().ok()?))
        }
        Host::Windows(windows) => Some((windows.adapters().ok()?, windows.routes().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_lasts() {
        let mut memory = Memory::new(Some(1));
        let mut looks = |now: &[Option<i32>]| now.iter().map(|now| memory.is_due(*now, 4)).collect::<Vec<_>>();
        assert_eq!(looks(&[Some(1), Some(2), Some(3), Some(1), Some(2)]), [false; 5]);
        assert_eq!(looks(&[Some(2)]), [true]);
        assert_eq!(looks(&[None]), [true], "what cannot be seen must be looked at");
    }

    #[test]
    fn without_a_change_the_resources_are_looked_at_now_and_then() {
        let mut memory = Memory::new(Some(1));
        let looks: Vec<_> = (0..8).map(|_| memory.is_due(Some(1), 4)).collect();
        assert_eq!(looks, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn a_failure_is_tried_again_with_the_next_look() {
        let mut memory = Memory::new(None);
        assert!(memory.is_due(Some(1), 4) && memory.is_due(Some(1), 4));
        memory.in_place = Some(1);
        assert!(!memory.is_due(Some(1), 4));
    }
}
