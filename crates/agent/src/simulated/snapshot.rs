//! A simulated host's state as text: for people who look at a lab, and for tests that compare before and after.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use k8swin_protocol::resource::FirewallRule;
use k8swin_protocol::{HostPath, Os, Sha256};
use serde::Serialize;

use super::files::Node;
use super::machine::Machine;
use super::windows;
use crate::platform::{AccessList, Activity, DockerNetworkState, Permissions, ServiceDefinition};

/// Text files up to this size are shown.
const SHOWN: usize = 8 << 10;

#[derive(Serialize)]
struct Snapshot<'a> {
    name: &'a str,
    os: Os,
    boots: u32,
    adapters: Vec<Adapter<'a>>,
    routes: Vec<String>,
    docker_networks: &'a BTreeMap<String, DockerNetworkState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linux: Option<Linux<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Windows<'a>>,
    files: BTreeMap<&'a HostPath, FileView>,
}

#[derive(Serialize)]
struct Adapter<'a> {
    name: &'a str,
    mac: &'a str,
    addresses: &'a [Ipv4Net],
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarding: Option<bool>,
}

#[derive(Serialize)]
struct Linux<'a> {
    modules: &'a BTreeSet<String>,
    sysctls: &'a BTreeMap<String, String>,
    forward_rules: Vec<String>,
    units: BTreeMap<&'a str, Unit<'a>>,
}

#[derive(Serialize)]
struct Unit<'a> {
    enabled: bool,
    activity: Activity,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    journal: &'a [String],
}

#[derive(Serialize)]
struct Windows<'a> {
    features: Vec<String>,
    pending_reboot: bool,
    lan_router: bool,
    switches: &'a BTreeSet<String>,
    search_path: &'a str,
    services: BTreeMap<&'a str, Service<'a>>,
    firewall_rules: Vec<&'a FirewallRule>,
    images: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Service<'a> {
    running: bool,
    definition: &'a ServiceDefinition,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FileView {
    Folder { folder: String },
    Text { permissions: String, text: String },
    Bytes { permissions: String, size: usize, sha256: Sha256 },
    // What is written during every run says nothing about the host's state.
    Passing { permissions: String },
}

/// The state as pretty JSON, the same for the same state.
pub(super) fn json(machine: &Machine) -> String {
    let on_windows = machine.os() == Os::Windows;
    let forwarding = |name: &str| on_windows.then(|| windows::forwards(machine, name));
    let adapters = machine.present_nics().map(|nic| Adapter {
        name: &nic.name,
        mac: &nic.mac,
        addresses: &nic.addresses,
        forwarding: forwarding(&nic.name),
    });
    let routes = machine.routes.iter().map(|route| {
        let persistent = if route.persistent { ", persistent" } else { "" };
        format!("{} via {} on {}{persistent}", route.destination, route.via, route.adapter)
    });
    let mut facts = on_windows.then(|| windows::facts(machine));
    let snapshot = Snapshot {
        name: &machine.spec.name,
        os: machine.os(),
        boots: machine.boots,
        adapters: adapters.collect(),
        routes: routes.collect(),
        docker_networks: &machine.networks,
        linux: (!on_windows).then(|| linux(machine)),
        windows: facts.take().map(|facts| Windows {
            features: facts.features.iter().map(ToString::to_string).collect(),
            pending_reboot: !facts.pending_reboot.is_empty(),
            lan_router: machine.windows.lan_router,
            switches: &machine.windows.switches,
            search_path: &machine.windows.search_path,
            services: services(machine),
            firewall_rules: machine.windows.firewall.values().collect(),
            images: machine.windows.images.iter().map(|(tag, image)| (tag.as_str(), image.id.as_str())).collect(),
        }),
        files: machine.files.all().map(|(path, node)| (path, view(machine.os(), path, node))).collect(),
    };
    serde_json::to_string_pretty(&snapshot).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}

fn linux(machine: &Machine) -> Linux<'_> {
    let units = machine.linux.units.iter().map(|(name, unit)| {
        (name.as_str(), Unit { enabled: unit.enabled, activity: unit.activity, journal: &unit.journal })
    });
    Linux {
        modules: &machine.linux.modules,
        sysctls: &machine.linux.sysctls,
        forward_rules: machine.linux.forward_rules.iter().map(ToString::to_string).collect(),
        units: units.collect(),
    }
}

fn services(machine: &Machine) -> BTreeMap<&str, Service<'_>> {
    let services = machine.windows.services.iter();
    services
        .map(|(name, service)| (name.as_str(), Service { running: service.running, definition: &service.definition }))
        .collect()
}

fn view(os: Os, path: &HostPath, node: &Node) -> FileView {
    let permissions = node.permissions.to_string();
    let Some(content) = &node.file else { return FileView::Folder { folder: permissions } };
    let state = os.state();
    let staged = path.parent().is_some_and(|parent| parent == state.join("blobs"));
    if *path == state.join("lock.json") || staged {
        return FileView::Passing { permissions };
    }
    if is_public(&node.permissions)
        && content.bytes.len() <= SHOWN
        && let Ok(text) = std::str::from_utf8(&content.bytes)
    {
        return FileView::Text { permissions, text: text.to_owned() };
    }
    FileView::Bytes { permissions, size: content.bytes.len(), sha256: content.sha256() }
}

/// Whether everybody may read it anyway.
fn is_public(permissions: &Permissions) -> bool {
    match permissions {
        Permissions::Unix { mode, .. } => mode & 0o004 != 0,
        Permissions::Acl(list) => *list == AccessList::Inherited,
    }
}
