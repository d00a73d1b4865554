//! Compares what the tables say with each other, and makes the [`Cluster`] out of what holds together.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::cluster::{AdapterSelector, Cluster, DockerZip, Host, KubernetesMinor, KubernetesVersion, Os};
use crate::diagnostics::{Diagnostics, Located, Place};
use crate::draft::{DraftCluster, DraftHost};
use crate::network;
use crate::section::Reading;

/// The lowest Kubernetes whose Windows kubelet is of use (facts B.4, C.2).
const FIRST_FOR_WINDOWS: KubernetesVersion = KubernetesVersion { minor: KubernetesMinor::V1_5, patch: 3 };
/// Windows cuts longer computer names for NetBIOS.
const LONGEST_WINDOWS_NAME: usize = 15;
/// Kubernetes' service range has at most 2^20 addresses.
const SHORTEST_SERVICE_PREFIX: u8 = 12;
/// 32 addresses: the API server takes the first and DNS the tenth.
const LONGEST_SERVICE_PREFIX: u8 = 27;
/// The controller-manager refuses a cluster range with more than 2^16 node subnets.
const MOST_NODE_SUBNET_BITS: u8 = 16;

/// The cluster, unless errors were noted; its warnings are left empty.
pub(crate) fn check(
    cluster: DraftCluster,
    hosts: Vec<DraftHost>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Cluster> {
    check_names(&hosts, diagnostics);
    check_addresses(&hosts, diagnostics);
    check_adapters(&hosts, diagnostics);
    check_docker(&hosts, diagnostics);
    check_control_planes(&cluster, &hosts, diagnostics);
    check_version(&cluster, &hosts, diagnostics);
    check_ranges(&cluster, &hosts, diagnostics);
    let pod_subnets = check_pod_subnets(&cluster, &hosts, diagnostics);

    let hosts = hosts.into_iter().zip(pod_subnets?).map(|(host, pod_cidr)| host.complete(pod_cidr));
    Some(Cluster {
        hosts: hosts.collect::<Option<Vec<Host>>>()?,
        name: cluster.name?,
        kubernetes: cluster.kubernetes?.value,
        pod_cidr: cluster.pod_cidr?.value,
        node_pod_prefix: cluster.node_pod_prefix?.value,
        service_cidr: cluster.service_cidr?.value,
        dns_domain: cluster.dns_domain,
        api_port: cluster.api_port,
        windows_test_image: cluster.windows_test_image,
        artifacts: cluster.artifacts?,
        ignore: cluster.ignore,
        warnings: Vec::new(),
    })
}

impl DraftHost {
    fn complete(self, pod_cidr: Ipv4Net) -> Option<Host> {
        Some(Host {
            name: self.name?.value,
            address: self.address?.value,
            node_address: self.node_address?.value,
            api_endpoint: self.api_endpoint,
            pod_cidr,
            ignore: self.ignore,
            system: self.system?,
        })
    }

    /// What errors call it.
    fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| "a host without a valid name".to_owned(), |name| format!("`{}`", name.value))
    }
}

/// Notes an error for each value that an earlier host has already. `describe` gets the value, the earlier host and its
/// line, and says what is wrong and what to do.
fn refuse_twice<'h, K: Ord>(
    hosts: &'h [DraftHost],
    diagnostics: &mut Diagnostics<'_>,
    value: impl Fn(&'h DraftHost) -> Option<(K, &'h Place)>,
    describe: impl Fn(&K, &DraftHost, usize) -> (String, String),
) {
    let mut seen: BTreeMap<K, (&DraftHost, usize)> = BTreeMap::new();
    for host in hosts {
        let Some((value, place)) = value(host) else { continue };
        if let Some((earlier, line)) = seen.get(&value) {
            diagnostics.error_with(place, || {
                let (message, remedy) = describe(&value, earlier, *line);
                (message, Some(remedy))
            });
        } else {
            let line = diagnostics.line(place);
            seen.insert(value, (host, line));
        }
    }
}

