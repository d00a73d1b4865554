//! Simulated hosts and a simulated Kubernetes API: what the lab runs the agent on.

mod change;
mod cluster;
mod faulty;
mod files;
mod link;
mod linux;
mod machine;
mod platform;
mod process;
mod snapshot;
mod spec;
mod virtual_network;
mod windows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8swin_protocol::probe::{Ask, Outcome, Target};
use k8swin_protocol::resource::Protection;
use k8swin_protocol::wire::KubeCall;
use k8swin_protocol::{Facts, HostPath, Os};
use serde_json::Value;

pub use cluster::SimulatedCluster;
pub use link::Transfers;
use machine::Machine;
use platform::SimulatedPlatform;
pub use spec::{Faults, HostSpec, ImageTrouble, TakenPort, UncleanInput};
use virtual_network::{Endpoint, Ways};

use crate::platform::{KubeOperation, KubeOutcome, Result};
use crate::{Host, PlatformError, network, serve};

/// The kubelet's own port.
const KUBELET_PORT: u16 = 10250;

/// Called before every mutation by the agent, with its description; an error makes the call fail. It may block: a
/// session that is blocked for ever is one that was killed.
pub type MutationHook = Arc<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// Called when something happened.
pub type Callback = Arc<dyn Fn() + Send + Sync>;

/// A simulated host. Clones are the same host.
#[derive(Clone)]
pub struct SimulatedHost {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    os: Os,
    cluster: SimulatedCluster,
    machine: Mutex<Machine>,
    hook: Mutex<Option<MutationHook>>,
    on_change: Mutex<Vec<Callback>>,
    on_reboot: Mutex<Vec<Callback>>,
    work: change::Work,
    transfers: link::Counts,
}

impl SimulatedHost {
    /// A fresh host that takes part in `cluster`.
    #[must_use]
    pub fn new(spec: HostSpec, cluster: SimulatedCluster) -> Self {
        let (name, os) = (spec.name.clone(), spec.os);
        let host = Self {
            shared: Arc::new(Shared {
                name,
                os,
                cluster,
                machine: Mutex::new(Machine::new(spec)),
                hook: Mutex::default(),
                on_change: Mutex::default(),
                on_reboot: Mutex::default(),
                work: change::Work::default(),
                transfers: link::Counts::default(),
            }),
        };
        host.change(|_| ());
        host
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its operating system.
    #[must_use]
    pub fn os(&self) -> Os {
        self.shared.os
    }

    /// A platform for one session of [`crate::serve`]. A reboot that the session asks for begins when it has ended.
    #[must_use]
    pub fn platform(&self) -> Host {
        let platform = SimulatedPlatform::new(self.clone());
        match self.os() {
            Os::Linux => Host::Linux(Box::new(platform)),
            Os::Windows => Host::Windows(Box::new(platform)),
        }
    }

    /// The bytes of a file; `None` when there is none.
    #[must_use]
    pub fn read_file(&self, path: &HostPath) -> Option<Vec<u8>> {
        self.read(|machine| machine.files.content(path).map(|content| content.bytes.to_vec()))
    }

    /// Writes a file with the folders above it: what the bootstrap scripts do. The agent of the sessions to come is the
    /// one that was written to its place last.
    ///
    /// # Errors
    /// As the faults that are set have it (a full disk).
    pub fn write_file(&self, path: &HostPath, bytes: &[u8], protection: Protection) -> Result<()> {
        self.change(|machine| machine.place(path, bytes, protection))
    }

    /// Removes a file, and the two folders above it if they are empty then, as the bootstrap scripts do. Whether the file
    /// was there.
    pub fn remove_file(&self, path: &HostPath) -> bool {
        self.change(|machine| {
            let removed = machine.files.remove_file(path).is_ok();
            let folder = path.parent();
            for folder in [folder.clone(), folder.and_then(|folder| folder.parent())].into_iter().flatten() {
                // A folder that holds other things stays.
                let _ = machine.files.remove_folder(&folder);
            }
            if machine.agent.as_ref() == Some(path) {
                machine.agent = None;
            }
            removed
        })
    }

    /// Whether its agent listens for other hosts' agents.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.cluster().network().listens(self.name())
    }

