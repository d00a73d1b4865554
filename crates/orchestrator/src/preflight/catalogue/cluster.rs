//! Checks of the running cluster: what `verify` looks at.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const CLUSTER: Group = Group::Cluster;

pub(crate) const LOOK_AT_KUBELET: Remedy = remedy("look at the kubelet's log on the host", &["{logs}"]);
pub(crate) const KUBELET_IS_SILENT: Remedy = remedy(
    "start the host if it is down; else see whether its kubelet runs, and in its log why it does not reach the API server; \
     `k8swin up` starts what should run",
    &["{state}", "{logs}"],
);
pub(crate) const RUNTIME_IS_DOWN: Remedy =
    remedy("start Docker on the host, and look at the kubelet's log if that does not help", &["docker info", "{logs}"]);

pub(super) static NODE: Entry = Entry {
    check: Check::Node,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "each node as the API server sees it",
    expected: "Ready, with the inventory's system, address and pod subnet",
    why: "pods are scheduled by what the Node object says, not by what the host is",
    source: "facts B.3",
    remedies: &[LOOK_AT_KUBELET, KUBELET_IS_SILENT, RUNTIME_IS_DOWN],
};

const LOOK_AT_POD: Remedy = remedy("look at it with `kubectl describe pod`, and at the kubelet's log of its node", &[]);

pub(super) static POD_LINUX: Entry = Entry {
    check: Check::PodLinux,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a pause pod on each Linux worker",
    expected: "it is led there by its nodeSelector and runs, with an address of that node's subnet",
    why: "that nodes are Ready says nothing of pods and their network",
    source: "kismatic Kuberang, microsoft/SDN ValidateKubernetes",
    remedies: &[LOOK_AT_POD],
};

pub(super) static POD_WINDOWS: Entry = Entry {
    check: Check::PodWindows,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a pause pod on each Windows host",
    expected: "it is led there by its nodeSelector and runs, with an address of that node's subnet",
    why: "that nodes are Ready says nothing of pods and their network",
    source: "kismatic Kuberang, microsoft/SDN ValidateKubernetes",
    remedies: &[LOOK_AT_POD],
};

pub(crate) const LOOK_AT_IMAGE: Remedy = remedy(
    "see what keeps the pod; an image must have a tag for the hosts' revision of Windows, and be in a registry that they reach, \
     or be pulled there by hand before",
    &["kubectl describe pod k8swin-verify", "docker pull IMAGE"],
);
pub(crate) const LOOK_AT_WEB_SERVER: Remedy = remedy(
    "see whether the container serves on `windows_test_port`: ask it on its own host first; then its log",
    &["Invoke-WebRequest -UseBasicParsing http://ADDRESS/", "docker logs CONTAINER"],
);

pub(super) static POD_IMAGE: Entry = Entry {
    check: Check::PodImage,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a pod of the inventory's `windows_test_image`, where there is one",
    expected: "it runs on a Windows host, and serves HTTP to all other hosts",
    why: "a pause pod serves nothing, and does not show that images of the size of Windows' arrive",
    source: "the walkthrough's IIS pod",
    remedies: &[LOOK_AT_IMAGE, LOOK_AT_WEB_SERVER],
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

pub(crate) const RESTORE_ROUTES: Remedy = remedy(
    "`k8swin plan` shows the routes that are not as planned, and `k8swin up` restores them; then ask what took them away",
    &[],
);
pub(crate) const FORWARD_LINUX: Remedy = remedy(
    "see what drops forwarded packets: `net.ipv4.ip_forward` must be 1, and the FORWARD chain must accept the pods' range; \
     `k8swin up` sets both",
    &["sysctl net.ipv4.ip_forward", "iptables -S FORWARD"],
);
pub(crate) const FORWARD_WINDOWS: Remedy = remedy(
    "see whether the host forwards: the service RemoteAccess must run, or forwarding be on for both adapters, as the inventory \
     has it; `k8swin up` sets it",
    &["Get-Service RemoteAccess", "Get-NetIPInterface -AddressFamily IPv4 | Format-Table InterfaceAlias, Forwarding"],
);

pub(super) static POD_NETWORK: Entry = Entry {
    check: Check::PodNetwork,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "connections from every host to the pods of all other nodes, and to those nodes' own addresses in their pod subnets",
    expected: "an answer; that a port is closed is one, since it came all the way there and back",
    why: "pods see each other only if every node has the route to every other node's subnet, and forwards",
    source: "design §5, facts E",
    remedies: &[RESTORE_ROUTES, FORWARD_LINUX, FORWARD_WINDOWS],
};

pub(crate) const LOOK_AT_PROXY_LINUX: Remedy = remedy(
    "see whether its kube-proxy runs, and what its log says; `k8swin up` starts what should run",
    &["{state}", "{logs}", "iptables -t nat -S KUBE-SERVICES"],
);
pub(crate) const LOOK_AT_PROXY_WINDOWS: Remedy = remedy(
    "see whether its kube-proxy and the IP Helper run, what kube-proxy's log says, and whether it has put the address on its \
     adapter; `k8swin up` starts what should run",
    &["{state}", "Get-Service iphlpsvc", "{logs}", "netsh interface portproxy show v4tov4"],
);

pub(crate) const ROUTE_TO_SERVICES: Remedy = remedy(
    "give it a default route, or one that covers the service range: kube-proxy redirects only what the host has a route for",
    &["ip route show"],
);

pub(super) static SERVICE_ADDRESS: Entry = Entry {
    check: Check::ServiceAddress,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a connection from every host to the service `kubernetes`, the first address of the service range",
    expected: "it is taken, by way of the host's kube-proxy",
    why: "pods reach services, the API server's first of all, only by kube-proxy of their own node",
    source: "facts B.6",
    remedies: &[LOOK_AT_PROXY_LINUX, LOOK_AT_PROXY_WINDOWS, ROUTE_TO_SERVICES],
};

pub(crate) const OPEN_KUBELET: Remedy =
    remedy("open TCP 10250 of the host for the control planes: `k8swin preflight` tries it", &[]);
pub(crate) const START_KUBELET: Remedy =
    remedy("see whether the kubelet runs and listens on 10250; `k8swin up` starts it", &["{state}", "{logs}"]);
pub(crate) const KUBELET_REFUSES: Remedy = remedy(
    "see what the kubelet's log says of the request; `k8swin up` brings keys and flags of kubelets and API servers back in line",
    &["{logs}"],
);

pub(super) static KUBELET: Entry = Entry {
    check: Check::Kubelet,
    group: CLUSTER,
    worst: Severity::Error,
    looks_at: "a request from every API server to every kubelet, with the API server's certificate",
    expected: "the kubelet trusts it, allows it, and says that it is well",
    why: "it is how `kubectl logs` and `kubectl exec` work, and nodes are Ready without it",
    source: "facts B.2, B.4",
    remedies: &[OPEN_KUBELET, START_KUBELET, KUBELET_REFUSES],
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
