//! Internal Hyper-V switches, through Hyper-V's WMI classes (`root\virtualization\v2`): what `New-VMSwitch -SwitchType
//! Internal` does (facts D.4).

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wmi::{AuthLevel, WMIConnection, WMIError};

use super::super::{PlatformError, Result};
use super::embedded_instance::{Value, embedded_instance};
use super::{netsh, network, services};

const NAMESPACE: &str = r"ROOT\virtualization\v2";

/// Hyper-V's service, which answers for these classes.
const SERVICE: &str = "vmms";

/// `ResourceType` and `ResourceSubType` of a connection with a switch, and `EnabledState` of one that is on.
const ETHERNET_CONNECTION: u16 = 33;
const ETHERNET_CONNECTION_KIND: &str = "Microsoft:Hyper-V:Ethernet Connection";
const ENABLED: u16 = 2;

/// `WBEM_E_ACCESS_DENIED` and `WBEM_E_INVALID_NAMESPACE`.
const ACCESS_DENIED: u32 = 0x8004_1003;
const INVALID_NAMESPACE: u32 = 0x8004_100E;

/// What a method returns that is done, and one that goes on as a job.
const COMPLETED: u32 = 0;
const JOB_STARTED: u32 = 4096;

/// The states of a job that has come to its end well (`Completed`, `CompletedWithWarnings`), and those of one that goes on
/// (`New`, `Starting`, `Running`).
const JOB_DONE: [u16; 2] = [7, 32768];
const JOB_GOES_ON: [u16; 3] = [2, 3, 4];

/// How often, and how many times, a job is looked at: a minute.
const POLL: Duration = Duration::from_millis(200);
const POLLS: u32 = 300;

/// A switch.
#[derive(Deserialize)]
#[serde(rename = "Msvm_VirtualEthernetSwitch")]
struct Switch {
    #[serde(rename = "__Path")]
    path: String,
    #[serde(rename = "ElementName")]
    name: String,
}

/// The service that makes switches. Its system is the host itself.
#[derive(Deserialize)]
#[serde(rename = "Msvm_VirtualEthernetSwitchManagementService")]
struct Management {
    #[serde(rename = "__Path")]
    path: String,
    #[serde(rename = "SystemName")]
    system: String,
}

/// The host, or a virtual machine.
#[derive(Deserialize)]
#[serde(rename = "Msvm_ComputerSystem")]
struct Computer {
    #[serde(rename = "__Path")]
    path: String,
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Serialize)]
struct DefineSystem {
    #[serde(rename = "SystemSettings")]
    settings: String,
    #[serde(rename = "ResourceSettings")]
    ports: Vec<String>,
}

#[derive(Serialize)]
struct DestroySystem {
    #[serde(rename = "AffectedSystem")]
    switch: String,
}

/// What both methods answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "ReturnValue")]
    code: u32,
    #[serde(rename = "Job")]
    job: Option<String>,
}

#[derive(Deserialize)]
struct Job {
    #[serde(rename = "JobState")]
    state: u16,
    #[serde(rename = "ErrorDescription")]
    error: Option<String>,
}

/// The name of the host's adapter on a switch.
fn adapter(switch: &str) -> String {
    format!("vEthernet ({switch})")
}

fn refused(attempted: &str) -> impl Fn(WMIError) -> PlatformError {
    let attempted = attempted.to_owned();
    move |error| {
        let answer = match error {
            // WMI's own codes have no text in the system.
            WMIError::HResultError { hres } => match hres.cast_unsigned() {
                ACCESS_DENIED => "access denied".to_owned(),
                INVALID_NAMESPACE => format!("there is no {NAMESPACE}"),
                code => format!("error {code:#x}"),
            },
            error => error.to_string(),
        };
        PlatformError::new(attempted.clone(), format!("Hyper-V's WMI classes: {answer}"))
    }
}

/// A connection with Hyper-V, if the role is there.
fn connect(attempted: &str) -> Result<Option<WMIConnection>> {
    match services::running(SERVICE)? {
        None => Ok(None),
        Some(false) => Err(PlatformError::new(attempted, format!("Hyper-V's service {SERVICE} does not run"))
            .with_hint(format!("start the service {SERVICE}; after installing Hyper-V, restart the host"))),
        Some(true) => {
            let connection = WMIConnection::with_namespace_path(NAMESPACE).map_err(refused(attempted))?;
            // Hyper-V answers only to whoever encrypts.
            connection.set_proxy_blanket(AuthLevel::PktPrivacy).map_err(refused(attempted))?;
            Ok(Some(connection))
        }
    }
}

fn switches(attempted: &str, hyper_v: &WMIConnection, name: &str) -> Result<Vec<Switch>> {
    let mut switches: Vec<Switch> = hyper_v.query().map_err(refused(attempted))?;
    switches.retain(|switch| switch.name == name);
    Ok(switches)
}

