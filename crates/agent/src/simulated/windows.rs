//! What is Windows about a simulated Windows host: features, Docker networks, the Service Control Manager.

use std::collections::BTreeMap;

use k8swin_protocol::HostPath;
use k8swin_protocol::details::WindowsDetails;
use k8swin_protocol::facts::{Docker, ServiceState, ServiceStatus, WindowsFacts};
use k8swin_protocol::resource::{FeatureName, PauseImage, ServiceProgram, TransparentNetwork};

use super::faulty;
use super::machine::{Machine, Nic, Service, StoredRoute, boot_order, net};
use super::process::Process;
use crate::platform::{
    Addressing, DockerNetworkState, FeatureState, FileKind, Image, Permissions, PlatformError, Result,
    ServiceDefinition, ServiceImage, StartMode, SystemRoute,
};

const REMOTE_ACCESS: &str = "RemoteAccess";

pub(super) fn install(machine: &mut Machine) {
    let address = machine.spec.node_address;
    machine.nics.push(Nic {
        name: "Ethernet".into(),
        mac: machine.mac("Ethernet"),
        addresses: vec![net(address, machine.spec.prefix)],
        physical: true,
        forwarding: false,
        of_network: None,
    });
    machine.nics.push(machine.pod_nic());
    machine.windows.search_path = r"%SystemRoot%\system32;%SystemRoot%;%SystemRoot%\System32\Wbem".into();
    if machine.spec.docker {
        machine.windows.search_path.push_str(r";C:\Program Files\Docker");
        machine.windows.containers_installed = true;
        add_nat_network(machine);
    }
    machine.routes.push(StoredRoute {
        destination: net([0, 0, 0, 0].into(), 0),
        via: machine.router(),
        adapter: "Ethernet".into(),
        persistent: true,
    });
    let mut system = vec![
        ("Dhcp", "DHCP Client", &[][..]),
        ("Tcpip", "TCP/IP Protocol Driver", &[]),
        ("WinRM", "Windows Remote Management (WS-Management)", &["Tcpip"]),
        ("iphlpsvc", "IP Helper", &["Tcpip"]),
    ];
    if machine.spec.docker {
        system.extend([("docker", "Docker Engine", &["hns"][..]), HNS]);
    }
    for (name, display_name, depends_on) in system {
        add_system_service(machine, name, display_name, depends_on, StartMode::Automatic);
    }
    if machine.spec.hyper_v {
        add_system_service(machine, "vmms", "Hyper-V Virtual Machine Management", &[], StartMode::Automatic);
    }
}

/// The service that comes with the feature Containers.
const HNS: (&str, &str, &[&str]) = ("hns", "Host Network Service", &[]);

/// Docker's service.
const DOCKER: &str = "docker";

/// What Docker makes when it first starts, and what stays when it is removed.
fn add_nat_network(machine: &mut Machine) {
    if machine.networks.contains_key("nat") {
        return;
    }
    let nat = net([172, 25, 0, 1].into(), 20);
    machine.nics.push(Nic {
        name: "vEthernet (HNS Internal NIC)".into(),
        mac: machine.mac("HNS Internal NIC"),
        addresses: vec![nat],
        physical: false,
        forwarding: false,
        of_network: Some("nat".into()),
    });
    let network = DockerNetworkState {
        driver: "nat".into(),
        subnet: Some(nat.trunc()),
        gateway: Some(nat.addr()),
        adapter: None,
    };
    machine.networks.insert("nat".into(), network);
}

fn add_system_service(machine: &mut Machine, name: &str, display_name: &str, depends_on: &[&str], start: StartMode) {
    let definition = ServiceDefinition {
        display_name: display_name.into(),
        image: ServiceImage::Other { command_line: r"C:\Windows\System32\svchost.exe -k netsvcs".into() },
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        start,
    };
    let running = start == StartMode::Automatic;
    machine.windows.services.insert(name.into(), Service { definition, running, start: 0 });
}

