//! What a simulated host has of processes: the host's lock, and the one that changes the network.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use k8swin_protocol::Os;

use super::platform::SimulatedPlatform;
use super::{SimulatedHost, lock};
use crate::change::NAME;
use crate::platform::{HostLock, PlatformError, Result};
use crate::{Host, change};

/// Who is at work on a host.
#[derive(Default)]
pub(super) struct Work {
    holder: Arc<Mutex<Option<Holder>>>,
    /// Whether the process of the last change lives.
    change: Mutex<Option<Arc<AtomicBool>>>,
}

struct Holder {
    number: u64,
    doing: String,
}

/// The host's lock, while it is held.
struct Held {
    number: u64,
    holder: Arc<Mutex<Option<Holder>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holder = lock(&self.holder);
        if holder.as_ref().is_some_and(|holder| holder.number == self.number) {
            *holder = None;
        }
    }
}

impl SimulatedHost {
    /// Ends the process that changes the network as a crash would.
    pub fn kill_change(&self) {
        if let Some(alive) = lock(&self.shared.work.change).take() {
            alive.store(false, Ordering::SeqCst);
        }
        let mut holder = lock(&self.shared.work.holder);
        if holder.as_ref().is_some_and(|holder| holder.doing == NAME) {
            *holder = None;
        }
    }

    /// Whether pods have a network on this host: on Windows a transparent one, on Linux routes to other nodes' pods.
    #[must_use]
    pub fn has_pod_network(&self) -> bool {
        self.read(|machine| match machine.os() {
            Os::Windows => machine.networks.values().any(|network| network.driver == "transparent"),
            Os::Linux => machine.routes.iter().any(|route| !route.persistent),
        })
    }

    pub(super) fn try_lock(&self, doing: &str) -> HostLock {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut holder = lock(&self.shared.work.holder);
        if let Some(holder) = &*holder {
            return HostLock::Busy(holder.doing.clone());
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        *holder = Some(Holder { number, doing: doing.to_owned() });
        HostLock::Taken(Box::new(Held { number, holder: Arc::clone(&self.shared.work.holder) }))
    }

    /// Runs a change as the host's service manager does: in a thread of its own.
    pub(super) fn start_change(&self) -> Result<()> {
        let alive = Arc::new(AtomicBool::new(true));
        *lock(&self.shared.work.change) = Some(Arc::clone(&alive));
        let platform = SimulatedPlatform::of_process(self.clone(), alive);
        let mut host = match self.os() {
            Os::Linux => Host::Linux(Box::new(platform)),
            Os::Windows => Host::Windows(Box::new(platform)),
        };
        let thread = std::thread::Builder::new().name(format!("{NAME} {}", self.name())).spawn(move || {
            // Those who follow the change find it abandoned.
            let _ = change::change(&mut host);
        });
        thread.map(drop).map_err(|error| PlatformError::new("start the change of the network", error.to_string()))
    }

    /// Windows starts the service of a change that a boot cut short.
    pub(super) fn resume_change(&self) {
        if self.os() == Os::Windows && matches!(change::order_exists(&mut self.platform()), Ok(true)) {
            let _ = self.start_change();
        }
    }
}
