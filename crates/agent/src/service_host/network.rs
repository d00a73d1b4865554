//! The service `k8swin-network`: puts the network resources in place at boot, and again whenever adapters or routes
//! change.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use k8swin_protocol::HostPath;
use k8swin_protocol::facts::{Adapter, RouteEntry};

use super::service::{Ended, Event, Status};
use super::supervisor::SharedLog;
use crate::network::reconcile;
use crate::platform::{Host, this_host};

/// How often the adapters and routes are looked at.
const POLL: Duration = Duration::from_secs(10);

/// How often a long start gives a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// The code of a service whose network cannot be put in place.
const NOT_IN_PLACE: u32 = 1;

/// Keeps the network in place until the service is stopped. An attended start fails with the network; at boot, it is
/// tried on and on.
pub(super) fn run(
    name: &str,
    log_directory: &HostPath,
    attended: bool,
    status: &mut Status,
    events: Sender<Event>,
    received: &Receiver<Event>,
) -> Option<Ended> {
    let log = SharedLog::open(Path::new(log_directory.as_str()), name);
    thread::spawn(move || keep(&events));
    let mut starting = true;
    loop {
        match received.recv_timeout(SIGN_OF_LIFE) {
            // Those that depend on it wait until the first look is over.
            Err(RecvTimeoutError::Timeout) if starting => status.starting(),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Ok(Event::Exited(_)) => {}
            Ok(Event::Reconciled(Ok(changed))) => {
                log.note(&format!("the network is in place, {changed} changed"));
                if std::mem::take(&mut starting) {
                    status.running();
                }
            }
            Ok(Event::Reconciled(Err(error))) => {
                log.note(&error);
                if attended && starting {
                    return Some(Ended { code: NOT_IN_PLACE });
                }
                // Services that only use what is in place can start.
                if std::mem::take(&mut starting) {
                    status.running();
                }
            }
        }
    }
}

/// Looks for changes. A change counts when it has lasted for two looks: adapters come and go while Docker makes a network.
fn keep(events: &Sender<Event>) {
    let mut host = this_host();
    let mut in_place = None;
    let mut last = None;
    loop {
        let now = snapshot(&mut host);
        let settled = in_place.is_none() || now == last;
        if now.is_none() || (now != in_place && settled) {
            let result = reconcile(&mut host).map_err(|error| match &error.hint {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            });
            // After a failure, nothing counts as in place: the next look tries again.
            let done = result.is_ok();
            if events.send(Event::Reconciled(result)).is_err() {
                return;
            }
            in_place = if done { snapshot(&mut host) } else { None };
        }
        last = now;
        thread::sleep(POLL);
    }
}

fn snapshot(host: &mut Host) -> Option<(Vec<Adapter>, Vec<RouteEntry>)> {
    let (adapters, routes) = match host {
        Host::Windows(windows) => (windows.adapters(), windows.routes()),
        Host::Linux(linux) => (linux.adapters(), linux.routes()),
    };
    Some((adapters.ok()?, routes.ok()?))
}
