//! Framing and messages: one JSON document a line, ASCII only, since only that passes every console mode of WinRM.
//!
//! The orchestrator writes [`ToAgent`] lines to the agent's standard input; the agent answers with [`FromAgent`] lines on
//! its standard output, the first of which is [`FromAgent::Hello`]. Bytes of blobs may follow a line ([`crate::raw`]). Requests are carried out in order, one at a time; the
//! first ones may be said at its start already ([`ToAgent::opening`]).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_WORD};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::depot::{DepotOpen, OpenDepot, Pull, Pulled, Store};
use crate::probe::{Connect, Listen, Outcome};
use crate::resource::{CheckOutcome, HostResources, Phase, ResourceId};
use crate::{Facts, SecretBytes, Sha256};

/// The version of this protocol. Agents are shipped by the orchestrator that talks to them, so both always agree; the
/// number is there to make a mix-up a clear error.
pub const PROTOCOL: u32 = 2;

/// The longest line that either side accepts, in bytes: a bound on memory, far above any message of ours.
pub const MAX_LINE: usize = 64 << 20;

/// The raw bytes of a blob in one [`Request::Put`].
pub const CHUNK: usize = 512 << 10;

// Messages are tagged from outside: serde reads what is tagged from inside twice.

/// A line to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToAgent {
    /// Numbers the request; the reply and the events of it carry the same number.
    pub id: u64,
    /// What to do.
    pub request: Request,
}

impl ToAgent {
    /// Requests as one word for the command line on which an agent starts: `serve WORD`. They are carried out before any
    /// others, and their answers come together with the greeting, which saves round trips. No shell changes the word, but
    /// the host's list of programs shows it: it is for requests without secrets, and for short ones, since cmd.exe takes
    /// 8191 characters (facts F.3).
    #[must_use]
    pub fn opening(requests: &[Self]) -> String {
        BASE64_WORD.encode(encode(&requests).as_bytes())
    }

    /// Reads such a word.
    ///
    /// # Errors
    /// When it is none.
    pub fn read_opening(word: &str) -> Result<Vec<Self>, WireError> {
        let not_base64 = |_| WireError::NotAMessage { length: word.len(), reason: "it is not base64".to_owned() };
        decode(&BASE64_WORD.decode(word).map_err(not_base64)?)
    }
}

