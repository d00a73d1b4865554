//! The service `k8swin-network`: puts the network resources in place at boot, and again whenever adapters or routes
//! change.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use k8swin_protocol::HostPath;

use super::service::{Ended, Event, Status};
use super::supervisor::SharedLog;
use crate::network;
use crate::platform::this_host;

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

/// Tells what became of each look until nobody listens any more.
fn keep(events: &Sender<Event>) {
    network::keep(&mut this_host(), |result| {
        let result = result.map_err(|error| match &error.hint {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        });
        match events.send(Event::Reconciled(result)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
}
