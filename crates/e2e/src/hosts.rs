//! The hosts of an inventory, made in a sandbox.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8swin_inventory::cluster::{System, WinRmTransport};
use k8swin_inventory::{Cluster, Host};
use k8swin_lab::keys::{self, Authority};
use k8swin_lab::program::SharedHost;
use k8swin_lab::winrm::{Limits, Security, Server};
use k8swin_protocol::{Os, SecretBytes};
use k8swin_sandbox::{
    Adapter, LinuxHost, LinuxSettings, Network, Node, Rootfs, Sandbox, WindowsHost, WindowsSettings, listen, ssh_key,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, file};
use crate::interrupt::Interrupt;
use crate::twin::{Desk, Segment, port};
use crate::winrm::WindowsMachine;

/// The adapters of a Windows host as Linux calls them, which allows no blanks in names.
const NODE_ADAPTER: &str = "Ethernet";
const POD_ADAPTER: &str = "Ethernet2";

/// Between two looks whether a Windows host has shut itself down.
const LOOK: Duration = Duration::from_secs(1);

/// What all hosts are made from.
pub(crate) struct Making<'a> {
    /// Their sandbox.
    pub(crate) sandbox: &'a Sandbox,
    /// Who they are.
    pub(crate) cluster: &'a Cluster,
    /// The files of Linux hosts.
    pub(crate) rootfs: &'a Rootfs,
    /// The Wine prefix that Windows hosts begin with.
    pub(crate) prefix: Option<&'a Path>,
    /// The administrator's folder, which gets the keys.
    pub(crate) desk: &'a Desk,
    /// Where servers run.
    pub(crate) runtime: &'a Handle,
    /// Whether it should end early.
    pub(crate) interrupt: &'a Interrupt,
}

/// Running hosts. They end when this is dropped, servers first, then hosts, then their network.
#[derive(Debug)]
pub(crate) struct Hosts {
    _servers: DropGuard,
    linux: Vec<LinuxHost>,
    windows: Vec<Arc<WindowsMachine>>,
    looked: Instant,
    client: String,
    _network: Network,
}

impl Hosts {
    /// Starts all hosts and waits until they are up. Writes the keys by which they are reached to the desk.
    pub(crate) fn start(making: &Making<'_>) -> Result<Self, Error> {
        let Making { sandbox, cluster, desk, .. } = making;
        let addresses: Vec<Ipv4Addr> = cluster.hosts.iter().map(|host| host.node_address).collect();
        let segment = Segment::around(&addresses)?;
        let mut network = Network::new(sandbox)?;
        let own = adapter("eth0", Some((segment.client, segment.prefix)));
        let client = network.attach(sandbox, "client", &[own])?;
        let names: Vec<_> = cluster.hosts.iter().map(|host| (host.node_address, host.name.clone())).collect();
        let mut linux = start_linux(making, &mut network, segment, &names)?;
        let servers = CancellationToken::new();
        let guard = servers.clone().drop_guard();
        let windows = start_windows(making, &mut network, segment, &names, &servers)?;
        let mut known_hosts = String::new();
        for host in &mut linux {
            making.interrupt.check()?;
            host.wait_until_up()?;
            if let Some(known) = cluster.host(host.hostname()) {
                known_hosts.push_str(&format!("{} {}", known.node_address, host.host_key()?));
            }
        }
        fs::write(desk.known_hosts(), known_hosts).map_err(file("write", desk.known_hosts()))?;
        Ok(Self {
            _servers: guard,
            linux,
            windows,
            looked: Instant::now(),
            client: client.to_string(),
            _network: network,
        })
    }

    /// The network namespace of the administrator's machine.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// The Linux hosts.
    pub(crate) fn linux(&self) -> &[LinuxHost] {
        &self.linux
    }

