//! Services, through the Service Control Manager, and what our service host finds about itself in the registry.

#![expect(unsafe_code, reason = "windows-service has no call that changes part of a definition or lists dependents")]

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::HostPath;
use k8swin_protocol::facts::{LastExit, ServiceState, ServiceStatus};
use k8swin_protocol::resource::ServiceProgram;
use serde::{Deserialize, Serialize};
use windows_registry::{Key, LOCAL_MACHINE};
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceDependency, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState as ManagerState,
    ServiceStatus as ManagerStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_MORE_DATA, ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NEVER_STARTED,
    ERROR_SERVICE_NOT_ACTIVE,
};
use windows_sys::Win32::System::Services::{
    ChangeServiceConfigW, ENUM_SERVICE_STATUSW, EnumDependentServicesW, SERVICE_ACTIVE, SERVICE_ENUMERATE_DEPENDENTS,
    SERVICE_NO_CHANGE, SERVICE_WIN32_OWN_PROCESS,
};

use super::super::{InstalledService, PlatformError, Result, ServiceDefinition, ServiceImage, StartMode};
use super::api;

/// The argument with which the agent starts a service that it waits for: one that ends right away has then failed, while
/// at boot it is started again until what it needs is there.
pub(crate) const ATTENDED: &str = "attended";

/// What the agent's command line says between its own path and the service's name.
const VERB: &str = "service";

/// The value below the service's `Parameters` that says what our service host runs.
const PROGRAM: &str = "K8swinProgram";

/// The value in which our service host notes how the program last ended.
const LAST_EXIT: &str = "K8swinLastExit";

/// How often a service in motion is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long a service may be in motion without a sign of progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// When Windows starts our service host again, should it crash itself.
const RECOVERY: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(60)];

/// After how long without a crash the first of these applies again.
const RECOVERY_RESET: Duration = Duration::from_secs(3600);

type ServiceError = windows_service::Error;

fn refused(attempted: impl Into<String>) -> impl FnOnce(ServiceError) -> PlatformError {
    let attempted = attempted.into();
    move |error| match error {
        ServiceError::Winapi(error) => PlatformError::new(attempted, error.to_string()),
        error => PlatformError::new(attempted, error.to_string()),
    }
}

fn is(error: &ServiceError, code: u32) -> bool {
    matches!(error, ServiceError::Winapi(error) if error.raw_os_error() == Some(code.cast_signed()))
}

fn manager(attempted: &str, access: ServiceManagerAccess) -> Result<ServiceManager> {
    ServiceManager::local_computer(None::<&OsStr>, access).map_err(refused(attempted))
}

fn open(attempted: &str, name: &str, access: ServiceAccess) -> Result<Option<Service>> {
    match manager(attempted, ServiceManagerAccess::CONNECT)?.open_service(name, access) {
        Ok(service) => Ok(Some(service)),
        Err(error) if is(&error, ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(refused(attempted)(error)),
    }
}

fn open_present(attempted: &str, name: &str, access: ServiceAccess) -> Result<Service> {
    open(attempted, name, access)?.ok_or_else(|| PlatformError::new(attempted, "there is no such service"))
}

fn service_path(name: &str) -> String {
    format!(r"SYSTEM\CurrentControlSet\Services\{name}")
}

fn parameters_path(name: &str) -> String {
    format!(r"{}\Parameters", service_path(name))
}

fn parameters(attempted: &str, name: &str) -> Result<Key> {
    LOCAL_MACHINE
        .create(parameters_path(name))
        .map_err(|error| PlatformError::new(attempted, format!("its registry key: {}", error.message())))
}

/// What our service host is to run as this service, if it is one of ours.
pub(crate) fn program(name: &str) -> Option<ServiceProgram> {
    let text = LOCAL_MACHINE.open(parameters_path(name)).and_then(|key| key.get_string(PROGRAM)).ok()?;
    serde_json::from_str(&text).ok()
}

/// How the program of a service last ended, as our service host notes it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct NotedExit {
    /// Its exit code; none where it did not even start.
    pub(crate) code: Option<i32>,
    /// When, in milliseconds since 1970 (UTC).
    pub(crate) at_ms: i64,
    /// How long it had run.
    pub(crate) ran_ms: u64,
    /// How often it has ended since the service was started.
    pub(crate) ends: u32,
    /// Whether it has ended and not been started again yet.
    pub(crate) starts_again: bool,
}

/// How the program of a service last ended, if it ever has.
pub(crate) fn noted_exit(name: &str) -> Option<NotedExit> {
    let text = LOCAL_MACHINE.open(parameters_path(name)).and_then(|key| key.get_string(LAST_EXIT)).ok()?;
    serde_json::from_str(&text).ok()
}

