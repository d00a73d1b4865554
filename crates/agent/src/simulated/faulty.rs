//! What the faults of a simulated host make of its facts.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use k8swin_protocol::Os;
use k8swin_protocol::details::{CommonDetails, FirewallProfile, LinuxDetails, WinRmQuotas, WindowsDetails};
use k8swin_protocol::facts::{Adapter, CommonFacts, LinuxFacts, ServiceState, WindowsFacts};
use k8swin_protocol::resource::FeatureName;

use super::machine::Machine;

/// The largest packet of Ethernet.
const MTU: u32 = 1500;

/// The base of pause images, which a fault gives a version.
const BASE_IMAGE: &str = "mcr.microsoft.com/windows/nanoserver:sac2016";

/// The adapters with their faults.
pub(super) fn adapters(machine: &Machine, mut adapters: Vec<Adapter>) -> Vec<Adapter> {
    let (faults, routable) = (&machine.faults, machine.spec.node_address);
    if let Some(adapter) =
        adapters.iter_mut().find(|adapter| adapter.addresses.iter().any(|net| net.addr() == routable))
    {
        for address in &mut adapter.addresses {
            let with = |address, prefix| Ipv4Net::new(address, prefix).unwrap_or_else(|_| Ipv4Net::from(address));
            if address.addr() == routable {
                let prefix = faults.prefix.unwrap_or_else(|| address.prefix_len());
                *address = with(faults.address.unwrap_or(routable), prefix);
            }
        }
        adapter.addresses.extend(faults.second_address.map(Ipv4Net::from));
        if let Some(mac) = &faults.mac {
            adapter.mac.clone_from(mac);
        }
    }
    // Where the inventory names the adapter, this host calls it otherwise.
    let second = adapters
        .iter_mut()
        .find(|adapter| adapter.physical && !adapter.addresses.iter().any(|net| net.addr() == routable));
    if let (Some(adapter), Some(name)) = (second, &faults.pod_adapter) {
        adapter.name.clone_from(name);
    }
    adapters
}

/// What both systems have.
pub(super) fn common(machine: &Machine, common: &mut CommonFacts) {
    let faults = &machine.faults;
    if let Some(hostname) = &faults.hostname {
        common.hostname = hostname.to_lowercase();
    }
    if let Some(machine_id) = &faults.machine_id {
        common.machine_id.clone_from(machine_id);
    }
    if let Some(megabytes) = faults.memory_mb {
        common.memory_bytes = megabytes << 20;
    }
    common.privileged = !faults.unprivileged;
    common.cluster.clone_from(&faults.other_cluster);
    common.routes.extend(faults.routes.iter().cloned());
    let routable = machine.spec.node_address;
    let own_name = if faults.unresolved_name { Vec::new() } else { vec![faults.address.unwrap_or(routable)] };
    let mtu = |adapter: &Adapter| {
        let is_routable = adapter.addresses.iter().any(|net| net.addr() == routable);
        (adapter.name.clone(), faults.mtu.filter(|_| is_routable).unwrap_or(MTU))
    };
    common.details = CommonDetails {
        hardware_id: common.machine_id.clone(),
        own_name,
        mtus: common.adapters.iter().map(mtu).collect(),
        traces: faults.leftovers.clone(),
    };
}

/// What only Linux has.
pub(super) fn linux(machine: &Machine, facts: &mut LinuxFacts) {
    let faults = &machine.faults;
    if let Some(distribution) = &faults.distribution {
        facts.distribution.clone_from(distribution);
    }
    if let Some(kernel) = &faults.kernel {
        facts.kernel.clone_from(kernel);
    }
    facts.systemd = !faults.no_systemd;
    facts.programs.retain(|program| !faults.missing_programs.contains(program));
    facts.sysctls.extend(faults.sysctls.clone());
    facts.cni_configurations.extend(faults.cni_configurations.iter().cloned());
    facts.cni_configurations.sort();
    if faults.clock_unsynchronised {
        facts.clock_synchronised = Some(false);
    }
    let controllers = ["cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "pids"];
    facts.details = LinuxDetails {
        cgroup_version: if faults.cgroup_v2 { 2 } else { 1 },
        cgroup_controllers: controllers.map(str::to_owned).into(),
        missing_modules: faults.missing_modules.clone(),
        firewalls: faults.firewalls.clone(),
    };
}

/// What only Windows has.
pub(super) fn windows(machine: &Machine, facts: &mut WindowsFacts) {
    let faults = &machine.faults;
    if let Some(kind) = &faults.installation_type {
        facts.installation_type.clone_from(kind);
    }
    facts.ubr = faults.ubr.unwrap_or(facts.ubr);
    if faults.no_containers {
        facts.features.retain(|feature| *feature != FeatureName::Containers);
    }
    if faults.routing_installed && !facts.features.contains(&FeatureName::Routing) {
        facts.features.push(FeatureName::Routing);
    }
    if let Some(docker) = facts.docker.as_mut().filter(|_| faults.no_nat) {
        docker.networks.remove("nat");
    }
    facts.max_envelope_size_kb = faults.max_envelope_size_kb.unwrap_or(facts.max_envelope_size_kb);
    facts.details = WindowsDetails {
        services: services(machine),
        image_versions: faults.image_version.iter().map(|version| (BASE_IMAGE.to_owned(), version.clone())).collect(),
        firewall: ["domain", "private", "public"]
            .map(|name| FirewallProfile { name: name.into(), enabled: true, local_rules: !faults.firewall_policy })
            .into(),
        winrm_quotas: WinRmQuotas { shells_per_user: faults.max_shells_per_user, ..WinRmQuotas::default() },
        ipv6_disabled: faults.ipv6_disabled,
    };
}

fn services(machine: &Machine) -> BTreeMap<String, ServiceState> {
    let faults = &machine.faults;
    let stopped = |name: &str| faults.stopped_services.iter().any(|stopped| stopped == name);
    let state = |name: &str| match machine.windows.services.get(name) {
        Some(service) if service.running && !stopped(name) => ServiceState::Running,
        _ => ServiceState::Stopped,
    };
    let simulated = ["docker", "hns", "iphlpsvc"].into_iter().map(|name| (name.to_owned(), state(name)));
    let of_the_system = ["mpssvc", "vmcompute", "w32time"].into_iter().map(|name| {
        let stopped = stopped(name) || (name == "w32time" && faults.clock_unsynchronised);
        (name.to_owned(), if stopped { ServiceState::Stopped } else { ServiceState::Running })
    });
    debug_assert_eq!(machine.os(), Os::Windows);
    simulated.chain(of_the_system).collect()
}
