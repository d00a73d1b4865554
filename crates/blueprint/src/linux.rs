//! The resources of a Linux host.

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_protocol::facts::LinuxFacts;
use k8swin_protocol::resource::{
    ForwardAccept, KernelModule, LinuxResource, NodeObject, Protection, Sysctl, SystemdUnit,
};
use k8swin_protocol::{HostPath, Os, Phase};
use serde::Serialize;

use crate::network::NodeNetwork;
use crate::pki::host_archive::HOST_ARCHIVE;
use crate::pki::host_stem;
use crate::plan::HostPlan;
use crate::release::{Flags, Program, Release, control_plane, node};
use crate::render::{Template, render};
use crate::systemd::{ServiceKind, Unit};
use crate::{BlueprintError, api_server, kubeconfig, paths};

/// The unit that keeps the network in place, and has it there before the kubelet starts.
const NETWORK_UNIT: &str = "k8swin-network";

/// What the network is up with: all servers listen on it.
const ONLINE: &str = "network-online.target";

type Plan<'a> = HostPlan<'a, LinuxResource>;

/// Plans all resources of a Linux host.
pub(crate) fn plan(
    plan: &mut Plan<'_>,
    network: &NodeNetwork,
    facts: &LinuxFacts,
    release: &Release,
) -> Result<(), BlueprintError> {
    folders(plan);
    let agent = plan.programs(release)?;
    plan.node_files()?;
    cni_configuration(plan, network)?;
    if plan.host.is_control_plane() {
        control_plane_files(plan)?;
        control_plane_services(plan)?;
    }
    if plan.host.name == plan.cluster.first_control_plane().name {
        node_objects(plan);
    }
    node_network(plan, network, agent)?;
    node_services(plan, facts)
}

fn folders(plan: &mut Plan<'_>) {
    let os = Os::Linux;
    for path in os.bin().parent().into_iter().chain([os.bin(), os.etc()]) {
        plan.directory(path, Protection::Public);
    }
    plan.directory(os.pki(), Protection::Secret);
    for path in paths::cni_configuration().parent().into_iter().chain([paths::cni_configuration()]) {
        plan.directory(path, Protection::Public);
    }
    plan.data_directory(paths::kubelet_state(os), Protection::Public);
    if plan.host.is_control_plane() {
        plan.directory(paths::pki(os, "etcd"), Protection::Secret);
        plan.data_directory(paths::etcd_data(), Protection::Secret);
    }
}

/// The bridge of the node's pods. Packets to elsewhere keep the pod's address (`ipMasq` is off): other nodes have routes
/// back, and Windows pods are not translated either. What lies beyond the nodes must route the pods' range.
fn cni_configuration(plan: &mut Plan<'_>, network: &NodeNetwork) -> Result<(), BlueprintError> {
    #[derive(Serialize)]
    struct Values {
        subnet: String,
        gateway: String,
    }
    let values = Values { subnet: network.pods.to_string(), gateway: network.gateway.to_string() };
    let (template, name) = match plan.cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => (Template::Cni15, "10-k8swin.conf"),
        KubernetesMinor::V1_20 => (Template::Cni120, "10-k8swin.conflist"),
    };
    plan.public(paths::cni_configuration().join(name), render(template, &values)?);
    Ok(())
}

/// Only control planes have the keys of the CAs and the administrator's: an admin who lost the state folder gets them back
/// from there.
fn control_plane_files(plan: &mut Plan<'_>) -> Result<(), BlueprintError> {
    for name in ["ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"] {
        plan.pki_file(name, name)?;
    }
    for name in ["apiserver", "apiserver-kubelet-client", "apiserver-etcd-client", "admin"] {
        plan.pair(name, name)?;
    }
    for name in ["etcd/server", "etcd/peer"] {
        plan.pair(name, &host_stem(&plan.host.name, name))?;
    }
    for component in ["controller-manager", "scheduler"] {
        plan.pair(component, component)?;
        plan.kubeconfig(component, &format!("system:kube-{component}"), component)?;
    }
    if plan.cluster.first_control_plane().name == plan.host.name {
        let archive = plan.pki.host_archive();
        plan.secret(paths::pki(Os::Linux, HOST_ARCHIVE), &archive);
    }
    let server = api_server::url(plan.cluster, plan.host);
    let admin = kubeconfig::of_administrator(plan.cluster, plan.pki, &server)?;
    plan.secret(paths::kubeconfig(Os::Linux, "admin"), &admin);
    if plan.cluster.kubernetes.minor == KubernetesMinor::V1_5 {
        plan.public(paths::abac_policy(), include_str!("../../../templates/abac-policy.jsonl").to_owned());
    }
    Ok(())
}

