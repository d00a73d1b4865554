//! A platform whose calls fail when a test wants them to: those that change something, one at a time.
//!
//! What a test wants is in a file with a number: the call of that number, counted from now, fails and takes the file away.
//! A file outlives the agent and its sessions, and tells the test whether there were that many calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8swin_protocol::facts::{Adapter, RouteEntry, ServiceStatus};
use k8swin_protocol::probe::{Connect, Listen, Outcome};
use k8swin_protocol::resource::{FeatureName, FirewallRule, PauseImage, TransparentNetwork};
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

use super::*;

/// The same host, with calls that fail as the file `wanted` says. Linux hosts are not there yet.
#[must_use]
pub fn with_faults(host: Host, wanted: &Path) -> Host {
    match host {
        Host::Windows(inner) => Host::Windows(Box::new(Faulty { inner, wanted: wanted.to_owned() })),
        host @ Host::Linux(_) => host,
    }
}

struct Faulty {
    inner: Box<dyn WindowsPlatform + Send>,
    wanted: PathBuf,
}

impl Faulty {
    fn before(&self, call: &str) -> Result<()> {
        let Ok(text) = fs::read_to_string(&self.wanted) else { return Ok(()) };
        let unusable = |answer: String| PlatformError::new(format!("count the call {call}"), answer);
        let left: u32 = text.trim().parse().map_err(|_| unusable(format!("the number {text}")))?;
        if left > 1 {
            return fs::write(&self.wanted, (left - 1).to_string()).map_err(|error| unusable(error.to_string()));
        }
        fs::remove_file(&self.wanted).map_err(|error| unusable(error.to_string()))?;
        Err(PlatformError::new(call, "injected"))
    }
}

/// Calls that change nothing.
macro_rules! looks {
    ($($call:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {$(
        fn $call(&mut self, $($argument: $kind),*) -> $answer {
            self.inner.$call($($argument),*)
        }
    )*};
}

/// Calls that change something.
macro_rules! changes {
    ($($call:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {$(
        fn $call(&mut self, $($argument: $kind),*) -> $answer {
            self.before(stringify!($call))?;
            self.inner.$call($($argument),*)
        }
    )*};
}

impl Platform for Faulty {
    fn os(&self) -> Os {
        self.inner.os()
    }

    fn seen_as(&self, peer: Ipv4Addr) -> Ipv4Addr {
        self.inner.seen_as(peer)
    }

    looks! {
        now_ms() -> i64;
        sleep(duration: Duration) -> ();
        facts() -> Result<Facts>;
        adapters() -> Result<Vec<Adapter>>;
        routes() -> Result<Vec<RouteEntry>>;
        stat(path: &HostPath) -> Result<Option<Stat>>;
        read_file(path: &HostPath) -> Result<SecretBytes>;
        hash_file(path: &HostPath) -> Result<Sha256>;
        list_directory(path: &HostPath) -> Result<Vec<String>>;
        own_executable() -> Result<Executable>;
        service_status(name: &str) -> Result<ServiceStatus>;
        try_lock(doing: &str) -> Result<HostLock>;
        listen(wanted: &Listen) -> Result<Vec<u16>>;
        connect(wanted: &Connect) -> Result<Vec<Outcome>>;
        open_shared(path: &HostPath) -> Result<SharedFile>;
        bind(address: Ipv4Addr) -> Result<TcpListener>;
        dial(to: SocketAddrV4, patience: Duration) -> io::Result<Box<dyn Link>>;
    }

    changes! {
        add_route(route: &SystemRoute) -> Result<()>;
        remove_route(route: &SystemRoute) -> Result<()>;
        write_file(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()>;
        create_file(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool>;
        append_file(path: &HostPath, bytes: &[u8]) -> Result<()>;
        copy_file(from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()>;
        set_permissions(path: &HostPath, permissions: &Permissions) -> Result<()>;
        remove_file(path: &HostPath) -> Result<()>;
        create_directory(path: &HostPath, permissions: &Permissions) -> Result<()>;
        remove_directory(path: &HostPath) -> Result<()>;
        remove_tree(path: &HostPath) -> Result<()>;
        start_change() -> Result<()>;
        forget_change() -> Result<()>;
        reboot(reason: &str) -> Result<()>;
    }
}

impl WindowsPlatform for Faulty {
    looks! {
        feature(name: FeatureName) -> Result<FeatureState>;
        docker_network(name: &str) -> Result<Option<DockerNetworkState>>;
        network_adapter(network: &str) -> Result<Option<String>>;
        addressing(adapter: &str) -> Result<Option<Addressing>>;
        forwarding(adapter: &str) -> Result<bool>;
        lan_router() -> Result<bool>;
        internal_switch(name: &str) -> Result<bool>;
        firewall_rule(name: &str) -> Result<Option<InstalledRule>>;
        image(tag: &str) -> Result<Option<Image>>;
        search_path() -> Result<String>;
        service(name: &str) -> Result<Option<InstalledService>>;
        running_dependents(name: &str) -> Result<Vec<String>>;
    }

    changes! {
        install_feature(name: FeatureName) -> Result<()>;
        create_transparent_network(network: &TransparentNetwork) -> Result<()>;
        remove_docker_network(name: &str) -> Result<()>;
        set_addressing(adapter: &str, addressing: &Addressing) -> Result<()>;
        set_forwarding(adapter: &str, on: bool) -> Result<()>;
        set_lan_router(on: bool) -> Result<()>;
        create_internal_switch(name: &str) -> Result<()>;
        remove_internal_switch(name: &str) -> Result<()>;
        put_firewall_rule(rule: &FirewallRule) -> Result<()>;
        remove_firewall_rule(name: &str) -> Result<()>;
        build_pause_image(image: &PauseImage) -> Result<()>;
        tag_image(id: &str, tag: &str) -> Result<()>;
        remove_image(tag: &str) -> Result<()>;
        set_search_path(folders: &str) -> Result<()>;
        create_service(name: &str, definition: &ServiceDefinition) -> Result<()>;
        configure_service(name: &str, definition: &ServiceDefinition) -> Result<()>;
        set_start_mode(name: &str, start: StartMode) -> Result<()>;
        start_service(name: &str) -> Result<()>;
        stop_service(name: &str) -> Result<()>;
        delete_service(name: &str) -> Result<()>;
    }
}
