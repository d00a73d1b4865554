//! A resource of every kind, as a cluster's Windows host has them.

use k8swin_protocol::resource::*;
use k8swin_protocol::{HostPath, Sha256};

use super::machine::ADDRESS;

pub(crate) const POD_GATEWAY: [u8; 4] = [192, 168, 1, 1];

pub(crate) fn path(path: &str) -> HostPath {
    HostPath::new(path).unwrap()
}

pub(crate) fn file(name: &str, protection: Protection) -> WindowsResource {
    let path = path(&format!(r"C:\k8swin\etc\{name}"));
    WindowsResource::File(File { path, content: Content::Text("content\n".into()), protection })
}

pub(crate) fn directory(below: &str) -> WindowsResource {
    let path = path(&format!(r"C:\k8swin\{below}"));
    WindowsResource::Directory(Directory { path, protection: Protection::Secret, purge: false })
}

pub(crate) fn feature(name: FeatureName) -> WindowsResource {
    WindowsResource::Feature(WindowsFeature { name })
}

pub(crate) fn network() -> WindowsResource {
    WindowsResource::TransparentNetwork(TransparentNetwork {
        name: "pods".into(),
        subnet: "192.168.1.0/24".parse().unwrap(),
        gateway: POD_GATEWAY.into(),
        adapter: "Ethernet 2".into(),
    })
}

pub(crate) fn address() -> WindowsResource {
    WindowsResource::AdapterAddress(AdapterAddress { network: "pods".into(), address: POD_GATEWAY.into(), prefix: 24 })
}

pub(crate) fn forwarding(mode: ForwardingMode) -> WindowsResource {
    WindowsResource::Forwarding(Forwarding { mode, routable: ADDRESS.into(), network: "pods".into() })
}

pub(crate) fn service_adapter() -> WindowsResource {
    let (kind, switch) = (ServiceAdapterKind::DockerNat, "HNS Internal NIC".into());
    WindowsResource::ServiceAdapter(ServiceAdapter { kind, switch })
}

pub(crate) fn route() -> WindowsResource {
    WindowsResource::Route(Route {
        destination: "192.168.2.0/24".parse().unwrap(),
        via: [10, 5, 6, 217].into(),
        from: ADDRESS.into(),
    })
}

pub(crate) fn rules() -> Vec<WindowsResource> {
    let proxy = FirewallMatch::Program(path(r"C:\k8swin\bin\kube-proxy.exe"));
    let rules = [
        ("k8swin kubelet", FirewallMatch::TcpPort(10250), &["10.5.6.215/32"][..]),
        ("k8swin kube-proxy", proxy, &["192.168.0.0/16", "10.5.6.0/24"]),
        ("k8swin pods", FirewallMatch::Any, &["192.168.0.0/16"]),
        ("k8swin ping", FirewallMatch::IcmpEcho, &[]),
    ];
    let rule = |(name, allow, remote): (&str, FirewallMatch, &[&str])| {
        let remote = remote.iter().map(|net| net.parse().unwrap()).collect();
        WindowsResource::FirewallRule(FirewallRule { name: name.to_owned(), allow, remote })
    };
    rules.map(rule).into()
}

pub(crate) fn pause_image() -> WindowsResource {
    let (tag, base) = ("k8swin/pause:1".into(), "mcr.microsoft.com/windows/nanoserver:sac2016".into());
    WindowsResource::PauseImage(PauseImage { tag, base })
}

pub(crate) fn service(name: &str, arguments: &[&str], depends_on: &[&str]) -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: name.into(),
        display_name: format!("Test {name}"),
        run: ServiceProgram::Supervised(ProgramInvocation {
            program: path(r"C:\k8swin\work\worker.exe"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: [("CONTAINER_NETWORK".to_owned(), "pods".to_owned())].into(),
            working_directory: path(r"C:\k8swin\work"),
            log_directory: path(r"C:\k8swin\log"),
        }),
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        inputs: Sha256::of(name.as_bytes()),
    }))
}

pub(crate) fn network_service() -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: "k8swin-network".into(),
        display_name: "Test of the network".into(),
        run: ServiceProgram::NetworkReconciler,
        depends_on: vec!["docker".into()],
        inputs: Sha256::of(b"network"),
    }))
}
