//! A network of its own: a switch in one namespace, and a namespace for each host with adapters plugged into it.
//!
//! Nothing leads out of it, so that its addresses may be any: they are never those of this machine's own network.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::file;
use crate::{Sandbox, SandboxError, program};

/// Where `ip netns` keeps its names.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// A network adapter of a host.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its name on the host, of at most 15 characters.
    pub name: String,
    /// Its hardware address, such as `02:00:00:00:00:01`; one that the kernel makes up without it.
    pub mac: Option<String>,
    /// Its address with the prefix length; without one, the host gives itself one.
    pub address: Option<(Ipv4Addr, u8)>,
}

/// The network of a sandbox.
#[derive(Debug)]
pub struct Network {
    switch: String,
    namespaces: Vec<String>,
}

/// A host's own network namespace, which is used as its name for `ip netns exec`.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    switch: String,
    adapters: Vec<Adapter>,
}

impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Network {
    /// A switch, and nothing plugged in.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn new(sandbox: &Sandbox) -> Result<Self, SandboxError> {
        let switch = sandbox.named("switch");
        ip(&["netns", "add", &switch])?;
        let network = Self { namespaces: vec![switch.clone()], switch };
        ip(&["-n", &network.switch, "link", "add", "nodes", "type", "bridge", "forward_delay", "0"])?;
        ip(&["-n", &network.switch, "link", "set", "nodes", "up"])?;
        Ok(network)
    }

    /// A namespace with these adapters, which are up and plugged in.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn attach(&mut self, sandbox: &Sandbox, host: &str, adapters: &[Adapter]) -> Result<Namespace, SandboxError> {
        let name = sandbox.named(host);
        self.namespaces.push(name.clone());
        let namespace = Namespace { name, switch: self.switch.clone(), adapters: adapters.to_vec() };
        namespace.make()?;
        Ok(namespace)
    }
}

impl Namespace {
    /// Makes it anew, after its last process has ended: a kernel that boots knows no addresses, routes and rules.
    pub(crate) fn renew(&self) -> Result<(), SandboxError> {
        // The kernel takes the namespace apart some time later; its adapters are off the switch at once.
        for adapter in &self.adapters {
            ip(&["-n", &self.name, "link", "delete", &adapter.name])?;
        }
        remove_namespace(&self.name);
        self.make()
    }

    fn make(&self) -> Result<(), SandboxError> {
        ip(&["netns", "add", &self.name])?;
        ip(&["-n", &self.name, "link", "set", "lo", "up"])?;
        for adapter in &self.adapters {
            self.plug(adapter)?;
        }
        Ok(())
    }

    fn plug(&self, adapter: &Adapter) -> Result<(), SandboxError> {
        static PORTS: AtomicU32 = AtomicU32::new(0);
        let namespace = &self.name;
        let port = format!("port{}", PORTS.fetch_add(1, Ordering::Relaxed));
        let mut add = vec!["-n", namespace, "link", "add", "name", &adapter.name];
        if let Some(mac) = &adapter.mac {
            add.extend(["address", mac]);
        }
        add.extend(["type", "veth", "peer", "name", &port, "netns", &self.switch]);
        ip(&add)?;
        ip(&["-n", &self.switch, "link", "set", &port, "master", "nodes", "up"])?;
        if let Some((address, prefix)) = adapter.address {
            ip(&["-n", namespace, "address", "add", &format!("{address}/{prefix}"), "dev", &adapter.name])?;
        }
        ip(&["-n", namespace, "link", "set", &adapter.name, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.namespaces.iter().rev() {
            remove_namespace(namespace);
        }
    }
}

/// The file that stands for a namespace.
pub(crate) fn namespace_file(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// Listens on an address of a namespace; this process itself stays where it is.
///
/// # Errors
/// When the namespace is gone, or the address is taken or not there.
pub fn listen(namespace: &str, address: SocketAddr) -> Result<TcpListener, SandboxError> {
    let path = namespace_file(namespace);
    let link = File::open(&path).map_err(file("open", path))?;
    // A socket belongs to the namespace in which it was made. Threads are in one each, and this one ends.
    let bound = thread::spawn(move || -> io::Result<TcpListener> {
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind(address)
    });
    let bound = bound.join().unwrap_or_else(|_| Err(io::Error::other("the thread was lost")));
    bound.map_err(|error| SandboxError::Program { program: format!("listen on {address}"), answer: error.to_string() })
}

/// Nothing that is sent to the adapter arrives until the host sets it up again.
pub(crate) fn pull_the_plug(namespace: &str, adapter: &str) {
    // A namespace that is gone answers nobody either.
    let _ = ip(&["-n", namespace, "link", "set", adapter, "down"]);
}

/// Takes the name away; the namespace goes with its last process.
pub(crate) fn remove_namespace(name: &str) {
    // Its end is not what anybody waits for.
    let _ = ip(&["netns", "delete", name]);
}

/// Takes from a namespace what programs in it made: addresses, the routes with them, bridges, forwarding. Adapters stay.
pub(crate) fn forget(namespace: &str) -> Result<(), SandboxError> {
    let bridges = program::run("ip", ["-n", namespace, "-oneline", "link", "show", "type", "bridge"])?;
    for bridge in bridges.lines().filter_map(|line| line.split(": ").nth(1)) {
        ip(&["-n", namespace, "link", "del", bridge])?;
    }
    let links = program::run("ip", ["-n", namespace, "-oneline", "link", "show"])?;
    for link in links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next()) {
        ip(&["-n", namespace, "-4", "address", "flush", "dev", link, "scope", "global"])?;
    }
    // All adapters' with it.
    ip(&["netns", "exec", namespace, "sysctl", "--quiet", "--write", "net.ipv4.ip_forward=0"])
}

fn ip(arguments: &[&str]) -> Result<(), SandboxError> {
    program::run("ip", arguments).map(|_| ())
}
