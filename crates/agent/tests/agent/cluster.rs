//! Plans that change, boots, and the simulated Kubernetes API that follows what runs on the hosts.

use std::collections::BTreeMap;

use crate::support::*;
use k8swin_agent::simulated::{HostSpec, SimulatedCluster, SimulatedHost};
use k8swin_protocol::resource::*;
use k8swin_protocol::wire::{KubeCall, Request, Response};
use k8swin_protocol::{Os, Sha256};
use serde_json::{Value, json};

fn program(host: &SimulatedHost, name: &str) {
    let name = if host.os() == Os::Windows { format!("{name}.exe") } else { name.to_owned() };
    host.write_file(&host.os().bin().join(&name), b"program", Protection::Executable).unwrap();
}

fn unit(name: &str, arguments: &str, inputs: &str) -> LinuxResource {
    let unit =
        format!("[Unit]\nAfter=k8swin-network.service\n[Service]\nExecStart=/opt/k8swin/bin/{name} {arguments}\n");
    LinuxResource::SystemdUnit(SystemdUnit { name: name.into(), unit, inputs: Sha256::of(inputs.as_bytes()) })
}

fn folder(name: &str) -> LinuxResource {
    LinuxResource::Directory(Directory { path: path(name), protection: Protection::Secret, purge: true })
}

fn public(name: &str) -> LinuxResource {
    let content = Content::Text("public\n".into());
    LinuxResource::File(File { path: path(name), content, protection: Protection::Public })
}

fn node(name: &str, pod_cidr: &str, os: &str) -> LinuxResource {
    LinuxResource::Node(NodeObject {
        name: name.into(),
        pod_cidr: pod_cidr.parse().unwrap(),
        labels: BTreeMap::from([("beta.kubernetes.io/os".to_owned(), os.to_owned())]),
        schedulable: true,
    })
}

fn control_plane(members: &str) -> HostResources {
    on_linux(
        Phase::ControlPlane,
        vec![
            folder("/var/lib/etcd"),
            public("/etc/kubernetes/admin.conf"),
            unit("etcd", &format!("--data-dir=/var/lib/etcd {members}"), "1"),
            unit("kube-apiserver", "--service-cluster-ip-range=172.30.0.0/16", "1"),
            unit("kube-scheduler", "", "1"),
            node("lin01", "192.168.0.0/24", "linux"),
            node("win01", "192.168.1.0/24", "windows"),
        ],
    )
}

fn linux_node() -> HostResources {
    on_linux(
        Phase::LinuxNodes,
        vec![
            public("/etc/kubernetes/kubelet.conf"),
            folder("/var/lib/kubelet"),
            unit("kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf --hostname-override=lin01", "1"),
        ],
    )
}

fn windows_node() -> HostResources {
    let run = ServiceProgram::Supervised(ProgramInvocation {
        program: path(r"C:\k8swin\bin\kubelet.exe"),
        arguments: vec!["--hostname-override=win01".into(), r"--root-dir=C:\k8swin\kubelet".into()],
        environment: BTreeMap::new(),
        working_directory: path(r"C:\k8swin"),
        log_directory: path(r"C:\k8swin\log"),
    });
    let network = || "pods".to_owned();
    let service = |name: &str, run, depends_on: &[&str]| {
        WindowsResource::Service(Box::new(WindowsService {
            name: name.into(),
            display_name: name.into(),
            run,
            depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
            inputs: Sha256::of(b"1"),
        }))
    };
    on_windows(
        Phase::WindowsNodes,
        vec![
            WindowsResource::TransparentNetwork(TransparentNetwork {
                name: network(),
                subnet: "192.168.1.0/24".parse().unwrap(),
                gateway: [192, 168, 1, 1].into(),
                adapter: "Ethernet 2".into(),
            }),
            WindowsResource::AdapterAddress(AdapterAddress {
                network: network(),
                address: [192, 168, 1, 1].into(),
                prefix: 24,
            }),
            WindowsResource::Forwarding(Forwarding {
                mode: ForwardingMode::PerAdapter,
                routable: [10, 5, 6, 216].into(),
                network: network(),
            }),
            service("k8swin-network", ServiceProgram::NetworkReconciler, &["docker"]),
            service("kubelet", run, &["k8swin-network"]),
        ],
    )
}

