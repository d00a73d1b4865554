//! A running lab: the twin's hosts with their servers, and the files that reach them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use k8swin_agent::simulated::{SimulatedCluster, SimulatedHost};
use k8swin_inventory::Host;
use k8swin_inventory::cluster::{System, WinRmTransport};
use k8swin_inventory::twin::{Twin, TwinHost};
use k8swin_protocol::SecretBytes;
use russh::keys::PrivateKey;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::directory::{self, Directory};
use crate::faults::{self, FaultsFile};
use crate::keys::{self, Authority};
use crate::machine::Machine;
use crate::program::{Account, SharedHost};
use crate::state_files::{StateFile, StateWriter};
use crate::winrm::{self, Security};
use crate::{LabError, LabHost, kubernetes_api, ssh, twin};

/// What can be chosen about a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// How long a host does not answer after its power has gone.
    pub boot_delay: Duration,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { boot_delay: Duration::from_millis(200) }
    }
}

/// A running lab. Dropping it ends it, too, but does not wait.
pub struct Lab {
    directory: Directory,
    hosts: BTreeMap<String, Arc<LabHost>>,
    states: Vec<Arc<StateFile>>,
    cluster: SimulatedCluster,
    servers: TaskTracker,
    agents: TaskTracker,
    stop: DropGuard,
    /// Keeps the thread that writes the state files.
    _writer: StateWriter,
}

/// A host between the opening of its ports and the start of its servers.
struct Prepared {
    access: Access,
    listener: TcpListener,
    api: Option<TcpListener>,
    host: Arc<LabHost>,
}

/// How a host is reached.
enum Access {
    Ssh(Box<PrivateKey>),
    WinRm(Security),
}

impl Lab {
    /// Starts the twin of an inventory, whose text came from `inventory_file`, with its files in `directory`. When this
    /// returns, every host answers and every file is written. It must be called on a tokio runtime, which the servers
    /// then run on.
    ///
    /// # Errors
    /// When the inventory is not valid, the folder is in use for something else, or the operating system refuses files
    /// or ports.
    pub async fn start(
        inventory_text: &str,
        inventory_file: &Utf8Path,
        directory: &Utf8Path,
        options: LabOptions,
    ) -> Result<Self, LabError> {
        let original = k8swin_inventory::parse(inventory_text, inventory_file)
            .map_err(|errors| LabError::Inventory(errors.to_string()))?;
        let directory = Directory::prepare(directory)?;
        let stop = CancellationToken::new();
        let cluster = SimulatedCluster::new(format!("v{}", original.kubernetes));
        let prefix = twin::prefix(original.hosts.iter().map(|host| host.node_address));
        let simulated: BTreeMap<String, SimulatedHost> = original
            .hosts
            .iter()
            .map(|host| (host.name.clone(), SimulatedHost::new(twin::spec(host, prefix), cluster.clone())))
            .collect();
        let faults = directory.write("faults.toml", faults::EXAMPLES)?;
        let mut builder = Builder {
            faults: Arc::new(FaultsFile::new(faults, simulated.clone())),
            writer: StateWriter::start().map_err(LabError::Thread)?,
            authority: Authority::new()?,
            client_key: keys::ssh_key()?,
            states: Vec::new(),
            agents: TaskTracker::new(),
            known_hosts: String::new(),
            ports: BTreeSet::new(),
            reached: BTreeMap::new(),
            directory,
            options,
        };
        let mut prepared = Vec::new();
        for host in &original.hosts {
            if let Some(simulated) = simulated.get(&host.name) {
                prepared.push(builder.prepare(host, simulated).await?);
            }
        }
        builder.write_files(inventory_text, inventory_file, &original)?;
        let Builder { directory, states, agents, writer, ports, .. } = builder;
        let (forwards, servers) = (Arc::new(ports), TaskTracker::new());
        let mut hosts = BTreeMap::new();
        for Prepared { access, listener, api, host } in prepared {
            let shared = Arc::clone(&host) as SharedHost;
            match access {
                Access::Ssh(key) => {
                    let server = ssh::Server { key: *key, forwards: Arc::clone(&forwards) };
                    servers.spawn(ssh::serve(listener, server, shared, stop.clone()));
                }
                Access::WinRm(security) => {
                    let server = winrm::Server::new(security, shared, winrm::Limits::default());
                    host.set_winrm(server.counters());
                    servers.spawn(server.serve(listener, stop.clone()));
                }
            }
            if let Some(listener) = api {
                servers.spawn(kubernetes_api::serve(listener, Arc::clone(&host), cluster.clone(), stop.clone()));
            }
            hosts.insert(crate::program::CommandHost::name(&*host).to_owned(), host);
        }
        let stop = stop.drop_guard();
        Ok(Self { directory, hosts, states, cluster, servers, agents, stop, _writer: writer })
    }

    /// The hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &LabHost)> {
        self.hosts.iter().map(|(name, host)| (name.as_str(), &**host))
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&LabHost> {
        self.hosts.get(name).map(|host| &**host)
    }

    /// The simulated cluster that the hosts are part of.
    #[must_use]
    pub fn cluster(&self) -> &SimulatedCluster {
        &self.cluster
    }

