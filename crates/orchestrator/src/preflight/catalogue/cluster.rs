//! Checks of the running cluster: what `verify` looks at.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const CLUSTER: Group = Group::Cluster;

const LOOK_AT_LOGS: Remedy =
    remedy("look at the kubelet's log on the host: `journalctl -u kubelet`, or C:\\k8swin\\log\\kubelet", &[]);

pub(super) static NODE: Entry = Entry {
    check: Check::Node,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "each node as the API server sees it",
    expected: "Ready, with the inventory's system, address and pod subnet",
    why: "pods are scheduled by what the Node object says, not by what the host is",
    source: "facts B.3",
    remedies: &[LOOK_AT_LOGS],
};

const LOOK_AT_POD: Remedy = remedy("look at it with `kubectl describe pod`, and at the kubelet's log of its node", &[]);

pub(super) static POD_LINUX: Entry = Entry {
    check: Check::PodLinux,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a pod for Linux",
    expected: "it runs on a Linux worker, with an address of that node's subnet",
    why: "that nodes are Ready says nothing of pods and their network",
    source: "kismatic Kuberang, microsoft/SDN ValidateKubernetes",
    remedies: &[LOOK_AT_POD],
};

pub(super) static POD_WINDOWS: Entry = Entry {
    check: Check::PodWindows,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a pod for Windows",
    expected: "it runs on a Windows host, with an address of that node's subnet",
    why: "that nodes are Ready says nothing of pods and their network",
    source: "kismatic Kuberang, microsoft/SDN ValidateKubernetes",
    remedies: &[LOOK_AT_POD],
};

pub(super) static POD_REMOVED: Entry = Entry {
    check: Check::PodRemoved,
    group: CLUSTER,
    worst: Severity::Warning,
    looks_at: "the pods of this examination, once they are deleted",
    expected: "they are gone",
    why: "a pod goes when its kubelet says so: one whose node went down stays",
    source: "facts B.2",
    remedies: &[remedy(
        "wait until the node is back, or delete it without its kubelet",
        &["kubectl delete pod NAME --force --grace-period=0"],
    )],
};

const OPEN_API: Remedy =
    remedy("open the API server's port for this machine, or give `api_endpoint` in the inventory", &[]);

pub(super) static API_FROM_HERE: Entry = Entry {
    check: Check::ApiFromHere,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "the API server from this machine, with the administrator's certificate",
    expected: "it answers",
    why: "it is what `kubectl` will do with the kubeconfig",
    source: "design §2",
    remedies: &[OPEN_API],
};
