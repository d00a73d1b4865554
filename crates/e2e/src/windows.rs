//! The Windows hosts of an inventory: Wine with the stand-ins for what it lacks, behind WinRM servers.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use k8swin_inventory::Host;
use k8swin_inventory::cluster::{System, WinRmTransport};
use k8swin_lab::keys::{self, Authority};
use k8swin_lab::program::SharedHost;
use k8swin_lab::winrm::{Limits, Security, Server};
use k8swin_protocol::{Os, SecretBytes};
use k8swin_sandbox::{Network, WindowsHost, WindowsSettings, listen};
use k8swin_stand_ins::ADAPTER_NAMES;
use k8swin_stand_ins::kit::{self, Kit};
use k8swin_stand_ins::netsh::{Persistent, StoredRoute};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, file};
use crate::hosts::{Making, Names, adapter};
use crate::twin::{Segment, port};
use crate::winrm::WindowsMachine;

/// The adapters: as Linux calls them, which allows no blanks in names, and as Windows does.
const NODE_ADAPTER: (&str, &str) = ("Ethernet", "Ethernet");
const POD_ADAPTER: (&str, &str) = ("Ethernet2", "Ethernet 2");

/// The stand-in for Docker's engine, which is installed on every host before k8swin comes.
const ENGINE: &str = r"C:\Program Files\Docker\dockerd.exe";
const CLIENT: &str = r"C:\Program Files\Docker\docker.exe";

/// How long the engine may take after a boot, and between two looks.
const DOCKER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// What all Windows hosts are made from.
pub(crate) struct WindowsParts {
    kit: Kit,
    prefix: PathBuf,
}

impl WindowsParts {
    /// Builds what is not built yet.
    pub(crate) fn build() -> Result<Self, Error> {
        kit::needed().map_err(Error::Kit)?;
        let cargo = std::env::var_os("CARGO");
        let kit = Kit::build(cargo.as_deref().unwrap_or(OsStr::new("cargo"))).map_err(Error::Kit)?;
        let prefix = kit.prefix().map_err(Error::Kit)?;
        Ok(Self { kit, prefix })
    }
}

/// Starts the Windows hosts of a cluster, each with its WinRM server. Writes the keys by which they are reached to the desk.
pub(crate) fn start(
    making: &Making<'_>,
    network: &mut Network,
    segment: Segment,
    names: &Names,
    servers: &CancellationToken,
) -> Result<Vec<Arc<WindowsMachine>>, Error> {
    let Some(parts) = making.windows else { return Ok(Vec::new()) };
    let failed = |error: k8swin_lab::LabError| Error::Inventory(error.to_string());
    let authority = Authority::new().map_err(failed)?;
    let desk = making.desk;
    fs::write(desk.authority(), authority.pem()).map_err(file("write", desk.authority()))?;
    let password = keys::password();
    desk.write_password(&password)?;
    let mut machines = Vec::new();
    for host in making.cluster.hosts.iter().filter(|host| host.os() == Os::Windows) {
        making.interrupt.check()?;
        let adapters =
            [adapter(NODE_ADAPTER.0, Some((host.node_address, segment.prefix))), adapter(POD_ADAPTER.0, None)];
        let namespace = network.attach(making.sandbox, &host.name, &adapters)?;
        let settings = WindowsSettings {
            hostname: host.name.clone(),
            namespace: namespace.clone(),
            machine_guid: format!("{:08x}-0000-4000-8000-000000000000", u32::from(host.node_address)),
            names: names.to_vec(),
            template: parts.prefix.clone(),
        };
        let windows = WindowsHost::start(making.sandbox, settings)?;
        let windows = install(windows, parts, host, segment)?;
        let machine = WindowsMachine::new(windows, SecretBytes::new(password.as_bytes()), making.runtime.clone());
        machine.reboot()?;
        wait_for_docker(&machine.host)?;
        let address = SocketAddr::from((host.node_address, port(host)));
        let listener = listen(&namespace, address)?;
        listener.set_nonblocking(true).map_err(file("listen on", address.to_string()))?;
        let security = security(host, &authority).map_err(failed)?;
        let server = Server::new(security, Arc::clone(&machine) as SharedHost, Limits::default());
        let _inside = making.runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(file("listen on", address.to_string()))?;
        making.runtime.spawn(server.serve(listener, servers.clone()));
        machines.push(machine);
    }
    Ok(machines)
}

/// What the installation of Windows and its administrator leave behind: names, addresses, and Docker.
fn install(
    mut windows: WindowsHost,
    parts: &WindowsParts,
    host: &Host,
    segment: Segment,
) -> Result<WindowsHost, Error> {
    let address = format!("{}/{}", host.node_address, segment.prefix);
    let address = address.parse().map_err(|_| Error::Inventory(format!("{}: the address {address}", host.name)))?;
    let network = Persistent {
        addresses: [(NODE_ADAPTER.0.to_owned(), vec![address])].into(),
        // kube-proxy takes the adapter of the default route for its own. Nothing lies behind this router.
        routes: vec![StoredRoute {
            destination: Ipv4Net::default(),
            via: segment.client,
            adapter: NODE_ADAPTER.0.to_owned(),
        }],
        ..Persistent::default()
    };
    parts.kit.install(&windows.prefix(), &windows.namespace_link()?, &network).map_err(Error::Kit)?;
    windows.before_boot(vec![
        windows.prefix_inside().join(kit::LINUX_SIDE).to_string_lossy().into_owned(),
        "boot".to_owned(),
    ]);
    windows.power_on()?;
    windows.set_identity()?;
    for (linux, name) in [NODE_ADAPTER, POD_ADAPTER] {
        windows.set_text(&format!(r"HKLM\{ADAPTER_NAMES}"), linux, name)?;
    }
    for (service, program) in kit::SYSTEM_SERVICES {
        windows.run(&["sc.exe", "create", service, "binPath=", program, "start=", "auto"])?;
    }
    windows.run(&[ENGINE, "--register-service"])?;
    Ok(windows)
}

/// An administrator does not begin before it runs either.
fn wait_for_docker(windows: &WindowsHost) -> Result<(), Error> {
    let deadline = Instant::now() + DOCKER;
    loop {
        match windows.run(&[CLIENT, "network", "ls", "--no-trunc", "--quiet"]) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn security(host: &Host, authority: &Authority) -> Result<Security, k8swin_lab::LabError> {
    match &host.system {
        System::Windows(windows) if matches!(windows.winrm.transport, WinRmTransport::Http) => Ok(Security::Http),
        _ => authority.server(&host.name, host.node_address).map(Security::Https),
    }
}
