//! The hosts of an inventory, made in a sandbox.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8swin_inventory::Cluster;
use k8swin_protocol::Os;
use k8swin_sandbox::{Adapter, LinuxHost, LinuxSettings, Network, Node, Rootfs, Sandbox, WindowsHost, ssh_key};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, file};
use crate::interrupt::Interrupt;
use crate::twin::{Desk, Segment};
use crate::windows::{self, WindowsParts};
use crate::winrm::WindowsMachine;

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
    /// What Windows hosts are made from, where there are any.
    pub(crate) windows: Option<&'a WindowsParts>,
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
        let windows = windows::start(making, &mut network, segment, &names, &servers)?;
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
                machine.restart_if_asked()?;
            }
            self.looked = Instant::now();
        }
        Ok(())
    }

    /// Cuts a Linux host's power.
    pub(crate) fn power_off(&mut self, name: &str) {
        self.linux.iter_mut().filter(|host| host.hostname() == name).for_each(LinuxHost::power_off);
    }

    /// Boots a Linux host after [`Self::power_off`] and waits until it is up.
    pub(crate) fn power_on(&mut self, name: &str) -> Result<(), Error> {
        let hosts = self.linux.iter_mut().filter(|host| host.hostname() == name);
        Ok(hosts.into_iter().try_for_each(LinuxHost::power_on)?)
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

    /// Kills all processes of a Linux host's SSH server, those of its connections with it. systemd starts it again.
    pub(crate) fn kill_sshd(&self, name: &str) -> Result<(), Error> {
        if let Some(host) = self.linux.iter().find(|host| host.hostname() == name) {
            host.try_run(&["pkill", "-KILL", "-x", "sshd"])?;
            // Of a unit that was killed, systemd may think that somebody wanted it.
            host.try_run(&["systemctl", "start", "ssh.service"])?;
        }
        Ok(())
    }

    /// Restarts the WinRM service of a Windows host.
    pub(crate) fn restart_winrm(&self, name: &str) {
        if let Some(machine) = self.windows.iter().find(|machine| machine.host.hostname() == name) {
            machine.restart_winrm();
        }
    }
}

/// An adapter whose hardware address the kernel makes up.
pub(crate) fn adapter(name: &str, address: Option<(Ipv4Addr, u8)>) -> Adapter {
    Adapter { name: name.to_owned(), mac: None, address }
}

/// All hosts' addresses with their names.
pub(crate) type Names = [(Ipv4Addr, String)];

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
                // What has no route cannot be redirected by kube-proxy. Nothing lies behind this router.
                gateway: Some(segment.client),
                namespace: network.attach(making.sandbox, &host.name, &[adapter("eth0", None)])?,
                neighbours: names.to_vec(),
                node: Some(Node { authorized_key: authorized_key.clone() }),
            };
            Ok(LinuxHost::start(making.sandbox, making.rootfs, settings)?)
        })
        .collect()
}
