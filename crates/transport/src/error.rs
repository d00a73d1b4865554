//! Why a host could not be connected to, or a connection was lost: each cause apart, with what to do about it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use camino::Utf8PathBuf;
use k8swin_protocol::HostPath;
use k8swin_protocol::wire::{Failure, PROTOCOL};
use sha2::{Digest as _, Sha256};

use crate::secrets::SecretError;

/// Whom a connection leads to, for messages: `lin01 (10.5.6.215:22)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host's name in the inventory, or what a jump host is called.
    pub host: String,
    /// Address and port.
    pub endpoint: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host, self.endpoint)
    }
}

/// A public SSH host key. Displayed as OpenSSH shows it: `ssh-ed25519 SHA256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// Its type: `ssh-ed25519`.
    pub kind: String,
    /// The key as SSH encodes it (RFC 4253 §6.6).
    pub blob: Vec<u8>,
}

impl HostKey {
    /// `SHA256:` and the digest in base64 without padding.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint())
    }
}

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// It was asked to stop ([`Options::cancel`](crate::Options)).
    #[error("connecting to {target} was interrupted")]
    Cancelled {
        /// To whom.
        target: Target,
    },
    /// No answer: DNS, a refused connection, a time-out, a connection that ended at once.
    #[error("{target} cannot be reached: {cause}")]
    Unreachable {
        /// Whom.
        target: Target,
        /// The system's words.
        cause: String,
    },
    /// The SSH host key is not in the file of known host keys.
    #[error("the SSH host key of {target} is not known; it is {offered}")]
    HostKeyUnknown {
        /// Whose.
        target: Target,
        /// The key that the server has.
        offered: Box<HostKey>,
        /// Where it was looked for.
        known_hosts: Utf8PathBuf,
        /// The line that would make it known.
        line: String,
    },
    /// The SSH host key is another one than the known one.
    #[error("the SSH host key of {target} is not the known one: it is {offered}, and {place} has {known}")]
    HostKeyChanged {
        /// Whose.
        target: Target,
        /// The key that the server has.
        offered: Box<HostKey>,
        /// The known one.
        known: Box<HostKey>,
        /// `file:line` of the known one.
        place: String,
    },
    /// The SSH host key is marked as revoked.
    #[error("the SSH host key of {target}, {offered}, is revoked by {place}")]
    HostKeyRevoked {
        /// Whose.
        target: Target,
        /// The key that the server has.
        offered: Box<HostKey>,
        /// `file:line` of the mark.
        place: String,
    },
    /// The TLS certificate is not trusted.
    #[error("the certificate of {target} is not trusted: {cause}")]
    CertificateNotTrusted {
        /// Whose.
        target: Target,
        /// Why not.
        cause: String,
        /// Its SHA-256 fingerprint, where it could be had.
        fingerprint: Option<String>,
    },
    /// The host refused the account.
    #[error("{target} refused the log-in of {user}: {answer}")]
    Credentials {
        /// Who.
        target: Target,
        /// The account.
        user: String,
        /// What was tried, and what came of it.
        answer: String,
        /// What to do.
        hint: String,
    },
    /// A password or passphrase cannot be had.
    #[error("{target}: {error}")]
    Secret {
        /// For whom.
        target: Target,
        /// Which.
        error: SecretError,
    },
    /// The account may not become root.
    #[error("{user} may not use sudo on {target}: {answer}")]
    Sudo {
        /// Where.
        target: Target,
        /// The account.
        user: String,
        /// sudo's words.
        answer: String,
    },
    /// WinRM's limits are reached: too many shells of this account, as a rule.
    #[error("{target} opens no further shell: {answer}")]
    Quota {
        /// Where.
        target: Target,
        /// WinRM's words.
        answer: String,
    },
    /// Something answers, but it is not what was expected.
    #[error("{target} does not speak {protocol}: {answer}")]
    NotTheProtocol {
        /// Who.
        target: Target,
        /// `SSH` or `WinRM`.
        protocol: &'static str,
        /// What it said.
        answer: String,
    },
    /// This machine is not set up for it: a file that cannot be read, a faulty line of `~/.ssh/config`.
    #[error("{target}: {attempted}: {answer}")]
    Setup {
        /// For whom.
        target: Target,
        /// What was tried.
        attempted: String,
        /// What came of it.
        answer: String,
        /// What to do.
        hint: String,
    },
    /// The agent could not be put on the host.
    #[error("the agent could not be put on {target} as {path}: {answer}")]
    AgentNotPut {
        /// Where.
        target: Target,
        /// Its path there.
        path: HostPath,
        /// Exit code and words of the script.
        answer: String,
    },
    /// The agent is there and does not greet.
    #[error("the agent on {target} does not start ({path}): {answer}")]
    AgentDoesNotStart {
        /// Where.
        target: Target,
        /// Its path there.
        path: HostPath,
        /// Exit code and words.
        answer: String,
        /// What to do.
        hint: String,
    },
    /// The agent speaks another version of the protocol.
    #[error("the agent on {target} speaks version {found} of the protocol, and this program {PROTOCOL}")]
    AgentVersion {
        /// Where.
        target: Target,
        /// The agent's number.
        found: u32,
    },
    /// The connection was lost before the agent greeted.
    #[error(transparent)]
    Lost(#[from] TransportError),
}

