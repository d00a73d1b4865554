//! What the inventory's tables say, key by key, with places: defaults are merged in, but nothing is compared yet.

use std::net::Ipv4Addr;

use camino::Utf8Path;
use ipnet::Ipv4Net;
use toml::de::{DeTable, DeValue};

use crate::checks::Check;
use crate::cluster::{
    AdapterSelector, ArtifactSource, Artifacts, DockerZip, KubernetesVersion, LinuxHost, Os, System, TestImage,
};
use crate::connection::{LinuxKeys, WindowsKeys};
use crate::diagnostics::{Diagnostics, Located, Place};
use crate::schema::{ARTIFACTS, CLUSTER, CONNECTION, DEFAULTS, HOST, LINUX, TOP, WINDOWS};
use crate::section::{Problem, Reading, Section, type_name};
use crate::values;

/// The whole file.
pub(crate) struct Draft {
    pub(crate) cluster: Option<DraftCluster>,
    pub(crate) hosts: Vec<DraftHost>,
}

/// `[cluster]`.
pub(crate) struct DraftCluster {
    pub(crate) place: Place,
    pub(crate) name: Option<String>,
    pub(crate) kubernetes: Option<Located<KubernetesVersion>>,
    pub(crate) pod_cidr: Option<Located<Ipv4Net>>,
    pub(crate) service_cidr: Option<Located<Ipv4Net>>,
    /// None if it is there and wrong.
    pub(crate) node_pod_prefix: Option<Located<u8>>,
    pub(crate) dns_domain: String,
    pub(crate) api_port: u16,
    pub(crate) windows_test_image: Option<TestImage>,
    pub(crate) artifacts: Option<Artifacts>,
    pub(crate) ignore: Vec<Check>,
}

/// A `[[host]]`.
pub(crate) struct DraftHost {
    pub(crate) name: Option<Located<String>>,
    pub(crate) os: Option<Os>,
    pub(crate) address: Option<Located<String>>,
    pub(crate) node_address: Option<Located<Ipv4Addr>>,
    pub(crate) api_endpoint: Option<String>,
    pub(crate) pod_cidr: Reading<Ipv4Net>,
    pub(crate) ignore: Vec<Check>,
    /// The port that is connected to, as far as the inventory says.
    pub(crate) port: Option<u16>,
    /// None if the roles are wrong.
    pub(crate) control_plane: Option<bool>,
    pub(crate) pod_adapter: Option<Located<AdapterSelector>>,
    pub(crate) docker: Option<Located<DockerZip>>,
    pub(crate) system: Option<System>,
}

const DEFAULT_NODE_POD_PREFIX: u8 = 24;
const DEFAULT_DNS_DOMAIN: &str = "cluster.local";
const DEFAULT_API_PORT: u16 = 6443;
const DEFAULT_TEST_PORT: u16 = TestImage::DEFAULT_PORT;

