//! A sample of every kind of resource, on a fresh host and on one that has something of the kind.

use std::collections::BTreeMap;

use k8swin_agent::Host;
use k8swin_agent::platform::{
    Addressing, KubeOperation, Permissions, ServiceDefinition, ServiceImage, StartMode, SystemRoute,
};
use k8swin_agent::simulated::{HostSpec, SimulatedCluster, SimulatedHost};
use k8swin_protocol::resource::*;
use k8swin_protocol::wire::KubeCall;
use k8swin_protocol::{Os, Sha256};

use crate::support::*;

/// Resources, the host to apply them to, and the blobs that they need.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) host: fn() -> SimulatedHost,
    pub(crate) resources: HostResources,
    pub(crate) blobs: &'static [&'static [u8]],
}

const PROGRAM: &[u8] = &[7; 500_000];
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY----- canary";

pub(crate) fn samples() -> Vec<Sample> {
    [linux_samples(), windows_samples()].into_iter().flatten().collect()
}

fn linux_samples() -> Vec<Sample> {
    let sample =
        |name, host, resources| Sample { name, host, resources: on_linux(Phase::Files, resources), blobs: &[] };
    let secret = |file: &str, bytes| {
        LinuxResource::File(File {
            path: path(file),
            content: Content::Blob(blob(bytes)),
            protection: Protection::Secret,
        })
    };
    let text = |file: &str| {
        let content = Content::Text("hello\n".into());
        LinuxResource::File(File { path: path(file), content, protection: Protection::Public })
    };
    let directory = |folder: &str, purge| {
        LinuxResource::Directory(Directory { path: path(folder), protection: Protection::Secret, purge })
    };
    vec![
        sample(
            "directories",
            linux,
            vec![directory("/etc/kubernetes", false), directory("/etc/kubernetes/pki", false)],
        ),
        sample("directory below missing ones", linux, vec![directory("/etc/a/b/c", false)]),
        sample("directory that was there", with_etc_kubernetes, vec![directory("/etc/kubernetes", true)]),
        sample("public file", linux, vec![text("/etc/hello")]),
        sample("files below missing folders", linux, vec![text("/etc/cni/net.d/1"), text("/etc/cni/net.d/2")]),
        sample("file that was there", with_etc_kubernetes, vec![text("/etc/kubernetes/mine")]),
        Sample {
            blobs: &[KEY, PROGRAM],
            ..sample(
                "blobs",
                with_etc_kubernetes,
                vec![secret("/opt/k8swin/bin/program", PROGRAM), secret("/etc/kubernetes/mine", KEY)],
            )
        },
        sample("the agent's bytes", linux, vec![secret("/opt/k8swin/bin/agent", AGENT)]),
        sample(
            "kernel",
            linux,
            vec![
                LinuxResource::KernelModule(KernelModule { name: "br_netfilter".into() }),
                LinuxResource::Sysctl(Sysctl { key: "net.ipv4.conf.all.rp_filter".into(), value: "2".into() }),
                LinuxResource::Sysctl(Sysctl { key: "net.bridge.bridge-nf-call-iptables".into(), value: "1".into() }),
                LinuxResource::Sysctl(Sysctl { key: "net.ipv4.ip_forward".into(), value: "1".into() }),
            ],
        ),
        sample("unit with an empty folder", with_data_folder, vec![directory("/var/lib/etcd", true), unit("etcd")]),
        sample("unit", with_program, vec![directory("/var/lib/etcd", true), unit("etcd")]),
        sample("unit that was there", with_foreign_unit, vec![unit("etcd")]),
        sample("network service", linux, vec![route([10, 5, 6, 218]), network_unit()]),
        sample("route", linux, vec![route([10, 5, 6, 218])]),
        sample("route that was there", with_foreign_route, vec![route([10, 5, 6, 218])]),
        sample(
            "forwarding",
            linux,
            vec![LinuxResource::ForwardAccept(ForwardAccept { pods: "192.168.0.0/16".parse().unwrap() })],
        ),
        sample("nodes", control_plane, vec![node("lin01", true), node("win01", false)]),
        sample("node that was there", control_plane_with_node, vec![node("win01", false)]),
    ]
}

