//! A real Windows host, as far as it goes: files, folders and the agent's own program through the standard library.
//! Every other call answers that it is not implemented; nothing is pretended.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use k8swin_protocol::facts::{Adapter, RouteEntry};
use k8swin_protocol::resource::{FeatureName, FirewallRule, PauseImage, TransparentNetwork};
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

use super::{
    AccessList, DockerNetworkState, Executable, FeatureState, Image, InstalledService, Permissions, Platform,
    PlatformError, Result, ServiceDefinition, StartMode, Stat, SystemRoute, WindowsPlatform,
};

/// The host that this agent runs on.
#[derive(Default)]
pub(super) struct WindowsHost {
    own: Option<Executable>,
}

fn missing<T>(attempted: impl Into<String>) -> Result<T> {
    Err(PlatformError::new(attempted, "not implemented on this platform yet"))
}

fn failed(verb: &str, path: &HostPath) -> impl Fn(io::Error) -> PlatformError {
    let attempted = format!("{verb} {path}");
    move |error| PlatformError::new(attempted.clone(), error.to_string())
}

/// Access lists cannot be set yet, so that nothing that needs one is written.
fn inherited(verb: &str, path: &HostPath, permissions: &Permissions) -> Result<()> {
    match permissions {
        Permissions::Acl(AccessList::Inherited) => Ok(()),
        _ => missing(format!("{verb} {path} with an access list of its own")),
    }
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
        missing("gather facts")
    }

    fn adapters(&mut self) -> Result<Vec<Adapter>> {
        missing("list the network adapters")
    }

    fn routes(&mut self) -> Result<Vec<RouteEntry>> {
        missing("list the routes")
    }

    fn add_route(&mut self, route: &SystemRoute) -> Result<()> {
        missing(format!("add the route {route}"))
    }

    fn remove_route(&mut self, route: &SystemRoute) -> Result<()> {
        missing(format!("remove the route {route}"))
    }

    fn stat(&mut self, path: &HostPath) -> Result<Option<Stat>> {
        match fs::symlink_metadata(path.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at", path)(error)),
            // Guessing an access list would let a check say what nobody looked at.
            Ok(_) => missing(format!("read the access list of {path}")),
        }
    }

    fn read_file(&mut self, path: &HostPath) -> Result<SecretBytes> {
        fs::read(path.as_str()).map(SecretBytes::new).map_err(failed("read", path))
    }

    fn hash_file(&mut self, path: &HostPath) -> Result<Sha256> {
        Ok(Sha256::of(self.read_file(path)?.expose()))
    }

    fn write_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
        inherited("write", path, permissions)?;
        let temporary = PathBuf::from(format!("{path}.k8swin"));
        fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path.as_str())).map_err(failed("write", path))
    }

    fn create_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
        inherited("create", path, permissions)?;
        match OpenOptions::new().write(true).create_new(true).open(path.as_str()) {
            Ok(mut file) => file.write_all(bytes).map(|()| true).map_err(failed("create", path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed("create", path)(error)),
        }
    }

    fn append_file(&mut self, path: &HostPath, _bytes: &[u8]) -> Result<()> {
        missing(format!("append to {path} with an access list of its own"))
    }

    fn copy_file(&mut self, from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
        let bytes = self.read_file(from)?;
        self.write_file(to, bytes.expose(), permissions)
    }

    fn set_permissions(&mut self, path: &HostPath, _permissions: &Permissions) -> Result<()> {
        missing(format!("set the access list of {path}"))
    }

    fn remove_file(&mut self, path: &HostPath) -> Result<()> {
        fs::remove_file(path.as_str()).map_err(failed("remove", path))
    }

    fn create_directory(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        inherited("create", path, permissions)?;
        fs::create_dir(path.as_str()).map_err(failed("create", path))
    }

    fn remove_directory(&mut self, path: &HostPath) -> Result<()> {
        fs::remove_dir(path.as_str()).map_err(failed("remove", path))
    }

    fn remove_tree(&mut self, path: &HostPath) -> Result<()> {
        fs::remove_dir_all(path.as_str()).map_err(failed("remove", path))
    }

    fn list_directory(&mut self, path: &HostPath) -> Result<Vec<String>> {
        let names = || -> io::Result<Vec<String>> {
            fs::read_dir(path.as_str())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        let mut names = names().map_err(failed("list", path))?;
        names.sort();
        Ok(names)
    }

    fn own_executable(&mut self) -> Result<Executable> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let unknown = |answer: String| PlatformError::new("find the agent's own program", answer);
        let path = std::env::current_exe().map_err(|error| unknown(error.to_string()))?;
        let path = HostPath::new(path.to_string_lossy()).map_err(|error| unknown(error.to_string()))?;
        let own = Executable { sha256: self.hash_file(&path)?, path };
        self.own = Some(own.clone());
        Ok(own)
    }

    fn reboot(&mut self, reason: &str) -> Result<()> {
        missing(format!("restart the host ({reason})"))
    }
}

