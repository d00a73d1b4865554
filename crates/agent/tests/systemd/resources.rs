//! The resources that the tests apply.

use std::collections::BTreeMap;

use k8swin_protocol::resource::*;
use k8swin_protocol::{HostPath, Sha256};

use crate::host::ADDRESS;

/// The plan of a Linux node, of which one unit is taken.
const PLAN: &str = include_str!("../../../blueprint/tests/it/snapshots/it__snapshots__ha-1.5.8-worker01.snap");

pub(crate) fn path(path: &str) -> HostPath {
    HostPath::new(path).unwrap()
}

pub(crate) fn directory(at: &str, purge: bool) -> LinuxResource {
    LinuxResource::Directory(Directory { path: path(at), protection: Protection::Secret, purge })
}

pub(crate) fn text(at: &str, text: &str) -> LinuxResource {
    let content = Content::Text(text.into());
    LinuxResource::File(File { path: path(at), content, protection: Protection::Public })
}

pub(crate) fn secret(at: &str, bytes: &[u8]) -> LinuxResource {
    let content = Content::Blob(Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 });
    LinuxResource::File(File { path: path(at), content, protection: Protection::Secret })
}

pub(crate) fn module(name: &str) -> LinuxResource {
    LinuxResource::KernelModule(KernelModule { name: name.into() })
}

pub(crate) fn sysctl(key: &str, value: &str) -> LinuxResource {
    LinuxResource::Sysctl(Sysctl { key: key.into(), value: value.into() })
}

pub(crate) fn forward() -> LinuxResource {
    LinuxResource::ForwardAccept(ForwardAccept { pods: "192.168.0.0/16".parse().unwrap() })
}

pub(crate) fn route(destination: &str, via: [u8; 4]) -> LinuxResource {
    let destination = destination.parse().unwrap();
    LinuxResource::Route(Route { destination, via: via.into(), from: ADDRESS.into() })
}

pub(crate) fn node() -> LinuxResource {
    let labels = BTreeMap::from([("beta.kubernetes.io/os".to_owned(), "linux".to_owned())]);
    let pod_cidr = "192.168.0.0/24".parse().unwrap();
    LinuxResource::Node(NodeObject { name: "lin01".into(), pod_cidr, labels, schedulable: true })
}

/// A service of ours as the template has it.
pub(crate) fn service(name: &str, command: &str) -> LinuxResource {
    let unit = format!(
        "# Written by k8swin: the next run overwrites changes.\n[Unit]\nDescription={name}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=simple\nExecStart={command}\nRestart=always\nRestartSec=5\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    let inputs = Sha256::of(unit.as_bytes());
    LinuxResource::SystemdUnit(SystemdUnit { name: name.into(), unit, inputs })
}

/// The unit that keeps the network in place, as it is planned for every Linux node.
pub(crate) fn network_unit(agent: &HostPath) -> LinuxResource {
    let (_, rest) = PLAN.split_once("=== unit:k8swin-network\n").unwrap();
    let (unit, _) = rest.split_once("=== ").unwrap();
    let mut lines: Vec<_> = unit.trim_end().lines().map(str::to_owned).collect();
    for line in lines.iter_mut().filter(|line| line.starts_with("ExecStart=")) {
        *line = format!("ExecStart={agent} \\");
    }
    let unit = format!("{}\n", lines.join("\n"));
    let inputs = Sha256::of(unit.as_bytes());
    LinuxResource::SystemdUnit(SystemdUnit { name: "k8swin-network".into(), unit, inputs })
}