/// What the agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Gather facts. Answer: [`Response::Facts`].
    Facts,
    /// Listen on ports for other hosts' agents, in place of those it listened on before. Answer: [`Response::Listening`].
    Listen(Listen),
    /// Connect to ports of other hosts. Answer: [`Response::Connected`].
    Connect(Connect),
    /// Compare resources with the host, change nothing. Answer: [`Response::Checked`].
    Check {
        /// All resources of the host: what is owned and not among them is reported as an orphan.
        resources: HostResources,
    },
    /// Take a piece of a blob into the staging folder or the depot. Answer: [`Response::Staged`].
    Put(Chunk),
    /// A [`Request::Put`] whose bytes follow the line as they are ([`crate::raw`]). Answer: as there.
    PutRaw {
        /// The piece, without its bytes.
        chunk: Chunk,
        /// How many bytes follow.
        length: usize,
    },
    /// Find out whether bytes of all values arrive, which follow the line ([`crate::raw`]). Answer: [`Response::Arrived`].
    TryBytes {
        /// What arrived.
        #[serde(skip)]
        arrived: Vec<u8>,
    },
    /// Open a depot for the agents of other hosts. Answer: [`Response::DepotOpen`].
    OpenDepot(OpenDepot),
    /// Close the depot, and clear what it holds. Answer: [`Response::Done`].
    CloseDepot,
    /// Take blobs from a depot into the staging folder. Answer: [`Response::Pulled`], with [`AgentEvent::Pulled`] before.
    Pull(Pull),
    /// Apply network resources detached from here on: by a process of the host's service manager, which takes them back
    /// unless they are confirmed over a new connection. Answer: [`Response::Done`].
    Detach {
        /// Names the run: what it could not confirm is told to it, and done again by the next one.
        run: String,
        /// How long the confirmation may take, in seconds from the end of the change.
        confirm_within_seconds: u32,
    },
    /// Keep a change of the network that was made detached. Asked over a connection that was opened after the change.
    /// Answer: [`Response::Done`], or a failure when it was taken back.
    Confirm {
        /// Which, by [`Response::ConfirmDue`].
        change: String,
    },
    /// Remove agents of other versions that nothing uses. Answer: [`Response::Done`].
    RemoveOldAgents,
    /// Check each resource and apply what drifted, in order; stop at the first failure. After a resource that needs a
    /// reboot only those are applied that do not depend on it. Answer: [`Response::Applied`] or
    /// [`Response::ConfirmDue`], with an [`AgentEvent`] for each resource before.
    Apply {
        /// The cluster's name, recorded with what is owned.
        cluster: String,
        /// The resources of one phase.
        resources: HostResources,
    },
    /// Remove what is owned and not in `keep`, newest first. Answer: [`Response::Applied`].
    Prune {
        /// All planned resources.
        keep: Vec<ResourceId>,
    },
    /// Remove what is owned of one phase, newest first. Answer: [`Response::Applied`].
    Remove {
        /// The phase.
        phase: Phase,
    },
    /// Read the files below this host's own PKI folder, for a laptop that lost its state folder. Answer: [`Response::Pki`].
    ReadPki,
    /// Ask the cluster's API, with the administrator's kubeconfig of this control-plane host. Answer: [`Response::Kube`].
    Kube(KubeCall),
    /// Let the API server that this control-plane host asks reach kubelets, as `kubectl logs` and `exec` do. Answer:
    /// [`Response::Kubelets`].
    ReachKubelets {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Take the cluster's lock. Answer: [`Response::Lock`].
    Lock {
        /// Who asks, for people: `user@laptop`.
        owner: String,
        /// Names the run. A lock that another session of the same owner's same run took passes to this one.
        run: String,
        /// Take it from whoever holds it.
        break_lock: bool,
    },
    /// Give the lock back. Answer: [`Response::Done`].
    Unlock,
    /// This session ends, and its run comes back over another connection: the lock stays with the run, until 30 s without
    /// a sign of life. Answer: [`Response::Done`].
    KeepLock,
    /// Restart the host. Answer: [`Response::Done`], then the connection ends.
    Reboot {
        /// Why, for the host's event log.
        reason: String,
    },
    /// Keep the lock alive. Answer: [`Response::Done`].
    Ping,
    /// End. Answer: [`Response::Done`], then the agent exits.
    Bye {
        /// Whether to clear the staging folder: said by a run that holds the cluster's lock, since another one may be
        /// staging.
        clear_staging: bool,
    },
}

/// A call of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KubeCall {
    /// Read an object or a list.
    Get {
        /// The API path: `/api/v1/nodes`.
        path: String,
    },
    /// Create an object, or the objects of a `List`.
    Create {
        /// The object, with `apiVersion`, `kind` and `metadata`.
        object: serde_json::Value,
    },
    /// Delete all objects with a label, and wait a while until they are gone.
    Delete {
        /// Their kind in lower case: `pod`.
        kind: String,
        /// Their namespace.
        namespace: String,
        /// The label that they have: `app=name`.
        selector: String,
    },
}

/// The API's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeAnswer {
    /// The object, list or `Status`; `null` where nothing was found.
    pub body: serde_json::Value,
}

/// A piece of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The blob.
    pub sha256: Sha256,
    /// Its whole size in bytes.
    pub size: u64,
    /// Where this piece begins in it.
    pub offset: u64,
    /// The bytes, each piece a zstd frame of its own.
    pub zstd: WireBytes,
    /// Where it is kept.
    pub store: Store,
}

/// Bytes on the wire, base64 in JSON. They may be a private key: `Debug` shows their number only.
#[derive(Clone, PartialEq, Eq)]
pub struct WireBytes(pub SecretBytes);

impl fmt::Debug for WireBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for WireBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for WireBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        BASE64.decode(text.as_bytes()).map(|bytes| Self(SecretBytes::new(bytes))).map_err(serde::de::Error::custom)
    }
}