    /// Its facts, as its agent gathers them. With an unreadable ledger they say nothing of what is owned.
    #[must_use]
    pub fn facts(&self) -> Facts {
        serve::facts(&mut self.platform()).unwrap_or_else(|_| self.read(Machine::facts))
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.change(|machine| machine.faults = faults);
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.read(|machine| machine.faults.clone())
    }

    /// Restarts the host, and returns when it is up again.
    pub fn reboot(&self) {
        self.kill_change();
        for callback in self.callbacks(&self.shared.on_reboot) {
            callback();
        }
        let order = self.change(|machine| {
            machine.boots += 1;
            match machine.os() {
                Os::Linux => linux::boot(machine),
                Os::Windows => windows::boot(machine),
            }
        });
        for name in order {
            let started = self.change(|machine| match machine.os() {
                Os::Linux => linux::restart(machine, &name).map(|process| process.into_iter().collect()),
                Os::Windows => windows::start_service(machine, &name)
                    .map(|started| started.into_iter().map(|(_, process)| process).collect::<Vec<_>>()),
            });
            // A service that does not start at boot is one that the next check finds stopped.
            let runs_network = started.is_ok_and(|started| started.iter().any(|process| process.is_network_service()));
            if runs_network {
                let _ = self.run_network_service(&name);
            }
        }
        self.resume_change();
    }

    /// Its state, pretty and deterministic, for people and for comparison. Secret files appear by size and digest.
    #[must_use]
    pub fn state_json(&self) -> String {
        self.read(snapshot::json)
    }

    /// Calls `callback` after every change, also by the lab itself.
    pub fn on_change(&self, callback: Callback) {
        lock(&self.shared.on_change).push(callback);
    }

    /// Calls `callback` when the host goes down for a reboot, asked for by its agent or by [`SimulatedHost::reboot`].
    pub fn on_reboot(&self, callback: Callback) {
        lock(&self.shared.on_reboot).push(callback);
    }

    /// Mutations by the agent so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.read(|machine| machine.steps)
    }

    /// Calls `hook` before every mutation by the agent, in place of an earlier hook. No lock is held while it runs.
    pub fn before_mutation(&self, hook: MutationHook) {
        *lock(&self.shared.hook) = Some(hook);
    }

    /// What it has had to do with depots so far.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        self.shared.transfers.now()
    }

    pub(self) fn cluster(&self) -> &SimulatedCluster {
        &self.shared.cluster
    }

    pub(self) fn read<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&lock(&self.shared.machine))
    }

    /// A mutation by the agent.
    pub(self) fn mutate<T>(&self, what: &str, change: impl FnOnce(&mut Machine) -> Result<T>) -> Result<T> {
        self.ask_hook(what)?;
        self.change(|machine| {
            machine.steps += 1;
            change(machine)
        })
    }

    fn ask_hook(&self, what: &str) -> Result<()> {
        let hook = lock(&self.shared.hook).clone();
        hook.map_or(Ok(()), |hook| hook(what))
    }

    fn tell_changed(&self) {
        for callback in self.callbacks(&self.shared.on_change) {
            callback();
        }
    }

    /// A mutation of the routes by the agent, which changes nothing for others.
    pub(self) fn mutate_routes<T>(&self, what: &str, change: impl FnOnce(&mut Machine) -> Result<T>) -> Result<T> {
        self.ask_hook(what)?;
        let result = {
            let mut machine = lock(&self.shared.machine);
            machine.steps += 1;
            change(&mut machine)
        };
        self.tell_changed();
        result
    }

    /// Any change: the cluster learns what runs on the host now, then the callbacks are called.
    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let result = {
            let mut machine = lock(&self.shared.machine);
            let result = change(&mut machine);
            self.shared.cluster.report(&self.shared.name, machine.report());
            self.shared.cluster.network().place(Endpoint::of(&machine));
            result
        };
        self.tell_changed();
        result
    }

    fn callbacks(&self, callbacks: &Mutex<Vec<Callback>>) -> Vec<Callback> {
        lock(callbacks).clone()
    }

    /// Runs what the agent does as `k8swin-network`; when it fails, so does the service.
    pub(self) fn run_network_service(&self, name: &str) -> Result<()> {
        let Err(error) = network::reconcile(&mut self.platform()) else { return Ok(()) };
        self.change(|machine| match machine.os() {
            Os::Linux => linux::fail(machine, name, error.to_string()),
            Os::Windows => {
                if let Some(service) = machine.windows.services.get_mut(name) {
                    service.running = false;
                }
            }
        });
        Err(PlatformError::new(format!("start {name}"), error.to_string()))
    }

    /// What kubectl does on this host.
    pub(self) fn kube(&self, operation: &KubeOperation) -> Result<KubeOutcome> {
        for needed in [Os::Linux.bin().join("kubectl"), Os::Linux.etc().join("admin.conf")] {
            if !self.read(|machine| machine.files.is_file(needed.as_str())) {
                return Ok(KubeOutcome::Unreachable(format!("there is no {needed}")));
            }
        }
        let (method, path, body) = match operation {
            KubeOperation::Call(KubeCall::Get { path }) => {
                let kubelet = path.strip_prefix("/api/v1/nodes/").and_then(|rest| rest.strip_suffix("/proxy/healthz"));
                if let Some(node) = kubelet {
                    return Ok(self.ask_kubelet(node));
                }
                ("GET", path.clone(), None)
            }
            KubeOperation::Call(KubeCall::Create { object }) => {
                let items = match object["items"].as_array() {
                    Some(items) if object["kind"] == "List" => items.as_slice(),
                    _ => std::slice::from_ref(object),
                };
                let answer = self.cluster().create(items, |path| self.ask_hook(&format!("POST {path}")));
                self.change(|machine| machine.steps += items.len() as u64);
                return answer.map(outcome);
            }
            KubeOperation::Call(KubeCall::Delete { kind, namespace, selector }) => {
                let selector = selector.replace('=', "%3D");
                ("DELETE", format!("{}?labelSelector={selector}", cluster::collection("v1", kind, namespace)), None)
            }
            KubeOperation::PatchNode { name, patch } => ("PATCH", format!("/api/v1/nodes/{name}"), Some(patch.clone())),
            KubeOperation::DeleteNode { name } => ("DELETE", format!("/api/v1/nodes/{name}"), None),
        };
        let api = |body: Option<&Value>| self.cluster().api(method, &path, body);
        let (status, body) = if method == "GET" {
            api(None)
        } else {
            self.ask_hook(&format!("{method} {path}"))?;
            let answer = api(body.as_ref());
            self.change(|machine| machine.steps += 1);
            answer
        };
        Ok(outcome((status, body)))
    }
}