/// One zip has one digest, and one digest is one version.
fn check_docker(hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    let mut zips: Vec<&Located<DockerZip>> = Vec::new();
    for zip in hosts.iter().filter_map(|host| host.docker.as_ref()) {
        let contradicts = |other: &&&Located<DockerZip>| {
            let (one, other) = (&zip.value, &other.value);
            (one.source == other.source || one.sha256 == other.sha256)
                && (one.sha256, &one.version) != (other.sha256, &other.version)
        };
        if let Some(other) = zips.iter().find(contradicts) {
            let line = diagnostics.line(&other.place);
            let message = format!("the same zip has another sha256 or version on line {line}");
            diagnostics.error_and_remedy(&zip.place, message, "give each zip one sha256 and one version");
        }
        if !zips.iter().any(|other| other.place.span == zip.place.span) {
            zips.push(zip);
        }
    }
}

fn check_names(hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    refuse_twice(
        hosts,
        diagnostics,
        |host| host.name.as_ref().map(|name| (name.value.as_str(), &name.place)),
        |name, _, line| {
            let message = format!("`{name}` is already the name of the host on line {line}");
            (message, "give each host its own name".to_owned())
        },
    );
    for name in hosts.iter().filter(|host| host.os == Some(Os::Windows)).filter_map(|host| host.name.as_ref()) {
        if name.value.len() > LONGEST_WINDOWS_NAME {
            let warning = format!(
                "`{}` is longer than {LONGEST_WINDOWS_NAME} characters: as a computer name Windows would cut it",
                name.value
            );
            diagnostics.warn(&name.place, &warning);
        }
    }
}

fn check_addresses(hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    refuse_twice(
        hosts,
        diagnostics,
        |host| {
            let address = host.address.as_ref()?;
            Some(((address.value.to_ascii_lowercase(), host.port?), &address.place))
        },
        |(address, port), earlier, line| {
            let message = format!("{address} port {port} is already the address of {} on line {line}", earlier.label());
            (message, "one of them is wrong; behind one address, hosts differ by port".to_owned())
        },
    );
    // A node address that comes from `address` has been compared with it.
    let compared =
        |host: &DraftHost, place: &Place| host.address.as_ref().is_some_and(|address| address.place == *place);
    let mut owners: BTreeMap<Ipv4Addr, (&DraftHost, &Place)> = BTreeMap::new();
    for host in hosts {
        let Some(Located { value, place }) = &host.node_address else { continue };
        let Some((earlier, earlier_place)) = owners.get(value) else {
            owners.insert(*value, (host, place));
            continue;
        };
        if compared(host, place) && compared(earlier, earlier_place) && host.port == earlier.port {
            continue;
        }
        let line = diagnostics.line(earlier_place);
        let message = format!("{value} is already the node address of {} on line {line}", earlier.label());
        let remedy = "each node needs an address of its own: the other nodes route its pods there";
        diagnostics.error_and_remedy(place, message, remedy);
    }
}

fn check_adapters(hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    refuse_twice(
        hosts,
        diagnostics,
        |host| match host.pod_adapter.as_ref()? {
            Located { value: AdapterSelector::Name(_), .. } => None,
            Located { value, place } => Some((value, place)),
        },
        |adapter, earlier, line| {
            let message = format!("the adapter {adapter} is already that of {} on line {line}", earlier.label());
            (message, "MAC and IPv4 addresses belong to one host; by name, hosts may have the same".to_owned())
        },
    );
    for host in hosts {
        let Some(Located { value: AdapterSelector::Address(address), place }) = &host.pod_adapter else { continue };
        if host.node_address.as_ref().is_some_and(|node| node.value == *address) {
            let message = format!("{address} is the node address of {}, so this is its first adapter", host.label());
            let remedy = "name the second adapter: Docker's transparent network takes it whole, and would cut this \
                          host off";
            diagnostics.error_and_remedy(place, message, remedy);
        }
    }
}

fn check_control_planes(cluster: &DraftCluster, hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    if hosts.iter().any(|host| host.control_plane.is_none()) {
        return;
    }
    let control_planes: Vec<&DraftHost> = hosts.iter().filter(|host| host.control_plane == Some(true)).collect();
    let Some(last) = control_planes.last() else {
        if !hosts.is_empty() {
            let message = "no host is a control plane";
            let remedy = "give a Linux host roles = [\"control-plane\"], or [\"control-plane\", \"worker\"]";
            let place = Place { key: "host".to_owned(), span: cluster.place.span.clone() };
            diagnostics.error_and_remedy(&place, message, remedy);
        }
        return;
    };
    let count = control_planes.len();
    if count.is_multiple_of(2)
        && let Some(name) = &last.name
    {
        let warning = format!(
            "{count} control planes survive no more losses than {} would: etcd needs a majority, so an even number \
             gains nothing",
            count - 1
        );
        diagnostics.warn(&name.place, &warning);
    }
}

