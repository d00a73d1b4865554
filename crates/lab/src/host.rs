//! A simulated host as its servers see it: an account, commands, power, faults.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8swin_agent::simulated::{Faults, SimulatedHost};
use k8swin_protocol::Os;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::command_line::{self, Command};
use crate::faults::FaultsFile;
use crate::machine::Machine;
use crate::pipe;
use crate::program::{Account, CommandHost, CommandLine, ConnectionFaults, RunningProgram};
use crate::winrm;

/// From the order to restart until the power is gone: time for the answer to the order to leave the host. New connections
/// are refused from the order on.
const SHUTDOWN: Duration = Duration::from_millis(50);

/// A host of a lab.
pub struct LabHost {
    machine: Arc<Machine>,
    account: Account,
    faults: Arc<FaultsFile>,
    power: Mutex<Power>,
    boot_delay: Duration,
    runtime: Handle,
    commands: AtomicU64,
    reboots: AtomicU64,
    connections: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    cut_off: AtomicBool,
    winrm: OnceLock<Arc<winrm::Counters>>,
}

struct Power {
    /// Cancelled when the power goes.
    token: CancellationToken,
    /// Restarts under way. While there are any, nothing answers.
    restarting: usize,
    /// The lab has ended: the power does not come back.
    ended: bool,
}

/// What has happened to a host so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands started.
    pub commands: u64,
    /// Restarts.
    pub reboots: u64,
    /// Connections of its SSH or WinRM server.
    pub connections: u64,
    /// Bytes that these received.
    pub bytes_in: u64,
    /// Bytes that these sent.
    pub bytes_out: u64,
}

impl LabHost {
    /// A host that is switched on, on the current runtime. A restart of the simulated host becomes a power cut.
    pub(crate) fn new(
        machine: Arc<Machine>,
        account: Account,
        faults: Arc<FaultsFile>,
        boot_delay: Duration,
        runtime: Handle,
    ) -> Arc<Self> {
        let host = Arc::new(Self {
            machine,
            account,
            faults,
            power: Mutex::new(Power { token: CancellationToken::new(), restarting: 0, ended: false }),
            boot_delay,
            runtime,
            commands: AtomicU64::new(0),
            reboots: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            cut_off: AtomicBool::new(false),
            winrm: OnceLock::new(),
        });
        let restarted = Arc::downgrade(&host);
        host.machine.simulated.on_reboot(Arc::new(move || {
            if let Some(host) = restarted.upgrade() {
                host.cut_power();
            }
        }));
        let changed = Arc::downgrade(&host);
        host.machine.simulated.on_change(Arc::new(move || {
            if let Some(host) = changed.upgrade() {
                host.cut_if_cut_off();
            }
        }));
        host
    }

    /// The simulated host: its files, facts and faults.
    #[must_use]
    pub fn simulated(&self) -> &SimulatedHost {
        &self.machine.simulated
    }

    /// Restarts the host: connections are cut, and it answers again after the lab's boot delay.
    pub fn reboot(&self) {
        self.machine.simulated.reboot();
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            commands: count(&self.commands),
            reboots: count(&self.reboots),
            connections: count(&self.connections),
            bytes_in: count(&self.bytes_in),
            bytes_out: count(&self.bytes_out),
        }
    }

    /// What the host's WinRM server does; `None` on Linux.
    #[must_use]
    pub fn winrm(&self) -> Option<&winrm::Counters> {
        self.winrm.get().map(|counters| &**counters)
    }

    pub(crate) fn set_winrm(&self, counters: Arc<winrm::Counters>) {
        // A host has one server.
        let _ = self.winrm.set(counters);
    }

    fn cut_power(self: Arc<Self>) {
        self.reboots.fetch_add(1, Ordering::Relaxed);
        self.power().restarting += 1;
        self.runtime.clone().spawn(async move {
            tokio::time::sleep(SHUTDOWN).await;
            self.power().token.cancel();
            tokio::time::sleep(self.boot_delay).await;
            let mut power = self.power();
            power.restarting -= 1;
            if !power.ended && power.token.is_cancelled() {
                power.token = CancellationToken::new();
            }
        });
    }

    /// Whether a fault keeps everybody out.
    fn is_cut_off(&self, faults: &Faults) -> bool {
        (faults.network_cuts && self.machine.simulated.has_pod_network())
            || (faults.stays_down && self.counters().reboots > 0)
    }

    /// Cuts all connections, and what runs in them, when a fault has begun to keep everybody out.
    fn cut_if_cut_off(&self) {
        let faults = self.machine.simulated.faults();
        if !self.is_cut_off(&faults) {
            self.cut_off.store(false, Ordering::SeqCst);
        } else if !self.cut_off.swap(true, Ordering::SeqCst) {
            let mut power = self.power();
            power.token.cancel();
            if !power.ended && power.restarting == 0 {
                power.token = CancellationToken::new();
            }
        }
    }

    /// Ends all programs and connections for good.
    pub(crate) fn switch_off(&self) {
        let mut power = self.power();
        power.ended = true;
        power.token.cancel();
    }

    fn power(&self) -> std::sync::MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandHost for LabHost {
    fn name(&self) -> &str {
        &self.machine.name
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn connection_faults(&self) -> ConnectionFaults {
        self.faults.refresh();
        let faults = self.machine.simulated.faults();
        let off = self.power().restarting > 0;
        ConnectionFaults {
            latency: Duration::from_millis(faults.slow_ms),
            drop_after_bytes: faults.drop_after_bytes,
            unreachable: faults.unreachable || off || self.is_cut_off(&faults),
        }
    }

    fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn carried(&self, received: u64, sent: u64) {
        self.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }

    fn start(&self, line: CommandLine) -> RunningProgram {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.faults.refresh();
        let command = match self.machine.os {
            Os::Linux => command_line::linux(&line),
            Os::Windows => command_line::windows(&line),
        };
        if let Command::NotSimulated(program) = &command {
            tracing::debug!(host = %self.machine.name, program, "not simulated");
        }
        let (running, console) = pipe::streams(CommandHost::power(self).child_token());
        let machine = Arc::clone(&self.machine);
        let starting = Duration::from_millis(machine.simulated.faults().start_ms);
        self.runtime.spawn(async move {
            if !starting.is_zero() {
                tokio::time::sleep(starting).await;
            }
            machine.run(command, console).await;
        });
        running
    }

    fn power(&self) -> CancellationToken {
        LabHost::power(self).token.clone()
    }
}
