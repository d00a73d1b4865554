//! The service `k8swin-change`: makes one change of the network, apart from the connection that asked for it. All that a
//! WinRM shell started dies with the shell; what the Service Control Manager started does not (design §5).

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use k8swin_protocol::Os;

use super::service::{Ended, Event, Status};
use super::supervisor::SharedLog;
use crate::change::{NAME, change};
use crate::platform::this_host;

/// The code of a change that could not be carried out.
const FAILED: i32 = 1;

/// Carries out the change that was ordered. A stop leaves it to the next process, which takes it back.
pub(super) fn run(status: &mut Status, events: Sender<Event>, received: &Receiver<Event>) -> Option<Ended> {
    let log = SharedLog::open(Path::new(Os::Windows.log().as_str()), NAME);
    status.running();
    let said = log.clone();
    thread::spawn(move || {
        let code = match change(&mut this_host()) {
            Ok(()) => 0,
            Err(error) => {
                said.note(&error.to_string());
                FAILED
            }
        };
        // A service that has ended takes no more events, which is as well.
        let _ = events.send(Event::Exited(Some(code)));
    });
    match received.recv() {
        Ok(Event::Exited(Some(0))) | Err(_) => None,
        Ok(Event::Stop) => {
            log.note("stopped before the change was over");
            None
        }
        Ok(Event::Exited(_) | Event::Reconciled(_)) => Some(Ended { code: FAILED.cast_unsigned() }),
    }
}
