//! What the lab's SSH and WinRM servers run commands against: a host that starts programs and knows its accounts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8swin_protocol::SecretBytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A simulated host, as its servers see it.
pub trait CommandHost: Send + Sync + 'static {
    /// The host's name: NTLM's target name, the shell's prompt.
    fn name(&self) -> &str;

    /// The account that may log in.
    fn account(&self) -> &Account;

    /// What goes wrong with connections now. Asked at each new connection and each request.
    fn connection_faults(&self) -> ConnectionFaults;

    /// A connection was opened. For whoever counts.
    fn connected(&self) {}

    /// Bytes came in or went out, below TLS and SSH. For whoever counts.
    fn carried(&self, received: u64, sent: u64) {
        let _ = (received, sent);
    }

    /// Starts a command. What is not simulated writes a clear error and exits with a non-zero code; it never hangs.
    fn start(&self, command: CommandLine) -> RunningProgram;

    /// Ends with the power: open connections are cut when this is cancelled (a reboot makes a new one).
    fn power(&self) -> CancellationToken;
}

/// An account of a simulated host.
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password; without one, only keys.
    pub password: Option<SecretBytes>,
    /// Public keys in OpenSSH's format that may log in (Linux).
    pub authorized_keys: Vec<String>,
}

/// A command as the protocol brings it.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// SSH: the `exec` text. WinRM: the command element.
    pub command: String,
    /// WinRM: the argument elements, as the client sent them.
    pub arguments: Vec<String>,
}

/// A program that runs on a simulated host.
pub struct RunningProgram {
    /// Its standard input; dropping the sender is the end of the stream.
    pub stdin: mpsc::Sender<Bytes>,
    /// Its output; [`Output::Exit`] is the last.
    pub output: mpsc::Receiver<Output>,
    /// Ends it: Ctrl-C, a WinRM signal, the end of its shell or connection.
    pub terminate: CancellationToken,
}

/// What a program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// On standard output.
    Stdout(Bytes),
    /// On standard error.
    Stderr(Bytes),
    /// It ended with this code.
    Exit(i32),
}

/// What goes wrong with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFaults {
    /// Each answer waits this long.
    pub latency: Duration,
    /// The connection is cut after this many bytes in either direction.
    pub drop_after_bytes: Option<u64>,
    /// New connections are refused.
    pub unreachable: bool,
}

/// A shared host.
pub type SharedHost = Arc<dyn CommandHost>;