pub(super) fn facts(machine: &Machine) -> WindowsFacts {
    let installed = [FeatureName::Containers, FeatureName::Routing].into_iter();
    let features = installed.filter(|name| feature(machine, *name) == FeatureState::Installed).collect();
    let mut pending = Vec::new();
    if machine.faults.pending_reboot {
        pending.push("Component Based Servicing".to_owned());
    }
    if machine.windows.containers_after_reboot {
        pending.push("the feature Containers was installed".to_owned());
    }
    if machine.windows.routing_after_reboot {
        pending.push("the feature Routing was installed".to_owned());
    }
    let forwarding = machine.adapters().into_iter().map(|adapter| adapter.name);
    let mut facts = WindowsFacts {
        common: machine.common_facts(
            r"WIN\Administrator",
            &[(135, "svchost.exe"), (445, "System"), (3389, "svchost.exe"), (5985, "System"), (5986, "System")],
        ),
        build: machine.faults.windows_build.unwrap_or(14393),
        ubr: 2273,
        product: "Windows Server 2016 Datacenter".into(),
        installation_type: "Server".into(),
        ui_language: machine.faults.ui_language.clone().unwrap_or_else(|| "en-US".into()),
        pending_reboot: pending,
        docker: docker_facts(machine),
        features,
        hyper_v: machine.hyper_v(),
        rras_running: is_running(machine, REMOTE_ACCESS),
        forwarding: forwarding.filter(|adapter| forwards(machine, adapter)).collect(),
        max_envelope_size_kb: 500,
        details: WindowsDetails::default(),
    };
    faulty::windows(machine, &mut facts);
    facts
}

pub(super) fn feature(machine: &Machine, name: FeatureName) -> FeatureState {
    match name {
        FeatureName::Containers if machine.windows.containers_installed => FeatureState::Installed,
        FeatureName::Containers if machine.windows.containers_after_reboot => FeatureState::AfterReboot,
        FeatureName::Routing if machine.windows.routing_installed => FeatureState::Installed,
        FeatureName::Routing if machine.windows.routing_after_reboot => FeatureState::AfterReboot,
        FeatureName::Containers | FeatureName::Routing => FeatureState::Absent,
    }
}

pub(super) fn install_feature(machine: &mut Machine, name: FeatureName) {
    match name {
        FeatureName::Containers => machine.windows.containers_after_reboot = true,
        FeatureName::Routing => machine.windows.routing_after_reboot = true,
    }
}

/// Docker, where its service is registered. A simulated engine says its version in the first line of its file:
/// `#!simulated dockerd 17.06.2-ee-16`.
fn docker_facts(machine: &Machine) -> Option<Docker> {
    let service = machine.windows.services.get(DOCKER)?;
    let version = match program_of(&service.definition) {
        None => "17.06.2-ee-16".to_owned(),
        Some(program) => {
            let text = HostPath::new(program).ok().and_then(|program| machine.files.text(&program)).unwrap_or_default();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("#!simulated dockerd ").unwrap_or_default().to_owned()
        }
    };
    let docker = machine.docker(&version, "")?;
    Some(Docker { running: service.running && docker.running, ..docker })
}

/// The program of a service that is one itself: what stands in quotes at the begin of its command line.
fn program_of(definition: &ServiceDefinition) -> Option<&str> {
    match &definition.image {
        ServiceImage::Other { command_line } => Some(command_line.strip_prefix('"')?.split_once('"')?.0),
        ServiceImage::Agent { .. } => None,
    }
}

/// How a service stands: the Service Control Manager takes a program of our service host that crashes for running.
pub(super) fn service_status(machine: &Machine, name: &str) -> ServiceStatus {
    let found = machine.windows.services.get(name);
    let process = found.and_then(|service| process(&service.definition, service.start));
    let supervised = process.as_ref().is_some_and(|process| !process.is_network_service());
    let state = match found {
        None => ServiceState::Absent,
        Some(service) if service.running => ServiceState::Running,
        Some(_) => ServiceState::Stopped,
    };
    if process.is_some_and(|process| machine.crashes(process.name())) {
        let again = if state == ServiceState::Running { ServiceState::StartingAgain } else { state };
        return machine.crashed(name, again);
    }
    ServiceStatus { name: name.to_owned(), state, restarts: supervised.then_some(0), last_exit: None }
}

/// Whether an adapter forwards: it was switched on, or Routing and Remote Access switches all on (facts E).
pub(super) fn forwards(machine: &Machine, adapter: &str) -> bool {
    let switched = machine.nics.iter().any(|nic| nic.name == adapter && nic.forwarding);
    switched || (is_running(machine, REMOTE_ACCESS) && machine.windows.lan_router)
}

pub(super) fn set_lan_router(machine: &mut Machine, on: bool) -> Result<()> {
    if !machine.windows.routing_installed {
        return Err(PlatformError::new("set up Routing and Remote Access", "the Routing role is not installed"));
    }
    machine.windows.lan_router = on;
    Ok(())
}

