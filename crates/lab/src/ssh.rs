//! A real SSH server in front of one simulated host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, MethodKind, MethodSet, Pty,
    Sig, SshId,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::program::{CommandLine, Output, RunningProgram, SharedHost};

/// SSH's number for standard error among the extended data streams (RFC 4254 §5.2).
const STDERR: u32 = 1;

/// What a server needs beside its host.
pub struct Server {
    /// The host key.
    pub key: PrivateKey,
    /// The ports of this lab on 127.0.0.1 to which direct-tcpip channels may lead (`ProxyJump` through a lab host).
    pub forwards: Arc<BTreeSet<u16>>,
}

/// Serves SSH until `stop` is cancelled.
pub async fn serve(listener: TcpListener, server: Server, host: SharedHost, stop: CancellationToken) {
    let config = Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-k8swin_lab".into()),
        keys: vec![server.key],
        methods: MethodSet::from([MethodKind::PublicKey, MethodKind::Password].as_slice()),
        // Nobody guesses passwords of a lab: waiting would only slow the tests of refusals.
        auth_rejection_time: Duration::from_millis(10),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 4,
        ..Config::default()
    });
    let authorized: Arc<[PublicKey]> =
        host.account().authorized_keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok()).collect();
    while let Some(socket) = connection::accept(&listener, &stop).await {
        let faults = host.connection_faults();
        if faults.unreachable {
            continue;
        }
        let cut = cut_with(&stop, &host.power());
        let stream = connection::with_faults(socket, faults, cut.clone(), Some(Arc::clone(&host)));
        let connection = Connection {
            host: Arc::clone(&host),
            authorized: Arc::clone(&authorized),
            forwards: Arc::clone(&server.forwards),
            cut: cut.clone(),
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            // A client that disappears or speaks nonsense ends its own connection and nothing else.
            let ended = match russh::server::run_stream(config, stream, connection).await {
                Ok(session) => session.await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "an SSH connection ended");
            }
            cut.cancel();
        });
    }
}

/// A token of one connection that is cancelled with the server or the host's power.
fn cut_with(stop: &CancellationToken, power: &CancellationToken) -> CancellationToken {
    let cut = power.child_token();
    let (stop, both) = (stop.clone(), cut.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => both.cancel(),
            () = both.cancelled() => {}
        }
    });
    cut
}

/// One client.
struct Connection {
    host: SharedHost,
    authorized: Arc<[PublicKey]>,
    forwards: Arc<BTreeSet<u16>>,
    cut: CancellationToken,
}

impl Connection {
    fn knows(&self, user: &str, key: &PublicKey) -> bool {
        user == self.host.account().user && self.authorized.iter().any(|known| known.key_data() == key.key_data())
    }
}

fn verdict(accepted: bool) -> Auth {
    if accepted { Auth::Accept } else { Auth::reject() }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let account = self.host.account();
        let right = account.password.as_ref().is_some_and(|known| known.expose() == password.as_bytes());
        Ok(verdict(user == account.user && right))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(verdict(self.knows(user, offer.public_key)))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(verdict(self.knows(user, key.public_key)))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let (host, handle, cut) = (Arc::clone(&self.host), session.handle(), self.cut.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = session_channel(channel, &handle, &host) => {}
            }
        });
        Ok(())
    }

    // These four answer at once, before the next packet is read: a client that wants no answer to a variable, as OpenSSH
    // wants none, would take a late one for the answer to the command that it sent next.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Self::Error> {
        session.channel_failure(channel)?;
        Ok(false)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let allowed = u16::try_from(port_to_connect).ok().filter(|port| self.forwards.contains(port));
        let Some(port) = allowed.filter(|_| matches!(host_to_connect, "127.0.0.1" | "localhost")) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let cut = self.cut.clone();
        tokio::spawn(async move {
            let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            reply.accept().await;
            let mut stream = channel.into_stream();
            tokio::select! {
                () = cut.cancelled() => {}
                // Either side may end the connection at any time; there is nobody to tell.
                _ = tokio::io::copy_bidirectional(&mut stream, &mut socket) => {}
            }
        });
        Ok(())
    }
}

/// Serves one session channel: at most one program (RFC 4254 §6.5).
async fn session_channel(channel: Channel<Msg>, handle: &Handle, host: &SharedHost) {
    let id = channel.id();
    let (mut requests, writer) = channel.split();
    let Some(start) = first_request(&mut requests, handle, id).await else { return };
    match start {
        Start::Command(command) => {
            let program = host.start(CommandLine { command, arguments: Vec::new() });
            attend(requests, writer, handle, program).await;
        }
        Start::Shell => {
            let what = "without an interactive shell. Run a command, such as `hostname`.";
            decline(&writer, handle, host, what).await;
        }
        Start::Subsystem(name) => {
            let what =
                format!("without the subsystem `{name}`: sftp and scp are not simulated. `cat PATH` shows a file.");
            decline(&writer, handle, host, &what).await;
        }
    }
}

