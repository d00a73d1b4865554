//! The platform of a real Windows host: which code carries out each call.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8swin_protocol::facts::{Adapter, CommonFacts, RouteEntry, ServiceStatus, WindowsFacts};
use k8swin_protocol::owned::Owned;
use k8swin_protocol::probe::{Connect, Listen, Outcome};
use k8swin_protocol::resource::{FeatureName, FirewallRule, PauseImage, TransparentNetwork};
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

use super::super::{
    Addressing, DockerNetworkState, Executable, FeatureState, HostLock, Image, InstalledRule, InstalledService,
    Permissions, Platform, Result, ServiceDefinition, StartMode, Stat, SystemRoute, WindowsPlatform,
};
use super::super::{files as contents, host_lock};
use super::{
    change, details, docker, features, files, firewall, network, network_settings, remote_access, search_path,
    services, switch, system,
};
use crate::ledger;
use crate::probe::{self, Listeners};

/// Where the cluster's programs and images go.
const DRIVE: &str = r"C:\";

/// The host that this agent runs on.
#[derive(Default)]
pub(in super::super) struct WindowsHost {
    own: Option<Executable>,
    /// For other hosts' agents, while preflight asks for it.
    listeners: Listeners,
}

impl Platform for WindowsHost {
    fn os(&self) -> Os {
        Os::Windows
    }

    fn now_ms(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    fn sleep(&mut self, duration: Duration) {
        thread::sleep(duration);
    }

    fn facts(&mut self) -> Result<Facts> {
        let version = system::version()?;
        let found = network::found()?;
        let forwarding = network::forwarding_adapters(&found)?;
        let (hostname, machine_id) = (system::hostname()?, system::machine_id()?);
        let common = CommonFacts {
            details: details::common(&hostname, &machine_id, &found),
            hostname,
            machine_id,
            boot_id: system::boot_id()?,
            clock_ms: self.now_ms(),
            user: system::user()?,
            privileged: system::elevated()?,
            memory_bytes: system::memory()?,
            disk_free_bytes: system::disk_free(DRIVE)?,
            adapters: found.into_iter().map(|found| found.adapter).collect(),
            routes: network::routes()?,
            listeners: network::listeners()?,
            owned: Owned::default(),
            cluster: None,
            services: Vec::new(),
        };
        Ok(Facts::Windows(WindowsFacts {
            common,
            build: version.build,
            ubr: version.ubr,
            product: version.product,
            installation_type: version.installation_type,
            ui_language: system::ui_language()?,
            pending_reboot: system::pending_reboot(),
            docker: docker::facts()?,
            features: features::installed()?,
            hyper_v: services::running("vmms")?.is_some(),
            rras_running: services::running("RemoteAccess")? == Some(true),
            forwarding,
            max_envelope_size_kb: system::max_envelope_size_kb(),
            details: details::windows()?,
        }))
    }

    fn adapters(&mut self) -> Result<Vec<Adapter>> {
        Ok(network::found()?.into_iter().map(|found| found.adapter).collect())
    }

    fn routes(&mut self) -> Result<Vec<RouteEntry>> {
        network::routes()
    }

    fn add_route(&mut self, route: &SystemRoute) -> Result<()> {
        network_settings::add_route(route)
    }

    fn remove_route(&mut self, route: &SystemRoute) -> Result<()> {
        network_settings::remove_route(route)
    }

    fn stat(&mut self, path: &HostPath) -> Result<Option<Stat>> {
        files::stat(path)
    }

    fn read_file(&mut self, path: &HostPath) -> Result<SecretBytes> {
        contents::read(path)
    }

    fn hash_file(&mut self, path: &HostPath) -> Result<Sha256> {
        contents::hash(path)
    }

    fn write_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
        files::write(path, bytes, permissions)
    }

    fn create_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
        files::create(path, bytes, permissions)
    }

    fn append_file(&mut self, path: &HostPath, bytes: &[u8]) -> Result<()> {
        files::append(path, bytes)
    }

    fn copy_file(&mut self, from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
        files::copy(from, to, permissions)
    }

    fn set_permissions(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        files::set_permissions(path, permissions)
    }

    fn discard_unfinished(&mut self, path: &HostPath) -> Result<()> {
        files::discard_unfinished(path)
    }

    fn remove_file(&mut self, path: &HostPath) -> Result<()> {
        files::remove(path)
    }

    fn create_directory(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        files::create_directory(path, permissions)
    }

    fn remove_directory(&mut self, path: &HostPath) -> Result<()> {
        files::remove_directory(path)
    }

    fn remove_tree(&mut self, path: &HostPath) -> Result<()> {
        files::remove_tree(path)
    }

    fn list_directory(&mut self, path: &HostPath) -> Result<Vec<String>> {
        files::list(path)
    }

    fn own_executable(&mut self) -> Result<Executable> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let own = contents::own_executable()?;
        self.own = Some(own.clone());
        Ok(own)
    }

    fn try_lock(&mut self, doing: &str) -> Result<HostLock> {
        let state = Os::Windows.state();
        ledger::ensure_folder(self, &state)?;
        host_lock::try_lock(&state, doing)
    }

    fn start_change(&mut self) -> Result<()> {
        change::start(self.own_executable()?.path.as_str())
    }

    fn forget_change(&mut self) -> Result<()> {
        change::forget()
    }

    fn service_status(&mut self, name: &str) -> Result<ServiceStatus> {
        services::status(name)
    }

    fn listen(&mut self, wanted: &Listen) -> Result<Vec<u16>> {
        Ok(self.listeners.listen(wanted))
    }

    fn connect(&mut self, wanted: &Connect) -> Result<Vec<Outcome>> {
        Ok(probe::connect(wanted))
    }

    fn reboot(&mut self, reason: &str) -> Result<()> {
        system::restart(reason)
    }
}

