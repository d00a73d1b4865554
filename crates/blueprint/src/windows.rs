//! The resources of a Windows host.

use k8swin_inventory::cluster::{ForwardingMode, WindowsHost};
use k8swin_protocol::facts::WindowsFacts;
use k8swin_protocol::resource::{
    AdapterAddress, FeatureName, FirewallMatch, FirewallRule, Forwarding, PauseImage, ProgramInvocation, Protection,
    ServiceAdapter, ServiceAdapterKind, ServiceProgram, TransparentNetwork, WindowsFeature, WindowsResource,
    WindowsService,
};
use k8swin_protocol::{HostPath, Os, Phase};

use crate::adapter::pod_adapter;
use crate::network::{NetworkPlan, NodeNetwork};
use crate::plan::HostPlan;
use crate::release::{Program, Release, WINDOWS_PAUSE_IMAGE, node};
use crate::{BlueprintError, docker, paths};

/// The port of the kubelet's own API.
const KUBELET_PORT: u16 = 10250;

/// The service that keeps the network in place at boot, before the kubelet starts.
const NETWORK_SERVICE: &str = "k8swin-network";

/// IP Helper, which carries out portproxy (facts B.6).
const IP_HELPER_SERVICE: &str = "iphlpsvc";

type Plan<'a> = HostPlan<'a, WindowsResource>;

/// Plans all resources of a Windows host. Returns what `plan` has to tell about it.
pub(crate) fn plan(
    plan: &mut Plan<'_>,
    windows: &WindowsHost,
    network: &NetworkPlan,
    own: &NodeNetwork,
    facts: &WindowsFacts,
    release: &Release,
) -> Result<Vec<String>, BlueprintError> {
    folders(plan);
    let agent = plan.programs(release)?;
    plan.node_files()?;
    let (service_adapter, note) = service_adapter(facts);
    features(plan, windows);
    let docker_note = docker::plan(plan, windows, facts, release)?;
    let kept = node_network(plan, windows, own, facts, &service_adapter)?;
    firewall(plan, network);
    let image = PauseImage { tag: WINDOWS_PAUSE_IMAGE.to_owned(), base: windows.pause_base_image.clone() };
    plan.push(Phase::WindowsNodes, WindowsResource::PauseImage(image));
    services(plan, &agent, own, &kept, &service_adapter);
    Ok(note.into_iter().chain(docker_note).collect())
}

fn folders(plan: &mut Plan<'_>) {
    let os = Os::Windows;
    // What lies below C:\ can otherwise be written to by every user: the topmost folder gets an access list of its own,
    // and those that hold secrets do not depend on it.
    if let Some(path) = os.bin().parent() {
        plan.directory(path, Protection::Secret);
    }
    plan.directory(os.bin(), Protection::Public);
    for path in [os.etc(), os.pki()] {
        plan.directory(path, Protection::Secret);
    }
    plan.data_directory(paths::kubelet_state(os), Protection::Secret);
    plan.data_directory(os.log(), Protection::Public);
}

/// The adapter for service addresses: a switch of our own needs the Hyper-V role, which cannot be installed in every
/// virtual machine (facts D.4). Without it, Docker's own adapter does, as the walkthrough has it.
fn service_adapter(facts: &WindowsFacts) -> (ServiceAdapter, Option<String>) {
    if facts.hyper_v {
        let switch = paths::SERVICE_SWITCH.to_owned();
        return (ServiceAdapter { kind: ServiceAdapterKind::InternalSwitch, switch }, None);
    }
    let switch = paths::DOCKER_NAT_SWITCH.to_owned();
    let adapter = ServiceAdapter { kind: ServiceAdapterKind::DockerNat, switch };
    let note = format!(
        "no Hyper-V role: service addresses go on Docker's own adapter `{}` instead of a switch of their own; containers \
         of Docker's nat network may lose their way out",
        adapter.adapter()
    );
    (adapter, Some(note))
}

/// The features come first: each may need a restart, and Docker needs containers.
fn features(plan: &mut Plan<'_>, windows: &WindowsHost) {
    let mut features = vec![FeatureName::Containers];
    if windows.forwarding == ForwardingMode::Rras {
        features.push(FeatureName::Routing);
    }
    for name in features {
        plan.push(Phase::WindowsNodes, WindowsResource::Feature(WindowsFeature { name }));
    }
}

