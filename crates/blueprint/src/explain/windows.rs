//! The commands of Windows, as in the walkthrough in its corrected form (facts A.2 #14, #20–#29; D.4; E).

use k8swin_protocol::WindowsResource;
use k8swin_protocol::resource::{
    FirewallMatch, FirewallRule, Forwarding, ForwardingMode, ProgramInvocation, Protection, ServiceAdapter,
    ServiceAdapterKind, ServiceProgram, TransparentNetwork, WindowsService,
};

use super::describe;

/// The host adapter of the transparent network, which Windows may number (facts D.3).
const POD_ADAPTER: &str = "vEthernet (HNSTransparent)";

pub(super) fn commands(resource: &WindowsResource) -> Vec<String> {
    match resource {
        WindowsResource::Directory(directory) => {
            let mut lines = vec![format!("New-Item -ItemType Directory -Force {}", quote(directory.path.as_str()))];
            lines.extend(protect(directory.path.as_str(), directory.protection, "(OI)(CI)F"));
            lines
        }
        WindowsResource::File(file) => {
            let mut lines = vec![describe(file)];
            lines.extend(protect(file.path.as_str(), file.protection, "F"));
            lines
        }
        WindowsResource::Feature(feature) => {
            vec![format!("Install-WindowsFeature {} -IncludeManagementTools", feature.name)]
        }
        WindowsResource::TransparentNetwork(network) => vec![create_network(network)],
        WindowsResource::AdapterAddress(address) => {
            let mask = ipnet::Ipv4Net::new(address.address, address.prefix).map(|net| net.netmask().to_string());
            vec![format!(
                "netsh interface ipv4 set address name={} source=static address={} mask={}",
                quote(POD_ADAPTER),
                address.address,
                mask.unwrap_or_default()
            )]
        }
        WindowsResource::Forwarding(forwarding) => forward(forwarding),
        WindowsResource::ServiceAdapter(adapter) => vec![service_adapter(adapter)],
        WindowsResource::Route(route) => vec![format!(
            "route -p add {} mask {} {}",
            route.destination.network(),
            route.destination.netmask(),
            route.via
        )],
        WindowsResource::FirewallRule(rule) => vec![firewall(rule)],
        WindowsResource::PauseImage(image) => {
            vec![format!("# Dockerfile: FROM {}", image.base), format!("docker build -t {} .", image.tag)]
        }
        WindowsResource::SearchPath(search) => vec![format!(
            "[Environment]::SetEnvironmentVariable('Path', [Environment]::GetEnvironmentVariable('Path', 'Machine') + \
             ';{}', 'Machine')",
            search.folder
        )],
        WindowsResource::Service(service) => run(service),
    }
}

/// PowerShell's double quotes.
fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

/// SYSTEM and the administrators by their identifiers: their names are translated on other Windows languages.
fn protect(path: &str, protection: Protection, rights: &str) -> Option<String> {
    (protection == Protection::Secret).then(|| {
        let path = quote(path);
        format!(r#"icacls {path} /inheritance:r /grant "*S-1-5-18:{rights}" "*S-1-5-32-544:{rights}""#)
    })
}

fn create_network(network: &TransparentNetwork) -> String {
    format!(
        "docker network create -d transparent --gateway {} --subnet {} -o com.docker.network.windowsshim.interface={} {}",
        network.gateway,
        network.subnet,
        quote(&network.adapter),
        network.name
    )
}

fn forward(forwarding: &Forwarding) -> Vec<String> {
    match forwarding.mode {
        ForwardingMode::Rras => vec![
            "Install-RemoteAccess -VpnType RoutingOnly".to_owned(),
            "Set-Service RemoteAccess -StartupType Automatic".to_owned(),
            "Start-Service RemoteAccess".to_owned(),
        ],
        ForwardingMode::PerAdapter => vec![
            format!(
                "Set-NetIPInterface -InterfaceAlias {} -AddressFamily IPv4 -Forwarding Enabled",
                quote(POD_ADAPTER)
            ),
            format!(
                "Get-NetIPAddress -IPAddress {} | Get-NetIPInterface | Set-NetIPInterface -Forwarding Enabled",
                forwarding.routable
            ),
        ],
    }
}

fn service_adapter(adapter: &ServiceAdapter) -> String {
    match adapter.kind {
        ServiceAdapterKind::InternalSwitch => format!("New-VMSwitch -Name {} -SwitchType Internal", adapter.switch),
        ServiceAdapterKind::DockerNat => format!("# {} is there with Docker's nat network", quote(&adapter.adapter())),
    }
}

fn firewall(rule: &FirewallRule) -> String {
    let allow = match &rule.allow {
        FirewallMatch::TcpPort(port) => format!("-Protocol TCP -LocalPort {port}"),
        FirewallMatch::Program(program) => format!("-Program {}", quote(program.as_str())),
        FirewallMatch::IcmpEcho => "-Protocol ICMPv4 -IcmpType 8".to_owned(),
        FirewallMatch::Any => "-Protocol Any".to_owned(),
    };
    let remote: Vec<_> = rule.remote.iter().map(ToString::to_string).collect();
    let remote = if remote.is_empty() { "Any".to_owned() } else { remote.join(",") };
    let name = quote(&rule.name);
    format!(
        "New-NetFirewallRule -DisplayName {name} -Direction Inbound -Action Allow -Profile Any {allow} -RemoteAddress {remote}"
    )
}

/// What the guide has an admin start by hand again after each reboot.
fn run(service: &WindowsService) -> Vec<String> {
    match &service.run {
        ServiceProgram::NetworkReconciler => {
            vec![format!("# the service {} repeats the network's commands at boot", service.name)]
        }
        ServiceProgram::Supervised(run) => {
            let variables = run.environment.iter().map(|(name, value)| format!("$env:{name} = {}", quote(value)));
            variables.chain([command_line(run)]).collect()
        }
        ServiceProgram::Native { program, arguments } => vec![
            format!(
                "New-Service -Name {} -DisplayName {} -StartupType Automatic -BinaryPathName '{} {}'",
                service.name,
                quote(&service.display_name),
                quote(program.as_str()),
                arguments.join(" ")
            ),
            format!("Start-Service {}", service.name),
        ],
    }
}

fn command_line(run: &ProgramInvocation) -> String {
    let words = std::iter::once(run.program.as_str()).chain(run.arguments.iter().map(String::as_str));
    let quoted = words.map(|word| if word.contains([' ', '(', ',']) { quote(word) } else { word.to_owned() });
    quoted.collect::<Vec<_>>().join(" ")
}
