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

    use k8swin_stand_ins::desk::{WineDesk, log};
    use k8swin_stand_ins::netsh::{Desk as _, REMOTE_ACCESS};
    use k8swin_stand_ins::service;
    use serde_json::json;
    use windows_registry::LOCAL_MACHINE;
    use windows_service::{define_windows_service, service_dispatcher};

    const ROUTING: &str = "RemoteAccess";

    /// Where the stand-in for DISM keeps what is installed, and the role.
    const FEATURES: &str = r"SOFTWARE\k8swin stand-ins\Features";
    const ROLE: &str = "RasRoutingProtocols";

    /// `ERROR_SERVICE_SPECIFIC_ERROR` codes of ours: not set up, refused by Linux.
    const NOT_SET_UP: u32 = 1;
    const REFUSED: u32 = 2;

    define_windows_service!(service_main, serve);

    pub(super) fn run() -> windows_service::Result<()> {
        service_dispatcher::start(name(), service_main)
    }

    fn name() -> String {
        std::env::args().nth(1).unwrap_or_default()
    }

    fn serve(_arguments: Vec<OsString>) {
        let name = name();
        if name == ROUTING {
            service::serve(&name, forward, |()| stand_still());
        } else {
            service::serve(&name, || Ok(()), Ok);
        }
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
