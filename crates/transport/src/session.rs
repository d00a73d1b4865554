//! A session: lines to the agent, lines from it, and an end in order.

use std::time::{Duration, SystemTime};

use k8swin_protocol::bootstrap::Bootstrap;
use k8swin_protocol::{HostPath, Os, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use zeroize::Zeroizing;

use crate::bootstrap::{self, Greeted};
use crate::error::{Target, TransportError};
use crate::lines::Lines;
use crate::remote::{Bytes, Ended, Output, Outputs, Program, Remote, Running, Transcript};
use crate::{ssh, winrm};

/// How long an agent whose input has ended may take to end itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is to become of the agent's program file when a session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentFate {
    /// It stays.
    Keep,
    /// It is deleted, and its folders if they are empty then.
    Remove,
}

/// A connection whose agent has said hello. Dropping it ends the agent and the connection, too, but nobody waits for it.
pub struct Session {
    remote: Connection,
    put_agent: bool,
    started: SystemTime,
    sha256: Sha256,
    path: HostPath,
    stdin: mpsc::Sender<Bytes>,
    reader: Reader,
    /// Ends the agent.
    guard: DropGuard,
}

impl Session {
    pub(crate) fn new(remote: Connection, greeted: Greeted, sha256: Sha256, path: HostPath) -> Self {
        let Greeted { running: Running { stdin, output, guard }, lines, started, put_agent } = greeted;
        let target = remote.target().clone();
        let reader = Reader { target, lines, output, last_words: Transcript::default(), end: None };
        Self { remote, put_agent, started, sha256, path, stdin, reader, guard }
    }

    /// Whether this session had to put the agent on the host.
    #[must_use]
    pub fn put_agent(&self) -> bool {
        self.put_agent
    }

    /// The host says that it takes WinRM envelopes of so many KiB (MaxEnvelopeSizekb): as much goes into each from now on.
    pub fn set_envelope_kib(&self, envelope: u32) {
        if let Connection::WinRm(connection) = &self.remote {
            connection.set_envelope_kib(envelope);
        }
    }

    /// When the agent was started, by this machine's clock.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Sends one message: a line with its line feed ([`k8swin_protocol::wire::encode`]), and what belongs to it
    /// ([`k8swin_protocol::raw`]). Cancel-safe: a message is sent whole or not at all.
    ///
    /// # Errors
    /// When the connection is lost or the agent has ended.
    pub async fn send(&mut self, message: Zeroizing<Vec<u8>>) -> Result<(), TransportError> {
        match self.stdin.send(message).await {
            Ok(()) => Ok(()),
            // What the agent said before that is nobody's answer any more.
            Err(_) => Err(self.reader.end().await),
        }
    }

    /// The next line from the agent, without its ending. Cancel-safe: no line is lost.
    ///
    /// # Errors
    /// When the connection is lost or the agent has ended.
    pub async fn receive(&mut self) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        self.reader.next().await
    }

    /// Ends the agent's input, waits briefly for it to end, removes it if asked, and closes the connection: the WinRM shell
    /// is deleted. To be awaited after Ctrl-C as well; it takes seconds at most.
    ///
    /// # Errors
    /// When the connection is lost, or the agent could not be removed.
    pub async fn close(self, agent: AgentFate) -> Result<(), TransportError> {
        let Self { mut remote, sha256, path, stdin, mut reader, guard, .. } = self;
        drop(stdin);
        let farewell = tokio::time::timeout(FAREWELL, reader.end()).await;
        // Whatever still runs is ended now, and finds nobody who reads: the next program waits for it.
        drop((guard, reader));
        if farewell.is_err() {
            tracing::debug!(host = %remote.target(), "the agent did not end by itself");
        }
        let removed = match agent {
            AgentFate::Keep => Ok(()),
            AgentFate::Remove => bootstrap::remove(&mut remote, sha256, &path).await,
        };
        let closed = remote.close().await;
        removed.and(closed)
    }

    /// Ends the agent and closes the connection without waiting for the agent: for a conversation that changed nothing and
    /// holds nothing. Its file stays.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn leave(self) -> Result<(), TransportError> {
        let Self { remote, stdin, reader, guard, .. } = self;
        drop((stdin, guard, reader));
        remote.close().await
    }
}

/// Reads what the agent says, line by line.
struct Reader {
    target: Target,
    lines: Lines,
    output: Outputs,
    /// What it said on its standard error.
    last_words: Transcript,
    /// Why there is no more to read.
    end: Option<TransportError>,
}

impl Reader {
    /// The next line, or why there is none. Cancel-safe.
    async fn next(&mut self) -> Result<Bytes, TransportError> {
        loop {
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            match self.lines.next() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => self.read().await,
                Err(_) => self.end = Some(TransportError::LineTooLong { target: self.target.clone() }),
            }
        }
    }

    /// Reads until there is no more, and says why.
    async fn end(&mut self) -> TransportError {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Reads one piece.
    async fn read(&mut self) {
        let lost = |cause: &str| Some(TransportError::lost(&self.target, "talking to the agent", cause));
        match self.output.recv().await {
            Some(Output::Stdout(piece)) => self.lines.push(&piece),
            Some(Output::Stderr(piece)) => {
                self.last_words.add(&piece);
                tracing::debug!(host = %self.target, text = %String::from_utf8_lossy(&piece), "the agent's log");
            }
            Some(Output::Exited(code)) => {
                let answer = Ended { code, transcript: std::mem::take(&mut self.last_words) }.answer();
                self.end = Some(TransportError::AgentEnded { target: self.target.clone(), answer });
            }
            Some(Output::Lost(cause)) => self.end = lost(&cause),
            None => self.end = lost("its task has ended"),
        }
    }
}

/// Either way to reach a host.
pub(crate) enum Connection {
    Ssh(ssh::Connection),
    WinRm(winrm::Connection),
}

impl Remote for Connection {
    fn target(&self) -> &Target {
        match self {
            Self::Ssh(connection) => connection.target(),
            Self::WinRm(connection) => connection.target(),
        }
    }

    fn os(&self) -> Os {
        match self {
            Self::Ssh(connection) => connection.os(),
            Self::WinRm(connection) => connection.os(),
        }
    }

    fn sudo_user(&self) -> Option<&str> {
        match self {
            Self::Ssh(connection) => connection.sudo_user(),
            Self::WinRm(connection) => connection.sudo_user(),
        }
    }

    fn bootstrap_input(&self, bootstrap: &Bootstrap, agent: &[u8]) -> Bytes {
        match self {
            Self::Ssh(connection) => connection.bootstrap_input(bootstrap, agent),
            Self::WinRm(connection) => connection.bootstrap_input(bootstrap, agent),
        }
    }

    async fn start(&mut self, program: &Program) -> Result<Running, TransportError> {
        match self {
            Self::Ssh(connection) => connection.start(program).await,
            Self::WinRm(connection) => connection.start(program).await,
        }
    }

    async fn close(self) -> Result<(), TransportError> {
        match self {
            Self::Ssh(connection) => connection.close().await,
            Self::WinRm(connection) => connection.close().await,
        }
    }
}