    /// The Windows hosts.
    pub(crate) fn windows(&self) -> impl Iterator<Item = &WindowsHost> {
        self.windows.iter().map(|machine| &*machine.host)
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<String> {
        let linux = self.linux.iter().map(LinuxHost::hostname);
        linux.chain(self.windows().map(WindowsHost::hostname)).map(str::to_owned).collect()
    }

    /// Boots the hosts that went down to restart.
    pub(crate) fn restart_those_that_asked(&mut self) -> Result<(), Error> {
        for host in &mut self.linux {
            host.restart_if_asked()?;
        }
        if self.looked.elapsed() >= LOOK {
            for machine in &self.windows {
                if !machine.host.is_on() {
                    machine.reboot()?;
                }
            }
            self.looked = Instant::now();
        }
        Ok(())
    }

    /// Restarts a host in order and waits until it is up again.
    pub(crate) fn reboot(&mut self, name: &str) -> Result<(), Error> {
        if let Some(host) = self.linux.iter_mut().find(|host| host.hostname() == name) {
            // The session may be cut before the answer.
            host.try_run(&["systemctl", "reboot"])?;
            host.comes_back()?;
        }
        if let Some(machine) = self.windows.iter().find(|machine| machine.host.hostname() == name) {
            machine.reboot()?;
        }
        Ok(())
    }
}

fn adapter(name: &str, address: Option<(Ipv4Addr, u8)>) -> Adapter {
    Adapter { name: name.to_owned(), mac: None, address }
}

type Names = [(Ipv4Addr, String)];

fn start_linux(
    making: &Making<'_>,
    network: &mut Network,
    segment: Segment,
    names: &Names,
) -> Result<Vec<LinuxHost>, Error> {
    let identity = making.desk.identity();
    ssh_key(identity.as_std_path())?;
    let public = identity.with_extension("pub");
    let authorized_key = fs::read_to_string(&public).map_err(file("read", public))?;
    let hosts = making.cluster.hosts.iter().filter(|host| host.os() == Os::Linux);
    hosts
        .map(|host| {
            let settings = LinuxSettings {
                hostname: host.name.clone(),
                machine_id: format!("{:032x}", u32::from(host.node_address)),
                address: (host.node_address, segment.prefix),
                namespace: network.attach(making.sandbox, &host.name, &[adapter("eth0", None)])?,
                neighbours: names.to_vec(),
                node: Some(Node { authorized_key: authorized_key.clone() }),
            };
            Ok(LinuxHost::start(making.sandbox, making.rootfs, settings)?)
        })
        .collect()
}

fn start_windows(
    making: &Making<'_>,
    network: &mut Network,
    segment: Segment,
    names: &Names,
    servers: &CancellationToken,
) -> Result<Vec<Arc<WindowsMachine>>, Error> {
    let Some(prefix) = making.prefix else { return Ok(Vec::new()) };
    let failed = |error: k8swin_lab::LabError| Error::Inventory(error.to_string());
    let authority = Authority::new().map_err(failed)?;
    let desk = making.desk;
    fs::write(desk.authority(), authority.pem()).map_err(file("write", desk.authority()))?;
    let password = keys::password();
    desk.write_password(&password)?;
    let mut machines = Vec::new();
    for host in making.cluster.hosts.iter().filter(|host| host.os() == Os::Windows) {
        making.interrupt.check()?;
        let adapters = [adapter(NODE_ADAPTER, Some((host.node_address, segment.prefix))), adapter(POD_ADAPTER, None)];
        let namespace = network.attach(making.sandbox, &host.name, &adapters)?;
        let settings = WindowsSettings {
            hostname: host.name.clone(),
            namespace: namespace.clone(),
            machine_guid: format!("{:08x}-0000-4000-8000-000000000000", u32::from(host.node_address)),
            names: names.to_vec(),
            template: prefix.to_owned(),
        };
        let windows = WindowsHost::start(making.sandbox, settings)?;
        windows.power_on()?;
        let machine = WindowsMachine::new(windows, SecretBytes::new(password.as_bytes()), making.runtime.clone());
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

fn security(host: &Host, authority: &Authority) -> Result<Security, k8swin_lab::LabError> {
    match &host.system {
        System::Windows(windows) if matches!(windows.winrm.transport, WinRmTransport::Http) => Ok(Security::Http),
        _ => authority.server(&host.name, host.node_address).map(Security::Https),
    }
}