fn check_version(cluster: &DraftCluster, hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    let Some(Located { value: version, place }) = &cluster.kubernetes else { return };
    if *version < FIRST_FOR_WINDOWS && hosts.iter().any(|host| host.os == Some(Os::Windows)) {
        let message = format!(
            "Windows hosts need Kubernetes {FIRST_FOR_WINDOWS} or later, not {version}: there is no official Windows \
             archive before it, and older kubelets start no container on Docker 1.13 or later"
        );
        diagnostics.error_and_remedy(place, message, "write kubernetes = \"1.5.8\", the last of 1.5");
    }
}

fn check_ranges(cluster: &DraftCluster, hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) {
    let services = cluster.service_cidr.as_ref();
    if let Some(Located { value, place }) = services {
        if value.prefix_len() < SHORTEST_SERVICE_PREFIX {
            let message = format!("{value} is too large: Kubernetes takes at most /{SHORTEST_SERVICE_PREFIX}");
            diagnostics.error_and_remedy(place, message, "a /16 has 65536 service addresses");
        } else if value.prefix_len() > LONGEST_SERVICE_PREFIX {
            let message = format!("{value} has too little room for services: /{LONGEST_SERVICE_PREFIX} is the least");
            diagnostics.error_and_remedy(place, message, "a /16 has 65536 service addresses");
        }
    }
    if let (Some(pods), Some(services)) = (&cluster.pod_cidr, services)
        && network::overlap(pods.value, services.value)
    {
        let message = format!("the service range {} overlaps the pod range {}", services.value, pods.value);
        diagnostics.error_and_remedy(&services.place, message, "take two ranges that share no address");
    }
    for (range, what) in [(&cluster.pod_cidr, "pod"), (&cluster.service_cidr, "service")] {
        let Some(range) = range else { continue };
        for node in hosts.iter().filter_map(|host| host.node_address.as_ref()) {
            if range.value.contains(&node.value) {
                diagnostics.error_with(&node.place, || {
                    let message = format!("the node address {} lies in the {what} range {}", node.value, range.value);
                    (message, Some(format!("take a {what} range that contains no node")))
                });
            }
        }
    }
    if let Some(services) = services
        && hosts.iter().any(|host| host.os == Some(Os::Windows))
    {
        check_classful(cluster, services, hosts, diagnostics);
    }
}

/// On Windows hosts the service range brings its classful network along (facts B.6). What overlaps the range itself has
/// been told already.
fn check_classful(
    cluster: &DraftCluster,
    services: &Located<Ipv4Net>,
    hosts: &[DraftHost],
    diagnostics: &mut Diagnostics<'_>,
) {
    let dragged_in = network::service_networks(services.value);
    let why = |what: String| {
        format!(
            "on Windows hosts the service range {} takes all of {dragged_in}, {what}: kube-proxy adds service \
             addresses without a mask, and Windows then takes the classful one",
            services.value
        )
    };
    let remedy = "take a service range whose classful network nothing else uses, such as 172.30.0.0/16";
    let pods = cluster.pod_cidr.as_ref().map(|pods| pods.value);
    if let Some(pods) = pods
        && network::overlap(pods, dragged_in)
        && !network::overlap(pods, services.value)
    {
        diagnostics.error_and_remedy(&services.place, why(format!("which overlaps the pod range {pods}")), remedy);
    }
    let caught: Vec<String> = hosts
        .iter()
        .filter_map(|host| host.node_address.as_ref().map(|node| (host, node.value)))
        .filter(|(_, node)| dragged_in.contains(node) && !services.value.contains(node))
        .map(|(host, node)| format!("{} ({node})", host.label()))
        .collect();
    if let Some(first) = caught.first() {
        let more = match caught.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let what = format!("in which the node {first} lies{more}");
        diagnostics.error_and_remedy(&services.place, why(what), remedy);
    }
}

