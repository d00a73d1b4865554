//! The platform traits on a simulated host.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8swin_protocol::facts::{Adapter, RouteEntry, ServiceStatus};
use k8swin_protocol::probe::{Connect, Listen, Outcome};
use k8swin_protocol::resource::{FeatureName, FirewallRule, PauseImage, TransparentNetwork};
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

use super::machine::Machine;
use super::{SimulatedHost, linux, windows};
use crate::platform::{
    Activity, Addressing, DockerNetworkState, Executable, FeatureState, ForwardRule, HostLock, Image, InstalledRule,
    InstalledService, KubeOperation, KubeOutcome, Link, LinuxPlatform, Permissions, Platform, PlatformError, Result,
    ServiceDefinition, SharedFile, StartMode, Stat, SystemRoute, UnitState, Unloaded, WindowsPlatform,
};

/// One session on a simulated host.
pub(super) struct SimulatedPlatform {
    host: SimulatedHost,
    /// A reboot was asked for; it begins when the session has ended.
    reboot: bool,
    /// Whether its process lives: one that was killed does nothing more.
    alive: Arc<AtomicBool>,
    /// The token for which the session has listened for other hosts' agents.
    listened: Option<String>,
}

impl SimulatedPlatform {
    pub(super) fn new(host: SimulatedHost) -> Self {
        Self::of_process(host, Arc::new(AtomicBool::new(true)))
    }

    /// The host as a process sees it that can be killed.
    pub(super) fn of_process(host: SimulatedHost, alive: Arc<AtomicBool>) -> Self {
        Self { host, reboot: false, listened: None, alive }
    }

    fn live(&self) -> Result<()> {
        if self.alive.load(Ordering::SeqCst) { Ok(()) } else { Err(PlatformError::new("go on", "killed")) }
    }

    fn read<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        self.host.read(look)
    }

    fn mutate<T>(&self, what: String, change: impl FnOnce(&mut Machine) -> Result<T>) -> Result<T> {
        self.live()?;
        self.host.mutate(&what, |machine| self.alive_still(&what).and_then(|()| change(machine)))
    }

    fn mutate_routes<T>(&self, what: String, change: impl FnOnce(&mut Machine) -> Result<T>) -> Result<T> {
        self.live()?;
        self.host.mutate_routes(&what, |machine| self.alive_still(&what).and_then(|()| change(machine)))
    }

    /// Whoever held the step up may have killed its process.
    fn alive_still(&self, what: &str) -> Result<()> {
        if self.alive.load(Ordering::SeqCst) { Ok(()) } else { Err(PlatformError::new(what, "killed")) }
    }
}

impl Drop for SimulatedPlatform {
    fn drop(&mut self) {
        if let Some(token) = &self.listened {
            self.host.cluster().network().silence(self.host.name(), token);
        }
        if self.reboot {
            self.host.reboot();
        }
    }
}

impl Platform for SimulatedPlatform {
    fn os(&self) -> Os {
        self.host.os()
    }

    fn now_ms(&mut self) -> i64 {
        self.read(Machine::now_ms)
    }

    fn sleep(&mut self, duration: Duration) {
        self.host.cluster().wait(duration);
    }

    fn facts(&mut self) -> Result<Facts> {
        Ok(self.read(Machine::facts))
    }

    fn adapters(&mut self) -> Result<Vec<Adapter>> {
        Ok(self.read(Machine::adapters))
    }

    fn routes(&mut self) -> Result<Vec<RouteEntry>> {
        Ok(self.read(Machine::all_routes))
    }

    fn add_route(&mut self, route: &SystemRoute) -> Result<()> {
        self.mutate_routes(format!("add the route {route}"), |machine| machine.add_route(route))
    }

    fn remove_route(&mut self, route: &SystemRoute) -> Result<()> {
        self.mutate_routes(format!("remove the route {route}"), |machine| machine.remove_route(route))
    }