impl ConnectError {
    /// Whether the same might work a moment later. A wrong key, certificate or password never does.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Lost(error) => matches!(error, TransportError::Lost { .. }),
            _ => false,
        }
    }

    /// As a failure of the host.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let connect = |target: &Target| format!("connect to {target}");
        let (attempted, answer, hint) = match self {
            Self::Cancelled { target } => {
                (connect(target), "interrupted".to_owned(), Some("run the same command again".to_owned()))
            }
            Self::Unreachable { target, cause } => (
                connect(target),
                cause.clone(),
                Some("is the host up, its address and port right, and the way to it open?".to_owned()),
            ),
            Self::HostKeyUnknown { target, offered, known_hosts, line } => (
                format!("verify the SSH host key of {target}"),
                format!("{offered} is not in {known_hosts}"),
                Some(format!(
                    "compare the fingerprint with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` shows on the host; \
                     if it is the same, add this line to {known_hosts}:\n{line}\nor set `host_key = \"accept-new\"` \
                     in the inventory"
                )),
            ),
            Self::HostKeyChanged { target, offered, known, place } => (
                format!("verify the SSH host key of {target}"),
                format!("the host has {offered}, but {place} says {known}"),
                Some(format!(
                    "somebody may be listening in. If the host was installed anew, compare the fingerprint on its \
                     console, then delete {place} and add the new key"
                )),
            ),
            Self::HostKeyRevoked { target, offered, place } => (
                format!("verify the SSH host key of {target}"),
                format!("{offered} is revoked by {place}"),
                Some("the host needs a new host key".to_owned()),
            ),
            Self::CertificateNotTrusted { target, cause, fingerprint } => (
                format!("verify the certificate of {target}"),
                match fingerprint {
                    Some(fingerprint) => format!("{cause}; its SHA-256 fingerprint is {fingerprint}"),
                    None => cause.clone(),
                },
                Some(match fingerprint {
                    Some(fingerprint) => format!(
                        "compare the fingerprint with the one of the host's WinRM listener; if it is the same, set \
                         `fingerprint = \"{fingerprint}\"`, or name the issuing authority with `ca = \"FILE.pem\"`"
                    ),
                    None => "name the issuing authority with `ca = \"FILE.pem\"`, or pin the certificate with \
                             `fingerprint = \"…\"`"
                        .to_owned(),
                }),
            ),
            Self::Credentials { target, user, answer, hint } => {
                (format!("log in to {target} as {user}"), answer.clone(), Some(hint.clone()))
            }
            Self::Secret { target, error } => {
                (format!("find the secret for {target}"), error.to_string(), Some(error.hint()))
            }
            Self::Sudo { target, user, answer } => (
                format!("run the agent as root on {target}, by `sudo -n` of {user}"),
                answer.clone(),
                Some(format!(
                    "let {user} use sudo without a password, with the line `{user} ALL=(ALL) NOPASSWD: ALL` in \
                     /etc/sudoers.d/k8swin, or set `user = \"root\"`"
                )),
            ),
            Self::Quota { target, answer } => (
                format!("open a WinRM shell on {target}"),
                answer.clone(),
                Some(
                    "close other sessions of this account, or restart the service WinRM on the host; shells that a \
                     crashed client left behind end with their idle time-out"
                        .to_owned(),
                ),
            ),
            Self::NotTheProtocol { target, protocol, answer } => (
                format!("speak {protocol} with {target}"),
                answer.clone(),
                Some(
                    "is the port right? SSH has 22, WinRM 5986 (`transport = \"https\"`) and 5985 (\"http\")"
                        .to_owned(),
                ),
            ),
            Self::Setup { target, attempted, answer, hint } => {
                (format!("{attempted}, for {target}"), answer.clone(), Some(hint.clone()))
            }
            Self::AgentNotPut { target, path, answer } => (
                format!("put the agent on {target} as {path}"),
                answer.clone(),
                Some("is there room, and may the account write there?".to_owned()),
            ),
            Self::AgentDoesNotStart { target, path, answer, hint } => {
                (format!("start the agent {path} on {target}"), answer.clone(), Some(hint.clone()))
            }
            Self::AgentVersion { target, found } => (
                format!("greet the agent on {target}"),
                format!("it speaks version {found} of the protocol, and this program {PROTOCOL}"),
                Some("use the agents that were built with this k8swin".to_owned()),
            ),
            Self::Lost(error) => return error.failure(),
        };
        Failure { attempted, answer, hint }
    }
}

