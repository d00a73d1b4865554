//! The boot-time service `k8swin-network`: what the ledger has of network resources is put in place again, before the
//! kubelet starts.

use std::time::Duration;

use k8swin_protocol::resource::{LinuxResource, Planned, WindowsResource};

use crate::engine::{Engine, Watcher};
use crate::platform::{Host, Platform as _, PlatformError, Result};
use crate::resources::Resource;

/// After a boot, Docker and the adapters take their time: two minutes at most.
const PAUSE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 60;

/// Applies the network resources that this host owns. Returns how many had to be changed.
///
/// # Errors
/// The first failure that is left when trying again no longer helps.
pub fn reconcile(host: &mut Host) -> Result<usize> {
    match host {
        Host::Linux(platform) => reconcile_all::<LinuxResource>(platform.as_mut()),
        Host::Windows(platform) => reconcile_all::<WindowsResource>(platform.as_mut()),
    }
}

fn reconcile_all<R: Resource>(host: &mut R::Platform) -> Result<usize> {
    let mut engine = Engine::<R>::new(host)?;
    let mut changed = 0;
    let mut attempts = 0;
    loop {
        let mut failure = None;
        for planned in &engine.network() {
            match apply(&mut engine, planned) {
                Ok(false) => {}
                Ok(true) => changed += 1,
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        attempts += 1;
        match failure {
            None => return Ok(changed),
            Some(failure) if attempts == ATTEMPTS => return Err(failure),
            Some(_) => engine.host().sleep(PAUSE),
        }
    }
}

fn apply<R: Resource>(engine: &mut Engine<'_, R>, planned: &Planned<R>) -> Result<bool> {
    use k8swin_protocol::wire::ResourceResult;
    match engine.apply(planned, &mut Nobody)? {
        ResourceResult::Unchanged => Ok(false),
        ResourceResult::Changed | ResourceResult::NeedsReboot { .. } => Ok(true),
        ResourceResult::Failed(failure) => {
            Err(PlatformError { attempted: failure.attempted, answer: failure.answer, hint: failure.hint })
        }
    }
}

/// Nobody watches at boot.
struct Nobody;

impl<P: ?Sized> Watcher<P> for Nobody {
    fn started(&mut self, _difference: &str) {}

    fn alive(&mut self, _host: &mut P) -> Result<()> {
        Ok(())
    }
}
