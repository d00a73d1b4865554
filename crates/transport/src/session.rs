//! A session: lines to the agent, lines from it, and an end in order.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8swin_protocol::bootstrap::Bootstrap;
use k8swin_protocol::{HostPath, Os, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use crate::bootstrap::{self, Greeted};
use crate::error::{Target, TransportError};
use crate::lines::Lines;
use crate::remote::{Bytes, Ended, Output, Program, Remote, Running, Transcript};
use crate::{ssh, winrm};

/// Lines that wait in either direction before their writer has to wait.
const QUEUE: usize = 16;

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
    sha256: Sha256,
    path: HostPath,
    requests: mpsc::Sender<Zeroizing<String>>,
    answers: mpsc::Receiver<Result<Bytes, TransportError>>,
    /// Why there are no answers any more.
    end: Arc<OnceLock<TransportError>>,
    /// Ends the agent's input.
    hang_up: CancellationToken,
    /// Ends the agent.
    guard: DropGuard,
    /// Ends with the agent.
    answering: JoinHandle<()>,
}

impl Session {
    pub(crate) fn new(remote: Connection, greeted: Greeted, sha256: Sha256, path: HostPath) -> Self {
        let Greeted { running: Running { stdin, output, guard }, lines, put_agent } = greeted;
        let (requests, to_send) = mpsc::channel(QUEUE);
        let (answer_sender, answers) = mpsc::channel(QUEUE);
        let (hang_up, end) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        tokio::spawn(relay_requests(to_send, stdin, hang_up.clone()));
        let reader =
            Reader { target: remote.target().clone(), answers: answer_sender, end: Arc::clone(&end), lines, output };
        let answering = tokio::spawn(reader.run());
        Self { remote, put_agent, sha256, path, requests, answers, end, hang_up, guard, answering }
    }

    /// Whether this session had to put the agent on the host.
    #[must_use]
    pub fn put_agent(&self) -> bool {
        self.put_agent
    }

    /// Sends one line, with its line feed ([`k8swin_protocol::wire::encode`]). Cancel-safe: a line is sent whole or not at
    /// all.
    ///
    /// # Errors
    /// When the connection is lost or the agent has ended.
    pub async fn send(&self, line: Zeroizing<String>) -> Result<(), TransportError> {
        self.requests.send(line).await.map_err(|_| self.ended())
    }

    /// The next line from the agent, without its ending. Cancel-safe: no line is lost.
    ///
    /// # Errors
    /// When the connection is lost or the agent has ended.
    pub async fn receive(&mut self) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => Err(self.ended()),
        }
    }

    fn ended(&self) -> TransportError {
        self.end.get().cloned().unwrap_or_else(|| TransportError::AgentEnded {
            target: self.remote.target().clone(),
            answer: "it reads no more".to_owned(),
        })
    }

    /// Ends the agent's input, waits briefly for it to end, removes it if asked, and closes the connection: the WinRM shell
    /// is deleted. To be awaited after Ctrl-C as well; it takes seconds at most.
    ///
    /// # Errors
    /// When the connection is lost, or the agent could not be removed.
    pub async fn close(self, agent: AgentFate) -> Result<(), TransportError> {
        let Self { mut remote, sha256, path, requests, answers, hang_up, guard, answering, .. } = self;
        drop((requests, answers));
        hang_up.cancel();
        let farewell = tokio::time::timeout(FAREWELL, answering).await;
        // Whatever still runs is ended now: the next program waits for it.
        drop(guard);
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
}

async fn relay_requests(
    mut lines: mpsc::Receiver<Zeroizing<String>>,
    stdin: mpsc::Sender<Bytes>,
    hang_up: CancellationToken,
) {
    loop {
        let line = tokio::select! {
            biased;
            () = hang_up.cancelled() => return,
            line = lines.recv() => line,
        };
        let Some(mut line) = line else { return };
        let bytes = Zeroizing::new(std::mem::take(&mut *line).into_bytes());
        if stdin.send(bytes).await.is_err() {
            return;
        }
    }
}

struct Reader {
    target: Target,
    answers: mpsc::Sender<Result<Bytes, TransportError>>,
    end: Arc<OnceLock<TransportError>>,
    lines: Lines,
    output: mpsc::Receiver<Output>,
}

impl Reader {
    async fn run(mut self) {
        let end = self.read().await;
        // Set once, here: the session itself only reads it.
        let _ = self.end.set(end.clone());
        let _ = self.answers.send(Err(end)).await;
    }

    /// Reads until there is no more, and says why.
    async fn read(&mut self) -> TransportError {
        let mut last_words = Transcript::default();
        loop {
            loop {
                match self.lines.next() {
                    // When nobody listens any more, the output is read nevertheless, so that the agent can end.
                    Ok(Some(line)) => drop(self.answers.send(Ok(line)).await),
                    Ok(None) => break,
                    Err(_) => return TransportError::LineTooLong { target: self.target.clone() },
                }
            }
            match self.output.recv().await {
                Some(Output::Stdout(piece)) => self.lines.push(&piece),
                Some(Output::Stderr(piece)) => {
                    last_words.add(&piece);
                    tracing::debug!(host = %self.target, text = %String::from_utf8_lossy(&piece), "the agent's log");
                }
                Some(Output::Exited(code)) => {
                    let answer = Ended { code, transcript: last_words }.answer();
                    return TransportError::AgentEnded { target: self.target.clone(), answer };
                }
                Some(Output::Lost(cause)) => {
                    return TransportError::lost(&self.target, "talking to the agent", cause);
                }
                None => return TransportError::lost(&self.target, "talking to the agent", "its task has ended"),
            }
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