/// A line from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
    /// The first line.
    Hello(Hello),
    /// Progress of a request.
    Event {
        /// The request's number.
        id: u64,
        /// What happened.
        event: AgentEvent,
    },
    /// The answer to a request, which ends it.
    Reply {
        /// The request's number.
        id: u64,
        /// The answer.
        response: Response,
    },
    /// The request could not be carried out.
    Failed {
        /// The request's number; 0 when the line could not be read.
        id: u64,
        /// Why.
        failure: Failure,
    },
}

/// The agent's greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the agent.
    pub protocol: u32,
    /// The agent's version.
    pub version: String,
}

/// Progress of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentEvent {
    /// Work on a drifted resource begins.
    Started {
        /// Which.
        resource: ResourceId,
        /// What differs.
        difference: String,
    },
    /// From here on, a process of its own changes the network. This connection may be lost; the host takes the change
    /// back unless it is confirmed.
    Detached {
        /// How long the confirmation may take, in seconds from the end of the change.
        confirm_within_seconds: u32,
    },
    /// So much of a blob has come from the depot.
    Pulled {
        /// Which.
        sha256: Sha256,
        /// Bytes there now, unpacked.
        there: u64,
    },
    /// Work on a resource has ended.
    Ended {
        /// Which.
        resource: ResourceId,
        /// How.
        result: ResourceResult,
    },
}

/// How work on one resource ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceResult {
    /// It was as desired.
    Unchanged,
    /// It was changed, and a check after it found it as desired.
    Changed,
    /// It was changed, and takes effect with the next boot.
    NeedsReboot {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed(Failure),
}

/// What failed on a host: what was tried, what the host answered, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried: `write /etc/kubernetes/pki/ca.crt`.
    pub attempted: String,
    /// What the host answered: `No space left on device`.
    pub answer: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attempted, self.answer)
    }
}

/// Answers to requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Facts`].
    Facts(Box<Facts>),
    /// To [`Request::Listen`]: the ports on which it listens now; the others are taken.
    Listening {
        /// The ports.
        ports: Vec<u16>,
    },
    /// To [`Request::Connect`], in the order of the targets.
    Connected {
        /// What became of each.
        outcomes: Vec<Outcome>,
    },
    /// To [`Request::Check`].
    Checked(Checked),
    /// To [`Request::Put`]: how many bytes of the blob are there now. The whole blob is there, and its digest is right,
    /// when this is its size.
    Staged {
        /// Bytes from the start.
        received: u64,
    },
    /// To [`Request::TryBytes`]: the digest of what arrived.
    Arrived {
        /// Of all bytes before the end of the trial.
        sha256: Sha256,
    },
    /// To [`Request::OpenDepot`].
    DepotOpen(DepotOpen),
    /// To [`Request::Pull`].
    Pulled(Pulled),
    /// To [`Request::Apply`], [`Request::Prune`] and [`Request::Remove`]: the result of each resource that was reached.
    Applied {
        /// In order; the last one is the failure, if there was one.
        results: Vec<(ResourceId, ResourceResult)>,
    },
    /// To [`Request::Apply`]: the network was changed detached. [`Request::Confirm`] it over a new connection, then ask
    /// for the same again.
    ConfirmDue {
        /// What was reached so far, in order.
        results: Vec<(ResourceId, ResourceResult)>,
        /// The change.
        change: String,
        /// How long the confirmation may take, in seconds.
        confirm_within_seconds: u32,
    },
    /// To [`Request::ReadPki`]: file name below the PKI folder to bytes; empty where there is no such folder.
    Pki {
        /// The files.
        files: BTreeMap<String, WireBytes>,
    },
    /// To [`Request::Kube`].
    Kube(KubeAnswer),
    /// To [`Request::ReachKubelets`], in the order of the nodes.
    Kubelets {
        /// None where the kubelet answered, else what came instead.
        failures: Vec<Option<String>>,
    },
    /// To [`Request::Lock`].
    Lock(LockAnswer),
    /// Done, nothing to say.
    Done,
}

