//! WinRM: one shell a host for the whole run, and programs in it. The shell is deleted whatever happens.
//!
//! Messages are always sealed with NTLM, over HTTPS too: over HTTP that is the only protection, and over HTTPS it lets one
//! handshake serve a whole connection, where winrm-rs would make one for each request.

mod certificate;
mod fault;
mod shell;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8swin_inventory::cluster::{Host, ServerTrust, WinRm, WinRmTransport};
use k8swin_protocol::bootstrap::{Bootstrap, LINE_BYTES, Verb};
use k8swin_protocol::{Os, SecretBytes};
use tokio::sync::{mpsc, oneshot};
use winrm_rs::{AuthMethod, EncryptionMode, TlsProvider, WinrmClient, WinrmConfig, WinrmCredentials, WinrmError};
use zeroize::Zeroizing;

use crate::connect::Options;
use crate::error::{ConnectError, Target, TransportError};
use crate::remote::{Bytes, Program, Remote, Running};
use shell::{Command, Room};

/// How long the host may hold a request: a Receive comes back empty after it. Short enough to notice a dead host, long
/// enough to be no load. MaxTimeoutms is 60 s (facts F.1).
const OPERATION_SECONDS: u64 = 30;

/// A shell whose client is gone for so long is deleted by the host. Two hours are the default, and thirty shells the limit
/// (facts F.1); the least that can be asked for is a minute.
const IDLE_SECONDS: u64 = 180;

/// MaxEnvelopeSizekb of Windows Server 2016 is 500 (facts F.1).
const ENVELOPE_BYTES: u32 = 500 << 10;

/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(15);

/// A connection to a host.
pub(crate) struct Connection {
    target: Target,
    commands: mpsc::Sender<Command>,
    room: Room,
}

/// Opens a shell on a host.
pub(crate) async fn connect(host: &Host, winrm: &WinRm, options: &Options) -> Result<Connection, ConnectError> {
    let target = Target { host: host.name.clone(), endpoint: format!("{}:{}", host.address, winrm.port) };
    let password = password(&target, winrm, options).await?;
    let setup = |answer: String, hint: &str| ConnectError::Setup {
        target: target.clone(),
        attempted: "set up WinRM".to_owned(),
        answer,
        hint: hint.to_owned(),
    };
    let password = std::str::from_utf8(password.expose())
        .map_err(|_| setup("the password is not UTF-8".to_owned(), "look at `password` in the inventory"))?;
    let client = client(winrm, options.connect_timeout, password).map_err(|error| {
        let hint = "`ca` in the inventory names a PEM file of certificates; `fingerprint` has 64 hexadecimal digits";
        setup(fault::text(&error), hint)
    })?;
    let (opened, answer) = oneshot::channel();
    let (commands, queue) = mpsc::channel(1);
    let room = Room::default();
    tokio::spawn(shell::serve(client, host.address.clone(), target.clone(), opened, queue, room.clone()));
    match answer.await {
        Ok(Ok(())) => Ok(Connection { target, commands, room }),
        Ok(Err(error)) => Err(refused(error, target, host, winrm, options.connect_timeout).await),
        Err(_) => Err(TransportError::lost(&target, "opening a WinRM shell", "its task has ended").into()),
    }
}

async fn password(target: &Target, winrm: &WinRm, options: &Options) -> Result<SecretBytes, ConnectError> {
    let (secrets, source) = (Arc::clone(&options.secrets), winrm.password.clone());
    let question = format!("password of {}", winrm.user);
    // A person may have to be asked.
    let resolved = tokio::task::spawn_blocking(move || secrets.resolve(&source, &question)).await;
    let resolved = resolved.map_err(|error| TransportError::lost(target, "finding the password", error))?;
    resolved.map_err(|error| ConnectError::Secret { target: target.clone(), error })
}

