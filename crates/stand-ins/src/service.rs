//! A stand-in as a service of Windows: it starts, runs until it is told to stop, and ends with a code.

use std::sync::mpsc;
use std::time::Duration;

use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};

/// Serves under a name that the service manager knows: `start` gives what runs, `stop` ends it. The codes of failures are
/// the service's own (`ERROR_SERVICE_SPECIFIC_ERROR`). Called by the service's main function.
pub fn serve<T>(name: &str, start: impl FnOnce() -> Result<T, u32>, stop: impl FnOnce(T) -> Result<(), u32>) {
    let (tell, told) = mpsc::channel();
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            // A service that ends already needs no second word.
            let _ = tell.send(());
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(name, handler) else { return };
    let ended = start().and_then(|running| {
        let _ = handle.set_service_status(status(ServiceState::Running, 0));
        let _ = told.recv();
        stop(running)
    });
    let _ = handle.set_service_status(status(ServiceState::Stopped, ended.err().unwrap_or(0)));
}

fn status(state: ServiceState, exit: u32) -> ServiceStatus {
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
        exit_code: if exit == 0 { ServiceExitCode::NO_ERROR } else { ServiceExitCode::ServiceSpecific(exit) },
        checkpoint: 0,
        wait_hint: Duration::ZERO,
        process_id: None,
    }
}