fn windows_samples() -> Vec<Sample> {
    let sample = |name, host, resources| Sample {
        name,
        host,
        resources: on_windows(Phase::WindowsNodes, resources),
        blobs: &[],
    };
    let network = |adapter: &str| {
        WindowsResource::TransparentNetwork(TransparentNetwork {
            name: "pods".into(),
            subnet: "192.168.1.0/24".parse().unwrap(),
            gateway: [192, 168, 1, 1].into(),
            adapter: adapter.into(),
        })
    };
    let address = || {
        WindowsResource::AdapterAddress(AdapterAddress {
            network: "pods".into(),
            address: [192, 168, 1, 1].into(),
            prefix: 24,
        })
    };
    let forwarding = |mode| {
        WindowsResource::Forwarding(Forwarding { mode, routable: [10, 5, 6, 216].into(), network: "pods".into() })
    };
    let image = || {
        WindowsResource::PauseImage(PauseImage { tag: "k8swin/pause:1".into(), base: "microsoft/nanoserver".into() })
    };
    let rule = || {
        WindowsResource::FirewallRule(FirewallRule {
            name: "k8swin kubelet".into(),
            allow: FirewallMatch::TcpPort(10250),
            remote: vec!["10.5.6.0/24".parse().unwrap()],
        })
    };
    let adapter = |kind, switch: &str| WindowsResource::ServiceAdapter(ServiceAdapter { kind, switch: switch.into() });
    vec![
        Sample {
            blobs: &[KEY],
            ..sample(
                "files",
                windows,
                vec![
                    WindowsResource::Directory(Directory {
                        path: path(r"C:\k8swin\etc"),
                        protection: Protection::Secret,
                        purge: false,
                    }),
                    WindowsResource::File(File {
                        path: path(r"C:\k8swin\etc\kubelet.key"),
                        content: Content::Blob(blob(KEY)),
                        protection: Protection::Secret,
                    }),
                ],
            )
        },
        sample("pod network", windows, vec![network("Ethernet 2"), address(), forwarding(ForwardingMode::PerAdapter)]),
        sample(
            "pod network with RRAS",
            with_routing,
            vec![network("Ethernet 2"), address(), forwarding(ForwardingMode::Rras)],
        ),
        sample("pod network on an adapter with a gateway", with_gateway, vec![network("Ethernet 2"), address()]),
        sample("pod network that was there", with_foreign_network, vec![network("Ethernet 2"), address()]),
        sample("switch", with_hyper_v, vec![adapter(ServiceAdapterKind::InternalSwitch, "KubeProxySwitch")]),
        sample("Docker's adapter", windows, vec![adapter(ServiceAdapterKind::DockerNat, "HNS Internal NIC")]),
        sample(
            "persistent route",
            windows,
            vec![WindowsResource::Route(Route {
                destination: "192.168.0.0/24".parse().unwrap(),
                via: [10, 5, 6, 215].into(),
                from: [10, 5, 6, 216].into(),
            })],
        ),
        sample("firewall rule", windows, vec![rule()]),
        sample("firewall rule that was there", with_foreign_rule, vec![rule()]),
        sample("pause image", windows, vec![image()]),
        sample("pause image that was there", with_foreign_image, vec![image()]),
        sample(
            "services",
            with_windows_programs,
            vec![
                log_folder(),
                network_service(),
                service("kubelet", &["docker", "k8swin-network"]),
                service("kube-proxy", &["kubelet"]),
            ],
        ),
        sample("search path", windows, vec![search_path(r"C:\Program Files\Ours")]),
        sample("service that is one itself", with_windows_programs, vec![native_service()]),
        sample("service that was there", with_foreign_service, vec![log_folder(), service("kubelet", &["docker"])]),
    ]
}

fn with_etc_kubernetes() -> SimulatedHost {
    let host = linux();
    by_hand(&host, |platform| {
        let Host::Linux(linux) = platform else { unreachable!() };
        let permissions = Permissions::Unix { mode: 0o750, uid: 0, gid: 7 };
        linux.create_directory(&path("/etc/kubernetes"), &permissions).unwrap();
    });
    put_by_hand(&host, "/etc/kubernetes/mine", "an admin wrote this\n", 0o640);
    host
}

/// As a disk of its own leaves it that an admin mounted there.
fn with_data_folder() -> SimulatedHost {
    let host = with_program();
    by_hand(&host, |platform| {
        let Host::Linux(linux) = platform else { unreachable!() };
        let permissions = Permissions::Unix { mode: 0o700, uid: 0, gid: 0 };
        linux.create_directory(&path("/var/lib/etcd"), &permissions).unwrap();
    });
    host
}