/// A session that ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The connection is gone.
    #[error("the connection to {target} was lost while {doing}: {cause}")]
    Lost {
        /// To whom.
        target: Target,
        /// What was going on.
        doing: String,
        /// How it was noticed.
        cause: String,
    },
    /// The agent ended although nobody had asked it to.
    #[error("the agent on {target} ended: {answer}")]
    AgentEnded {
        /// Where.
        target: Target,
        /// Exit code and last words.
        answer: String,
    },
    /// The agent is still on the host.
    #[error("the agent could not be removed from {target}: {answer}")]
    AgentNotRemoved {
        /// Where.
        target: Target,
        /// Exit code and words of the script.
        answer: String,
    },
    /// The agent sent a line beyond [`k8swin_protocol::wire::MAX_LINE`].
    #[error("the agent on {target} sent a line without an end")]
    LineTooLong {
        /// Where.
        target: Target,
    },
}

impl TransportError {
    pub(crate) fn lost(target: &Target, doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Lost { target: target.clone(), doing: doing.into(), cause: cause.to_string() }
    }

    /// As a failure of the host.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let again = Some("run the same command again: it goes on from there".to_owned());
        match self {
            Self::Lost { target, doing, cause } => Failure {
                attempted: format!("{doing} ({target})"),
                answer: format!("the connection was lost: {cause}"),
                hint: again,
            },
            Self::AgentEnded { target, answer } => Failure {
                attempted: format!("talk to the agent on {target}"),
                answer: format!("it ended: {answer}"),
                hint: again,
            },
            Self::AgentNotRemoved { target, answer } => {
                Failure { attempted: format!("remove the agent from {target}"), answer: answer.clone(), hint: None }
            }
            Self::LineTooLong { target } => Failure {
                attempted: format!("read the agent's answer on {target}"),
                answer: "a line without an end".to_owned(),
                hint: Some("this is a defect of k8swin; please report it with the log (`--log-file`)".to_owned()),
            },
        }
    }
}