pub(super) fn docker(machine: &Machine, attempted: &str) -> Result<()> {
    if machine.faults.no_docker || !is_running(machine, "docker") {
        let answer = "error during connect: open //./pipe/docker_engine: The system cannot find the file specified.";
        return Err(PlatformError::new(attempted, answer).with_hint("start the service docker"));
    }
    Ok(())
}

pub(super) fn create_network(machine: &mut Machine, network: &TransparentNetwork) -> Result<()> {
    let attempted = format!("create the transparent network {}", network.name);
    docker(machine, &attempted)?;
    if machine.networks.contains_key(&network.name) {
        let answer = format!("network with name {} already exists", network.name);
        return Err(PlatformError::new(attempted, answer));
    }
    if machine.networks.values().any(|other| other.adapter.as_ref() == Some(&network.adapter)) {
        let answer = "HNS failed with error : The parameter is incorrect. (the adapter has a transparent network)";
        return Err(PlatformError::new(attempted, answer));
    }
    if !machine.present_nics().any(|nic| nic.physical && nic.name == network.adapter) {
        return Err(PlatformError::new(attempted, "HNS failed with error : Element not found."));
    }
    // The adapter's addresses move away with its new switch (facts D.3), and its routes with them.
    if let Some(nic) = machine.nic_mut(&network.adapter) {
        nic.addresses.clear();
    }
    machine.routes.retain(|route| route.adapter != network.adapter);
    let state = DockerNetworkState {
        driver: "transparent".into(),
        subnet: Some(network.subnet),
        gateway: Some(network.gateway),
        adapter: Some(network.adapter.clone()),
    };
    machine.networks.insert(network.name.clone(), state);
    let taken = machine.nics.iter().filter(|nic| nic.name.starts_with("vEthernet (HNSTransparent)")).count();
    let name = match taken {
        0 => "vEthernet (HNSTransparent)".to_owned(),
        taken => format!("vEthernet (HNSTransparent) {}", taken + 1),
    };
    let nic = Nic {
        mac: machine.mac(&name),
        name,
        addresses: Vec::new(),
        physical: false,
        forwarding: false,
        of_network: Some(network.name.clone()),
    };
    machine.nics.push(nic);
    Ok(())
}

pub(super) fn remove_network(machine: &mut Machine, name: &str) -> Result<()> {
    let attempted = format!("remove the Docker network {name}");
    docker(machine, &attempted)?;
    let Some(removed) = machine.networks.remove(name) else {
        return Err(PlatformError::new(attempted, format!("network {name} not found")));
    };
    // The adapter is on its own again, and asks DHCP.
    if let Some(adapter) = removed.adapter {
        set_addressing(machine, &adapter, &Addressing::Dhcp)?;
    }
    machine.nics.retain(|nic| nic.of_network.as_deref() != Some(name));
    Ok(())
}

pub(super) fn addressing(machine: &Machine, adapter: &str) -> Option<Addressing> {
    let nic = machine.present_nics().find(|nic| nic.name == adapter)?;
    Some(Addressing::of(adapter, false, &nic.addresses, &machine.all_routes()))
}

/// Windows takes an adapter's default route away with its addresses.
pub(super) fn set_addressing(machine: &mut Machine, adapter: &str, addressing: &Addressing) -> Result<()> {
    // No DHCP server answers: an adapter of the machine then makes up an address, one of HNS has none (facts E).
    let made_up = machine.pod_nic_unanswered();
    let Some(nic) = machine.nic_mut(adapter) else {
        let answer = "The filename, directory name, or volume label syntax is incorrect.";
        return Err(PlatformError::new(format!("set the addresses of {adapter}"), answer));
    };
    let (addresses, via) = match addressing {
        Addressing::Dhcp if nic.physical => (vec![made_up], None),
        Addressing::Dhcp => (Vec::new(), None),
        Addressing::Static { address, further, gateway } => ([&[*address], further.as_slice()].concat(), *gateway),
    };
    nic.addresses = addresses;
    machine.routes.retain(|route| route.adapter != adapter || route.destination.prefix_len() > 0);
    let destination = net([0, 0, 0, 0].into(), 0);
    via.map_or(Ok(()), |via| machine.add_route(&SystemRoute { destination, via, adapter: adapter.to_owned() }))
}

pub(super) fn create_switch(machine: &mut Machine, name: &str) -> Result<()> {
    if !machine.hyper_v() {
        let answer = "the Hyper-V role is not installed: there is no New-VMSwitch";
        return Err(PlatformError::new(format!("create the internal switch {name}"), answer)
            .with_hint("install the Hyper-V role, or let kube-proxy use Docker's nat adapter"));
    }
    machine.windows.switches.insert(name.to_owned());
    let adapter = format!("vEthernet ({name})");
    let nic = Nic {
        mac: machine.mac(&adapter),
        name: adapter,
        addresses: vec![net([169, 254, 81, 1].into(), 16)],
        physical: false,
        forwarding: false,
        of_network: Some(format!("switch {name}")),
    };
    machine.nics.push(nic);
    Ok(())
}