fn with_program() -> SimulatedHost {
    let host = linux();
    host.write_file(&path("/opt/k8swin/bin/etcd"), b"etcd", Protection::Executable).unwrap();
    host
}

fn unit_text(program: &str, arguments: &str) -> String {
    format!("[Service]\nExecStart=/opt/k8swin/bin/{program} {arguments}\n[Install]\nWantedBy=multi-user.target\n")
}

fn unit(name: &str) -> LinuxResource {
    let unit = unit_text(name, "--data-dir=/var/lib/etcd");
    LinuxResource::SystemdUnit(SystemdUnit { name: name.into(), unit, inputs: Sha256::of(b"1") })
}

fn network_unit() -> LinuxResource {
    let agent = Os::Linux.agent(Sha256::of(AGENT));
    let unit = format!("[Service]\nType=notify\nExecStart={agent} network\n");
    LinuxResource::SystemdUnit(SystemdUnit { name: "k8swin-network".into(), unit, inputs: Sha256::of(b"1") })
}

fn with_foreign_unit() -> SimulatedHost {
    let host = with_program();
    put_by_hand(&host, "/etc/systemd/system/etcd.service", &unit_text("etcd", "--data-dir=/srv/etcd"), 0o644);
    by_hand(&host, |platform| {
        let Host::Linux(linux) = platform else { unreachable!() };
        linux.create_directory(&path("/srv"), &Permissions::public_directory(Os::Linux)).unwrap();
        linux.create_directory(&path("/var/lib/etcd"), &Permissions::public_directory(Os::Linux)).unwrap();
        for folder in ["member", "member/snap", "member/wal"] {
            let folder = path(&format!("/var/lib/etcd/{folder}"));
            linux.create_directory(&folder, &Permissions::public_directory(Os::Linux)).unwrap();
        }
        linux.reload_units().unwrap();
        linux.enable_unit("etcd").unwrap();
        linux.restart_unit("etcd").unwrap();
    });
    host
}

fn route(via: [u8; 4]) -> LinuxResource {
    let destination = "192.168.1.0/24".parse().unwrap();
    LinuxResource::Route(Route { destination, via: via.into(), from: [10, 5, 6, 215].into() })
}

fn with_foreign_route() -> SimulatedHost {
    let host = linux();
    by_hand(&host, |platform| {
        let Host::Linux(linux) = platform else { unreachable!() };
        let destination = "192.168.1.0/24".parse().unwrap();
        linux.add_route(&SystemRoute { destination, via: [10, 5, 6, 9].into(), adapter: "eth0".into() }).unwrap();
    });
    host
}

fn control_plane() -> SimulatedHost {
    let cluster = SimulatedCluster::new("v1.5.8");
    let host = host(HostSpec::linux("lin01", [10, 5, 6, 215].into()), &cluster);
    host.write_file(&path("/etc/kubernetes/admin.conf"), b"kubeconfig", Protection::Secret).unwrap();
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        host.write_file(&path(&format!("/opt/k8swin/bin/{program}")), b"program", Protection::Executable).unwrap();
    }
    for program in ["etcd", "kube-apiserver"] {
        let file = format!("/etc/systemd/system/{program}.service");
        put_by_hand(&host, &file, &unit_text(program, "--data-dir=/var/lib/etcd"), 0o644);
        by_hand(&host, |platform| {
            let Host::Linux(linux) = platform else { unreachable!() };
            linux.reload_units().unwrap();
            linux.restart_unit(program).unwrap();
        });
    }
    host
}

fn node(name: &str, schedulable: bool) -> LinuxResource {
    let labels = BTreeMap::from([("beta.kubernetes.io/os".to_owned(), "windows".to_owned())]);
    let pod_cidr = if name == "lin01" { "192.168.0.0/24" } else { "192.168.1.0/24" };
    LinuxResource::Node(NodeObject { name: name.into(), pod_cidr: pod_cidr.parse().unwrap(), labels, schedulable })
}

fn control_plane_with_node() -> SimulatedHost {
    let host = control_plane();
    by_hand(&host, |platform| {
        let Host::Linux(linux) = platform else { unreachable!() };
        let object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "win01", "labels": {"beta.kubernetes.io/os": "linux"}},
            "spec": {"podCIDR": "192.168.9.0/24"},
        });
        linux.kube(&KubeOperation::Call(KubeCall::Create { object })).unwrap();
    });
    host
}