/// What kubectl makes of an answer.
fn outcome((status, body): (u16, Value)) -> KubeOutcome {
    let message = || body.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    match status {
        200..=299 => KubeOutcome::Done(body),
        404 => KubeOutcome::NotFound,
        0 => KubeOutcome::Unreachable("The connection to the server was refused".into()),
        500..=599 => KubeOutcome::Unreachable(message()),
        _ => KubeOutcome::Refused(message()),
    }
}

impl SimulatedHost {
    /// What this host's API server gets from a kubelet.
    fn ask_kubelet(&self, node: &str) -> KubeOutcome {
        let (status, object) = self.cluster().api("GET", &format!("/api/v1/nodes/{node}"), None);
        match status {
            200 => {}
            404 => return KubeOutcome::NotFound,
            _ => return KubeOutcome::Unreachable("The connection to the server was refused".into()),
        }
        let addresses = object.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
        let address =
            addresses.filter(|address| address["type"] == "InternalIP").find_map(|one| one["address"].as_str());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            return KubeOutcome::Unreachable(format!("Error: 'no preferred addresses found' for node {node}"));
        };
        let target = Target { address, port: KUBELET_PORT, ask: Ask::Connection };
        let dial = |what| KubeOutcome::Unreachable(format!("Error: 'dial tcp {address}:{KUBELET_PORT}: {what}'"));
        match self.connect(&[target]).first() {
            Some(Outcome::Answered { .. }) => KubeOutcome::Done("ok".into()),
            Some(Outcome::Refused) => dial("getsockopt: connection refused"),
            _ => dial("i/o timeout"),
        }
    }

    /// Connects to addresses of hosts, pods and services.
    pub(self) fn connect(&self, targets: &[Target]) -> Vec<Outcome> {
        let places = self.cluster().places();
        let ways = self.read(Ways::of);
        let network = self.cluster().network();
        let connect = |target: &Target| network.connect(self.name(), target, places.get(&target.address), &ways);
        targets.iter().map(connect).collect()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