/// How a service stands: what the Service Control Manager says, and what our service host has noted.
pub(super) fn status(name: &str) -> Result<ServiceStatus> {
    let attempted = format!("look at the service {name}");
    let absent = ServiceStatus { name: name.to_owned(), state: ServiceState::Absent, restarts: None, last_exit: None };
    let Some(service) = open(&attempted, name, ServiceAccess::QUERY_STATUS)? else { return Ok(absent) };
    let status = service.query_status().map_err(refused(attempted))?;
    let runs = !matches!(status.current_state, ManagerState::Stopped | ManagerState::StopPending);
    let code = match status.exit_code {
        ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code.cast_signed(),
    };
    let noted = noted_exit(name);
    let last_exit = match noted {
        Some(noted) => Some(LastExit { code: noted.code, signal: None, at_ms: Some(noted.at_ms) }),
        // Services that our host does not run leave a code, and no time.
        None if !runs && code != 0 && code.cast_unsigned() != ERROR_SERVICE_NEVER_STARTED => {
            Some(LastExit { code: Some(code), signal: None, at_ms: None })
        }
        None => None,
    };
    Ok(ServiceStatus {
        state: match runs {
            true if noted.is_some_and(|noted| noted.starts_again) => ServiceState::StartingAgain,
            true => ServiceState::Running,
            false if code != 0 && code.cast_unsigned() != ERROR_SERVICE_NEVER_STARTED => ServiceState::Failed,
            false => ServiceState::Stopped,
        },
        restarts: matches!(program(name), Some(ServiceProgram::Supervised(_)))
            .then(|| noted.map_or(0, |noted| noted.ends)),
        last_exit,
        ..absent
    })
}

/// Notes how the program of a service ended, beside its definition: it goes with the service.
///
/// # Errors
/// When the registry refuses it.
pub(crate) fn note_exit(name: &str, exit: &NotedExit) -> Result<()> {
    let attempted = format!("note how {name} ended");
    let text =
        serde_json::to_string(exit).map_err(|error| PlatformError::new(attempted.as_str(), error.to_string()))?;
    parameters(&attempted, name)?
        .set_string(LAST_EXIT, text)
        .map_err(|error| PlatformError::new(attempted, error.message()))
}

pub(super) fn query(name: &str) -> Result<Option<InstalledService>> {
    let attempted = format!("look at the service {name}");
    let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::QUERY_STATUS;
    let Some(service) = open(&attempted, name, access)? else { return Ok(None) };
    let config = service.query_config().map_err(refused(attempted.as_str()))?;
    let status = service.query_status().map_err(refused(attempted.as_str()))?;
    let command_line = config.executable_path.to_string_lossy().into_owned();
    let image = match (agent_of(&command_line, name), program(name)) {
        (Some(agent), Some(run)) => ServiceImage::Agent { agent, run },
        _ => ServiceImage::Other { command_line },
    };
    let depends_on = config.dependencies.iter().map(ServiceDependency::to_system_identifier);
    let mut depends_on: Vec<_> = depends_on.map(|name| name.to_string_lossy().into_owned()).collect();
    if depends_on.is_empty() {
        depends_on = stored_dependencies(name);
    }
    let definition = ServiceDefinition {
        display_name: config.display_name.to_string_lossy().into_owned(),
        image,
        depends_on,
        start: match config.start_type {
            ServiceStartType::OnDemand => StartMode::Manual,
            ServiceStartType::Disabled => StartMode::Disabled,
            // Drivers start with the kernel.
            ServiceStartType::AutoStart | ServiceStartType::BootStart | ServiceStartType::SystemStart => {
                StartMode::Automatic
            }
        },
    };
    Ok(Some(InstalledService { definition, running: status.current_state == ManagerState::Running }))
}

/// What a service depends on by its registry key, where the manager keeps it. Wine's manager does not give it back.
fn stored_dependencies(name: &str) -> Vec<String> {
    let stored = LOCAL_MACHINE.open(service_path(name)).and_then(|key| key.get_multi_string("DependOnService"));
    stored.unwrap_or_default().into_iter().filter(|name| !name.is_empty()).collect()
}

fn command_line(name: &str, image: &ServiceImage) -> String {
    match image {
        ServiceImage::Agent { agent, .. } => format!("\"{agent}\" {VERB} {name}"),
        ServiceImage::Other { command_line } => command_line.clone(),
    }
}

/// The agent in a command line that [`command_line`] made.
fn agent_of(command_line: &str, name: &str) -> Option<HostPath> {
    let agent = command_line.strip_suffix(&format!("\" {VERB} {name}"))?.strip_prefix('"')?;
    HostPath::new(agent).ok()
}