/// Reads the whole file.
pub(crate) fn read(root: &DeTable<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Draft {
    let top = Section::new(root, Place { key: String::new(), span: 0..0 });
    top.refuse_unknown(&[TOP], diagnostics, |name| {
        let belongs = |keys: &[crate::schema::Key]| keys.iter().any(|key| key.name == name);
        belongs(CLUSTER).then(|| format!("`{name}` belongs in [cluster]"))
    });
    top.read("schema", diagnostics, values::schema);
    let cluster = if top.has("cluster") {
        top.table("cluster", diagnostics).map(|section| read_cluster(&section, folder, diagnostics))
    } else {
        top.missing("cluster", TOP, diagnostics);
        None
    };
    let defaults = read_defaults(&top, folder, diagnostics);
    Draft { cluster, hosts: read_hosts(&top, &defaults, folder, diagnostics) }
}

fn read_cluster(section: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> DraftCluster {
    section.refuse_unknown(&[CLUSTER], diagnostics, |name| {
        let belongs = ARTIFACTS.iter().any(|key| key.name == name);
        belongs.then(|| format!("`{name}` belongs in [cluster.artifacts]"))
    });
    let node_pod_prefix = section.read("node_pod_prefix", diagnostics, values::node_pod_prefix);
    let default_prefix = Located { value: DEFAULT_NODE_POD_PREFIX, place: section.place_of("node_pod_prefix") };
    DraftCluster {
        place: section.place.clone(),
        name: section.required("name", CLUSTER, diagnostics, values::label).value(),
        kubernetes: section.required("kubernetes", CLUSTER, diagnostics, values::kubernetes).located(),
        pod_cidr: section.required("pod_cidr", CLUSTER, diagnostics, values::network).located(),
        service_cidr: section.required("service_cidr", CLUSTER, diagnostics, values::network).located(),
        node_pod_prefix: node_pod_prefix.or(Reading::Valid(default_prefix)).located(),
        dns_domain: section
            .read("dns_domain", diagnostics, values::subdomain)
            .value()
            .unwrap_or_else(|| DEFAULT_DNS_DOMAIN.to_owned()),
        api_port: section.read("api_port", diagnostics, values::port).value().unwrap_or(DEFAULT_API_PORT),
        windows_test_image: read_test_image(section, diagnostics),
        artifacts: read_artifacts(section, folder, diagnostics),
        ignore: section.read("ignore", diagnostics, values::checks).value().unwrap_or_default(),
    }
}

fn read_test_image(section: &Section<'_>, diagnostics: &mut Diagnostics<'_>) -> Option<TestImage> {
    let image = section.read("windows_test_image", diagnostics, values::word);
    let port = section.read("windows_test_port", diagnostics, values::port);
    if let (Reading::Absent, Some(port)) = (&image, port.as_located()) {
        diagnostics.error(&port.place, "there is no windows_test_image that serves there");
    }
    let port = port.value().unwrap_or(DEFAULT_TEST_PORT);
    image.value().map(|image| TestImage { image, port })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    Release,
    Local,
    Build,
}

const SOURCES: &[(&str, SourceKind)] =
    &[("release", SourceKind::Release), ("local", SourceKind::Local), ("build", SourceKind::Build)];

fn read_artifacts(cluster: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Option<Artifacts> {
    if !cluster.has("artifacts") {
        return Some(Artifacts { source: ArtifactSource::Release { mirror: None }, agents: None });
    }
    let section = cluster.table("artifacts", diagnostics)?;
    section.refuse_unknown(&[ARTIFACTS], diagnostics, |_| None);
    let kind = match section.read("source", diagnostics, |value| values::one_of(value, SOURCES)) {
        Reading::Absent => SourceKind::Release,
        Reading::Invalid => return None,
        Reading::Valid(kind) => kind.value,
    };
    for (key, only_with, word) in [
        ("mirror", SourceKind::Release, "release"),
        ("path", SourceKind::Local, "local"),
        ("repository", SourceKind::Build, "build"),
        ("tag", SourceKind::Build, "build"),
        ("go", SourceKind::Build, "build"),
    ] {
        if section.has(key) && kind != only_with {
            let message = format!("`{key}` has a meaning only with source = \"{word}\"");
            diagnostics.error_and_remedy(&section.place_of(key), message, "remove it, or change the source");
        }
    }
    let path = |value: &DeValue<'_>| values::path(value, folder);
    let agents = section.read("agents", diagnostics, path).value();
    let source = match kind {
        SourceKind::Release => {
            ArtifactSource::Release { mirror: section.read("mirror", diagnostics, values::mirror).value() }
        }
        SourceKind::Local => {
            ArtifactSource::Local { path: section.required("path", ARTIFACTS, diagnostics, path).value()? }
        }
        SourceKind::Build => {
            let repository = section
                .required("repository", ARTIFACTS, diagnostics, |value| values::repository(value, folder))
                .value();
            let tag = section.read("tag", diagnostics, values::tag).value();
            let go = section.read("go", diagnostics, path).value();
            ArtifactSource::Build { repository: repository?, tag, go }
        }
    };
    Some(Artifacts { source, agents })
}

#[derive(Default)]
struct Defaults {
    linux: LinuxKeys,
    windows: WindowsKeys,
}

fn read_defaults(top: &Section<'_>, folder: &Utf8Path, diagnostics: &mut Diagnostics<'_>) -> Defaults {
    let mut defaults = Defaults::default();
    let Some(section) = top.table("defaults", diagnostics) else { return defaults };
    section.refuse_unknown(&[DEFAULTS], diagnostics, |name| {
        let is_key = [CONNECTION, LINUX, WINDOWS].into_iter().flatten().any(|key| key.name == name);
        is_key.then(|| format!("`{name}` belongs in [defaults.linux] or [defaults.windows]"))
    });
    let only_in_host = |name: &str| {
        let belongs = HOST.iter().any(|key| key.name == name);
        belongs.then(|| format!("`{name}` belongs in a [[host]]: it cannot be the same for all"))
    };
    if let Some(linux) = section.table("linux", diagnostics) {
        linux.refuse_unknown(&[CONNECTION, LINUX], diagnostics, |name| {
            only_in_host(name).or_else(|| other_system(name, WINDOWS, "Windows"))
        });
        defaults.linux = LinuxKeys::read(&linux, folder, diagnostics);
    }
    if let Some(windows) = section.table("windows", diagnostics) {
        windows.refuse_unknown(&[CONNECTION, WINDOWS], diagnostics, |name| {
            only_in_host(name).or_else(|| other_system(name, LINUX, "Linux"))
        });
        defaults.windows = WindowsKeys::read(&windows, folder, diagnostics);
    }
    defaults
}

fn other_system(name: &str, keys: &[crate::schema::Key], system: &str) -> Option<String> {
    keys.iter().any(|key| key.name == name).then(|| format!("`{name}` is a key of {system} hosts"))
}

fn read_hosts(
    top: &Section<'_>,
    defaults: &Defaults,
    folder: &Utf8Path,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<DraftHost> {
    let Some(value) = top.get("host") else {
        let message = "there is no host";
        diagnostics.error_and_remedy(&top.place_of("host"), message, "write a [[host]] for each host");
        return Vec::new();
    };
    let Some(array) = value.get_ref().as_array() else {
        let place = Place { key: "host".to_owned(), span: value.span() };
        let message = format!("expected an array of tables, found {}", type_name(value.get_ref()));
        diagnostics.error_and_remedy(&place, message, "write [[host]], with two brackets, for each host");
        return Vec::new();
    };
    array
        .iter()
        .filter_map(|host| Section::open(host, "host", diagnostics))
        .collect::<Vec<_>>()
        .iter()
        .map(|section| read_host(section, defaults, folder, diagnostics))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    ControlPlane,
    Worker,
}

const ROLES: &[(&str, Role)] = &[("control-plane", Role::ControlPlane), ("worker", Role::Worker)];
const SYSTEMS: &[(&str, Os)] = &[("linux", Os::Linux), ("windows", Os::Windows)];

fn read_host(
    section: &Section<'_>,
    defaults: &Defaults,
    folder: &Utf8Path,
    diagnostics: &mut Diagnostics<'_>,
) -> DraftHost {
    let name = section.required("name", HOST, diagnostics, values::subdomain).located();
    let os = section.required("os", HOST, diagnostics, |value| values::one_of(value, SYSTEMS)).value();
    let (known, other): (&[_], _) = match os {
        Some(Os::Linux) => (&[HOST, CONNECTION, LINUX], Some((WINDOWS, "Windows"))),
        Some(Os::Windows) => (&[HOST, CONNECTION, WINDOWS], Some((LINUX, "Linux"))),
        None => (&[HOST, CONNECTION, LINUX, WINDOWS], None),
    };
    section
        .refuse_unknown(known, diagnostics, |name| other.and_then(|(keys, system)| other_system(name, keys, system)));

    let address = section.required("address", HOST, diagnostics, values::address).located();
    let node_address = read_node_address(section, address.as_ref(), diagnostics);
    let pod_cidr = section.read("pod_cidr", diagnostics, values::network);
    let roles = read_roles(section, os, diagnostics);
    let has_role = |role| roles.as_ref().map(|roles| roles.contains(&role));
    let control_plane = has_role(Role::ControlPlane);
    let api_endpoint = section.read("api_endpoint", diagnostics, values::endpoint).value();
    if api_endpoint.is_some() && control_plane == Some(false) {
        let message = "only control-plane hosts run an API server, and this host is none";
        diagnostics.error_and_remedy(&section.place_of("api_endpoint"), message, "remove it");
    }
    let (mut pod_adapter, mut docker) = (None, None);
    let (port, system) = match os {
        Some(Os::Linux) => {
            let ssh = LinuxKeys::read(section, folder, diagnostics).or(&defaults.linux).resolve();
            (
                Some(ssh.port.unwrap_or(22)),
                control_plane
                    .zip(has_role(Role::Worker))
                    .map(|(control_plane, worker)| System::Linux(LinuxHost { control_plane, worker, ssh })),
            )
        }
        Some(Os::Windows) => {
            let keys = WindowsKeys::read(section, folder, diagnostics).or(&defaults.windows);
            pod_adapter = keys.pod_adapter.as_located().cloned();
            docker = keys.docker.as_located().cloned();
            let port = keys.port();
            (Some(port), keys.resolve(section, diagnostics).map(System::Windows))
        }
        None => (None, None),
    };
    let node_address = node_address.located();
    let ignore = section.read("ignore", diagnostics, values::checks).value().unwrap_or_default();
    DraftHost {
        name,
        os,
        address,
        node_address,
        api_endpoint,
        pod_cidr,
        ignore,
        port,
        control_plane,
        pod_adapter,
        docker,
        system,
    }
}

fn read_node_address(
    section: &Section<'_>,
    address: Option<&Located<String>>,
    diagnostics: &mut Diagnostics<'_>,
) -> Reading<Ipv4Addr> {
    let given = section.read("node_address", diagnostics, values::node_address);
    let (Reading::Absent, Some(address)) = (&given, address) else { return given };
    let Ok(node_address) = address.value.parse() else {
        let message = "a DNS name as address needs a node_address: routes and certificates want an IPv4 address";
        let remedy = "add node_address = \"…\", the address by which the other nodes reach this host";
        diagnostics.error_and_remedy(&address.place, message, remedy);
        return Reading::Invalid;
    };
    match values::routable(node_address) {
        Ok(()) => Reading::Valid(Located { value: node_address, place: address.place.clone() }),
        Err(Problem { message, remedy, .. }) => {
            diagnostics.error_with(&address.place, || (message, remedy));
            Reading::Invalid
        }
    }
}

/// The roles; a worker by default, and none if they are wrong. A Windows host has no other.
fn read_roles(section: &Section<'_>, os: Option<Os>, diagnostics: &mut Diagnostics<'_>) -> Option<Vec<Role>> {
    let reading = section.read("roles", diagnostics, |value| values::each_of(value, ROLES));
    let Located { value: roles, place } = match reading {
        Reading::Absent => return Some(vec![Role::Worker]),
        Reading::Invalid => return None,
        Reading::Valid(roles) => roles,
    };
    if os == Some(Os::Windows) && roles.contains(&Role::ControlPlane) {
        let message = "a Windows host cannot be a control plane: of Kubernetes only kubelet and kube-proxy run on \
                       Windows, while etcd, API server, controller-manager and scheduler need Linux";
        diagnostics.error_and_remedy(&place, message, "give the role to a Linux host, and remove roles here");
    }
    Some(roles)
}
