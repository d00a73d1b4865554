//! Which certificates a cluster needs: subject, names and purpose of each (facts B.2). File names are kubeadm's.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use k8swin_inventory::{Cluster, Host};

/// The group of administrators.
const MASTERS: &str = "system:masters";

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Authority {
    /// The cluster's CA.
    Cluster,
    /// etcd's CA: a certificate of the cluster opens no door to its store.
    Etcd,
}

impl Authority {
    pub(super) const ALL: [Self; 2] = [Self::Cluster, Self::Etcd];

    /// The name of its files without extension.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::Etcd => "etcd/ca",
        }
    }

    /// The subject's common name.
    pub(super) fn common_name(self) -> &'static str {
        match self {
            Self::Cluster => "kubernetes",
            Self::Etcd => "etcd-ca",
        }
    }
}

/// A name or address that a server answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ServerName {
    /// A DNS name.
    Dns(String),
    /// An IPv4 address.
    Address(Ipv4Addr),
}

impl From<&str> for ServerName {
    fn from(name: &str) -> Self {
        name.parse().map_or_else(|_| Self::Dns(name.to_owned()), Self::Address)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    /// To serve.
    pub(super) server: bool,
    /// To log in.
    pub(super) client: bool,
}

const SERVER: Purpose = Purpose { server: true, client: false };
const CLIENT: Purpose = Purpose { server: false, client: true };
/// Members of etcd log in at each other, and etcd's own gateway at its member, with the certificate that they serve with.
const BOTH: Purpose = Purpose { server: true, client: true };

/// A certificate that the cluster needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Specification {
    /// The name of its files without extension.
    pub(super) stem: String,
    /// Who signs it.
    pub(super) authority: Authority,
    /// The user's name for Kubernetes.
    pub(super) common_name: String,
    /// The user's group for Kubernetes.
    pub(super) organization: Option<&'static str>,
    /// Names of the server.
    pub(super) names: BTreeSet<ServerName>,
    /// What it is for.
    pub(super) purpose: Purpose,
}

/// The name of the files of a host's own certificate, without extension.
pub(crate) fn host_stem(host: &str, name: &str) -> String {
    format!("hosts/{host}/{name}")
}

/// The certificates of all components and hosts.
pub(super) fn specifications(cluster: &Cluster) -> Vec<Specification> {
    let mut all = vec![
        Specification {
            stem: "apiserver".into(),
            authority: Authority::Cluster,
            common_name: "kube-apiserver".into(),
            organization: None,
            names: apiserver_names(cluster),
            purpose: SERVER,
        },
        client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some(MASTERS)),
        Specification {
            authority: Authority::Etcd,
            ..client("apiserver-etcd-client", "kube-apiserver-etcd-client", None)
        },
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("kube-proxy", "system:kube-proxy", None),
        client("admin", "kubernetes-admin", Some(MASTERS)),
    ];
    for host in cluster.nodes() {
        let names = BTreeSet::from([ServerName::Dns(host.name.clone()), ServerName::Address(host.node_address)]);
        let user = format!("system:node:{}", host.name);
        all.push(Specification {
            stem: host_stem(&host.name, "kubelet"),
            authority: Authority::Cluster,
            common_name: host.name.clone(),
            organization: None,
            names,
            purpose: SERVER,
        });
        all.push(client(&host_stem(&host.name, "kubelet-client"), &user, Some("system:nodes")));
    }
    for host in cluster.control_planes() {
        for name in ["etcd/server", "etcd/peer"] {
            all.push(Specification {
                stem: host_stem(&host.name, name),
                authority: Authority::Etcd,
                common_name: host.name.clone(),
                organization: None,
                names: etcd_names(host),
                purpose: BOTH,
            });
        }
    }
    all
}

fn client(stem: &str, user: &str, group: Option<&'static str>) -> Specification {
    Specification {
        stem: stem.to_owned(),
        authority: Authority::Cluster,
        common_name: user.to_owned(),
        organization: group,
        names: BTreeSet::new(),
        purpose: CLIENT,
    }
}

fn apiserver_names(cluster: &Cluster) -> BTreeSet<ServerName> {
    let mut names: BTreeSet<_> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"]
            .map(ServerName::from)
            .into();
    names.insert(ServerName::Dns(format!("kubernetes.default.svc.{}", cluster.dns_domain)));
    // The service `kubernetes` has the first address of the range.
    names.extend(cluster.service_cidr.hosts().next().map(ServerName::Address));
    for host in cluster.control_planes() {
        names.insert(ServerName::Address(host.node_address));
        names.insert(ServerName::from(host.address.as_str()));
        names.insert(ServerName::from(host.name.as_str()));
        let endpoint = host.api_endpoint.as_deref().map(|text| text.rsplit_once(':').map_or(text, |(name, _)| name));
        names.extend(endpoint.map(ServerName::from));
    }
    names
}

fn etcd_names(host: &Host) -> BTreeSet<ServerName> {
    let mut names: BTreeSet<_> = [host.name.as_str(), "localhost", "127.0.0.1"].map(ServerName::from).into();
    names.insert(ServerName::Address(host.node_address));
    names
}
