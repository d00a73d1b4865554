//! The commands of Linux, as in the walkthrough (facts A.2 #19).

use k8swin_protocol::LinuxResource;
use k8swin_protocol::resource::{NodeObject, Protection, SystemdUnit};
use serde_json::json;

use super::describe;

pub(super) fn commands(resource: &LinuxResource) -> Vec<String> {
    match resource {
        LinuxResource::Directory(directory) => {
            let mode = if directory.protection == Protection::Secret { "0700" } else { "0755" };
            vec![format!("mkdir -p -m {mode} {}", directory.path)]
        }
        LinuxResource::File(file) => {
            let mode = match file.protection {
                Protection::Public => "0644",
                Protection::Executable => "0755",
                Protection::Secret => "0600",
            };
            vec![describe(file), format!("chmod {mode} {}", file.path)]
        }
        LinuxResource::KernelModule(module) => {
            vec![format!("modprobe {}", module.name), "# and at boot: /etc/modules-load.d".to_owned()]
        }
        LinuxResource::Sysctl(sysctl) => {
            vec![format!("sysctl -w {}={}", sysctl.key, sysctl.value), "# and at boot: /etc/sysctl.d".to_owned()]
        }
        LinuxResource::SystemdUnit(unit) => systemd(unit),
        LinuxResource::Route(route) => vec![format!("ip route add {} via {}", route.destination, route.via)],
        LinuxResource::ForwardAccept(accept) => vec![
            format!("iptables -A FORWARD -s {} -j ACCEPT", accept.pods),
            format!("iptables -A FORWARD -d {} -j ACCEPT", accept.pods),
        ],
        LinuxResource::Node(node) => vec![create(node)],
    }
}

/// The command line of the service, then its start.
fn systemd(unit: &SystemdUnit) -> Vec<String> {
    let mut lines = vec![format!("# /etc/systemd/system/{}.service runs:", unit.name)];
    let start = unit.unit.lines().skip_while(|line| !line.starts_with("ExecStart="));
    for line in start {
        lines.push(line.trim_start_matches("ExecStart=").to_owned());
        if !line.ends_with('\\') {
            break;
        }
    }
    lines.push(format!("systemctl enable --now {}", unit.name));
    lines
}

/// `externalID` matters to 1.5: its kubelet deletes an object that has another one than its own name, and registers a new
/// one without a podCIDR.
fn create(node: &NodeObject) -> String {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node.name, "labels": node.labels },
        "spec": { "podCIDR": node.pod_cidr, "externalID": node.name, "unschedulable": !node.schedulable },
    });
    format!("kubectl create -f - <<< '{object}'")
}
