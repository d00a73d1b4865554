//! A stand-in for services of Windows, and not Windows; its argument says which. `RemoteAccess` (Routing and Remote Access):
//! while it runs and is set up as a LAN router, the host forwards IPv4 between all its adapters. `hns` (the Host Network
//! Service) and `iphlpsvc` (IP Helper) only run: what they do is done by the stand-ins for Docker and `netsh`.

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    match windows::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}

#[cfg(windows)]
mod windows {
    use std::ffi::OsString;
    use std::sync::mpsc;
    use std::time::Duration;

    use k8swin_stand_ins::desk::{WineDesk, log};
    use k8swin_stand_ins::netsh::{Desk as _, REMOTE_ACCESS};
    use serde_json::json;
    use windows_registry::LOCAL_MACHINE;
    use windows_service::service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
    };
    use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
    use windows_service::{define_windows_service, service_dispatcher};

    const ROUTING: &str = "RemoteAccess";

    /// Where the stand-in for DISM keeps what is installed, and the role.
    const FEATURES: &str = r"SOFTWARE\k8swin stand-ins\Features";
    const ROLE: &str = "RasRoutingProtocols";

    /// `ERROR_SERVICE_SPECIFIC_ERROR` codes of ours: not set up, refused by Linux.
    const NOT_SET_UP: u32 = 1;
    const REFUSED: u32 = 2;

    define_windows_service!(service, serve);

    pub(super) fn run() -> windows_service::Result<()> {
        service_dispatcher::start(name(), service)
    }

    fn name() -> String {
        std::env::args().nth(1).unwrap_or_default()
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

    fn serve(_arguments: Vec<OsString>) {
        let (stop, stopped) = mpsc::channel();
        let handler = move |control| match control {
            ServiceControl::Stop | ServiceControl::Shutdown => {
                // A service that ends already needs no second word.
                let _ = stop.send(());
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        };
        let name = name();
        let routes = name == ROUTING;
        let Ok(handle) = service_control_handler::register(name, handler) else { return };
        let begun = if routes { forward() } else { Ok(()) };
        let code = match begun {
            Ok(()) => {
                let _ = handle.set_service_status(status(ServiceState::Running, 0));
                let _ = stopped.recv();
                if routes { stand_still().map_or(REFUSED, |()| 0) } else { 0 }
            }
            Err(code) => code,
        };
        let _ = handle.set_service_status(status(ServiceState::Stopped, code));
    }

    fn forward() -> Result<(), u32> {
        let set_up = LOCAL_MACHINE.open(REMOTE_ACCESS).and_then(|key| key.get_u32("RouterType")).unwrap_or(0);
        log("remote-access", &json!({"started": true, "router_type": set_up}));
        let installed = LOCAL_MACHINE.open(FEATURES).and_then(|key| key.get_u32(ROLE)).is_ok();
        let waits = LOCAL_MACHINE.open(format!(r"{FEATURES}\AfterReboot")).and_then(|key| key.get_u32(ROLE)).is_ok();
        if set_up == 0 || !installed || waits {
            return Err(NOT_SET_UP);
        }
        WineDesk.setting("ip_forward", "1").map_err(refused)
    }

    /// Adapters that were to forward by themselves go on.
    fn stand_still() -> Result<(), u32> {
        log("remote-access", &json!({"started": false}));
        WineDesk.setting("ip_forward", "0").map_err(refused)?;
        for adapter in WineDesk.persistent().map_err(refused)?.forwarding {
            WineDesk.setting(&format!("conf/{adapter}/forwarding"), "1").map_err(refused)?;
        }
        Ok(())
    }

    fn refused(error: String) -> u32 {
        log("remote-access", &json!({"error": error}));
        REFUSED
    }
}
