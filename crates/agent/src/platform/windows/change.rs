//! The service that makes a change of the network. It starts at boot as well, so that a change which the boot cut short is
//! taken back, and it is deleted when its change is over.

use std::ffi::OsStr;

use windows_service::service::ServiceAccess;
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_MARKED_FOR_DELETE};

use super::super::{PlatformError, Result, ServiceDefinition, ServiceImage, StartMode};
use super::services;
use crate::change::NAME;

/// Starts the service with this agent.
pub(super) fn start(agent: &str) -> Result<()> {
    if services::query(NAME)?.is_some() {
        services::delete(NAME)?;
    }
    let definition = ServiceDefinition {
        display_name: "k8swin network change".to_owned(),
        image: ServiceImage::Other { command_line: format!("\"{agent}\" service {NAME}") },
        depends_on: Vec::new(),
        start: StartMode::Automatic,
    };
    services::create(NAME, &definition)?;
    services::start(NAME)
}

/// Deletes the service: at once, or when it has stopped, since it says this of itself.
pub(super) fn forget() -> Result<()> {
    let attempted = "delete the service of the network change";
    let deleted = ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(NAME, ServiceAccess::DELETE))
        .and_then(|service| service.delete());
    match deleted {
        Ok(()) => Ok(()),
        Err(windows_service::Error::Winapi(error))
            if [ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_MARKED_FOR_DELETE]
                .map(|code| Some(code.cast_signed()))
                .contains(&error.raw_os_error()) =>
        {
            Ok(())
        }
        Err(error) => Err(PlatformError::new(attempted, error.to_string())),
    }
}