pub(super) fn remove_switch(machine: &mut Machine, name: &str) -> Result<()> {
    if !machine.windows.switches.remove(name) {
        let answer = "Hyper-V was unable to find a virtual switch with that name.";
        return Err(PlatformError::new(format!("remove the internal switch {name}"), answer));
    }
    machine.nics.retain(|nic| nic.of_network.as_deref() != Some(&format!("switch {name}")));
    Ok(())
}

pub(super) fn build_image(machine: &mut Machine, image: &PauseImage) -> Result<()> {
    docker(machine, &format!("build the image {}", image.tag))?;
    let digest = k8swin_protocol::Sha256::of(format!("{} {}", image.tag, image.base).as_bytes());
    let built = Image { id: format!("sha256:{digest}"), base: Some(image.base.clone()) };
    machine.windows.images.insert(image.tag.clone(), built);
    Ok(())
}

fn is_running(machine: &Machine, name: &str) -> bool {
    machine.windows.services.get(name).is_some_and(|service| service.running)
}

pub(super) fn service_mut<'a>(machine: &'a mut Machine, verb: &str, name: &str) -> Result<&'a mut Service> {
    let absent = || {
        let answer = "The specified service does not exist as an installed service. (1060)";
        PlatformError::new(format!("{verb} the service {name}"), answer)
    };
    machine.windows.services.get_mut(name).ok_or_else(absent)
}

pub(super) fn create_service(machine: &mut Machine, name: &str, definition: &ServiceDefinition) -> Result<()> {
    if machine.windows.services.contains_key(name) {
        let answer = "The specified service already exists. (1073)";
        return Err(PlatformError::new(format!("create the service {name}"), answer));
    }
    let service = Service { definition: definition.clone(), running: false, start: 0 };
    machine.windows.services.insert(name.to_owned(), service);
    Ok(())
}

pub(super) fn delete_service(machine: &mut Machine, name: &str) -> Result<()> {
    let service = service_mut(machine, "delete", name)?;
    if service.running {
        let answer = "The specified service has been marked for deletion, but it still runs. (1072)";
        return Err(PlatformError::new(format!("delete the service {name}"), answer));
    }
    machine.windows.services.remove(name);
    Ok(())
}

/// The running services that depend on one, directly or not, those that must be stopped first at the front.
pub(super) fn running_dependents(machine: &Machine, name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (dependent, service) in &machine.windows.services {
        if service.running && service.definition.depends_on.iter().any(|other| other == name) {
            for further in running_dependents(machine, dependent).into_iter().chain([dependent.clone()]) {
                if !found.contains(&further) {
                    found.push(further);
                }
            }
        }
    }
    found
}

pub(super) fn stop_service(machine: &mut Machine, name: &str) -> Result<()> {
    let dependents = running_dependents(machine, name);
    let service = service_mut(machine, "stop", name)?;
    if let Some(dependent) = dependents.first() {
        let answer = format!("A stop control has been sent to a service that {dependent} depends on. (1051)");
        return Err(PlatformError::new(format!("stop the service {name}"), answer));
    }
    service.running = false;
    Ok(())
}

