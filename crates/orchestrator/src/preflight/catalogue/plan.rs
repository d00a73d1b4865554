//! Checks of the plan against what the hosts really have.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const PLAN: Group = Group::Plan;

pub(in crate::preflight) const OTHER_DOCKER_RANGE: Remedy = remedy(
    "give Docker another range in daemon.json, `fixed-cidr` on Windows or `bip` on Linux, then restart it; or choose other ranges \
     in the inventory",
    &["{command}"],
);

pub(super) static DOCKER_RANGES: Entry = Entry {
    check: Check::DockerRanges,
    group: PLAN,
    worst: Severity::Error,
    looks_at: "the ranges of Docker's own networks (nat, bridge)",
    expected: "apart from the pods' and the services' range",
    why: "Docker picks a range without asking, and packets to the cluster's addresses in it never leave the host",
    source: "facts D.3",
    remedies: &[OTHER_DOCKER_RANGE],
};

pub(in crate::preflight) const REMOVE_ROUTE: Remedy =
    remedy("remove the route if nobody needs it, or choose other ranges in the inventory", &["{command}"]);

pub(super) static ROUTE_OVERLAP: Entry = Entry {
    check: Check::RouteOverlap,
    group: PLAN,
    worst: Severity::Error,
    looks_at: "the hosts' routes and addresses: VPNs, other sites, other clusters",
    expected: "none in the pods' or the services' range but ours",
    why: "a more specific route wins, so part of the cluster's packets would go to somebody else's network",
    source: "facts G, design §5",
    remedies: &[REMOVE_ROUTE],
};

pub(in crate::preflight) const OTHER_SERVICE_RANGE: Remedy =
    remedy("take a `service_cidr` whose classful network nothing else uses, such as 172.30.0.0/16", &[]);

pub(super) static CLASSFUL_NETWORK: Entry = Entry {
    check: Check::ClassfulNetwork,
    group: PLAN,
    worst: Severity::Error,
    looks_at: "routes and routers of Windows hosts in the classful network of the service range",
    expected: "none; 10.x brings 10.0.0.0/8 along, 172.16 to 172.31 a /16, 192.168.x a /24",
    why: "kube-proxy 1.5 adds service addresses without a mask, and Windows then takes the whole classful network for its own link",
    source: "kubernetes PR #52976, facts B.6",
    remedies: &[OTHER_SERVICE_RANGE],
};

pub(in crate::preflight) const LARGER_RANGE: Remedy = remedy(
    "take a larger `pod_cidr`, or another `node_pod_prefix`, before the cluster is built: it cannot be changed later",
    &[],
);

pub(super) static POD_CAPACITY: Entry = Entry {
    check: Check::PodCapacity,
    group: PLAN,
    worst: Severity::Warning,
    looks_at: "the room in the pods' range",
    expected: "110 addresses a node, and a free subnet for one more node",
    why: "a node runs up to 110 pods, and a pod without an address does not start; the range cannot grow later",
    source: "facts B.3 (--max-pods)",
    remedies: &[LARGER_RANGE],
};

pub(in crate::preflight) const SAME_REVISION: Remedy =
    remedy("bring all Windows hosts to the same revision with the current cumulative update", &["sconfig"]);

pub(super) static VERSIONS: Entry = Entry {
    check: Check::Versions,
    group: PLAN,
    worst: Severity::Warning,
    looks_at: "builds and revisions of the Windows hosts, side by side",
    expected: "one build and revision",
    why: "an image fits one revision, so a pod that starts on one node does not start on the other",
    source: "MicrosoftDocs version-compatibility, facts D.5",
    remedies: &[SAME_REVISION],
};

pub(in crate::preflight) const NEW_AUTHORITY: Remedy =
    remedy("the cluster needs new authorities: `k8swin reset`, then `k8swin up`, in a maintenance window", &[]);
pub(in crate::preflight) const UP_RENEWS: Remedy = remedy("`up` renews it and restarts what reads it", &[]);

pub(super) static CERTIFICATES: Entry = Entry {
    check: Check::Certificates,
    group: PLAN,
    worst: Severity::Error,
    looks_at: "the last day of each of the cluster's certificates; so does `verify`, for which one that has ended is an error",
    expected: "authorities a year or more, others thirty days or more",
    why: "on the day after, no component trusts any other",
    source: "facts B.2",
    remedies: &[NEW_AUTHORITY, UP_RENEWS],
};