impl WindowsPlatform for WindowsHost {
    fn feature(&mut self, name: FeatureName) -> Result<FeatureState> {
        missing(format!("look for the feature {name}"))
    }

    fn install_feature(&mut self, name: FeatureName) -> Result<()> {
        missing(format!("install the feature {name}"))
    }

    fn docker_network(&mut self, name: &str) -> Result<Option<DockerNetworkState>> {
        missing(format!("look for the Docker network {name}"))
    }

    fn create_transparent_network(&mut self, network: &TransparentNetwork) -> Result<()> {
        missing(format!("create the transparent network {}", network.name))
    }

    fn remove_docker_network(&mut self, name: &str) -> Result<()> {
        missing(format!("remove the Docker network {name}"))
    }

    fn network_adapter(&mut self, network: &str) -> Result<Option<String>> {
        missing(format!("find the host's adapter on the network {network}"))
    }

    fn set_addresses(&mut self, adapter: &str, _addresses: &[Ipv4Net]) -> Result<()> {
        missing(format!("set the addresses of {adapter}"))
    }

    fn forwarding(&mut self, adapter: &str) -> Result<bool> {
        missing(format!("look at forwarding of {adapter}"))
    }

    fn set_forwarding(&mut self, adapter: &str, _on: bool) -> Result<()> {
        missing(format!("switch forwarding of {adapter}"))
    }

    fn lan_router(&mut self) -> Result<bool> {
        missing("look at Routing and Remote Access")
    }

    fn set_lan_router(&mut self, _on: bool) -> Result<()> {
        missing("set up Routing and Remote Access")
    }

    fn internal_switch(&mut self, name: &str) -> Result<bool> {
        missing(format!("look for the switch {name}"))
    }

    fn create_internal_switch(&mut self, name: &str) -> Result<()> {
        missing(format!("create the internal switch {name}"))
    }

    fn remove_internal_switch(&mut self, name: &str) -> Result<()> {
        missing(format!("remove the internal switch {name}"))
    }

    fn firewall_rule(&mut self, name: &str) -> Result<Option<FirewallRule>> {
        missing(format!("look for the firewall rule {name}"))
    }

    fn put_firewall_rule(&mut self, rule: &FirewallRule) -> Result<()> {
        missing(format!("put the firewall rule {}", rule.name))
    }

    fn remove_firewall_rule(&mut self, name: &str) -> Result<()> {
        missing(format!("remove the firewall rule {name}"))
    }

    fn image(&mut self, tag: &str) -> Result<Option<Image>> {
        missing(format!("look for the image {tag}"))
    }

    fn build_pause_image(&mut self, image: &PauseImage) -> Result<()> {
        missing(format!("build the image {}", image.tag))
    }

    fn tag_image(&mut self, _id: &str, tag: &str) -> Result<()> {
        missing(format!("tag the image {tag}"))
    }

    fn remove_image(&mut self, tag: &str) -> Result<()> {
        missing(format!("remove the image {tag}"))
    }

    fn service(&mut self, name: &str) -> Result<Option<InstalledService>> {
        missing(format!("look at the service {name}"))
    }

    fn running_dependents(&mut self, name: &str) -> Result<Vec<String>> {
        missing(format!("look at what depends on the service {name}"))
    }

    fn create_service(&mut self, name: &str, _definition: &ServiceDefinition) -> Result<()> {
        missing(format!("create the service {name}"))
    }

    fn configure_service(&mut self, name: &str, _definition: &ServiceDefinition) -> Result<()> {
        missing(format!("configure the service {name}"))
    }

    fn set_start_mode(&mut self, name: &str, _start: StartMode) -> Result<()> {
        missing(format!("configure the service {name}"))
    }

    fn start_service(&mut self, name: &str) -> Result<()> {
        missing(format!("start the service {name}"))
    }

    fn stop_service(&mut self, name: &str) -> Result<()> {
        missing(format!("stop the service {name}"))
    }

    fn delete_service(&mut self, name: &str) -> Result<()> {
        missing(format!("delete the service {name}"))
    }
}
