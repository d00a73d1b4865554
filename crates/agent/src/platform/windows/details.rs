//! Facts of a real Windows host that only preflight asks for: from the registry and the Service Control Manager.

use k8swin_protocol::details::{CommonDetails, FirewallProfile, Trace, TraceKind, WinRmQuotas, WindowsDetails};
use k8swin_protocol::facts::ServiceState;
use windows_registry::{Key, LOCAL_MACHINE};

use super::super::{Result, own_name};
use super::network::Found;
use super::{docker, network_settings, services};

/// Services that a node depends on.
const NEEDED: [&str; 6] = ["docker", "hns", "iphlpsvc", "mpssvc", "vmcompute", "w32time"];

/// Services of Kubernetes, by the names that guides and other installers give them.
const KUBERNETES: [&str; 8] = ["flanneld", "k3s", "kube-proxy", "kubelet", "kubeproxy", "rancher-wins", "rke2", "etcd"];

/// Folders of Kubernetes, as guides and other installers have them.
const FOLDERS: [&str; 4] = [r"C:\k", r"C:\etc\kubernetes", r"C:\var\lib\kubelet", r"C:\var\lib\rancher"];

/// Where the Service Control Manager keeps a service.
const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";

/// What both operating systems have.
pub(super) fn common(hostname: &str, machine_id: &str, found: &[Found]) -> CommonDetails {
    CommonDetails {
        hardware_id: machine_id.to_owned(),
        own_name: own_name::addresses(hostname),
        mtus: found.iter().map(|found| (found.adapter.name.clone(), found.mtu)).collect(),
        traces: traces(),
    }
}

/// What only Windows has.
pub(super) fn windows() -> Result<WindowsDetails> {
    let mut states = std::collections::BTreeMap::new();
    for name in NEEDED {
        let Some(running) = services::running(name)? else { continue };
        let state = if running { ServiceState::Running } else { ServiceState::Stopped };
        states.insert(name.to_owned(), state);
    }
    let docker_runs = states.get("docker") == Some(&ServiceState::Running);
    Ok(WindowsDetails {
        services: states,
        // Images that Docker does not tell are like images that are not there.
        image_versions: if docker_runs { docker::image_versions().unwrap_or_default() } else { Default::default() },
        firewall: firewall(),
        winrm_quotas: winrm_quotas(),
        ipv6_disabled: open(r"SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters")
            .and_then(|key| number(&key, "DisabledComponents"))
            .is_some_and(|components| components & 0xff == 0xff),
    })
}

fn open(path: &str) -> Option<Key> {
    LOCAL_MACHINE.open(path).ok()
}

fn number(key: &Key, name: &str) -> Option<u32> {
    key.get_u32(name).ok()
}

fn traces() -> Vec<Trace> {
    let folders = FOLDERS.iter().filter_map(|path| {
        let first = std::fs::read_dir(path).ok()?.find_map(std::result::Result::ok)?;
        let says = format!("{} is in it", first.file_name().to_string_lossy());
        Some(Trace { kind: TraceKind::Folder, name: (*path).to_owned(), says })
    });
    let services = KUBERNETES.iter().filter_map(|name| {
        let key = open(&format!(r"{SERVICES}\{name}"))?;
        let says = key.get_string("ImagePath").unwrap_or_default();
        Some(Trace { kind: TraceKind::Service, name: (*name).to_owned(), says })
    });
    let port_proxies = values(r"SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp").map(|(name, value)| Trace {
        kind: TraceKind::PortProxy,
        name,
        says: value,
    });
    let routes = values(network_settings::PERSISTENT_ROUTES).filter_map(|(name, _)| {
        let trace = |says: String, name: String| Trace { kind: TraceKind::PersistentRoute, name, says };
        match name.split(',').collect::<Vec<_>>().as_slice() {
            [network, mask, router, ..] => {
                let mask: std::net::Ipv4Addr = mask.parse().ok()?;
                let network = ipnet::Ipv4Net::with_netmask(network.parse().ok()?, mask).ok()?;
                Some(trace(format!("by way of {router}"), network.to_string()))
            }
            _ => None,
        }
    });
    folders.chain(services).chain(port_proxies).chain(routes).collect()
}

/// The values of a key with their texts.
fn values(path: &str) -> impl Iterator<Item = (String, String)> {
    let key = open(path);
    let names: Vec<String> = key
        .as_ref()
        .and_then(|key| key.values().ok())
        .map(|values| values.map(|(name, _)| name).collect())
        .unwrap_or_default();
    names.into_iter().map(move |name| {
        let value = key.as_ref().and_then(|key| key.get_string(&name).ok()).unwrap_or_default();
        (name, value)
    })
}

/// The profiles, as the firewall's own settings and group policy have them. Policy wins.
fn firewall() -> Vec<FirewallProfile> {
    const OWN: &str = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy";
    const POLICY: &str = r"SOFTWARE\Policies\Microsoft\WindowsFirewall";
    [("domain", "DomainProfile"), ("private", "StandardProfile"), ("public", "PublicProfile")]
        .into_iter()
        .map(|(name, key)| {
            // The policy's key for private networks has the name that it has had since it was new.
            let policy = open(&format!(r"{POLICY}\{key}"))
                .or_else(|| (name == "private").then(|| open(&format!(r"{POLICY}\PrivateProfile"))).flatten());
            let own = open(&format!(r"{OWN}\{key}"));
            let value = |name: &str| {
                let of = |key: &Option<Key>| key.as_ref().and_then(|key| number(key, name));
                of(&policy).or_else(|| of(&own))
            };
            FirewallProfile {
                name: name.to_owned(),
                enabled: value("EnableFirewall") != Some(0),
                local_rules: value("AllowLocalPolicyMerge") != Some(0) && value("DoNotAllowExceptions") != Some(1),
            }
        })
        .collect()
}

/// Group policy's quotas; those that `winrm set` makes are in WinRM's own configuration, which it tells nobody but its
/// clients.
fn winrm_quotas() -> WinRmQuotas {
    let Some(key) = open(r"SOFTWARE\Policies\Microsoft\Windows\WinRM\Service\WinRS") else {
        return WinRmQuotas::default();
    };
    WinRmQuotas {
        shells_per_user: number(&key, "MaxShellsPerUser"),
        processes_per_shell: number(&key, "MaxProcessesPerShell"),
        memory_per_shell_mb: number(&key, "MaxMemoryPerShellMB"),
    }
}
