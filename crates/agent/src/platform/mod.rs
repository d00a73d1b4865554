//! What the agent asks of an operating system: small calls, each about one system call or one run of a program.
//!
//! Resource logic is written once above these traits. That each call is small is what lets a test fail or stop the
//! agent between any two of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::time::Duration;

use k8swin_protocol::facts::{Adapter, RouteEntry, ServiceStatus};
use k8swin_protocol::probe::{Connect, Listen, Outcome};
use k8swin_protocol::resource::{FeatureName, FirewallRule, PauseImage, TransparentNetwork};
use k8swin_protocol::wire::Failure;
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

mod addressing;
#[cfg(any(feature = "fault-injection", test))]
mod faults;
#[cfg(any(target_os = "linux", windows))]
mod files;
#[cfg(any(target_os = "linux", windows))]
mod host_lock;
mod installed_rule;
pub(crate) mod link;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod linux_details;
#[cfg(target_os = "linux")]
mod linux_facts;
#[cfg(target_os = "linux")]
mod linux_files;
#[cfg(target_os = "linux")]
mod linux_kube;
#[cfg(target_os = "linux")]
mod linux_network;
#[cfg(target_os = "linux")]
mod linux_service;
mod own_name;
#[cfg(target_os = "linux")]
mod program;
mod types;
#[cfg(any(windows, test))]
pub(crate) mod windows;

pub use addressing::Addressing;
#[cfg(any(feature = "fault-injection", test))]
pub use faults::with_faults;
pub use installed_rule::InstalledRule;
pub(crate) use link::read_fully;
pub use link::{Link, ReadAt, SharedFile};
pub use types::{
    AccessList, Activity, DockerNetworkState, Executable, FeatureState, FileKind, ForwardDirection, ForwardRule,
    HostLock, Image, InstalledService, KubeOperation, KubeOutcome, Permissions, ServiceDefinition, ServiceImage,
    StartMode, Stat, SystemRoute, UnitState, Unloaded,
};

/// The result of a platform call.
pub type Result<T> = std::result::Result<T, PlatformError>;

