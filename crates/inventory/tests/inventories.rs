//! The inventories of the repository parse, mean what their comments say, and have twins.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{
    AdapterSelector, ArtifactSource, DockerZip, ForwardingMode, SecretSource, ServerTrust, System, UnknownHostKey,
    WinRmTransport, WindowsHost, ZipSource,
};
use k8swin_inventory::twin::{Twin, TwinDocker, TwinHost, twin};
use k8swin_inventory::{Cluster, Host, parse};
use k8swin_protocol::Sha256;

const SEED: &str = include_str!("../../../inventories/seed.toml");
const HA: &str = include_str!("../../../inventories/ha.toml");
const MINIMAL: &str = include_str!("../../../inventories/minimal.toml");

fn parsed(text: &str) -> Cluster {
    parse(text, Utf8Path::new("inventories/inventory.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn windows(host: &Host) -> &WindowsHost {
    match &host.system {
        System::Windows(windows) => windows,
        System::Linux(_) => panic!("{} is a Linux host", host.name),
    }
}

#[test]
fn seed_is_the_walkthrough() {
    let cluster = parsed(SEED);
    assert_eq!(cluster.warnings, Vec::<String>::new());
    assert_eq!(cluster.kubernetes.to_string(), "1.5.8");
    let hosts: Vec<String> = cluster
        .hosts
        .iter()
        .map(|host| format!("{} {} {} {}", host.name, host.node_address, host.pod_cidr, host.pod_gateway()))
        .collect();
    assert_eq!(
        hosts,
        [
            "lin01 10.5.6.215 192.168.0.0/24 192.168.0.1",
            "win01 10.5.6.216 192.168.1.0/24 192.168.1.1",
            "win02 10.5.6.218 192.168.2.0/24 192.168.2.1",
        ]
    );
    let lin01 = cluster.first_control_plane();
    assert_eq!((lin01.name.as_str(), lin01.is_worker(), lin01.port()), ("lin01", true, 22));
    for name in ["win01", "win02"] {
        let win = windows(cluster.host(name).unwrap());
        assert_eq!(win.pod_adapter, AdapterSelector::Name("Ethernet 2".into()));
        assert_eq!(win.winrm.password, SecretSource::Env("K8SWIN_WINDOWS_PASSWORD".into()));
        assert_eq!((win.winrm.port, &win.winrm.transport), (5986, &WinRmTransport::Https(ServerTrust::Platform)));
        assert_eq!(win.forwarding, ForwardingMode::Rras);
    }
}

#[test]
fn minimal_has_the_defaults() {
    let cluster = parsed(MINIMAL);
    assert_eq!((cluster.dns_domain.as_str(), cluster.api_port, cluster.node_pod_prefix), ("cluster.local", 6443, 24));
    assert_eq!(cluster.artifacts.source, ArtifactSource::Release { mirror: None });
    let win = windows(cluster.host("win01").unwrap());
    assert_eq!((win.winrm.user.as_str(), &win.winrm.password), ("Administrator", &SecretSource::Prompt));
    assert_eq!(win.pause_base_image, "mcr.microsoft.com/windows/nanoserver:sac2016");
    assert_eq!(cluster.host("win01").unwrap().pod_cidr, "192.168.1.0/24".parse().unwrap());
}

#[test]
fn ha_uses_every_way_to_reach_a_host() {
    let cluster = parsed(HA);
    assert_eq!(cluster.warnings.len(), 1, "{:?}", cluster.warnings);
    assert!(cluster.warnings[0].contains("message encryption"), "{:?}", cluster.warnings);
    assert_eq!(
        cluster.control_planes().map(|host| host.name.as_str()).collect::<Vec<_>>(),
        ["control01", "control02", "control03"]
    );
    let subnets: Vec<String> = cluster.hosts.iter().map(|host| host.pod_cidr.to_string()).collect();
    assert_eq!(
        subnets,
        [
            "10.64.0.0/25",
            "10.64.0.128/25",
            "10.64.1.0/25",
            "10.64.1.128/25",
            "10.64.2.0/25",
            "10.64.2.128/25",
            "10.64.8.0/25",
        ]
    );
    let System::Linux(worker) = &cluster.host("worker01").unwrap().system else { panic!("worker01 is Linux") };
    assert_eq!(worker.ssh.unknown_host_key, UnknownHostKey::Refuse);
    assert_eq!(worker.ssh.identity, Some("~/.ssh/cluster_rsa".into()));
    assert!(worker.worker && !worker.control_plane);

    let [win01, win02, win03] = ["win01", "win02", "win03"].map(|name| windows(cluster.host(name).unwrap()));
    assert_eq!(
        win01.winrm.transport,
        WinRmTransport::Https(ServerTrust::Ca("inventories/certificates/winrm-ca.pem".into()))
    );
    assert_eq!(win01.winrm.password, SecretSource::File("inventories/secrets/windows-password".into()));
    assert_eq!(win01.pod_adapter, AdapterSelector::Mac("00-15-5d-14-01-31".into()));
    assert_eq!((win02.winrm.port, &win02.winrm.transport), (5985, &WinRmTransport::Http));
    assert_eq!(win02.pod_adapter, AdapterSelector::Address(Ipv4Addr::new(10, 30, 0, 32)));
    assert!(
        matches!(&win03.winrm.transport, WinRmTransport::Https(ServerTrust::Pinned(pin)) if pin.starts_with("7b5f0a"))
    );
    assert_eq!(win03.forwarding, ForwardingMode::PerAdapter);
}

/// A twin for all hosts: one loopback address, a port for each.
fn twin_of(cluster: &Cluster) -> Twin {
    let hosts: BTreeMap<String, TwinHost> = cluster
        .hosts
        .iter()
        .zip(20_000..)
        .map(|(host, port)| {
            let host_twin = TwinHost {
                address: Ipv4Addr::LOCALHOST,
                port,
                user: "lab".into(),
                identity: Some("keys/id_rsa".into()),
                known_hosts: Some("known_hosts".into()),
                ca: Some("winrm-ca.pem".into()),
                password_file: (host.os() == k8swin_inventory::cluster::Os::Windows).then(|| "password".into()),
                api_endpoint: Some(format!("127.0.0.1:{}", port + 1000)),
                docker: Some(TwinDocker { zip: "docker.zip".into(), sha256: Sha256::of(b"simulated") }),
            };
            (host.name.clone(), host_twin)
        })
        .collect();
    Twin {
        title: "The simulated twin",
        kubernetes: None,
        hosts,
        artifacts_path: "artifacts".into(),
        agents_path: "agents".into(),
    }
}

/// What must hold for the twin of any inventory.
fn check_twin(original: &str) -> String {
    let file = Utf8Path::new("lab/inventory.toml");
    let before = parse(original, file).unwrap_or_else(|errors| panic!("{errors}"));
    let text = twin(original, file, &twin_of(&before)).unwrap_or_else(|errors| panic!("{errors}"));
    let after = parse(&text, file).unwrap_or_else(|errors| panic!("{errors}\n{text}"));

    assert_eq!(after.artifacts.source, ArtifactSource::Local { path: Utf8PathBuf::from("lab/artifacts") });
    assert_eq!(after.artifacts.agents, Some("lab/agents".into()));
    assert_eq!(after.hosts.len(), before.hosts.len());
    for (twin, host) in after.hosts.iter().zip(&before.hosts) {
        assert_eq!(twin.address, "127.0.0.1");
        assert_eq!((&twin.name, twin.node_address, twin.pod_cidr), (&host.name, host.node_address, host.pod_cidr));
        assert_eq!((twin.is_control_plane(), twin.is_worker()), (host.is_control_plane(), host.is_worker()));
        assert_eq!(twin.api_endpoint.is_some(), host.is_control_plane());
        match (&twin.system, &host.system) {
            (System::Linux(linux), System::Linux(_)) => {
                assert_eq!(linux.ssh.identity, Some("lab/keys/id_rsa".into()));
                assert_eq!(linux.ssh.known_hosts, Some("lab/known_hosts".into()));
                assert_eq!((&linux.ssh.passphrase, &linux.ssh.password, &linux.ssh.proxy_jump), (&None, &None, &None));
            }
            (System::Windows(twin), System::Windows(host)) => {
                assert_eq!(twin.winrm.password, SecretSource::File("lab/password".into()));
                assert_eq!((&twin.pod_adapter, twin.forwarding), (&host.pod_adapter, host.forwarding));
                match (&twin.winrm.transport, &host.winrm.transport) {
                    (WinRmTransport::Http, WinRmTransport::Http) => {}
                    (WinRmTransport::Https(ServerTrust::Ca(ca)), WinRmTransport::Https(_)) => {
                        assert_eq!(ca, "lab/winrm-ca.pem");
                    }
                    transports => panic!("{transports:?}"),
                }
            }
            _ => panic!("{} changed its operating system", host.name),
        }
    }
    text
}

#[test]
fn every_inventory_has_a_twin() {
    check_twin(SEED);
    check_twin(MINIMAL);
    insta::assert_snapshot!(check_twin(HA));
}

/// As Windows' editors save it: a byte order mark, and two characters at the end of each line.
#[test]
fn inventories_from_windows_editors() {
    let text = format!("\u{feff}{}", SEED.replace('\n', "\r\n"));
    assert_eq!(parsed(&text), parsed(SEED));
    check_twin(&text);
    let broken = text.replace("schema = 1", "shema = 1");
    let errors = parse(&broken, Utf8Path::new("inventory.toml")).unwrap_err();
    assert_eq!(
        errors.to_string().lines().collect::<Vec<_>>()[..4],
        ["inventory.toml:10: shema: unknown key; did you mean `schema`?", "   |", "10 | shema = 1", "   | ^^^^^"]
    );
}

/// The same inventory in TOML's other spellings: dotted keys, inline tables, sub-tables of a host.
#[test]
fn twins_of_other_spellings() {
    let dotted = r#"
cluster.name = "dotted"
cluster.kubernetes = "1.20.15"
cluster.pod_cidr = "192.168.0.0/16"
cluster.service_cidr = "172.30.0.0/16"
cluster.artifacts.source = "build"
cluster.artifacts.repository = "../kubernetes"
defaults.windows.password.env = "X"
defaults.linux = { user = "me", port = 2222, password = "prompt" }
host = [
    { name = "a", os = "linux", roles = ["control-plane"], address = "10.0.0.1" }, # first
    { name = "b", os = "windows", address = "10.0.0.2", pod_adapter = "x", password.env = "Y" },
]
"#;
    let text = check_twin(dotted);
    assert!(!text.contains("prompt") && !text.contains("kubernetes\""), "{text}");
    let nested = r#"
[[host]]
name = "a"
os = "linux"
roles = ["control-plane"]
address = "10.0.0.1"
[host.password]
file = "secret"
[[host]]
name = "b"
os = "windows"
address = "10.0.0.2"
pod_adapter = "x"
[host.password]
prompt = true
[cluster.artifacts]
source = "local"
path = "folder"
[cluster]
name = "nested"
kubernetes = "1.5.3"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
"#;
    let text = check_twin(nested);
    assert!(!text.contains("prompt") && !text.contains("secret"), "{text}");
}

#[test]
fn a_host_without_a_twin_is_an_error() {
    let file = Utf8Path::new("inventory.toml");
    let mut overrides = twin_of(&parsed(SEED));
    overrides.hosts.remove("win02");
    let errors = twin(SEED, file, &overrides).unwrap_err();
    assert_eq!(errors.errors().len(), 1);
    assert!(errors.to_string().contains("`win02` has no twin"), "{errors}");
}

#[test]
fn a_windows_twin_needs_a_password_file() {
    let file = Utf8Path::new("inventory.toml");
    let mut overrides = twin_of(&parsed(SEED));
    overrides.hosts.get_mut("win01").unwrap().password_file = None;
    let errors = twin(SEED, file, &overrides).unwrap_err();
    assert!(errors.to_string().contains("the key `password` is missing"), "{errors}");
}

#[test]
fn dockers_zip_is_for_one_host_or_for_all_and_the_twin_has_another_one() {
    let digest = Sha256::of(b"docker");
    let zip = |zip: &str, version: &str| {
        format!("docker = {{ zip = \"{zip}\", sha256 = \"{digest}\", version = \"{version}\" }}\n")
    };
    let for_all = MINIMAL.replace(
        "[[host]]\nname = \"lin",
        &format!("[defaults.windows]\n{}\n[[host]]\nname = \"lin", zip("docker.zip", "17.06.2-ee-16")),
    );
    let cluster = parsed(&for_all);
    let docker = cluster.hosts.iter().filter_map(|host| match &host.system {
        System::Windows(windows) => windows.docker.clone(),
        System::Linux(_) => None,
    });
    let docker: Vec<DockerZip> = docker.collect();
    let expected = DockerZip {
        source: ZipSource::File("inventories/docker.zip".into()),
        sha256: digest,
        version: "17.06.2-ee-16".into(),
    };
    assert_eq!(docker, [expected]);
    let twin = check_twin(&for_all);
    assert!(!twin.contains(&digest.to_string()), "{twin}");
    assert!(twin.contains("docker.zip") && twin.contains(&Sha256::of(b"simulated").to_string()), "{twin}");
    assert!(twin.contains("version = \"17.06.2-ee-16\""), "{twin}");

    let address = MINIMAL.replace(
        "os = \"windows\"\n",
        &format!("os = \"windows\"\n{}", zip("https://a.example/d.zip", "1.12.2-cs2-ws-beta")),
    );
    assert_ne!(address, MINIMAL);
    check_twin(&address);
}