/// The pod subnets of all hosts, in order; none if an error was noted about them or about what they depend on.
fn check_pod_subnets(
    cluster: &DraftCluster,
    hosts: &[DraftHost],
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Vec<Ipv4Net>> {
    let (pods, prefix) = (cluster.pod_cidr.as_ref()?, cluster.node_pod_prefix.as_ref()?);
    let (pod_cidr, node_pod_prefix) = (pods.value, prefix.value);
    if node_pod_prefix < pod_cidr.prefix_len() {
        let message = format!("one node's pod subnet of /{node_pod_prefix} does not fit into the pod range {pod_cidr}");
        let remedy = format!("write node_pod_prefix = {} or more, or take a larger pod_cidr", pod_cidr.prefix_len());
        diagnostics.error_and_remedy(&prefix.place, message, remedy);
        return None;
    }
    if node_pod_prefix - pod_cidr.prefix_len() > MOST_NODE_SUBNET_BITS {
        let message = format!(
            "{pod_cidr} has more than 65536 subnets of /{node_pod_prefix}, which Kubernetes' controller-manager refuses"
        );
        let remedy = format!("write node_pod_prefix = {} or less", pod_cidr.prefix_len() + MOST_NODE_SUBNET_BITS);
        diagnostics.error_and_remedy(&prefix.place, message, remedy);
        return None;
    }
    let mut valid = true;
    for Located { value: subnet, place } in hosts.iter().filter_map(|host| host.pod_cidr.as_located()) {
        if !pod_cidr.contains(subnet) {
            let message = format!("{subnet} lies outside the cluster's pod range {pod_cidr}");
            diagnostics.error_and_remedy(
                place,
                message,
                "choose a part of it, or remove pod_cidr to have one allotted",
            );
            valid = false;
        } else if subnet.prefix_len() != node_pod_prefix {
            let message = format!("{subnet} is a /{}, but node_pod_prefix is {node_pod_prefix}", subnet.prefix_len());
            diagnostics.error_and_remedy(place, message, "all nodes have pod subnets of one length");
            valid = false;
        }
    }
    valid &= refuse_overlapping_subnets(hosts, diagnostics);
    valid &= hosts.iter().all(|host| !matches!(host.pod_cidr, Reading::Invalid));
    let room = network::subnet_count(pod_cidr, node_pod_prefix);
    if room < hosts.len() as u64 {
        let message = format!(
            "{pod_cidr} has room for {room} pod subnets of /{node_pod_prefix}, but there are {} hosts",
            hosts.len()
        );
        diagnostics.error_and_remedy(&pods.place, message, "take a larger pod_cidr, or a longer node_pod_prefix");
        valid = false;
    }
    if !valid {
        return None;
    }
    let given: Vec<Option<Ipv4Net>> =
        hosts.iter().map(|host| host.pod_cidr.as_located().map(|subnet| subnet.value)).collect();
    network::allot_pod_subnets(pod_cidr, node_pod_prefix, &given)
}

/// Networks nest, so in the order of their addresses each overlaps its predecessor, or the one that contains it, if any.
fn refuse_overlapping_subnets(hosts: &[DraftHost], diagnostics: &mut Diagnostics<'_>) -> bool {
    let mut subnets: Vec<(&DraftHost, &Located<Ipv4Net>)> =
        hosts.iter().filter_map(|host| host.pod_cidr.as_located().map(|subnet| (host, subnet))).collect();
    subnets.sort_by_key(|(_, subnet)| (subnet.value.network(), subnet.value.prefix_len(), subnet.place.span.start));
    let mut valid = true;
    let mut widest: Option<(&DraftHost, &Located<Ipv4Net>)> = None;
    for (host, subnet) in subnets {
        match widest {
            Some((other, taken)) if network::overlap(taken.value, subnet.value) => {
                let line = diagnostics.line(&taken.place);
                let message = format!(
                    "{} overlaps {}, the pod subnet of {} on line {line}",
                    subnet.value,
                    taken.value,
                    other.label()
                );
                diagnostics.error_and_remedy(&subnet.place, message, "each node has a pod subnet of its own");
                valid = false;
            }
            _ => widest = Some((host, subnet)),
        }
    }
    valid
}