impl WindowsPlatform for WindowsHost {
    fn feature(&mut self, name: FeatureName) -> Result<FeatureState> {
        features::state(name)
    }

    fn install_feature(&mut self, name: FeatureName) -> Result<()> {
        features::install(name)
    }

    fn docker_network(&mut self, name: &str) -> Result<Option<DockerNetworkState>> {
        docker::network(name)
    }

    fn create_transparent_network(&mut self, network: &TransparentNetwork) -> Result<()> {
        docker::create_transparent_network(network)
    }

    fn remove_docker_network(&mut self, name: &str) -> Result<()> {
        docker::remove_network(name)
    }

    fn network_adapter(&mut self, network: &str) -> Result<Option<String>> {
        docker::host_adapter(network)
    }

    fn addressing(&mut self, adapter: &str) -> Result<Option<Addressing>> {
        network_settings::addressing(adapter)
    }

    fn set_addressing(&mut self, adapter: &str, addressing: &Addressing) -> Result<()> {
        network_settings::set_addressing(adapter, addressing)
    }

    fn forwarding(&mut self, adapter: &str) -> Result<bool> {
        let attempted = format!("look at forwarding of {adapter}");
        network::forwarding(&network::by_name(&attempted, adapter)?)
    }

    fn set_forwarding(&mut self, adapter: &str, on: bool) -> Result<()> {
        network_settings::set_forwarding(adapter, on)
    }

    fn lan_router(&mut self) -> Result<bool> {
        Ok(remote_access::is_lan_router())
    }

    fn set_lan_router(&mut self, on: bool) -> Result<()> {
        remote_access::set_lan_router(on)
    }

    fn internal_switch(&mut self, name: &str) -> Result<bool> {
        switch::is_there(name)
    }

    fn create_internal_switch(&mut self, name: &str) -> Result<()> {
        switch::create(name)
    }

    fn remove_internal_switch(&mut self, name: &str) -> Result<()> {
        switch::remove(name)
    }

    fn firewall_rule(&mut self, name: &str) -> Result<Option<InstalledRule>> {
        firewall::find(name)
    }

    fn put_firewall_rule(&mut self, rule: &FirewallRule) -> Result<()> {
        firewall::put(rule)
    }

    fn remove_firewall_rule(&mut self, name: &str) -> Result<()> {
        firewall::remove(name)
    }

    fn image(&mut self, tag: &str) -> Result<Option<Image>> {
        docker::image(tag)
    }

    fn build_pause_image(&mut self, image: &PauseImage) -> Result<()> {
        docker::build_pause_image(image)
    }

    fn tag_image(&mut self, id: &str, tag: &str) -> Result<()> {
        docker::tag_image(id, tag)
    }

    fn remove_image(&mut self, tag: &str) -> Result<()> {
        docker::remove_image(tag)
    }

    fn search_path(&mut self) -> Result<String> {
        search_path::read()
    }

    fn set_search_path(&mut self, folders: &str) -> Result<()> {
        search_path::write(folders)
    }

    fn service(&mut self, name: &str) -> Result<Option<InstalledService>> {
        services::query(name)
    }

    fn running_dependents(&mut self, name: &str) -> Result<Vec<String>> {
        services::running_dependents(name)
    }

    fn create_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()> {
        services::create(name, definition)
    }

    fn configure_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()> {
        services::configure(name, definition)
    }

    fn set_start_mode(&mut self, name: &str, start: StartMode) -> Result<()> {
        services::set_start_mode(name, start)
    }

    fn start_service(&mut self, name: &str) -> Result<()> {
        services::start(name)
    }

    fn stop_service(&mut self, name: &str) -> Result<()> {
        services::stop(name)
    }

    fn delete_service(&mut self, name: &str) -> Result<()> {
        services::delete(name)
    }
}