    fn stat(&mut self, path: &HostPath) -> Result<Option<Stat>> {
        self.live()?;
        Ok(self.read(|machine| machine.files.stat(path)))
    }

    fn read_file(&mut self, path: &HostPath) -> Result<SecretBytes> {
        self.read(|machine| match machine.files.content(path) {
            Some(content) => Ok(SecretBytes::new(content.bytes.to_vec())),
            None => Err(machine.files.absent("read", path)),
        })
    }

    fn hash_file(&mut self, path: &HostPath) -> Result<Sha256> {
        self.read(|machine| match machine.files.content(path) {
            Some(content) => Ok(content.sha256()),
            None => Err(machine.files.absent("read", path)),
        })
    }

    fn write_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
        let what = format!("write {path}");
        self.mutate(what.clone(), |machine| {
            machine.disk(&what)?;
            machine.files.write(path, bytes.to_vec(), permissions.clone())
        })
    }

    fn create_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
        let what = format!("create {path}");
        self.mutate(what.clone(), |machine| {
            if machine.files.exists(path) {
                return Ok(false);
            }
            machine.disk(&what)?;
            machine.files.write(path, bytes.to_vec(), permissions.clone())?;
            Ok(true)
        })
    }

    fn append_file(&mut self, path: &HostPath, bytes: &[u8]) -> Result<()> {
        let what = format!("append to {path}");
        self.mutate(what.clone(), |machine| {
            machine.disk(&what)?;
            machine.files.append(path, bytes)
        })
    }

    fn copy_file(&mut self, from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
        let what = format!("write {to}");
        self.mutate(what.clone(), |machine| {
            machine.disk(&what)?;
            machine.files.copy(from, to, permissions.clone())
        })
    }

    fn set_permissions(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        self.mutate(format!("set the permissions of {path}"), |machine| {
            machine.files.set_permissions(path, permissions.clone())
        })
    }

    fn remove_file(&mut self, path: &HostPath) -> Result<()> {
        self.mutate(format!("remove {path}"), |machine| machine.files.remove_file(path))
    }

    fn create_directory(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        let what = format!("create {path}");
        self.mutate(what.clone(), |machine| {
            machine.disk(&what)?;
            machine.files.create_folder(path, permissions.clone())
        })
    }

    fn remove_directory(&mut self, path: &HostPath) -> Result<()> {
        self.mutate(format!("remove {path}"), |machine| machine.files.remove_folder(path))
    }

    fn remove_tree(&mut self, path: &HostPath) -> Result<()> {
        self.mutate(format!("remove {path} with what is in it"), |machine| {
            machine.files.remove_tree(path);
            Ok(())
        })
    }

    fn list_directory(&mut self, path: &HostPath) -> Result<Vec<String>> {
        self.read(|machine| match machine.files.exists(path) {
            true => Ok(machine.files.names(path)),
            false => Err(machine.files.absent("list", path)),
        })
    }

    fn own_executable(&mut self) -> Result<Executable> {
        self.read(|machine| {
            let found = machine.agent.as_ref().and_then(|path| Some((path, machine.files.content(path)?)));
            match found {
                Some((path, content)) => Ok(Executable { path: path.clone(), sha256: content.sha256() }),
                None => Err(PlatformError::new("find the agent's own program", "it was never put on this host")),
            }
        })
    }

    fn try_lock(&mut self, doing: &str) -> Result<HostLock> {
        self.live()?;
        Ok(self.host.try_lock(doing))
    }

    fn start_change(&mut self) -> Result<()> {
        self.mutate("start the change of the network".into(), |_| Ok(()))?;
        self.host.start_change()
    }

    /// What Windows keeps of the change is no part of the simulation.
    fn forget_change(&mut self) -> Result<()> {
        Ok(())
    }

    fn service_status(&mut self, name: &str) -> Result<ServiceStatus> {
        Ok(self.read(|machine| match machine.os() {
            Os::Linux => linux::service_status(machine, name),
            Os::Windows => windows::service_status(machine, name),
        }))
    }

    fn listen(&mut self, wanted: &Listen) -> Result<Vec<u16>> {
        self.listened = Some(wanted.token.clone());
        Ok(self.host.cluster().network().listen(self.host.name(), wanted))
    }

    fn connect(&mut self, wanted: &Connect) -> Result<Vec<Outcome>> {
        Ok(self.host.connect(&wanted.targets))
    }

    fn open_shared(&mut self, path: &HostPath) -> Result<SharedFile> {
        self.read(|machine| {
            let content = machine.files.content(path).ok_or_else(|| machine.files.absent("read", path))?;
            if machine.faults.depot_corrupts && path.as_str().contains("depot") {
                let mut broken = content.bytes.to_vec();
                // Within the last frame, so that the fault is in what is given and not in how it is given.
                if let Some(byte) = broken.last_mut() {
                    *byte = !*byte;
                }
                return Ok(Arc::new(broken) as SharedFile);
            }
            Ok(Arc::clone(&content.bytes) as SharedFile)
        })
    }

    fn bind(&mut self, address: Ipv4Addr) -> Result<TcpListener> {
        let bound = self.host.cluster().network().bind(self.host.name(), address);
        self.host.shared.transfers.depots.fetch_add(1, Ordering::Relaxed);
        bound.map_err(|error| PlatformError::new(format!("listen at {address}"), error.to_string()))
    }

    fn seen_as(&self, _peer: Ipv4Addr) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    fn dial(&mut self, to: SocketAddrV4, patience: Duration) -> io::Result<Box<dyn Link>> {
        let network = self.host.cluster().network();
        let link = network.dial(self.host.name(), &self.host.shared.transfers, to, patience)?;
        Ok(Box::new(link))
    }

    fn reboot(&mut self, reason: &str) -> Result<()> {
        self.mutate(format!("restart the host: {reason}"), |_| Ok(()))?;
        self.reboot = true;
        Ok(())
    }
}