struct Lab {
    cluster: SimulatedCluster,
    lin01: SimulatedHost,
    win01: SimulatedHost,
}

fn lab() -> Lab {
    let cluster = SimulatedCluster::new("v1.5.8");
    let lin01 = host(HostSpec::linux("lin01", [10, 5, 6, 215].into()), &cluster);
    for name in ["etcd", "kube-apiserver", "kube-scheduler", "kubectl", "kubelet"] {
        program(&lin01, name);
    }
    let win01 = host(windows_spec(), &cluster);
    program(&win01, "kubelet");
    Lab { cluster, lin01, win01 }
}

fn running_lab() -> Lab {
    let lab = lab();
    apply(&lab.lin01, &control_plane("")).unwrap();
    apply(&lab.lin01, &linux_node()).unwrap();
    apply(&lab.win01, &windows_node()).unwrap();
    lab
}

fn ready(cluster: &SimulatedCluster) -> Vec<(String, String)> {
    let (status, nodes) = cluster.api("GET", "/api/v1/nodes", None);
    assert_eq!(status, 200, "{nodes}");
    let ready = |node: &Value| {
        let text = |pointer: &str| node.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/metadata/name"), text("/status/conditions/0/status"))
    };
    nodes["items"].as_array().unwrap().iter().map(ready).collect()
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn on(os: &str, containers: usize) -> Value {
    let containers: Vec<_> = (0..containers).map(|number| json!({"name": format!("c{number}")})).collect();
    json!({"nodeSelector": {"beta.kubernetes.io/os": os}, "containers": containers})
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[test]
fn nodes_are_ready_while_their_kubelets_run() {
    let lab = lab();
    assert_eq!(lab.cluster.api("GET", "/healthz", None), (0, Value::Null));
    apply(&lab.lin01, &control_plane("")).unwrap();
    let silent = |name: &str| (name.to_owned(), "Unknown".to_owned());
    assert_eq!(ready(&lab.cluster), [silent("lin01"), silent("win01")]);
    apply(&lab.lin01, &linux_node()).unwrap();
    apply(&lab.win01, &windows_node()).unwrap();
    let speaks = |name: &str| (name.to_owned(), "True".to_owned());
    assert_eq!(ready(&lab.cluster), [speaks("lin01"), speaks("win01")]);
    let (_, node) = lab.cluster.api("GET", "/api/v1/nodes/win01", None);
    assert_eq!(node["spec"]["podCIDR"], "192.168.1.0/24");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.5.8");
    assert_eq!(node["status"]["addresses"][0]["address"], "10.5.6.216");

    ask(&lab.win01, Request::Remove { phase: Phase::WindowsNodes }).unwrap();
    assert_eq!(ready(&lab.cluster), [speaks("lin01"), silent("win01")]);
    reset(&lab.lin01).unwrap();
    assert_eq!(lab.cluster.api("GET", "/healthz", None), (0, Value::Null));
}

#[test]
fn pods_go_where_they_fit() {
    let lab = running_lab();
    let create = |pod: Value| lab.cluster.api("POST", PODS, Some(&pod)).0;
    assert_eq!(create(pod("linux", on("linux", 2))), 201);
    assert_eq!(create(pod("windows", on("windows", 1))), 201);
    assert_eq!(create(pod("windows", on("windows", 1))), 409);
    assert_eq!(create(pod("two", on("windows", 2))), 201);
    assert_eq!(create(pod("nowhere", on("plan9", 1))), 201);
    let mut greedy = on("windows", 1);
    greedy["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    assert_eq!(create(pod("greedy", greedy)), 201);

    let get = |name: &str| lab.cluster.api("GET", &format!("{PODS}/{name}"), None).1;
    let phase = |name: &str| get(name)["status"]["phase"].as_str().unwrap().to_owned();
    assert_eq!((phase("linux").as_str(), get("linux")["status"]["podIP"].as_str()), ("Running", Some("192.168.0.2")));
    assert_eq!(get("windows")["status"]["podIP"], "192.168.1.2");
    assert_eq!(get("windows")["spec"]["nodeName"], "win01");
    assert_eq!(phase("two"), "Failed");
    for (name, why) in [("nowhere", "MatchNodeSelector (2)"), ("greedy", "Insufficient cpu")] {
        assert_eq!(phase(name), "Pending");
        let message = get(name)["status"]["conditions"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{message}");
    }
    let (_, selected) = lab.cluster.api("GET", "/api/v1/pods?labelSelector=app%3Dlinux", None);
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    assert_eq!(lab.cluster.api("DELETE", &format!("{PODS}/linux"), None).0, 200);
    assert_eq!(get("linux")["reason"], "NotFound");
}

#[test]
fn the_api_has_the_manners_of_the_real_one() {
    let lab = running_lab();
    let api = |method: &str, path: &str, body: Value| lab.cluster.api(method, path, Some(&body));
    let cidr = json!({"spec": {"podCIDR": "192.168.9.0/24"}});
    let (status, body) = api("PATCH", "/api/v1/nodes/win01", cidr);
    assert_eq!((status, body["reason"].as_str()), (422, Some("Invalid")));
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(api("PATCH", "/api/v1/nodes/win01", labels).1["metadata"]["labels"]["a"], "b");
    let (status, body) = api("POST", "/api/v1/namespaces/nowhere/pods", pod("x", on("linux", 1)));
    assert_eq!((status, body["kind"].as_str()), (404, Some("Status")));
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(api("POST", "/api/v1/namespaces/default/services", service).1["spec"]["clusterIP"], "172.30.0.2");
    let (_, services) = lab.cluster.api("GET", "/api/v1/namespaces/default/services", None);
    assert_eq!(services["items"][0]["spec"]["clusterIP"], "172.30.0.1");
    assert_eq!(services["kind"], "ServiceList");
    assert_eq!(lab.cluster.api("GET", "/version", None).1["gitVersion"], "v1.5.8");
    assert_eq!(lab.cluster.api("GET", "/healthz", None).1, "ok");

    // The same by way of the agent of a control plane.
    let kube = |call| ask(&lab.lin01, Request::Kube(call)).unwrap();
    let object = pod("asked", on("linux", 1));
    let Response::Kube(answer) = kube(KubeCall::Create { object }) else { panic!() };
    assert_eq!(answer.body["metadata"]["namespace"], "default");
    let gone = KubeCall::Get { path: format!("{PODS}/nothing") };
    assert_eq!(kube(gone), Response::Kube(k8swin_protocol::wire::KubeAnswer { body: Value::Null }));
    let mut labelled = ["one", "two"].map(|name| pod(name, on("linux", 1)));
    for pod in &mut labelled {
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["labels"] = json!({ "app": "both" });
    }
    kube(KubeCall::Create { object: json!({"apiVersion": "v1", "kind": "List", "items": labelled}) });
    let list = || {
        let path = format!("{PODS}?labelSelector=app%3Dboth");
        let Response::Kube(answer) = kube(KubeCall::Get { path }) else { panic!() };
        answer.body["items"].as_array().unwrap().len()
    };
    assert_eq!(list(), 2);
    kube(KubeCall::Delete { kind: "pod".into(), namespace: "default".into(), selector: "app=both".into() });
    assert_eq!(list(), 0);
    let Response::Kube(answer) = kube(KubeCall::Get { path: format!("{PODS}/asked") }) else { panic!() };
    assert!(!answer.body.is_null(), "it has no such label");
}

#[test]
fn three_members_bear_the_loss_of_one_and_the_data_of_all_goes_with_their_folders() {
    let cluster = SimulatedCluster::new("v1.5.8");
    let members = "--initial-cluster=a=https://1:2380,b=https://2:2380,c=https://3:2380";
    let hosts: Vec<_> = (1..=3)
        .map(|number| {
            let lin = host(HostSpec::linux(format!("lin0{number}"), [10, 5, 6, number].into()), &cluster);
            for name in ["etcd", "kube-apiserver", "kubectl"] {
                program(&lin, name);
            }
            lin
        })
        .collect();
    let services = on_linux(
        Phase::ControlPlane,
        vec![
            folder("/var/lib/etcd"),
            public("/etc/kubernetes/admin.conf"),
            unit("etcd", &format!("--data-dir=/var/lib/etcd {members}"), "1"),
            unit("kube-apiserver", "", "1"),
        ],
    );
    let nodes = on_linux(Phase::ControlPlane, vec![node("lin01", "192.168.0.0/24", "linux")]);
    apply(&hosts[0], &services).unwrap();
    assert_eq!(cluster.api("GET", "/healthz", None).0, 500, "one of three");
    let waiting = check(&hosts[0], &nodes).differing.remove(0).1;
    assert_eq!(waiting, CheckOutcome::Unknown { waits_for: "the API server".into() });

    // The first control plane waits for the others.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| apply(&hosts[0], &nodes));
        apply(&hosts[1], &services).unwrap();
        apply(&hosts[2], &services).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(cluster.api("GET", "/api/v1/nodes/lin01", None).0, 200);
    reset(&hosts[2]).unwrap();
    assert_eq!(cluster.api("GET", "/api/v1/nodes/lin01", None).0, 200, "two of three");
    reset(&hosts[1]).unwrap();
    assert_eq!(cluster.api("GET", "/api/v1/nodes/lin01", None).0, 503, "one of three");
    // The Node object cannot be deleted any more: it goes with etcd's data.
    reset(&hosts[0]).unwrap();
    for lin in &hosts {
        apply(lin, &services).unwrap();
    }
    assert_eq!(cluster.api("GET", "/api/v1/nodes/lin01", None).0, 404);
}

#[test]
fn a_node_that_waits_for_an_api_that_never_comes_fails_and_says_so() {
    let lab = SimulatedCluster::new("v1.5.8");
    let lin01 = host(HostSpec::linux("lin01", [10, 5, 6, 215].into()), &lab);
    let failure =
        apply(&lin01, &on_linux(Phase::ControlPlane, vec![node("x", "192.168.0.0/24", "linux")])).unwrap_err();
    assert_eq!(failure.to_string(), "wait for the API server: it was not there after 120 s");
    assert!(!lin01.state_json().contains("ledger"), "what was never begun is not owned");
}

#[test]
fn pruning_needs_the_api_but_a_reset_does_not() {
    let lab = running_lab();
    by_hand(&lab.lin01, |platform| {
        let k8swin_agent::Host::Linux(linux) = platform else { unreachable!() };
        linux.stop_unit("etcd").unwrap();
    });
    let failure = prune(&lab.lin01, &on_linux(Phase::ControlPlane, Vec::new())).unwrap_err();
    // The newest are the kubelet's; the Node objects come after them.
    assert!(failure.attempted.contains("node win01"), "{failure}");
    reset(&lab.lin01).unwrap();
}

#[test]
fn after_a_boot_the_network_is_there_before_the_kubelet() {
    let lab = running_lab();
    let network = on_linux(
        Phase::LinuxNodes,
        vec![
            LinuxResource::ForwardAccept(ForwardAccept { pods: "192.168.0.0/16".parse().unwrap() }),
            LinuxResource::Route(Route {
                destination: "192.168.1.0/24".parse().unwrap(),
                via: [10, 5, 6, 216].into(),
                from: [10, 5, 6, 215].into(),
            }),
            LinuxResource::Sysctl(Sysctl { key: "net.ipv4.conf.all.rp_filter".into(), value: "2".into() }),
            LinuxResource::KernelModule(KernelModule { name: "br_netfilter".into() }),
            LinuxResource::SystemdUnit(SystemdUnit {
                name: "k8swin-network".into(),
                unit: format!("[Service]\nType=notify\nExecStart={} network\n", Os::Linux.agent(Sha256::of(AGENT))),
                inputs: Sha256::of(b"1"),
            }),
        ],
    );
    apply(&lab.lin01, &network).unwrap();
    for (host, resources) in [(&lab.lin01, network), (&lab.lin01, linux_node()), (&lab.win01, windows_node())] {
        assert!(in_sync(host, &resources));
        let before = host.state_json();
        host.reboot();
        assert!(in_sync(host, &resources), "{:?}", check(host, &resources));
        let differs = diff(&before, &host.state_json());
        assert!(differs.lines().all(|line| line.contains("\"boots\"")), "{differs}");
    }
    assert!(ready(&lab.cluster).iter().all(|(_, ready)| ready == "True"));
}

#[test]
fn differences_are_told_in_words() {
    let host = linux();
    let file = |protection| {
        let content = Content::Text("x".into());
        on_linux(Phase::Files, vec![LinuxResource::File(File { path: path("/etc/x"), content, protection })])
    };
    assert_eq!(difference(&host, &file(Protection::Secret)), "absent");
    put_by_hand(&host, "/etc/x", "x", 0o644);
    assert_eq!(difference(&host, &file(Protection::Secret)), "mode 0644, expected 0600");
    put_by_hand(&host, "/etc/x", "y", 0o600);
    assert_eq!(difference(&host, &file(Protection::Secret)), "other content");

    let route = |via: [u8; 4], from: [u8; 4]| {
        let destination = "192.168.1.0/24".parse().unwrap();
        let route = Route { destination, via: via.into(), from: from.into() };
        on_linux(Phase::LinuxNodes, vec![LinuxResource::Route(route)])
    };
    let from = [10, 5, 6, 215];
    apply(&host, &route([10, 5, 6, 9], from)).unwrap();
    assert_eq!(difference(&host, &route([10, 5, 6, 218], from)), "via 10.5.6.9, expected 10.5.6.218");
    let nowhere = difference(&host, &route([10, 5, 6, 218], [9, 9, 9, 9]));
    assert_eq!(nowhere, "no adapter carries 9.9.9.9, by which it leaves");

    program(&host, "kubelet");
    let unit = |inputs| on_linux(Phase::LinuxNodes, vec![unit("kubelet", "", inputs)]);
    apply(&host, &unit("1")).unwrap();
    assert_eq!(difference(&host, &unit("2")), "runs with other configuration");
    apply(&host, &unit("2")).unwrap();
    assert!(in_sync(&host, &unit("2")));
}

#[test]
fn a_service_that_falls_over_fails_with_its_last_words() {
    let host = linux();
    program(&host, "kubelet");
    let resources = on_linux(Phase::LinuxNodes, vec![unit("kubelet", "--kubeconfig=/etc/nothing", "1")]);
    let failure = apply(&host, &resources).unwrap_err();
    assert_eq!(failure.attempted, "start kubelet");
    assert!(failure.answer.contains("/etc/nothing: no such file"), "{failure}");

    let host = windows();
    let resources = windows_node();
    let failure = apply(&host, &resources).unwrap_err();
    assert_eq!(failure.attempted, "start the service kubelet");
    assert!(failure.answer.contains("kubelet.exe"), "{failure}");
}

#[test]
fn a_plan_that_changes_converges_and_still_ends_as_found() {
    let host = windows();
    let before = host.state_json();
    let network = |subnet: &str, gateway: [u8; 4], adapter: &str| {
        on_windows(
            Phase::WindowsNodes,
            vec![
                WindowsResource::TransparentNetwork(TransparentNetwork {
                    name: "pods".into(),
                    subnet: subnet.parse().unwrap(),
                    gateway: gateway.into(),
                    adapter: adapter.into(),
                }),
                WindowsResource::AdapterAddress(AdapterAddress {
                    network: "pods".into(),
                    address: gateway.into(),
                    prefix: 24,
                }),
            ],
        )
    };
    let first = network("192.168.1.0/24", [192, 168, 1, 1], "Ethernet 2");
    let second = network("192.168.2.0/24", [192, 168, 2, 1], "Ethernet 2");
    let third = network("192.168.2.0/24", [192, 168, 2, 1], "Ethernet");
    for plan in [&first, &second, &third, &first] {
        apply(&host, plan).unwrap();
        assert!(in_sync(&host, plan));
    }
    let only_network = network("192.168.1.0/24", [192, 168, 1, 1], "Ethernet 2").of_phase(Phase::Binaries);
    assert_eq!(check(&host, &only_network).orphans.len(), 2);
    prune(&host, &only_network).unwrap();
    assert_eq!(host.state_json(), before);
}