fn with_routing() -> SimulatedHost {
    let host = windows();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        windows.install_feature(FeatureName::Routing).unwrap();
    });
    host.reboot();
    host
}

fn with_foreign_network() -> SimulatedHost {
    let host = windows();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        let network = TransparentNetwork {
            name: "pods".into(),
            subnet: "192.168.7.0/24".parse().unwrap(),
            gateway: [192, 168, 7, 1].into(),
            adapter: "Ethernet 2".into(),
        };
        windows.create_transparent_network(&network).unwrap();
    });
    host
}

/// The pod adapter has static addresses and the host's default route beside the routable one.
fn with_gateway() -> SimulatedHost {
    let host = windows();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        let addressing = Addressing::Static {
            address: "10.7.0.4/24".parse().unwrap(),
            further: vec!["10.7.0.5/24".parse().unwrap()],
            gateway: Some([10, 7, 0, 1].into()),
        };
        windows.set_addressing("Ethernet 2", &addressing).unwrap();
    });
    assert!(host.state_json().contains("0.0.0.0/0 via 10.7.0.1 on Ethernet 2"));
    host
}

fn with_hyper_v() -> SimulatedHost {
    host(HostSpec { hyper_v: true, ..windows_spec() }, &SimulatedCluster::new("v1.5.8"))
}

fn with_foreign_rule() -> SimulatedHost {
    let host = windows();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        let rule = FirewallRule { name: "k8swin kubelet".into(), allow: FirewallMatch::Any, remote: Vec::new() };
        windows.put_firewall_rule(&rule).unwrap();
    });
    host
}

fn with_foreign_image() -> SimulatedHost {
    let host = windows();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        windows.tag_image("sha256:1234", "k8swin/pause:1").unwrap();
    });
    host
}

fn with_windows_programs() -> SimulatedHost {
    let host = windows();
    for program in ["kubelet", "kube-proxy"] {
        let file = path(&format!(r"C:\k8swin\bin\{program}.exe"));
        host.write_file(&file, b"program", Protection::Executable).unwrap();
    }
    host
}

pub(crate) fn log_folder() -> WindowsResource {
    let path = path(r"C:\k8swin\log");
    WindowsResource::Directory(Directory { path, protection: Protection::Public, purge: true })
}

fn service(name: &str, depends_on: &[&str]) -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: name.into(),
        display_name: name.into(),
        run: ServiceProgram::Supervised(ProgramInvocation {
            program: path(&format!(r"C:\k8swin\bin\{name}.exe")),
            arguments: vec![r"--root-dir=C:\k8swin\log\kubelet".into()],
            environment: BTreeMap::new(),
            working_directory: path(r"C:\k8swin"),
            log_directory: path(r"C:\k8swin\log"),
        }),
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        inputs: Sha256::of(b"1"),
    }))
}

fn search_path(folder: &str) -> WindowsResource {
    WindowsResource::SearchPath(SearchPath { folder: path(folder) })
}

fn native_service() -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: "native".into(),
        display_name: "A service itself".into(),
        run: ServiceProgram::Native {
            program: path(r"C:\k8swin\bin\kubelet.exe"),
            arguments: vec!["--run-service".into()],
        },
        depends_on: Vec::new(),
        inputs: Sha256::of(b"1"),
    }))
}

fn network_service() -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: "k8swin-network".into(),
        display_name: "k8swin network".into(),
        run: ServiceProgram::NetworkReconciler,
        depends_on: vec!["docker".into()],
        inputs: Sha256::of(b"1"),
    }))
}

fn with_foreign_service() -> SimulatedHost {
    let host = with_windows_programs();
    by_hand(&host, |platform| {
        let Host::Windows(windows) = platform else { unreachable!() };
        let definition = ServiceDefinition {
            display_name: "somebody's kubelet".into(),
            image: ServiceImage::Other { command_line: r"C:\nssm.exe kubelet".into() },
            depends_on: Vec::new(),
            start: StartMode::Automatic,
        };
        windows.create_service("kubelet", &definition).unwrap();
        windows.start_service("kubelet").unwrap();
        let dependent = ServiceDefinition { depends_on: vec!["kubelet".into()], ..definition };
        windows.create_service("their-proxy", &dependent).unwrap();
        windows.start_service("their-proxy").unwrap();
    });
    host
}