impl LinuxPlatform for SimulatedPlatform {
    fn sysctl(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.read(|machine| machine.linux.sysctls.get(key).cloned()))
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<()> {
        self.mutate(format!("set {key}"), |machine| linux::set_sysctl(machine, key, value))
    }

    fn module_loaded(&mut self, name: &str) -> Result<bool> {
        Ok(self.read(|machine| machine.linux.modules.contains(name)))
    }

    fn load_module(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("load the kernel module {name}"), |machine| linux::load_module(machine, name))
    }

    fn unload_module(&mut self, name: &str) -> Result<Unloaded> {
        self.mutate(format!("unload the kernel module {name}"), |machine| {
            linux::unload_module(machine, name);
            Ok(Unloaded::Gone)
        })
    }

    fn unit(&mut self, name: &str) -> Result<UnitState> {
        Ok(self.read(|machine| linux::unit_state(machine, name)))
    }

    fn replacing_drop_ins(&mut self, _name: &str) -> Result<Vec<HostPath>> {
        Ok(Vec::new())
    }

    fn reload_units(&mut self) -> Result<()> {
        self.mutate("reload systemd's units".into(), |machine| {
            linux::reload_units(machine);
            Ok(())
        })
    }

    fn enable_unit(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("enable {name}"), |machine| {
            linux::unit_mut(machine, "enable", name)?.enabled = true;
            Ok(())
        })
    }

    fn disable_unit(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("disable {name}"), |machine| {
            linux::unit_mut(machine, "disable", name)?.enabled = false;
            Ok(())
        })
    }

    fn restart_unit(&mut self, name: &str) -> Result<()> {
        let process = self.mutate(format!("restart {name}"), |machine| linux::restart(machine, name))?;
        match process {
            Some(process) if process.is_network_service() => self.host.run_network_service(name),
            _ => Ok(()),
        }
    }

    /// A simulated start takes no time.
    fn unit_in_motion(&mut self, _name: &str) -> Result<bool> {
        Ok(false)
    }

    fn stop_unit(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("stop {name}"), |machine| {
            let unit = linux::unit_mut(machine, "stop", name)?;
            unit.activity = Activity::Inactive;
            unit.journal.clear();
            Ok(())
        })
    }

    fn journal(&mut self, name: &str) -> Result<String> {
        let unit = |machine: &Machine| machine.linux.units.get(name).map(|unit| unit.journal.join("\n"));
        Ok(self.read(unit).unwrap_or_default())
    }

    fn has_forward_rule(&mut self, rule: &ForwardRule) -> Result<bool> {
        Ok(self.read(|machine| machine.linux.forward_rules.contains(rule)))
    }

    fn add_forward_rule(&mut self, rule: &ForwardRule) -> Result<()> {
        self.mutate(format!("add the rule {rule}"), |machine| {
            machine.linux.forward_rules.insert(*rule);
            Ok(())
        })
    }

    fn remove_forward_rule(&mut self, rule: &ForwardRule) -> Result<()> {
        self.mutate(format!("remove the rule {rule}"), |machine| {
            machine.linux.forward_rules.remove(rule);
            Ok(())
        })
    }

    fn kube(&mut self, operation: &KubeOperation) -> Result<KubeOutcome> {
        self.host.kube(operation)
    }
}

