//! What another installer, or a former cluster, left on a host: whose it is, and how it goes.

use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::Os;
use k8swin_protocol::details::{Trace, TraceKind};
use k8swin_protocol::facts::{CommonFacts, Docker};

use super::Report;
use super::catalogue::{Fix, REMOVE_KUBEADM, REMOVE_LEFTOVERS};
use super::common::is_owned;

/// etcd's folder has a check of its own.
pub(super) const ETCD_DATA: &str = "/var/lib/etcd";

/// What tells an installer: a part of a name or of where it leads, who that is, and how to be rid of it.
const INSTALLERS: [(&str, &str, &str); 9] = [
    ("k3s", "k3s", "k3s-uninstall.sh"),
    ("rke2", "RKE2", "rke2-uninstall.sh"),
    ("rancher", "Rancher", "rke2-uninstall.sh"),
    ("k0s", "k0s", "k0s reset"),
    ("microk8s", "MicroK8s", "snap remove --purge microk8s"),
    ("snap", "MicroK8s", "snap remove --purge microk8s"),
    ("kubeadm", "kubeadm", "kubeadm reset --force"),
    ("manifests", "kubeadm", "kubeadm reset --force"),
    ("flannel", "flannel", "sc.exe delete flanneld"),
];

/// Networks that a pod network of Windows may be.
const POD_DRIVERS: [&str; 3] = ["transparent", "l2bridge", "overlay"];

pub(super) fn check(cluster: &Cluster, os: Os, common: &CommonFacts, docker: Option<&Docker>, report: &mut Report<'_>) {
    let foreign: Vec<&Trace> = common.details.traces.iter().filter(|trace| !is_ours(cluster, common, trace)).collect();
    let networks: Vec<&String> = docker
        .into_iter()
        .flat_map(|docker| &docker.networks)
        .filter(|(name, network)| {
            os == Os::Windows
                && POD_DRIVERS.contains(&network.driver.as_str())
                && !is_owned(common, &format!("transparent-network:{name}"))
        })
        .map(|(name, _)| name)
        .collect();
    if foreign.is_empty() && networks.is_empty() {
        return report.ok(Check::Leftovers, "nothing of another cluster");
    }
    let mut details: Vec<String> = foreign.iter().map(|trace| describe(trace)).collect();
    details.extend(networks.iter().map(|name| format!("the pod network `{name}` of Docker")));
    let mut commands: Vec<String> = Vec::new();
    let removals = foreign.iter().map(|trace| removal(os, trace));
    for command in removals.chain(networks.iter().map(|name| format!("docker network rm {name}"))) {
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    let known = foreign.iter().any(|trace| installer(trace).is_some());
    let remedy = if known { REMOVE_KUBEADM } else { REMOVE_LEFTOVERS };
    report.error(Check::Leftovers, details.join("; "), Fix { commands, ..remedy.into() });
}

fn is_ours(cluster: &Cluster, common: &CommonFacts, trace: &Trace) -> bool {
    let name = &trace.name;
    match trace.kind {
        TraceKind::Folder => name == ETCD_DATA || is_owned(common, &format!("directory:{name}")),
        TraceKind::Unit => is_owned(common, &format!("unit:{name}")),
        TraceKind::Service => is_owned(common, &format!("service:{name}")),
        // The rules of our kube-proxy are its own business, and it never takes them back (facts B.6).
        TraceKind::PortProxy => is_owned(common, "service:kube-proxy"),
        // Only those in the way are leftovers: an admin's own routes are his.
        TraceKind::PersistentRoute => {
            is_owned(common, &format!("route:{name}"))
                || !name.parse().is_ok_and(|network| {
                    [cluster.pod_cidr, cluster.service_cidr]
                        .into_iter()
                        .any(|range| range.contains(&network) && range != network)
                })
        }
    }
}

fn installer(trace: &Trace) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let text = format!("{} {}", trace.name, trace.says).to_lowercase();
    INSTALLERS.iter().find(|(part, ..)| text.contains(part))
}

fn describe(trace: &Trace) -> String {
    let what = match trace.kind {
        TraceKind::Folder => format!("the folder {}", trace.name),
        TraceKind::Unit => format!("the unit {}.service", trace.name),
        TraceKind::Service => format!("the service `{}`", trace.name),
        TraceKind::PortProxy => format!("the port forwarding {}", trace.name),
        TraceKind::PersistentRoute => format!("the persistent route to {}", trace.name),
    };
    let whose = installer(trace).map_or_else(|| "not k8swin's".to_owned(), |(_, name, _)| format!("of {name}"));
    if trace.says.is_empty() { format!("{what}, {whose}") } else { format!("{what}, {whose} ({})", trace.says) }
}

fn removal(os: Os, trace: &Trace) -> String {
    if let Some((.., command)) = installer(trace) {
        return (*command).to_owned();
    }
    let name = &trace.name;
    match (trace.kind, os) {
        (TraceKind::Folder, Os::Linux) => format!("mv {name} {name}.before-k8swin"),
        (TraceKind::Folder, Os::Windows) => format!("Rename-Item '{name}' '{name}.before-k8swin'"),
        (TraceKind::Unit, _) => format!("systemctl disable --now {name} && rm {}", trace.says),
        (TraceKind::Service, _) => format!("sc.exe stop {name}; sc.exe delete {name}"),
        (TraceKind::PortProxy, _) => "netsh interface portproxy reset".to_owned(),
        (TraceKind::PersistentRoute, _) => format!("route delete {name}"),
    }
}