fn client(winrm: &WinRm, connect_timeout: Duration, password: &str) -> Result<WinrmClient, WinrmError> {
    let config = WinrmConfig {
        port: Some(winrm.port),
        use_tls: matches!(winrm.transport, WinRmTransport::Https(_)),
        auth_method: AuthMethod::Ntlm,
        encryption: EncryptionMode::Always,
        connect_timeout_secs: connect_timeout.as_secs().max(1),
        operation_timeout_secs: OPERATION_SECONDS,
        max_envelope_size: ENVELOPE_BYTES,
        // Attempts are counted and announced where both ways of connecting meet.
        max_retries: 0,
        idle_timeout_secs: Some(IDLE_SECONDS),
        ..WinrmConfig::default()
    };
    let mut builder = WinrmClient::builder(config).tls_provider(TlsProvider::Ring);
    builder = match &winrm.transport {
        WinRmTransport::Https(ServerTrust::Platform) => builder.platform_roots(true),
        WinRmTransport::Https(ServerTrust::Ca(path)) => builder.add_root_certificates_pem(path.as_std_path()),
        WinRmTransport::Https(ServerTrust::Pinned(fingerprint)) => builder.pin_server_certificate_sha256(fingerprint),
        WinRmTransport::Http => builder,
    };
    let (domain, user) = winrm.user.split_once('\\').unwrap_or(("", &winrm.user));
    builder.credentials(WinrmCredentials::new(user, password, domain)).log_soap_bodies(false).build()
}

/// Why the host opened no shell. For a certificate that is not trusted, it is looked at once more, for its fingerprint.
async fn refused(
    error: WinrmError,
    target: Target,
    host: &Host,
    winrm: &WinRm,
    connect_timeout: Duration,
) -> ConnectError {
    match fault::connect_error(&error, target, &winrm.user) {
        ConnectError::CertificateNotTrusted { target, cause, .. } => {
            let looking = certificate::fingerprint(&host.address, winrm.port);
            let fingerprint = tokio::time::timeout(connect_timeout, looking).await.ok().flatten();
            ConnectError::CertificateNotTrusted { target, cause, fingerprint }
        }
        other => other,
    }
}

impl Connection {
    /// The host takes envelopes of so many KiB.
    pub(crate) fn set_envelope_kib(&self, envelope: u32) {
        self.room.set_envelope_kib(envelope);
    }

    async fn command<T>(
        &self,
        doing: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, WinrmError>>) -> Command,
    ) -> Result<T, TransportError> {
        let (reply, answer) = oneshot::channel();
        let gone = || TransportError::lost(&self.target, doing, "the connection's task has ended");
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|error| TransportError::lost(&self.target, doing, fault::text(&error)))
    }
}

impl Remote for Connection {
    fn target(&self) -> &Target {
        &self.target
    }

    fn os(&self) -> Os {
        Os::Windows
    }

    fn sudo_user(&self) -> Option<&str> {
        None
    }

    fn bootstrap_input(&self, bootstrap: &Bootstrap, agent: &[u8]) -> Bytes {
        bootstrap_input(bootstrap, agent)
    }

    async fn start(&mut self, program: &Program) -> Result<Running, TransportError> {
        self.command("starting a program", |reply| Command::Start { program: program.clone(), reply }).await
    }

    async fn close(self) -> Result<(), TransportError> {
        const DOING: &str = "deleting the WinRM shell";
        let closing = self.command(DOING, |reply| Command::Close { reply });
        match tokio::time::timeout(FAREWELL, closing).await {
            Ok(closed) => closed,
            Err(_) => Err(TransportError::lost(&self.target, DOING, format!("no answer in {} s", FAREWELL.as_secs()))),
        }
    }
}

/// The header, and the agent in lines of base64 with a line of one dot after them, as the PowerShell script reads them.
fn bootstrap_input(bootstrap: &Bootstrap, agent: &[u8]) -> Bytes {
    let mut text = bootstrap.header();
    if bootstrap.verb == Verb::Put {
        for line in agent.chunks(LINE_BYTES) {
            let _ = writeln!(text, "{}", STANDARD.encode(line));
        }
        text.push_str(".\n");
    }
    Zeroizing::new(text.into_bytes())
}