impl WindowsPlatform for SimulatedPlatform {
    fn feature(&mut self, name: FeatureName) -> Result<FeatureState> {
        Ok(self.read(|machine| windows::feature(machine, name)))
    }

    fn install_feature(&mut self, name: FeatureName) -> Result<()> {
        self.mutate(format!("install the feature {name}"), |machine| {
            windows::install_feature(machine, name);
            Ok(())
        })
    }

    fn docker_network(&mut self, name: &str) -> Result<Option<DockerNetworkState>> {
        self.read(|machine| {
            windows::docker(machine, &format!("look for the Docker network {name}"))?;
            Ok(machine.networks.get(name).cloned())
        })
    }

    fn create_transparent_network(&mut self, network: &TransparentNetwork) -> Result<()> {
        let what = format!("create the transparent network {}", network.name);
        self.mutate(what, |machine| windows::create_network(machine, network))
    }

    fn remove_docker_network(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("remove the Docker network {name}"), |machine| windows::remove_network(machine, name))
    }

    fn network_adapter(&mut self, network: &str) -> Result<Option<String>> {
        Ok(self.read(|machine| {
            let nic = machine.nics.iter().find(|nic| nic.of_network.as_deref() == Some(network));
            nic.map(|nic| nic.name.clone())
        }))
    }

    fn addressing(&mut self, adapter: &str) -> Result<Option<Addressing>> {
        Ok(self.read(|machine| windows::addressing(machine, adapter)))
    }

    fn set_addressing(&mut self, adapter: &str, addressing: &Addressing) -> Result<()> {
        self.mutate(format!("set the addresses of {adapter}"), |machine| {
            windows::set_addressing(machine, adapter, addressing)
        })
    }

    fn forwarding(&mut self, adapter: &str) -> Result<bool> {
        Ok(self.read(|machine| windows::forwards(machine, adapter)))
    }

    fn set_forwarding(&mut self, adapter: &str, on: bool) -> Result<()> {
        let what = format!("switch forwarding of {adapter} {}", if on { "on" } else { "off" });
        self.mutate(what.clone(), |machine| {
            let nic = machine.nic_mut(adapter).ok_or_else(|| PlatformError::new(what, "Element not found."))?;
            nic.forwarding = on;
            Ok(())
        })
    }

    fn lan_router(&mut self) -> Result<bool> {
        Ok(self.read(|machine| machine.windows.lan_router))
    }

    fn set_lan_router(&mut self, on: bool) -> Result<()> {
        self.mutate("set up Routing and Remote Access".into(), |machine| windows::set_lan_router(machine, on))
    }

    fn internal_switch(&mut self, name: &str) -> Result<bool> {
        Ok(self.read(|machine| machine.windows.switches.contains(name)))
    }

    fn create_internal_switch(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("create the internal switch {name}"), |machine| windows::create_switch(machine, name))
    }

    fn remove_internal_switch(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("remove the internal switch {name}"), |machine| windows::remove_switch(machine, name))
    }

    fn firewall_rule(&mut self, name: &str) -> Result<Option<InstalledRule>> {
        Ok(self.read(|machine| machine.windows.firewall.get(name).cloned().map(InstalledRule::Allows)))
    }

    fn put_firewall_rule(&mut self, rule: &FirewallRule) -> Result<()> {
        self.mutate(format!("put the firewall rule {}", rule.name), |machine| {
            machine.windows.firewall.insert(rule.name.clone(), rule.clone());
            Ok(())
        })
    }

    fn remove_firewall_rule(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("remove the firewall rule {name}"), |machine| {
            machine.windows.firewall.remove(name);
            Ok(())
        })
    }

    fn image(&mut self, tag: &str) -> Result<Option<Image>> {
        self.read(|machine| {
            windows::docker(machine, &format!("look for the image {tag}"))?;
            Ok(machine.windows.images.get(tag).cloned())
        })
    }

    fn build_pause_image(&mut self, image: &PauseImage) -> Result<()> {
        self.mutate(format!("build the image {}", image.tag), |machine| {
            machine.disk(&format!("build the image {}", image.tag))?;
            windows::build_image(machine, image)
        })
    }

    fn tag_image(&mut self, id: &str, tag: &str) -> Result<()> {
        self.mutate(format!("tag the image {tag}"), |machine| {
            let image = Image { id: id.to_owned(), base: None };
            machine.windows.images.insert(tag.to_owned(), image);
            Ok(())
        })
    }

    fn remove_image(&mut self, tag: &str) -> Result<()> {
        self.mutate(format!("remove the image {tag}"), |machine| {
            machine.windows.images.remove(tag);
            Ok(())
        })
    }

    fn search_path(&mut self) -> Result<String> {
        Ok(self.read(|machine| machine.windows.search_path.clone()))
    }

    fn set_search_path(&mut self, folders: &str) -> Result<()> {
        self.mutate("set the search path".into(), |machine| {
            folders.clone_into(&mut machine.windows.search_path);
            Ok(())
        })
    }

    fn service(&mut self, name: &str) -> Result<Option<InstalledService>> {
        Ok(self.read(|machine| {
            let service = machine.windows.services.get(name);
            service.map(|service| InstalledService { definition: service.definition.clone(), running: service.running })
        }))
    }

    fn running_dependents(&mut self, name: &str) -> Result<Vec<String>> {
        Ok(self.read(|machine| windows::running_dependents(machine, name)))
    }

    fn create_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()> {
        self.mutate(format!("create the service {name}"), |machine| windows::create_service(machine, name, definition))
    }

    fn configure_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()> {
        self.mutate(format!("configure the service {name}"), |machine| {
            windows::service_mut(machine, "configure", name)?.definition = definition.clone();
            Ok(())
        })
    }

    fn set_start_mode(&mut self, name: &str, start: StartMode) -> Result<()> {
        self.mutate(format!("configure the service {name}"), |machine| {
            windows::service_mut(machine, "configure", name)?.definition.start = start;
            Ok(())
        })
    }

    fn start_service(&mut self, name: &str) -> Result<()> {
        let started =
            self.mutate(format!("start the service {name}"), |machine| windows::start_service(machine, name))?;
        for (name, process) in started {
            if process.is_network_service() {
                self.host.run_network_service(&name)?;
            }
        }
        Ok(())
    }

    fn stop_service(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("stop the service {name}"), |machine| windows::stop_service(machine, name))
    }

    fn delete_service(&mut self, name: &str) -> Result<()> {
        self.mutate(format!("delete the service {name}"), |machine| windows::delete_service(machine, name))
    }
}