/// Returns the resources that [`NETWORK_SERVICE`] keeps in place beside the routes.
fn node_network(
    plan: &mut Plan<'_>,
    windows: &WindowsHost,
    own: &NodeNetwork,
    facts: &WindowsFacts,
    service_adapter: &ServiceAdapter,
) -> Result<Vec<WindowsResource>, BlueprintError> {
    let adapter = pod_adapter(&own.name, &windows.pod_adapter, own.address, facts)?;
    let network = || paths::POD_NETWORK.to_owned();
    let kept = vec![
        WindowsResource::TransparentNetwork(TransparentNetwork {
            name: network(),
            subnet: own.pods,
            gateway: own.gateway,
            adapter,
        }),
        WindowsResource::AdapterAddress(AdapterAddress {
            network: network(),
            address: own.gateway,
            prefix: own.pods.prefix_len(),
        }),
        // After the adapters: a new one starts with the system's default (facts E).
        WindowsResource::Forwarding(Forwarding { mode: windows.forwarding, routable: own.address, network: network() }),
        WindowsResource::ServiceAdapter(service_adapter.clone()),
    ];
    let routes = own.routes.iter().cloned().map(WindowsResource::Route);
    for resource in kept.iter().cloned().chain(routes) {
        plan.push(Phase::WindowsNodes, resource);
    }
    Ok(kept)
}

/// What the host lets in. Traffic between pods is forwarded and not filtered; traffic to a service address is local input
/// (facts E).
fn firewall(plan: &mut Plan<'_>, network: &NetworkPlan) {
    let pods = vec![plan.cluster.pod_cidr.trunc()];
    let control_planes = plan.cluster.control_planes().map(|host| host.node_address.into()).collect();
    let everyone = [pods.clone(), network.node_ranges()].concat();
    let proxy = Os::Windows.bin().join(&Program::KubeProxy.file_name(Os::Windows));
    let rules = [
        ("k8swin kubelet", FirewallMatch::TcpPort(KUBELET_PORT), control_planes),
        ("k8swin kube-proxy", FirewallMatch::Program(proxy), everyone.clone()),
        ("k8swin pods", FirewallMatch::Any, pods),
        ("k8swin ping", FirewallMatch::IcmpEcho, everyone),
    ];
    for (name, allow, remote) in rules {
        let rule = FirewallRule { name: name.to_owned(), allow, remote };
        plan.push(Phase::WindowsNodes, WindowsResource::FirewallRule(rule));
    }
}

fn services(
    plan: &mut Plan<'_>,
    agent: &HostPath,
    own: &NodeNetwork,
    kept: &[WindowsResource],
    service_adapter: &ServiceAdapter,
) {
    let (cluster, host) = (plan.cluster, plan.host);
    let network = WindowsService {
        name: NETWORK_SERVICE.to_owned(),
        display_name: "k8swin network".to_owned(),
        run: ServiceProgram::NetworkReconciler,
        depends_on: vec![docker::SERVICE.to_owned()],
        inputs: plan.inputs_of_network(&format!("{agent} "), kept, &own.routes),
    };
    plan.push(Phase::WindowsNodes, WindowsResource::Service(Box::new(network)));

    let kubelet = ProgramInvocation {
        arguments: node::windows_kubelet(cluster, host).arguments(),
        environment: node::windows_kubelet_environment(),
        ..invocation(Program::Kubelet)
    };
    supervised(plan, agent, "Kubernetes kubelet", kubelet, Program::Kubelet, &[docker::SERVICE, NETWORK_SERVICE]);
    let proxy = ProgramInvocation {
        arguments: node::windows_proxy(cluster, host).arguments(),
        environment: node::windows_proxy_environment(service_adapter.adapter()),
        ..invocation(Program::KubeProxy)
    };
    // Not the kubelet: its restart must not take the services' addresses away.
    supervised(plan, agent, "Kubernetes kube-proxy", proxy, Program::KubeProxy, &[IP_HELPER_SERVICE, NETWORK_SERVICE]);
}

fn invocation(program: Program) -> ProgramInvocation {
    let os = Os::Windows;
    ProgramInvocation {
        program: os.bin().join(&program.file_name(os)),
        arguments: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        // The kubelet's default paths are relative to the drive (facts B.4).
        working_directory: os.bin(),
        log_directory: os.log(),
    }
}

/// Adds a service that runs a program of the cluster below the agent's service host, so that another agent restarts it.
fn supervised(
    plan: &mut Plan<'_>,
    agent: &HostPath,
    display_name: &str,
    run: ProgramInvocation,
    program: Program,
    depends_on: &[&str],
) {
    let definition = format!("{agent} {} {:?} {}", run.program, run.environment, run.arguments.join(" "));
    let service = WindowsService {
        name: program.file_name(Os::Linux),
        display_name: display_name.to_owned(),
        inputs: plan.inputs(&definition),
        run: ServiceProgram::Supervised(run),
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
    };
    plan.push(Phase::WindowsNodes, WindowsResource::Service(Box::new(service)));
}