/// Whether the host has an adapter on a switch of that name.
pub(super) fn is_there(name: &str) -> Result<bool> {
    let attempted = format!("look for the switch {name}");
    let Some(hyper_v) = connect(&attempted)? else { return Ok(false) };
    Ok(!switches(&attempted, &hyper_v, name)?.is_empty() && has_adapter(name)?)
}

fn has_adapter(name: &str) -> Result<bool> {
    let wanted = adapter(name);
    Ok(network::found()?.iter().any(|found| found.adapter.name == wanted))
}

/// Makes a switch with an adapter of the host on it.
pub(super) fn create(name: &str) -> Result<()> {
    let attempted = format!("create the internal switch {name}");
    let hyper_v = connect(&attempted)?.ok_or_else(|| {
        PlatformError::new(&attempted, "the Hyper-V role is not installed")
            .with_hint("install the Hyper-V role, or let kube-proxy use Docker's nat adapter")
    })?;
    // Hyper-V would make a second one of the same name.
    if !switches(&attempted, &hyper_v, name)?.is_empty() {
        return Err(PlatformError::new(attempted, format!("there is one without the adapter {}", adapter(name)))
            .with_hint("remove that switch, or share it with the host, in Hyper-V's Virtual Switch Manager"));
    }
    let refused = refused(&attempted);
    let management: Management = hyper_v.get().map_err(&refused)?;
    let computers: Vec<Computer> = hyper_v.query().map_err(&refused)?;
    let host =
        computers.into_iter().find(|computer| computer.name.eq_ignore_ascii_case(&management.system)).ok_or_else(
            || PlatformError::new(&attempted, format!("Hyper-V does not know its own host {}", management.system)),
        )?;
    let settings = embedded_instance("Msvm_VirtualEthernetSwitchSettingData", &[("ElementName", Value::Text(name))]);
    // A port whose resource is the host itself is what makes a switch internal. The adapter is named after the port.
    let port = embedded_instance(
        "Msvm_EthernetPortAllocationSettingData",
        &[
            ("ElementName", Value::Text(name)),
            ("ResourceType", Value::Number(ETHERNET_CONNECTION)),
            ("ResourceSubType", Value::Text(ETHERNET_CONNECTION_KIND)),
            ("EnabledState", Value::Number(ENABLED)),
            ("HostResource", Value::Texts(&[&host.path])),
        ],
    );
    let input = DefineSystem { settings, ports: vec![port] };
    let answer: Answer =
        hyper_v.exec_instance_method::<Management, _>(&management.path, "DefineSystem", input).map_err(&refused)?;
    finish(&attempted, &hyper_v, answer)?;
    netsh::confirm(&attempted, || Ok((!has_adapter(name)?).then(|| format!("there is no adapter {}", adapter(name)))))
}

/// Removes the switches of a name with what is on them.
pub(super) fn remove(name: &str) -> Result<()> {
    let attempted = format!("remove the internal switch {name}");
    let Some(hyper_v) = connect(&attempted)? else { return Ok(()) };
    let refused = refused(&attempted);
    let management: Management = hyper_v.get().map_err(&refused)?;
    for switch in switches(&attempted, &hyper_v, name)? {
        let input = DestroySystem { switch: switch.path };
        let answer: Answer = hyper_v
            .exec_instance_method::<Management, _>(&management.path, "DestroySystem", input)
            .map_err(&refused)?;
        finish(&attempted, &hyper_v, answer)?;
    }
    netsh::confirm(&attempted, || {
        let left = switches(&attempted, &hyper_v, name)?;
        Ok((!left.is_empty()).then(|| "it is still there".to_owned()))
    })
}

/// Waits until what a method began is done.
fn finish(attempted: &str, hyper_v: &WMIConnection, answer: Answer) -> Result<()> {
    let path = match answer {
        Answer { code: COMPLETED, .. } => return Ok(()),
        Answer { code: JOB_STARTED, job: Some(path) } => path,
        Answer { code, .. } => {
            return Err(PlatformError::new(attempted, format!("Hyper-V refused it with the code {code}"))
                .with_hint("the event log Microsoft-Windows-Hyper-V-VMMS-Admin on the host says more"));
        }
    };
    for _ in 0..POLLS {
        let job: Job = hyper_v.get_by_path(&path).map_err(refused(attempted))?;
        if JOB_DONE.contains(&job.state) {
            return Ok(());
        }
        if !JOB_GOES_ON.contains(&job.state) {
            let said = job.error.unwrap_or_default();
            return Err(PlatformError::new(
                attempted,
                format!("Hyper-V's job ended in the state {}: {said}", job.state),
            )
            .with_hint("the event log Microsoft-Windows-Hyper-V-VMMS-Admin on the host says more"));
        }
        thread::sleep(POLL);
    }
    Err(PlatformError::new(attempted, format!("Hyper-V's job did not end within {} s", (POLL * POLLS).as_secs())))
}