/// What a check of all resources found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// How many resources are as desired.
    pub in_sync: usize,
    /// The others, in order: they differ, or it cannot be told yet.
    pub differing: Vec<(ResourceId, CheckOutcome)>,
    /// Blobs of drifted files that are not on the host yet, each once.
    pub missing_blobs: Vec<Sha256>,
    /// What an earlier run made and the plan no longer has.
    pub orphans: Vec<ResourceId>,
}

/// The answer to a request for the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockAnswer {
    /// It is yours until [`Request::Unlock`], the end of the connection, or 30 s without a request.
    Granted,
    /// Somebody else has it.
    Held {
        /// Who.
        owner: String,
        /// Seconds since its last sign of life.
        silent_seconds: u64,
    },
}

/// A line that is not a message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Reading failed.
    #[error("cannot read from the other side: {0}")]
    Io(#[from] io::Error),
    /// The line is longer than [`MAX_LINE`].
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The line is not a message. Its text is not shown: it may hold secrets.
    #[error("a line of {length} bytes is not a message: {reason}")]
    NotAMessage {
        /// Bytes in the line.
        length: usize,
        /// Position and category of the fault, without content.
        reason: String,
    },
}

/// One message as one line of ASCII, with the line feed.
///
/// # Panics
/// Never: all messages are maps with text keys, which JSON can hold.
#[must_use]
pub fn encode(message: &impl Serialize) -> Zeroizing<String> {
    #[expect(clippy::expect_used, reason = "messages are maps with text keys, which serde_json always writes")]
    let mut json = Zeroizing::new(serde_json::to_string(message).expect("messages are JSON"));
    // Nearly all are: pieces of programs above all, which are long.
    if json.is_ascii() && !json.contains('\u{7f}') {
        json.push('\n');
        return json;
    }
    let mut line = Zeroizing::new(String::with_capacity(json.len() + 1));
    for character in json.chars() {
        // In JSON, anything beyond ASCII stands inside a string, where an escape means the same.
        if character.is_ascii() && character != '\u{7f}' {
            line.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line.push('\n');
    line
}

/// Reads one message from one line (with or without its line ending).
///
/// # Errors
/// When the line is not such a message. The error does not quote the line.
pub fn decode<M: DeserializeOwned>(line: &[u8]) -> Result<M, WireError> {
    serde_json::from_slice(line.trim_ascii_end()).map_err(|error| WireError::NotAMessage {
        length: line.len(),
        reason: format!("{:?} error at column {}", error.classify(), error.column()),
    })
}

/// Reads the next line, without its ending; `None` at the end.
///
/// # Errors
/// When reading fails or the line is too long.
pub fn read_line(input: &mut impl BufRead) -> Result<Option<Zeroizing<Vec<u8>>>, WireError> {
    let mut line = Zeroizing::new(Vec::new());
    let read = input.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if read > MAX_LINE {
        return Err(WireError::TooLong);
    }
    let end = line.trim_ascii_end().len();
    line.truncate(end);
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_chunk_is_not_shown_by_debug() {
        let chunk = Chunk {
            sha256: Sha256::of(b"canary"),
            size: 6,
            offset: 0,
            zstd: WireBytes(SecretBytes::new("canary")),
            store: Store::Staging,
        };
        assert!(!format!("{chunk:?}").contains("canary"));
        assert_eq!(decode::<Chunk>(encode(&chunk).as_bytes()).unwrap(), chunk);
    }

    #[test]
    fn an_error_does_not_quote_the_line() {
        let error = decode::<ToAgent>(br#"{"id":1,"request":"canary"}"#).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    proptest! {
        #[test]
        fn lines_are_ascii_and_come_back(owner in ".*", run in ".*", break_lock: bool, id: u64) {
            let message = ToAgent { id, request: Request::Lock { owner, run, break_lock } };
            let line = encode(&message);
            prop_assert!(line.is_ascii());
            prop_assert_eq!(line.matches('\n').count(), 1);
            let mut input = line.as_bytes();
            let read = read_line(&mut input).unwrap().unwrap();
            prop_assert_eq!(decode::<ToAgent>(&read).unwrap(), message);
        }

        #[test]
        fn garbage_is_an_error_and_not_a_panic(bytes: Vec<u8>) {
            prop_assert!(decode::<ToAgent>(&bytes).is_err());
        }
    }
}