    /// The folder of the lab, absolute.
    #[must_use]
    pub fn directory(&self) -> &Utf8Path {
        self.directory.root()
    }

    /// The inventory that reaches the lab.
    #[must_use]
    pub fn inventory(&self) -> Utf8PathBuf {
        self.directory.path(twin::INVENTORY)
    }

    /// Ends the lab: cuts all connections, waits for the agents, writes the last state of the hosts.
    ///
    /// # Errors
    /// When a state file cannot be written.
    pub async fn shutdown(self) -> Result<(), LabError> {
        self.stop.disarm().cancel();
        for host in self.hosts.values() {
            host.switch_off();
        }
        for tracker in [&self.servers, &self.agents] {
            tracker.close();
            tracker.wait().await;
        }
        self.states.iter().try_for_each(|state| write_state(state))
    }
}

fn write_state(state: &StateFile) -> Result<(), LabError> {
    state.flush().map_err(LabError::file("write", state.path()))
}

/// What the hosts of a lab share while they are made.
struct Builder {
    directory: Directory,
    options: LabOptions,
    faults: Arc<FaultsFile>,
    writer: StateWriter,
    authority: Authority,
    client_key: PrivateKey,
    states: Vec<Arc<StateFile>>,
    agents: TaskTracker,
    known_hosts: String,
    ports: BTreeSet<u16>,
    reached: BTreeMap<String, TwinHost>,
}

impl Builder {
    async fn prepare(&mut self, host: &Host, simulated: &SimulatedHost) -> Result<Prepared, LabError> {
        let (listener, port) = listen(&host.name).await?;
        let (api, api_port) = if host.is_control_plane() {
            let (listener, port) = listen(&host.name).await?;
            (Some(listener), Some(port))
        } else {
            (None, None)
        };
        let user = twin::user(host);
        let (access, account) = match &host.system {
            System::Linux(_) => {
                let key = keys::ssh_key()?;
                self.known_hosts.push_str(&format!("[127.0.0.1]:{port} {}\n", keys::public_text(&key)?));
                let authorized_keys = vec![keys::public_text(&self.client_key)?];
                (Access::Ssh(Box::new(key)), Account { user, password: None, authorized_keys })
            }
            System::Windows(windows) => {
                let security = match windows.winrm.transport {
                    WinRmTransport::Https(_) => {
                        Security::Https(self.authority.server(&host.name, Ipv4Addr::LOCALHOST)?)
                    }
                    WinRmTransport::Http => Security::Http,
                };
                let password = SecretBytes::new(keys::password());
                self.directory.write_secret(&twin::password_file(&host.name), &password)?;
                let user = twin::without_domain(&user).to_owned();
                (Access::WinRm(security), Account { user, password: Some(password), authorized_keys: Vec::new() })
            }
        };
        self.ports.extend([Some(port), api_port].into_iter().flatten());
        let docker = match &host.system {
            System::Windows(windows) => windows.docker.as_ref(),
            System::Linux(_) => None,
        };
        let docker = docker.map(|docker| self.directory.write_docker(&docker.version)).transpose()?;
        self.reached.insert(host.name.clone(), twin::reached(host, port, api_port, docker));
        let shown = simulated.clone();
        let path = self.directory.path("hosts").join(format!("{}.json", host.name));
        let state = StateFile::new(path, Box::new(move || shown.state_json()));
        let changed = self.writer.watch(&state);
        simulated.on_change(Arc::new(move || changed.mark()));
        self.states.push(Arc::clone(&state));
        let machine = Arc::new(Machine {
            name: host.name.clone(),
            os: host.os(),
            user: twin::user(host),
            simulated: simulated.clone(),
            agent: Bytes::from(directory::agent(host.os())),
            state,
            agents: self.agents.clone(),
        });
        let faults = Arc::clone(&self.faults);
        let host = LabHost::new(machine, account, faults, self.options.boot_delay, Handle::current());
        Ok(Prepared { access, listener, api, host })
    }

    /// Writes what a client needs, the inventory last.
    fn write_files(&self, text: &str, file: &Utf8Path, original: &k8swin_inventory::Cluster) -> Result<(), LabError> {
        self.directory.write_secret(twin::IDENTITY, &keys::private_text(&self.client_key)?)?;
        self.directory.write("id_ed25519.pub", keys::public_text(&self.client_key)? + "\n")?;
        self.directory.write(twin::KNOWN_HOSTS, &self.known_hosts)?;
        self.directory.write(twin::CA, self.authority.pem())?;
        self.directory.write_artifacts(&original.kubernetes.to_string())?;
        self.directory.write_agents()?;
        self.states.iter().try_for_each(|state| write_state(state))?;
        let reached = Twin {
            title: "The simulated twin",
            kubernetes: None,
            hosts: self.reached.clone(),
            artifacts_path: twin::ARTIFACTS.into(),
            agents_path: twin::AGENTS.into(),
        };
        let inventory = k8swin_inventory::twin::twin(text, file, &reached)
            .map_err(|errors| LabError::Inventory(errors.to_string()))?;
        self.directory.write(twin::INVENTORY, inventory)?;
        Ok(())
    }
}

async fn listen(host: &str) -> Result<(TcpListener, u16), LabError> {
    let failed = |answer| LabError::Listen { host: host.to_owned(), answer };
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}
