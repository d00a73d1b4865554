//! The shells of a host: opened, kept while they are used, and ended with all that runs in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::command::{Command, refuse_line, too_long_for_cmd};
use super::envelope::{NewCommand, NewShell};
use super::fault::Fault;
use super::{Counters, Limits, guid};
use crate::program::{CommandLine, SharedHost};

/// All shells of a host.
pub(super) struct Shells {
    host: SharedHost,
    limits: Limits,
    counters: Arc<Counters>,
    open: Mutex<HashMap<String, Arc<Shell>>>,
    /// The server has ended: a shell that a last request still opens is closed at once.
    ended: CancellationToken,
}

/// A shell.
pub(super) struct Shell {
    /// Its identity.
    pub(super) id: String,
    /// How long it may be unused.
    pub(super) idle_timeout: Duration,
    limits: Limits,
    host: SharedHost,
    commands: Mutex<HashMap<String, Arc<Command>>>,
    activity: Mutex<Activity>,
    /// Cancelled when it is deleted, when it was unused for too long, and with the host's power.
    closed: CancellationToken,
}

struct Activity {
    requests: usize,
    last: Instant,
}

/// A request that uses a shell: while it waits, the shell is not idle.
pub(super) struct InUse(Arc<Shell>);

impl Shells {
    /// No shells yet.
    pub(super) fn new(host: SharedHost, limits: Limits, counters: Arc<Counters>) -> Self {
        Self { host, limits, counters, open: Mutex::default(), ended: CancellationToken::new() }
    }

    /// Opens a shell.
    pub(super) fn create(self: &Arc<Self>, new: &NewShell) -> Result<Arc<Shell>, Fault> {
        let idle_timeout = new.idle_timeout.unwrap_or(self.limits.idle_timeout);
        if new.idle_timeout.is_some_and(|asked| asked < self.limits.least_idle_timeout) {
            return Err(Fault::idle_timeout_out_of_bounds(idle_timeout.as_millis()));
        }
        let shell = Arc::new(Shell {
            id: guid(),
            idle_timeout,
            limits: self.limits,
            host: Arc::clone(&self.host),
            commands: Mutex::default(),
            activity: Mutex::new(Activity { requests: 0, last: Instant::now() }),
            closed: self.host.power().child_token(),
        });
        {
            let mut open = locked(&self.open);
            // Those that lost their power do not count, even if their keepers have not yet noticed.
            let live = open.values().filter(|shell| !shell.closed.is_cancelled()).count();
            if live >= self.limits.shells_per_user {
                return Err(Fault::too_many_shells(self.limits.shells_per_user));
            }
            open.insert(shell.id.clone(), Arc::clone(&shell));
        }
        self.counters.shell_opened();
        let (shells, kept) = (Arc::clone(self), Arc::clone(&shell));
        tokio::spawn(async move {
            tokio::select! {
                () = kept.until_closed_or_idle() => {}
                () = shells.ended.cancelled() => {}
            }
            shells.close(&kept);
        });
        Ok(shell)
    }

    /// The shell a request names, in use until the guard is dropped.
    pub(super) fn find(&self, id: &str) -> Result<InUse, Fault> {
        let found = locked(&self.open).get(&id.to_uppercase()).cloned();
        match found {
            Some(shell) if !shell.closed.is_cancelled() => {
                locked(&shell.activity).requests += 1;
                Ok(InUse(shell))
            }
            _ => Err(Fault::shell_not_found(id)),
        }
    }

    /// Ends a shell and all that runs in it.
    pub(super) fn close(&self, shell: &Shell) {
        shell.closed.cancel();
        if locked(&self.open).remove(&shell.id).is_some() {
            self.counters.shell_closed();
        }
    }

    /// Ends all shells, for good.
    pub(super) fn close_all(&self) {
        self.ended.cancel();
        let all: Vec<Arc<Shell>> = locked(&self.open).values().cloned().collect();
        for shell in all {
            self.close(&shell);
        }
    }
}

impl Shell {
    /// Starts a command and gives its identity.
    pub(super) fn start(&self, new: NewCommand) -> Result<String, Fault> {
        let id = new.id.map_or_else(guid, |id| id.to_uppercase());
        let line = CommandLine { command: new.command, arguments: new.arguments };
        let mut commands = locked(&self.commands);
        if commands.contains_key(&id) {
            return Err(Fault::malformed("the CommandId is already in use"));
        }
        if commands.values().filter(|command| !command.is_done()).count() >= self.limits.processes_per_shell {
            return Err(Fault::too_many_processes());
        }
        let refused = !new.skip_cmd_shell && too_long_for_cmd(&line, self.limits.command_line);
        let program = if refused { refuse_line() } else { self.host.start(line) };
        commands.insert(id.clone(), Arc::new(Command::new(program, self.closed.child_token())));
        Ok(id)
    }

    /// A command of this shell.
    pub(super) fn command(&self, id: &str) -> Result<Arc<Command>, Fault> {
        locked(&self.commands).get(&id.to_uppercase()).cloned().ok_or_else(|| Fault::command_not_found(id))
    }

    /// Ends a command and forgets it.
    pub(super) fn terminate(&self, id: &str) -> Result<(), Fault> {
        let ended = locked(&self.commands).remove(&id.to_uppercase());
        ended.map(|command| command.close()).ok_or_else(|| Fault::command_not_found(id))
    }

    async fn until_closed_or_idle(&self) {
        loop {
            let idle_at = {
                let activity = locked(&self.activity);
                let from = if activity.requests > 0 { Instant::now() } else { activity.last };
                from.checked_add(self.idle_timeout)
            };
            let Some(idle_at) = idle_at else { return self.closed.cancelled().await };
            if idle_at <= Instant::now() {
                return;
            }
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = tokio::time::sleep_until(idle_at) => {}
            }
        }
    }
}

impl std::ops::Deref for InUse {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut activity = locked(&self.0.activity);
        activity.requests = activity.requests.saturating_sub(1);
        activity.last = Instant::now();
    }
}

/// Nothing in this file panics while it holds a lock, and if it did, the maps would still be whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