pub(super) fn create(name: &str, definition: &ServiceDefinition) -> Result<()> {
    let attempted = format!("create the service {name}");
    // The exact command line is set below.
    let info = ServiceInfo {
        name: name.into(),
        display_name: OsString::from(&definition.display_name),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::OnDemand,
        error_control: ServiceErrorControl::Normal,
        executable_path: PathBuf::from(command_line(name, &definition.image)),
        launch_arguments: Vec::new(),
        dependencies: definition.depends_on.iter().map(|name| ServiceDependency::Service(name.into())).collect(),
        account_name: None,
        account_password: None,
    };
    let service = manager(&attempted, ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?
        .create_service(&info, ServiceAccess::ALL_ACCESS)
        .map_err(refused(attempted.as_str()))?;
    put(&attempted, name, &service, definition)?;
    recover(&attempted, &service)
}

pub(super) fn configure(name: &str, definition: &ServiceDefinition) -> Result<()> {
    let attempted = format!("configure the service {name}");
    let service = open_present(&attempted, name, ServiceAccess::ALL_ACCESS)?;
    put(&attempted, name, &service, definition)
}

fn put(attempted: &str, name: &str, service: &Service, definition: &ServiceDefinition) -> Result<()> {
    let program_value = match &definition.image {
        ServiceImage::Agent { run, .. } => {
            Some(serde_json::to_string(run).map_err(|error| PlatformError::new(attempted, error.to_string()))?)
        }
        ServiceImage::Other { .. } => None,
    };
    // What runs is written first: a service never starts with our host and without a program.
    match &program_value {
        Some(run) => parameters(attempted, name)?
            .set_string(PROGRAM, run)
            .map_err(|error| PlatformError::new(attempted, error.message()))?,
        None if program(name).is_some() => parameters(attempted, name)?
            .remove_value(PROGRAM)
            .map_err(|error| PlatformError::new(attempted, error.message()))?,
        None => {}
    }
    let kind = if program_value.is_some() { SERVICE_WIN32_OWN_PROCESS } else { SERVICE_NO_CHANGE };
    let image = api::wide(&command_line(name, &definition.image));
    let display_name = api::wide(&definition.display_name);
    // A list of texts that each end with a zero, and another zero.
    let dependencies: Vec<u16> = definition.depends_on.iter().flat_map(|name| api::wide(name)).chain([0, 0]).collect();
    // SAFETY: all texts are ended by a zero, the list by two; what is null stays as it is.
    let done = unsafe {
        ChangeServiceConfigW(
            service.raw_handle(),
            kind,
            start_type(definition.start).to_raw(),
            SERVICE_NO_CHANGE,
            image.as_ptr(),
            null(),
            null_mut(),
            dependencies.as_ptr(),
            null(),
            null(),
            display_name.as_ptr(),
        )
    };
    if done == 0 {
        return Err(api::last_error(attempted));
    }
    if program_value.is_some() { recover(attempted, service) } else { Ok(()) }
}

/// Has Windows start a service again should it crash. Services of others keep what they have.
fn recover(attempted: &str, service: &Service) -> Result<()> {
    let again = |delay: &Duration| ServiceAction { action_type: ServiceActionType::Restart, delay: *delay };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RECOVERY_RESET),
        reboot_msg: None,
        command: None,
        actions: Some(RECOVERY.iter().map(again).collect()),
    };
    service.update_failure_actions(actions).map_err(refused(attempted))
}

fn start_type(start: StartMode) -> ServiceStartType {
    match start {
        StartMode::Automatic => ServiceStartType::AutoStart,
        StartMode::Manual => ServiceStartType::OnDemand,
        StartMode::Disabled => ServiceStartType::Disabled,
    }
}

pub(super) fn set_start_mode(name: &str, start: StartMode) -> Result<()> {
    let attempted = format!("configure the service {name}");
    let service = open_present(&attempted, name, ServiceAccess::CHANGE_CONFIG)?;
    // SAFETY: what is null stays as it is.
    let done = unsafe {
        ChangeServiceConfigW(
            service.raw_handle(),
            SERVICE_NO_CHANGE,
            start_type(start).to_raw(),
            SERVICE_NO_CHANGE,
            null(),
            null(),
            null_mut(),
            null(),
            null(),
            null(),
            null(),
        )
    };
    if done == 0 { Err(api::last_error(attempted)) } else { Ok(()) }
}

