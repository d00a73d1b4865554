//! The agent as a Windows service: its conversation with the Service Control Manager.

use std::ffi::OsString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use k8swin_protocol::Os;
use k8swin_protocol::resource::ServiceProgram;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::{change as change_service, network, supervisor};
use crate::change;
use crate::platform::windows::services::{self, ATTENDED};

/// How long Windows may wait for the next sign of a service in motion.
const HINT: Duration = Duration::from_secs(60);

/// The service cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum ServiceHostError {
    /// Not started by the Service Control Manager, or it does not answer.
    #[error("cannot talk to the Service Control Manager: {0}; the service host is started by it, not by hand")]
    Manager(#[source] windows_service::Error),
}

/// What happens to a service while it runs.
#[derive(Debug)]
pub(super) enum Event {
    /// The Service Control Manager, or the end of the host, stops it.
    Stop,
    /// The supervised program ended, with this code; none where it is not known.
    Exited(Option<i32>),
    /// The network was looked at: an error is told, and tried again.
    Reconciled(Result<usize, String>),
}

/// How a service ended by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// What the Service Control Manager is told.
    pub(super) code: u32,
}

/// How the service stands, told to the Service Control Manager.
pub(super) struct Status {
    handle: ServiceStatusHandle,
    checkpoint: u32,
}

impl Status {
    /// It still gets on with its start.
    pub(super) fn starting(&mut self) {
        self.checkpoint += 1;
        self.set(ServiceState::StartPending, ServiceControlAccept::STOP, ServiceExitCode::NO_ERROR, HINT);
    }

    /// It runs.
    pub(super) fn running(&mut self) {
        self.checkpoint = 0;
        let accepted = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
        self.set(ServiceState::Running, accepted, ServiceExitCode::NO_ERROR, Duration::ZERO);
    }

    /// It is about to stop.
    pub(super) fn stopping(&mut self) {
        self.checkpoint += 1;
        self.set(ServiceState::StopPending, ServiceControlAccept::empty(), ServiceExitCode::NO_ERROR, HINT);
    }

    fn stopped(&mut self, ended: Option<Ended>) {
        self.checkpoint = 0;
        let code = ended.map_or(ServiceExitCode::NO_ERROR, |ended| ServiceExitCode::ServiceSpecific(ended.code));
        self.set(ServiceState::Stopped, ServiceControlAccept::empty(), code, Duration::ZERO);
    }

    fn set(
        &self,
        current_state: ServiceState,
        controls_accepted: ServiceControlAccept,
        exit_code: ServiceExitCode,
        wait_hint: Duration,
    ) {
        // A manager that does not listen is a host that goes down: there is nobody else to tell.
        let _ = self.handle.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: self.checkpoint,
            wait_hint,
            process_id: None,
        });
    }
}

/// Hosts the service of that name until it is stopped.
///
/// # Errors
/// When this program was not started by the Service Control Manager.
pub fn run(name: &str) -> Result<(), ServiceHostError> {
    service_dispatcher::start(name, entry).map_err(ServiceHostError::Manager)
}

define_windows_service!(entry, host);

/// The first argument is the service's name, as it is for every service.
fn host(arguments: Vec<OsString>) {
    let mut arguments = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let name = match std::env::args().nth(2).or_else(|| arguments.next()) {
        Some(name) => name,
        None => return,
    };
    let attended = arguments.any(|argument| argument == ATTENDED);
    let (events, received) = channel();
    let stop = events.clone();
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            // A service that has ended takes no more events, which is as well.
            let _ = stop.send(Event::Stop);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(&name, handler) else { return };
    let mut status = Status { handle, checkpoint: 0 };
    status.starting();
    let ended = serve(&name, attended, &mut status, events, &received);
    status.stopped(ended);
}

fn serve(
    name: &str,
    attended: bool,
    status: &mut Status,
    events: Sender<Event>,
    received: &Receiver<Event>,
) -> Option<Ended> {
    if name == change::NAME {
        return change_service::run(status, events, received);
    }
    match services::program(name) {
        Some(ServiceProgram::Supervised(program)) => {
            supervisor::run(name, &program, attended, status, &events, received)
        }
        Some(ServiceProgram::NetworkReconciler) => {
            network::run(name, &Os::Windows.log(), attended, status, events, received)
        }
        // Such a program talks to the Service Control Manager itself.
        Some(ServiceProgram::Native { .. }) | None => {
            Some(Ended { code: windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND })
        }
    }
}