/// Starts a service and those it depends on. Returns what runs then, dependencies first.
pub(super) fn start_service(machine: &mut Machine, name: &str) -> Result<Vec<(String, Process)>> {
    let attempted = format!("start the service {name}");
    let definition = service_mut(machine, "start", name)?.definition.clone();
    if definition.start == StartMode::Disabled {
        return Err(PlatformError::new(attempted, "The service cannot be started: it is disabled. (1058)"));
    }
    if is_running(machine, name) {
        return Ok(Vec::new());
    }
    let mut started = Vec::new();
    for dependency in &definition.depends_on {
        if !machine.windows.services.contains_key(dependency) {
            let answer = format!("The dependency service {dependency} does not exist. (1075)");
            return Err(PlatformError::new(attempted, answer));
        }
        let answer = format!("The dependency service {dependency} failed to start. (1068)");
        started.extend(start_service(machine, dependency).map_err(|_| PlatformError::new(attempted.clone(), answer))?);
        if !is_running(machine, dependency) {
            let answer = format!("The dependency service {dependency} failed to start. (1068)");
            return Err(PlatformError::new(attempted, answer));
        }
    }
    let start = machine.next_start();
    let mut fails = None;
    if let Some(program) = program_of(&definition)
        && !machine.files.is_file(program)
    {
        return Err(PlatformError::new(attempted, "The system cannot find the file specified. (2)"));
    }
    if name == DOCKER {
        let hns = is_running(machine, HNS.0);
        if !hns {
            return Err(PlatformError::new(
                attempted,
                "it stopped at once: HNS failed: the feature Containers is not installed",
            ));
        }
        add_nat_network(machine);
        if let Ok(data) = HostPath::new(r"C:\ProgramData\docker") {
            machine.files.ensure_folder(&data);
        }
    }
    if let ServiceImage::Agent { agent, .. } = &definition.image {
        if !machine.files.is_file(agent.as_str()) {
            return Err(PlatformError::new(attempted, "The system cannot find the file specified. (2)"));
        }
        if let Some(process) = process(&definition, start) {
            fails = process
                .missing_file(&machine.files)
                .map(|path| format!("open {path}: The system cannot find the file specified."));
            if fails.is_none() && machine.crashes(process.name()) {
                fails = Some("panic: this program crashes on this simulated host".into());
            }
            log(machine, name, &definition, fails.as_deref());
            if fails.is_none() {
                machine.started(&process);
            }
            started.push((name.to_owned(), process));
        }
    }
    let service = service_mut(machine, "start", name)?;
    service.running = fails.is_none();
    service.start = start;
    Ok(started)
}

/// The service host writes what its program says into a log.
fn log(machine: &mut Machine, name: &str, definition: &ServiceDefinition, failure: Option<&str>) {
    let ServiceImage::Agent { run: ServiceProgram::Supervised(program), .. } = &definition.image else { return };
    let text = match failure {
        None => format!("{name} started\n"),
        Some(failure) => format!("{name}: {failure}\n"),
    };
    machine.files.ensure_folder(&program.log_directory);
    let permissions = Permissions::of(machine.os(), k8swin_protocol::resource::Protection::Public, FileKind::File);
    // The folder was made above, and a log that cannot be written is not what a service fails for.
    let _ = machine.files.write(&program.log_directory.join(&format!("{name}.log")), text.into_bytes(), permissions);
}

fn process(definition: &ServiceDefinition, start: u64) -> Option<Process> {
    let ServiceImage::Agent { agent, run } = &definition.image else { return None };
    Some(match run {
        ServiceProgram::Supervised(program) => {
            Process { program: program.program.to_string(), arguments: program.arguments.clone(), start }
        }
        // It is never hosted.
        ServiceProgram::Native { .. } => return None,
        ServiceProgram::NetworkReconciler => {
            Process { program: agent.to_string(), arguments: vec!["network".into()], start }
        }
    })
}

pub(super) fn processes(machine: &Machine) -> Vec<Process> {
    let running = machine.windows.services.values().filter(|service| service.running);
    running.filter_map(|service| process(&service.definition, service.start)).collect()
}

/// What a boot leaves of the last one, and the services that it starts, in order. HNS makes the host adapters of its
/// networks anew, without what was set on them (facts E, G).
pub(super) fn boot(machine: &mut Machine) -> Vec<String> {
    if std::mem::take(&mut machine.windows.containers_after_reboot) {
        machine.windows.containers_installed = true;
        let (name, display_name, depends_on) = HNS;
        add_system_service(machine, name, display_name, depends_on, StartMode::Automatic);
    }
    if std::mem::take(&mut machine.windows.routing_after_reboot) {
        machine.windows.routing_installed = true;
        add_system_service(machine, REMOTE_ACCESS, "Routing and Remote Access", &["Tcpip"], StartMode::Disabled);
    }
    let transparent: Vec<_> = machine
        .networks
        .iter()
        .filter(|(_, network)| network.driver == "transparent")
        .map(|(name, _)| name.clone())
        .collect();
    for nic in &mut machine.nics {
        if nic.of_network.as_ref().is_some_and(|network| transparent.contains(network)) {
            nic.addresses.clear();
            nic.forwarding = false;
        }
    }
    machine.routes.retain(|route| route.persistent);
    let services = &mut machine.windows.services;
    for service in services.values_mut() {
        service.running = false;
    }
    let automatic = services.iter().filter(|(_, service)| service.definition.start == StartMode::Automatic);
    let after: BTreeMap<_, _> =
        automatic.map(|(name, service)| (name.clone(), service.definition.depends_on.clone())).collect();
    boot_order(&after)
}