fn control_plane_services(plan: &mut Plan<'_>) -> Result<(), BlueprintError> {
    let (cluster, host) = (plan.cluster, plan.host);
    let etcd = unit("etcd, the store of the Kubernetes API", ServiceKind::Notify, &[ONLINE]);
    service(plan, Phase::ControlPlane, Program::Etcd, etcd, control_plane::etcd(cluster, host))?;
    let apiserver = unit("Kubernetes API server", ServiceKind::Notify, &[ONLINE, "etcd.service"]);
    service(plan, Phase::ControlPlane, Program::KubeApiserver, apiserver, control_plane::apiserver(cluster, host))?;
    let after = ["kube-apiserver.service"];
    let controllers = unit("Kubernetes controller-manager", ServiceKind::Simple, &after);
    let flags = control_plane::controller_manager(cluster);
    service(plan, Phase::ControlPlane, Program::KubeControllerManager, controllers, flags)?;
    let scheduler = unit("Kubernetes scheduler", ServiceKind::Simple, &after);
    service(plan, Phase::ControlPlane, Program::KubeScheduler, scheduler, control_plane::scheduler(cluster))
}

/// The Node objects of all hosts. The kubelet of 1.5 sets no labels on an object that is there already, and pods choose
/// their nodes by these, so that all labels that a kubelet sets itself are given here.
fn node_objects(plan: &mut Plan<'_>) {
    for host in plan.cluster.nodes() {
        let (os, arch) = (host.os().as_str(), "amd64");
        let mut labels = vec![
            ("beta.kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", os),
            ("kubernetes.io/hostname", host.name.as_str()),
        ];
        if plan.cluster.kubernetes.minor == KubernetesMinor::V1_20 {
            labels.extend([("kubernetes.io/arch", arch), ("kubernetes.io/os", os)]);
        }
        let node = NodeObject {
            name: host.name.clone(),
            pod_cidr: host.pod_cidr.trunc(),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            schedulable: host.is_worker(),
        };
        plan.push(Phase::ControlPlane, LinuxResource::Node(node));
    }
}

fn node_network(plan: &mut Plan<'_>, network: &NodeNetwork, agent: HostPath) -> Result<(), BlueprintError> {
    let forward = LinuxResource::ForwardAccept(ForwardAccept { pods: plan.cluster.pod_cidr.trunc() });
    let text = Unit {
        program: agent,
        arguments: vec!["network".to_owned()],
        before: &["kubelet.service"],
        // Docker sets the policy for forwarded packets when it starts (facts B.3).
        ..unit("Routes to the pods of other nodes (k8swin)", ServiceKind::Notify, &[ONLINE, "docker.service"])
    }
    .text()?;
    let inputs = plan.inputs_of_network(&text, std::slice::from_ref(&forward), &network.routes);

    let settings = [
        LinuxResource::KernelModule(KernelModule { name: "br_netfilter".into() }),
        LinuxResource::Sysctl(Sysctl { key: "net.ipv4.ip_forward".into(), value: "1".into() }),
        // kube-proxy's rules must see what passes between pods of one bridge.
        LinuxResource::Sysctl(Sysctl { key: "net.bridge.bridge-nf-call-iptables".into(), value: "1".into() }),
    ];
    let routes = network.routes.iter().cloned().map(LinuxResource::Route);
    for resource in settings.into_iter().chain([forward]).chain(routes) {
        plan.push(Phase::LinuxNodes, resource);
    }
    let unit = SystemdUnit { name: NETWORK_UNIT.to_owned(), unit: text, inputs };
    plan.push(Phase::LinuxNodes, LinuxResource::SystemdUnit(unit));
    Ok(())
}

fn node_services(plan: &mut Plan<'_>, facts: &LinuxFacts) -> Result<(), BlueprintError> {
    let driver = facts.docker.as_ref().map(|docker| docker.cgroup_driver.as_str()).filter(|name| !name.is_empty());
    // Without Docker preflight has said so already; `cgroupfs` is the default of both.
    let flags = node::linux_kubelet(plan.cluster, plan.host, driver.unwrap_or("cgroupfs"));
    let kubelet = unit("Kubernetes kubelet", ServiceKind::Simple, &["docker.service", "k8swin-network.service"]);
    service(plan, Phase::LinuxNodes, Program::Kubelet, kubelet, flags)?;
    let proxy = unit("Kubernetes kube-proxy", ServiceKind::Simple, &[ONLINE]);
    let flags = node::linux_proxy(plan.cluster, plan.host);
    service(plan, Phase::LinuxNodes, Program::KubeProxy, proxy, flags)
}

fn unit<'a>(description: &'a str, kind: ServiceKind, after: &'a [&'a str]) -> Unit<'a> {
    Unit { description, kind, after, before: &[], program: Os::Linux.bin(), arguments: Vec::new() }
}

/// Adds a service that runs a program of the cluster.
fn service(
    plan: &mut Plan<'_>,
    phase: Phase,
    program: Program,
    unit: Unit<'_>,
    flags: Flags,
) -> Result<(), BlueprintError> {
    let name = program.file_name(Os::Linux);
    let unit = Unit { program: Os::Linux.bin().join(&name), arguments: flags.arguments(), ..unit }.text()?;
    let inputs = plan.inputs(&unit);
    plan.push(phase, LinuxResource::SystemdUnit(SystemdUnit { name, unit, inputs }));
    Ok(())
}