/// Says what the host cannot do, and ends the channel. Whoever closed it already does not want to know.
async fn decline(writer: &ChannelWriteHalf<Msg>, handle: &Handle, host: &SharedHost, what: &str) {
    let text = format!("k8swin lab: {} is a simulated host {what}\r\n", host.name());
    let _ = writer.extended_data_bytes(STDERR, text).await;
    let _ = finish(writer, handle, Ending::Exit(1)).await;
}

enum Start {
    Command(String),
    Shell,
    Subsystem(String),
}

/// Answers requests until one of them starts something.
async fn first_request(requests: &mut ChannelReadHalf, handle: &Handle, id: ChannelId) -> Option<Start> {
    loop {
        match requests.wait().await? {
            ChannelMsg::Exec { command, .. } => {
                handle.channel_success(id).await.ok()?;
                return Some(Start::Command(String::from_utf8_lossy(&command).into_owned()));
            }
            ChannelMsg::RequestShell { .. } => {
                handle.channel_success(id).await.ok()?;
                return Some(Start::Shell);
            }
            // An answer that says why is worth more than the refusal, which clients show without a reason.
            ChannelMsg::RequestSubsystem { name, .. } => {
                handle.channel_success(id).await.ok()?;
                return Some(Start::Subsystem(name));
            }
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

/// Says no to a second start on a channel (RFC 4254 §6.5).
async fn refuse(request: &ChannelMsg, handle: &Handle, id: ChannelId) -> Option<()> {
    match request {
        ChannelMsg::RequestSubsystem { want_reply: true, .. }
        | ChannelMsg::RequestShell { want_reply: true }
        | ChannelMsg::Exec { want_reply: true, .. } => handle.channel_failure(id).await.ok(),
        _ => Some(()),
    }
}

/// Carries a program's streams until the client closes the channel.
async fn attend(
    mut requests: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    handle: &Handle,
    program: RunningProgram,
) {
    let RunningProgram { stdin, output, terminate } = program;
    let _terminate_at_the_end = terminate.clone().drop_guard();
    let id = writer.id();
    // The connection reads its next packet only when this task has taken the last one. A program that does not read
    // must not stop that: window adjustments of other channels would wait behind it. Hence a queue without a bound.
    let (queue, queued) = mpsc::unbounded_channel();
    tokio::spawn(feed(queued, stdin));
    let mut queue = Some(queue);
    let (signal_sender, signal) = oneshot::channel();
    let mut signal_sender = Some(signal_sender);
    let writing = tokio::spawn(write_output(writer, handle.clone(), output, signal));
    while let Some(request) = requests.wait().await {
        match request {
            ChannelMsg::Data { data } => {
                if let Some(queue) = &queue {
                    let _ = queue.send(data);
                }
            }
            ChannelMsg::Eof => queue = None,
            ChannelMsg::Signal { signal } => {
                if let Some(sender) = signal_sender.take() {
                    let _ = sender.send(signal);
                }
                terminate.cancel();
            }
            ChannelMsg::Close => break,
            other => {
                if refuse(&other, handle, id).await.is_none() {
                    break;
                }
            }
        }
    }
    writing.abort();
}

async fn feed(mut queued: mpsc::UnboundedReceiver<Bytes>, stdin: mpsc::Sender<Bytes>) {
    while let Some(bytes) = queued.recv().await {
        if stdin.send(bytes).await.is_err() {
            // The program reads no more; what comes is dropped with the queue.
            return;
        }
    }
}

enum Ending {
    Exit(i32),
    Signal(Sig),
    /// The program is gone without a word, as after a power cut.
    Lost,
}

async fn write_output(
    writer: ChannelWriteHalf<Msg>,
    handle: Handle,
    mut output: mpsc::Receiver<Output>,
    mut signal: oneshot::Receiver<Sig>,
) -> Result<(), russh::Error> {
    let ending = loop {
        match output.recv().await {
            Some(Output::Stdout(bytes)) => writer.data_bytes(bytes).await?,
            Some(Output::Stderr(bytes)) => writer.extended_data_bytes(STDERR, bytes).await?,
            Some(Output::Exit(code)) => break Ending::Exit(code),
            None => break signal.try_recv().map_or(Ending::Lost, Ending::Signal),
        }
    };
    finish(&writer, &handle, ending).await
}

async fn finish(writer: &ChannelWriteHalf<Msg>, handle: &Handle, ending: Ending) -> Result<(), russh::Error> {
    writer.eof().await?;
    match ending {
        Ending::Exit(code) => writer.exit_status(code.cast_unsigned()).await?,
        Ending::Signal(signal) => {
            let sent = handle.exit_signal_request(writer.id(), signal, false, String::new(), String::new()).await;
            sent.map_err(|()| russh::Error::SendError)?;
        }
        Ending::Lost => {}
    }
    writer.close().await
}