pub(super) fn start(name: &str) -> Result<()> {
    let attempted = format!("start the service {name}");
    let service = open_present(&attempted, name, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    // Services of others would not know the argument.
    let arguments: &[&str] = if program(name).is_some() { &[ATTENDED] } else { &[] };
    match service.start(arguments) {
        Ok(()) => {}
        Err(error) if is(&error, ERROR_SERVICE_ALREADY_RUNNING) => {}
        Err(error) => return Err(refused(attempted)(error)),
    }
    let status = settle(&attempted, &service, ManagerState::StartPending)?;
    match status.current_state {
        ManagerState::Running => Ok(()),
        ManagerState::Stopped => Err(PlatformError::new(attempted, ended(&status))),
        state => Err(PlatformError::new(attempted, format!("it is in the state {state:?}"))),
    }
}

fn ended(status: &ManagerStatus) -> String {
    match status.exit_code {
        ServiceExitCode::Win32(0) => "it stopped at once, without an error".to_owned(),
        ServiceExitCode::Win32(code) => {
            format!("it stopped at once: {}", std::io::Error::from_raw_os_error(code.cast_signed()))
        }
        ServiceExitCode::ServiceSpecific(code) => format!("its program ended at once with the code {code}"),
    }
}

pub(super) fn stop(name: &str) -> Result<()> {
    let attempted = format!("stop the service {name}");
    let service = open_present(&attempted, name, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    match service.stop() {
        Ok(_) => {}
        Err(error) if is(&error, ERROR_SERVICE_NOT_ACTIVE) => {}
        Err(error) => return Err(refused(attempted)(error)),
    }
    let deadline = Instant::now() + PATIENCE;
    // Wine still says RUNNING for a moment after it has passed the request on.
    while Instant::now() < deadline {
        let status = settle(&attempted, &service, ManagerState::StopPending)?;
        if status.current_state == ManagerState::Stopped {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(PlatformError::new(attempted, "it still runs").with_hint("end it by hand on the host, then run this again"))
}

/// Waits until a service leaves a state, as long as it says that it gets on.
fn settle(attempted: &str, service: &Service, moving: ManagerState) -> Result<ManagerStatus> {
    let (mut checkpoint, mut since) = (0, Instant::now());
    loop {
        let status = service.query_status().map_err(refused(attempted))?;
        if status.current_state != moving {
            return Ok(status);
        }
        if status.checkpoint != checkpoint {
            (checkpoint, since) = (status.checkpoint, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            let answer = format!("nothing has happened for {} s", PATIENCE.as_secs());
            return Err(PlatformError::new(attempted, answer));
        }
        thread::sleep(POLL);
    }
}

pub(super) fn delete(name: &str) -> Result<()> {
    let attempted = format!("delete the service {name}");
    let service = open_present(&attempted, name, ServiceAccess::DELETE)?;
    service.delete().map_err(refused(attempted.as_str()))?;
    drop(service);
    // It is gone when the last handle on it is closed, which may be one of a management console.
    let deadline = Instant::now() + PATIENCE;
    while open(&attempted, name, ServiceAccess::QUERY_STATUS)?.is_some() {
        if Instant::now() > deadline {
            return Err(PlatformError::new(attempted, "it is marked for deletion, but still there")
                .with_hint("close services.msc and other programs that show it, or restart the host"));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// The running services that depend on one, directly or not. Windows lists them in the order in which they must be
/// stopped.
pub(super) fn running_dependents(name: &str) -> Result<Vec<String>> {
    let attempted = format!("look at what depends on the service {name}");
    let Some(service) = open(&attempted, name, ServiceAccess::from_bits_retain(SERVICE_ENUMERATE_DEPENDENTS))? else {
        return Ok(Vec::new());
    };
    let mut buffer: Vec<u64> = Vec::new();
    loop {
        let length = u32::try_from(buffer.len() * size_of::<u64>()).unwrap_or(u32::MAX);
        let (mut needed, mut count) = (0, 0);
        // SAFETY: the buffer has the length that is said, and is aligned for the structures that come into it.
        let done = unsafe {
            EnumDependentServicesW(
                service.raw_handle(),
                SERVICE_ACTIVE,
                buffer.as_mut_ptr().cast(),
                length,
                &raw mut needed,
                &raw mut count,
            )
        };
        if done == 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_MORE_DATA.cast_signed()) {
                return Err(PlatformError::new(attempted, error.to_string()));
            }
            buffer = vec![0; needed as usize / size_of::<u64>() + (1 << 10)];
            continue;
        }
        let first = buffer.as_ptr().cast::<ENUM_SERVICE_STATUSW>();
        // SAFETY: Windows wrote that many structures at the beginning of the buffer; their names lie in it too.
        let names = (0..count as usize).map(|at| unsafe { api::text_at((*first.add(at)).lpServiceName) });
        return Ok(names.collect());
    }
}

/// Whether a service is there, and whether it runs.
pub(super) fn running(name: &str) -> Result<Option<bool>> {
    let attempted = format!("look at the service {name}");
    let Some(service) = open(&attempted, name, ServiceAccess::QUERY_STATUS)? else { return Ok(None) };
    let status = service.query_status().map_err(refused(attempted))?;
    Ok(Some(status.current_state == ManagerState::Running))
}