/// A platform call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempted}: {answer}")]
pub struct PlatformError {
    /// What was tried: `write /etc/kubernetes/pki/ca.crt`.
    pub attempted: String,
    /// What the host answered: `No space left on device`.
    pub answer: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl PlatformError {
    /// An error without a hint.
    pub fn new(attempted: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { attempted: attempted.into(), answer: answer.into(), hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self { attempted: error.attempted, answer: error.answer, hint: error.hint }
    }
}

/// What both operating systems share. Every call that changes something fails as a whole or is done when it returns.
pub trait Platform {
    /// The operating system.
    fn os(&self) -> Os;

    /// The host's clock, in milliseconds since 1970 (UTC).
    fn now_ms(&mut self) -> i64;

    /// Waits. Simulated hosts wait for each other only.
    fn sleep(&mut self, duration: Duration);

    /// Facts, with `owned` and `cluster` left empty: those are in the ledger.
    ///
    /// # Errors
    /// When a source of facts that every host has cannot be read.
    fn facts(&mut self) -> Result<Facts>;

    /// Network adapters.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn adapters(&mut self) -> Result<Vec<Adapter>>;

    /// IPv4 routes.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn routes(&mut self) -> Result<Vec<RouteEntry>>;

    /// Adds a route: on Windows now and in the persistent store.
    ///
    /// # Errors
    /// When the system refuses it.
    fn add_route(&mut self, route: &SystemRoute) -> Result<()>;

    /// Removes a route: on Windows also from the persistent store.
    ///
    /// # Errors
    /// When the system refuses it.
    fn remove_route(&mut self, route: &SystemRoute) -> Result<()>;

    /// What lies at a path; links are not followed.
    ///
    /// # Errors
    /// When it cannot be told. Absence is `None`.
    fn stat(&mut self, path: &HostPath) -> Result<Option<Stat>>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn read_file(&mut self, path: &HostPath) -> Result<SecretBytes>;

    /// The digest of a file.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn hash_file(&mut self, path: &HostPath) -> Result<Sha256>;

    /// Writes a file as a whole: into a temporary file beside it, flushed, then renamed over it.
    ///
    /// # Errors
    /// When a step fails. Whatever was at the path is untouched then.
    fn write_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()>;

    /// Writes a file that must not be there yet; `false` when it is.
    ///
    /// # Errors
    /// When it cannot be written.
    fn create_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool>;

    /// Appends to a file with secret permissions, which is created when absent.
    ///
    /// # Errors
    /// When it cannot be written.
    fn append_file(&mut self, path: &HostPath, bytes: &[u8]) -> Result<()>;

    /// Copies a file as a whole, as [`Platform::write_file`] writes.
    ///
    /// # Errors
    /// When a step fails.
    fn copy_file(&mut self, from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()>;

    /// Sets who may read and write a file or folder.
    ///
    /// # Errors
    /// When the system refuses it.
    fn set_permissions(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()>;

    /// Removes what an agent that was killed while it wrote this file left beside it. Simulated hosts write at once.
    ///
    /// # Errors
    /// When the system refuses it.
    fn discard_unfinished(&mut self, path: &HostPath) -> Result<()> {
        let _ = path;
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When the system refuses it.
    fn remove_file(&mut self, path: &HostPath) -> Result<()>;

    /// Creates one folder, whose parent is there.
    ///
    /// # Errors
    /// When the system refuses it.
    fn create_directory(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When the system refuses it, also since it is not empty.
    fn remove_directory(&mut self, path: &HostPath) -> Result<()>;

    /// Removes a folder with all that is in it. Links in it are removed, not followed.
    ///
    /// # Errors
    /// When the system refuses it. Part of it may be gone then.
    fn remove_tree(&mut self, path: &HostPath) -> Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn list_directory(&mut self, path: &HostPath) -> Result<Vec<String>>;

    /// Waits until no other agent on this host changes network resources, and keeps others waiting until the value is
    /// dropped. None where no record of ours is there yet, and on hosts where nothing else runs (simulated) or that have
    /// no such lock yet (Windows).
    ///
    /// # Errors
    /// When the system refuses it.
    fn hold_network(&mut self) -> Result<Option<std::fs::File>> {
        Ok(None)
    }

    /// The agent's own program.
    ///
    /// # Errors
    /// When it cannot be found or read.
    fn own_executable(&mut self) -> Result<Executable>;

    /// Takes the host's lock, which one agent at a time holds while it changes the host. `doing` is shown to those who
    /// find it taken. The system gives it back when the process ends, however it ends.
    ///
    /// # Errors
    /// When it cannot be told whether it is free.
    fn try_lock(&mut self, doing: &str) -> Result<HostLock>;

    /// Makes the host's service manager run `agent change`, apart from this process and its connection.
    ///
    /// # Errors
    /// When the service manager refuses it.
    fn start_change(&mut self) -> Result<()>;

    /// Removes what the service manager keeps of a change that has ended.
    ///
    /// # Errors
    /// When the service manager refuses it.
    fn forget_change(&mut self) -> Result<()>;

    /// How a service stands: a unit of systemd, or a service of the Service Control Manager.
    ///
    /// # Errors
    /// When systemd or the Service Control Manager does not answer.
    fn service_status(&mut self, name: &str) -> Result<ServiceStatus>;

    /// Listens on those of the ports that are free, in place of all earlier ones; which those are. It ends with the session.
    ///
    /// # Errors
    /// When the host cannot listen at all.
    fn listen(&mut self, wanted: &Listen) -> Result<Vec<u16>>;

    /// Connects to ports of other hosts; what became of each.
    ///
    /// # Errors
    /// When the host cannot connect at all.
    fn connect(&mut self, wanted: &Connect) -> Result<Vec<Outcome>>;

    /// A file that many threads read.
    ///
    /// # Errors
    /// When the file is absent or cannot be read.
    fn open_shared(&mut self, path: &HostPath) -> Result<SharedFile> {
        link::open(path)
    }

    /// Listens on a free port of this address for other hosts.
    ///
    /// # Errors
    /// When the host does not have the address, or refuses it.
    fn bind(&mut self, address: Ipv4Addr) -> Result<TcpListener> {
        link::bind(address)
    }

    /// The address from which connections of another host come. Simulated hosts all have that of this machine.
    fn seen_as(&self, peer: Ipv4Addr) -> Ipv4Addr {
        peer
    }

    /// Connects to another host. `patience` bounds the connecting; what is read or written later may take six times that.
    ///
    /// # Errors
    /// When it does not answer.
    fn dial(&mut self, to: SocketAddrV4, patience: Duration) -> io::Result<Box<dyn Link>> {
        link::dial(to, patience)
    }

    /// Restarts the host soon; the call returns before.
    ///
    /// # Errors
    /// When the system refuses it.
    fn reboot(&mut self, reason: &str) -> Result<()>;
}

/// What only Linux has.
pub trait LinuxPlatform: Platform {
    /// A kernel setting; `None` when this kernel does not have it (now).
    ///
    /// # Errors
    /// When it cannot be read.
    fn sysctl(&mut self, key: &str) -> Result<Option<String>>;

    /// Sets a kernel setting until the next boot.
    ///
    /// # Errors
    /// When the kernel refuses it.
    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<()>;

    /// Whether a kernel module is loaded or built in.
    ///
    /// # Errors
    /// When it cannot be told.
    fn module_loaded(&mut self, name: &str) -> Result<bool>;

    /// Loads a kernel module until the next boot.
    ///
    /// # Errors
    /// When it is unknown or the kernel refuses it.
    fn load_module(&mut self, name: &str) -> Result<()>;

    /// Unloads a kernel module, unless something uses it.
    ///
    /// # Errors
    /// When the kernel refuses it for another reason.
    fn unload_module(&mut self, name: &str) -> Result<Unloaded>;

    /// How a systemd service stands.
    ///
    /// # Errors
    /// When systemd does not answer.
    fn unit(&mut self, name: &str) -> Result<UnitState>;

    /// The drop-in files (`kubelet.service.d/10-kubeadm.conf`) that replace the command of a service.
    ///
    /// # Errors
    /// When systemd does not answer.
    fn replacing_drop_ins(&mut self, name: &str) -> Result<Vec<HostPath>>;

    /// Makes systemd read unit files again.
    ///
    /// # Errors
    /// When systemd refuses it.
    fn reload_units(&mut self) -> Result<()>;

    /// Makes a service start at boot.
    ///
    /// # Errors
    /// When systemd refuses it.
    fn enable_unit(&mut self, name: &str) -> Result<()>;

    /// Makes a service not start at boot.
    ///
    /// # Errors
    /// When systemd refuses it.
    fn disable_unit(&mut self, name: &str) -> Result<()>;

    /// Makes systemd start a service, or stop and start it when it runs. Does not wait for that.
    ///
    /// # Errors
    /// When systemd refuses it.
    fn restart_unit(&mut self, name: &str) -> Result<()>;

    /// Whether systemd is still at work on what it was asked to do with a service.
    ///
    /// # Errors
    /// When systemd does not answer.
    fn unit_in_motion(&mut self, name: &str) -> Result<bool>;

    /// Stops a service.
    ///
    /// # Errors
    /// When systemd refuses it.
    fn stop_unit(&mut self, name: &str) -> Result<()>;

    /// The last lines that a service wrote into the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn journal(&mut self, name: &str) -> Result<String>;

    /// Whether a rule of ours is in the FORWARD chain.
    ///
    /// # Errors
    /// When iptables fails.
    fn has_forward_rule(&mut self, rule: &ForwardRule) -> Result<bool>;

    /// Puts a rule at the head of the FORWARD chain.
    ///
    /// # Errors
    /// When iptables fails.
    fn add_forward_rule(&mut self, rule: &ForwardRule) -> Result<()>;

    /// Takes a rule out of the FORWARD chain.
    ///
    /// # Errors
    /// When iptables fails.
    fn remove_forward_rule(&mut self, rule: &ForwardRule) -> Result<()>;

    /// Asks the Kubernetes API with the administrator's kubeconfig of this host.
    ///
    /// # Errors
    /// When kubectl cannot be run. What the API answers, and that it does not, is in the outcome.
    fn kube(&mut self, operation: &KubeOperation) -> Result<KubeOutcome>;

    /// Asks several things, at once where that is possible, and gives the outcomes in their order.
    ///
    /// # Errors
    /// As of [`Self::kube`].
    fn kube_all(&mut self, operations: &[KubeOperation]) -> Result<Vec<KubeOutcome>> {
        operations.iter().map(|operation| self.kube(operation)).collect()
    }
}

/// What only Windows has.
pub trait WindowsPlatform: Platform {
    /// Whether a feature is installed.
    ///
    /// # Errors
    /// When it cannot be told.
    fn feature(&mut self, name: FeatureName) -> Result<FeatureState>;

    /// Installs a feature with its management tools.
    ///
    /// # Errors
    /// When the installation fails.
    fn install_feature(&mut self, name: FeatureName) -> Result<()>;

    /// A Docker network.
    ///
    /// # Errors
    /// When Docker does not answer.
    fn docker_network(&mut self, name: &str) -> Result<Option<DockerNetworkState>>;

    /// Creates a transparent network on its adapter.
    ///
    /// # Errors
    /// When Docker refuses it.
    fn create_transparent_network(&mut self, network: &TransparentNetwork) -> Result<()>;

    /// Removes a Docker network.
    ///
    /// # Errors
    /// When Docker refuses it, also since containers use it.
    fn remove_docker_network(&mut self, name: &str) -> Result<()>;

    /// The name of the host's own adapter on a Docker network (facts D.3: Windows may number it).
    ///
    /// # Errors
    /// When it cannot be told.
    fn network_adapter(&mut self, network: &str) -> Result<Option<String>>;

    /// How an adapter gets its addresses; `None` when there is no such adapter.
    ///
    /// # Errors
    /// When it cannot be told.
    fn addressing(&mut self, adapter: &str) -> Result<Option<Addressing>>;

    /// Sets how an adapter gets its addresses, now and at boot.
    ///
    /// # Errors
    /// When the adapter is absent or Windows refuses it.
    fn set_addressing(&mut self, adapter: &str, addressing: &Addressing) -> Result<()>;

    /// Whether IPv4 forwarding is on for an adapter.
    ///
    /// # Errors
    /// When the adapter is absent.
    fn forwarding(&mut self, adapter: &str) -> Result<bool>;

    /// Switches IPv4 forwarding of an adapter.
    ///
    /// # Errors
    /// When the adapter is absent or Windows refuses it.
    fn set_forwarding(&mut self, adapter: &str, on: bool) -> Result<()>;

    /// Whether Routing and Remote Access is set up as a LAN router.
    ///
    /// # Errors
    /// When it cannot be told.
    fn lan_router(&mut self) -> Result<bool>;

    /// Sets Routing and Remote Access up as a LAN router, or takes that back (facts E).
    ///
    /// # Errors
    /// When the role is absent or Windows refuses it.
    fn set_lan_router(&mut self, on: bool) -> Result<()>;

    /// Whether an internal Hyper-V switch is there. Without the Hyper-V role there is none.
    ///
    /// # Errors
    /// When it cannot be told.
    fn internal_switch(&mut self, name: &str) -> Result<bool>;

    /// Creates an internal Hyper-V switch.
    ///
    /// # Errors
    /// When the Hyper-V role is absent or Windows refuses it.
    fn create_internal_switch(&mut self, name: &str) -> Result<()>;

    /// Removes a Hyper-V switch.
    ///
    /// # Errors
    /// When Windows refuses it.
    fn remove_internal_switch(&mut self, name: &str) -> Result<()>;

    /// An inbound firewall rule by its name.
    ///
    /// # Errors
    /// When it cannot be told.
    fn firewall_rule(&mut self, name: &str) -> Result<Option<InstalledRule>>;

    /// Creates an inbound firewall rule that allows, for all profiles, or replaces the one of that name.
    ///
    /// # Errors
    /// When Windows refuses it.
    fn put_firewall_rule(&mut self, rule: &FirewallRule) -> Result<()>;

    /// Removes the inbound firewall rules of a name.
    ///
    /// # Errors
    /// When Windows refuses it.
    fn remove_firewall_rule(&mut self, name: &str) -> Result<()>;

    /// A container image by its tag.
    ///
    /// # Errors
    /// When Docker does not answer.
    fn image(&mut self, tag: &str) -> Result<Option<Image>>;

    /// Builds the pause image and labels it with its base.
    ///
    /// # Errors
    /// When Docker fails.
    fn build_pause_image(&mut self, image: &PauseImage) -> Result<()>;

    /// Gives an image a tag.
    ///
    /// # Errors
    /// When Docker fails.
    fn tag_image(&mut self, id: &str, tag: &str) -> Result<()>;

    /// Removes a tag, and the image when it was the last one.
    ///
    /// # Errors
    /// When Docker refuses it, also since containers use it.
    fn remove_image(&mut self, tag: &str) -> Result<()>;

    /// The machine's search path as it is stored: folders with `;` between them, environment variables not expanded.
    ///
    /// # Errors
    /// When the registry cannot be read.
    fn search_path(&mut self) -> Result<String>;

    /// Sets the machine's search path, and tells programs that run that it has changed.
    ///
    /// # Errors
    /// When the registry refuses it.
    fn set_search_path(&mut self, folders: &str) -> Result<()>;

    /// A Windows service.
    ///
    /// # Errors
    /// When the Service Control Manager does not answer.
    fn service(&mut self, name: &str) -> Result<Option<InstalledService>>;

    /// The running services that depend on a service, in the order in which they must be stopped.
    ///
    /// # Errors
    /// When the Service Control Manager does not answer.
    fn running_dependents(&mut self, name: &str) -> Result<Vec<String>>;

    /// Creates a service.
    ///
    /// # Errors
    /// When the Service Control Manager refuses it.
    fn create_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()>;

    /// Changes a service's definition; it takes effect with its next start.
    ///
    /// # Errors
    /// When the Service Control Manager refuses it.
    fn configure_service(&mut self, name: &str, definition: &ServiceDefinition) -> Result<()>;

    /// Changes when a service starts.
    ///
    /// # Errors
    /// When the Service Control Manager refuses it.
    fn set_start_mode(&mut self, name: &str, start: StartMode) -> Result<()>;

    /// Starts a service and waits until it runs.
    ///
    /// # Errors
    /// When it does not start.
    fn start_service(&mut self, name: &str) -> Result<()>;

    /// Stops a service and waits until it has stopped.
    ///
    /// # Errors
    /// When it does not stop, also since services that depend on it run.
    fn stop_service(&mut self, name: &str) -> Result<()>;

    /// Deletes a stopped service.
    ///
    /// # Errors
    /// When the Service Control Manager refuses it.
    fn delete_service(&mut self, name: &str) -> Result<()>;
}

/// A host, by its operating system.
pub enum Host {
    /// A Linux host.
    Linux(Box<dyn LinuxPlatform + Send>),
    /// A Windows host.
    Windows(Box<dyn WindowsPlatform + Send>),
}

/// The host that this program runs on.
#[cfg(target_os = "linux")]
#[must_use]
pub fn this_host() -> Host {
    Host::Linux(Box::new(linux::LinuxHost::default()))
}

/// The host that this program runs on.
#[cfg(windows)]
#[must_use]
pub fn this_host() -> Host {
    Host::Windows(Box::new(windows::WindowsHost::default()))
}

/// The adapter that carries `address`.
///
/// # Errors
/// When adapters cannot be listed.
pub(crate) fn adapter_with(host: &mut (impl Platform + ?Sized), address: Ipv4Addr) -> Result<Option<String>> {
    let adapters = host.adapters()?;
    Ok(adapters
        .into_iter()
        .find(|adapter| adapter.addresses.iter().any(|net| net.addr() == address))
        .map(|adapter| adapter.name))
}
