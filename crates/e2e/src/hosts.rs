//! The hosts of an inventory, made in a sandbox.

use std::fs;
use std::net::Ipv4Addr;

use k8swin_inventory::Cluster;
use k8swin_protocol::Os;
use k8swin_sandbox::{Adapter, LinuxHost, LinuxSettings, Network, Node, Rootfs, Sandbox, ssh_key};

use crate::error::{Error, file};
use crate::interrupt::Interrupt;
use crate::twin::{Desk, Segment};

/// Running hosts. They end when this is dropped, hosts first, then their network.
#[derive(Debug)]
pub(crate) struct Hosts {
    linux: Vec<LinuxHost>,
    client: String,
    _network: Network,
}

impl Hosts {
    /// Starts all hosts and waits until they are up. Writes the keys by which they are reached to `desk`.
    pub(crate) fn start(
        sandbox: &Sandbox,
        cluster: &Cluster,
        rootfs: &Rootfs,
        desk: &Desk,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let addresses: Vec<Ipv4Addr> = cluster.hosts.iter().map(|host| host.node_address).collect();
        let segment = Segment::around(&addresses)?;
        let mut network = Network::new(sandbox)?;
        let adapter = |name: &str, address| Adapter { name: name.to_owned(), mac: None, address };
        let client =
            network.attach(sandbox, "client", &[adapter("eth0", Some((segment.client, segment.prefix)))])?;
        ssh_key(desk.identity().as_std_path())?;
        let public = desk.identity().with_extension("pub");
        let authorized_key = fs::read_to_string(&public).map_err(file("read", public))?;
        let neighbours: Vec<_> = cluster.hosts.iter().map(|host| (host.node_address, host.name.clone())).collect();
        let mut linux = Vec::new();
        for host in cluster.hosts.iter().filter(|host| host.os() == Os::Linux) {
            let namespace = network.attach(sandbox, &host.name, &[adapter("eth0", None)])?;
            let settings = LinuxSettings {
                hostname: host.name.clone(),
                machine_id: format!("{:032x}", u32::from(host.node_address)),
                address: (host.node_address, segment.prefix),
                namespace,
                neighbours: neighbours.clone(),
                node: Some(Node { authorized_key: authorized_key.clone() }),
            };
            linux.push(LinuxHost::start(sandbox, rootfs, settings)?);
        }
        let mut known_hosts = String::new();
        for host in &mut linux {
            interrupt.check()?;
            host.wait_until_up()?;
            if let Some(known) = cluster.host(host.hostname()) {
                known_hosts.push_str(&format!("{} {}", known.node_address, host.host_key()?));
            }
        }
        fs::write(desk.known_hosts(), known_hosts).map_err(file("write", desk.known_hosts()))?;
        Ok(Self { linux, client, _network: network })
    }

    /// The network namespace of the administrator's machine.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// The Linux hosts.
    pub(crate) fn linux(&self) -> &[LinuxHost] {
        &self.linux
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.linux.iter().map(|host| host.hostname().to_owned()).collect()
    }

    /// Boots the hosts that went down to restart.
    pub(crate) fn restart_those_that_asked(&mut self) -> Result<(), Error> {
        for host in &mut self.linux {
            host.restart_if_asked()?;
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
        Ok(())
    }
}
