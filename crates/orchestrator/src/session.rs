//! A conversation with one host's agent: requests, their events and answers, and blobs.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use k8swin_protocol::depot::Store;
use k8swin_protocol::resource::{Blob, ResourceId};
use k8swin_protocol::wire::{
    self, AgentEvent, CHUNK, Chunk, Failure, FromAgent, KubeAnswer, KubeCall, Request, ResourceResult, Response,
    ToAgent, WireBytes,
};
use k8swin_protocol::{SecretBytes, raw};
use k8swin_transport::{AgentFate, TransportError};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::blob::BlobSource;
use crate::upload::{Piece, Stuck, Upload};

/// How long an idle agent may take to clear its staging folder.
const GOODBYE: Duration = Duration::from_secs(3);

/// How long something that is asked in spite of Ctrl-C may take.
const AT_LAST: Duration = Duration::from_secs(5);

/// zstd's level for pieces that would wait for the line anyway, and for those that the line waits for: twice as fast, and some
/// hundredths more bytes.
const COMPRESSION: i32 = 3;
const FAST_COMPRESSION: i32 = 1;

/// So many pieces sent and not answered are more than a fast line has under way.
const LINE_IS_BUSY: usize = 6;

/// Pieces that are packed at the same time, of all hosts: as many as this machine has cores.
static PACKERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, NonZero::get)));

/// Blobs from this size on are worth the question whether bytes can be sent as they are.
const RAW_FROM: u64 = 1 << 20;

/// Whether a host's agent gets bytes as they are sent, or base64 within lines only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RawInput {
    /// Not known yet.
    #[default]
    Untried,
    /// It was asked. A connection that is lost meanwhile was ended by one of the bytes, for all that is known.
    Asked,
    /// Bytes of all values arrive.
    Clean,
    /// They do not.
    Unclean,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The connection is gone; the host may well be reached again.
    #[error("{}", .0.failure())]
    Lost(TransportError),
    /// The agent could not do it.
    #[error("{0}")]
    Refused(Failure),
    /// The agent said something else than it should.
    #[error("the agent's answer to {request} is not one")]
    Nonsense {
        /// The request.
        request: &'static str,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Cancelled,
}

impl SessionError {
    /// As a failure of the host.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Lost(error) => error.failure(),
            Self::Refused(failure) => failure,
            Self::Nonsense { request } => Failure {
                attempted: request.to_owned(),
                answer: "the agent answered something else".to_owned(),
                hint: Some("this is a defect of k8swin; please report it with the log (`--log-file`)".to_owned()),
            },
            Self::Cancelled => interrupted(),
        }
    }
}

/// The failure of a host on which work was interrupted.
pub(crate) fn interrupted() -> Failure {
    Failure {
        attempted: "the run".to_owned(),
        answer: "interrupted".to_owned(),
        hint: Some("run the same command again: it goes on from there".to_owned()),
    }
}

/// What applying came to.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Each resource that was reached.
    pub(crate) results: Vec<(ResourceId, ResourceResult)>,
    /// The change of the network that must be confirmed over a new connection.
    pub(crate) confirm: Option<String>,
}

/// A conversation with one host's agent.
pub(crate) struct AgentSession {
    transport: k8swin_transport::Session,
    cancel: CancellationToken,
    next_id: u64,
    /// Requests without an answer yet: after Ctrl-C the agent may still be at work on one.
    unanswered: u64,
    raw_input: RawInput,
}

impl AgentSession {
    /// Takes over a connection whose agent has said hello, and was asked `asked` requests at its start.
    pub(crate) fn new(
        transport: k8swin_transport::Session,
        cancel: CancellationToken,
        asked: u64,
        raw_input: RawInput,
    ) -> Self {
        Self { transport, cancel, next_id: asked + 1, unanswered: asked, raw_input }
    }

    /// What is known of the way that bytes take, for the host's next connection.
    pub(crate) fn raw_input(&self) -> RawInput {
        match self.raw_input {
            RawInput::Asked => RawInput::Unclean,
            known => known,
        }
    }

    /// Whether this session put the agent on the host.
    pub(crate) fn put_agent(&self) -> bool {
        self.transport.put_agent()
    }

    /// Whether every request has its answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// The host takes WinRM envelopes of so many KiB.
    pub(crate) fn set_envelope_kib(&self, envelope: u32) {
        self.transport.set_envelope_kib(envelope);
    }

    /// When the agent was started, by this machine's clock.
    pub(crate) fn started(&self) -> SystemTime {
        self.transport.started()
    }

    /// Ends a conversation that changed nothing and holds nothing: nobody takes leave.
    pub(crate) async fn leave(self) -> Result<(), TransportError> {
        self.transport.leave().await
    }

    /// Ends the conversation and the connection. An agent that is idle is told, so that it can clear its staging
    /// folder; one that is at work finds its output closed after the resource in hand, and keeps what was staged for the next run.
    pub(crate) async fn close(mut self, agent: AgentFate, clear_staging: bool) -> Result<(), TransportError> {
        if self.is_idle() {
            let line = wire::encode(&ToAgent { id: self.next_id, request: Request::Bye { clear_staging } });
            let goodbye = async {
                self.transport.send(bytes(line)).await?;
                self.transport.receive().await
            };
            match tokio::time::timeout(GOODBYE, goodbye).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(error = %error.failure(), "the agent is gone"),
                Err(_) => tracing::debug!("the agent does not answer the goodbye"),
            }
        }
        self.transport.close(agent).await
    }

    /// Sends a request and waits for its answer; events of it go to `on_event`.
    pub(crate) async fn request(
        &mut self,
        request: Request,
        on_event: &mut (dyn FnMut(AgentEvent) + Send),
    ) -> Result<Response, SessionError> {
        let id = self.send(request).await?;
        self.answer(id, on_event).await
    }

    /// Waits for the answer to a request that the agent was asked already.
    pub(crate) async fn answer(
        &mut self,
        id: u64,
        on_event: &mut (dyn FnMut(AgentEvent) + Send),
    ) -> Result<Response, SessionError> {
        loop {
            match self.next().await? {
                FromAgent::Event { id: of, event } if of == id => on_event(event),
                FromAgent::Reply { id: of, response } if of == id => return Ok(response),
                FromAgent::Failed { id: of, failure } if of == id || of == 0 => {
                    return Err(SessionError::Refused(failure));
                }
                // Answers to requests that were given up.
                _ => {}
            }
        }
    }

    /// As [`Self::request`], for requests without events.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Response, SessionError> {
        self.request(request, &mut |_| {}).await
    }

    /// As [`Self::ask`], for what must be put in order even after Ctrl-C: it is asked in spite of it, then in bounded time.
    /// It may be asked twice, so it must be harmless to repeat.
    pub(crate) async fn ask_at_last(&mut self, request: Request) -> Result<Response, SessionError> {
        match self.ask(request.clone()).await {
            Err(SessionError::Cancelled) => {}
            answer => return answer,
        }
        let cancel = std::mem::take(&mut self.cancel);
        let answer = tokio::time::timeout(AT_LAST, self.ask(request)).await;
        self.cancel = cancel;
        answer.unwrap_or(Err(SessionError::Cancelled))
    }

    /// Asks the cluster's API by way of this control-plane host.
    pub(crate) async fn kube(&mut self, call: KubeCall) -> Result<KubeAnswer, SessionError> {
        match self.ask(Request::Kube(call)).await? {
            Response::Kube(answer) => Ok(answer),
            _ => Err(SessionError::Nonsense { request: "a call of the Kubernetes API" }),
        }
    }

    /// Applies or removes: the result of each resource that was reached, and what must be confirmed.
    pub(crate) async fn apply(
        &mut self,
        request: Request,
        on_event: &mut (dyn FnMut(AgentEvent) + Send),
    ) -> Result<Applied, SessionError> {
        match self.request(request, on_event).await? {
            Response::Applied { results } => Ok(Applied { results, confirm: None }),
            Response::ConfirmDue { results, change, .. } => Ok(Applied { results, confirm: Some(change) }),
            _ => Err(SessionError::Nonsense { request: "apply" }),
        }
    }

    /// Puts a blob on the host, from where an earlier attempt ended. `sent` counts compressed bytes; `progress` is told how
    /// many bytes are there, first of all that there are none.
    pub(crate) async fn put(
        &mut self,
        blob: Blob,
        source: &BlobSource,
        store: Store,
        sent: &mut u64,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), SessionError> {
        let mut upload = Upload::new(blob.size);
        if blob.size > 0 {
            progress(0);
        }
        if self.raw_input == RawInput::Untried && blob.size >= RAW_FROM {
            // Its answer is there before that of the first piece, which tells where the others go on.
            let trial = raw::encode_trial(self.number());
            self.raw_input = RawInput::Asked;
            self.send_bytes(trial).await?;
        }
        // Read, packed and written as lines by other threads while earlier ones are on their way.
        let mut packed = VecDeque::new();
        loop {
            while let Some(piece) = upload.send() {
                let under_way = upload.in_flight().saturating_sub(packed.len() + 1);
                let manner = Manner {
                    is_raw: self.raw_input == RawInput::Clean,
                    level: if under_way >= LINE_IS_BUSY { COMPRESSION } else { FAST_COMPRESSION },
                };
                packed.push_back(pack(self.number(), blob, source.clone(), store, piece, manner));
            }
            let there = loop {
                let message = match packed.front_mut() {
                    Some(next) => tokio::select! {
                        biased;
                        line = next => {
                            packed.pop_front();
                            let packed = line.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                            let Packed { message, bytes } = packed.map_err(|error| unreadable(&error))?;
                            *sent += bytes;
                            self.send_bytes(message).await?;
                            continue;
                        }
                        message = self.next() => message?,
                    },
                    None => self.next().await?,
                };
                match message {
                    FromAgent::Reply { response: Response::Staged { received }, .. } => break received,
                    FromAgent::Reply { response: Response::Arrived { sha256 }, .. } => {
                        let clean = raw::all_arrived(sha256);
                        self.raw_input = if clean { RawInput::Clean } else { RawInput::Unclean };
                    }
                    FromAgent::Failed { failure, .. } => return Err(SessionError::Refused(failure)),
                    _ => {}
                }
            };
            progress(there);
            match upload.answered(there) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Stuck) => return Err(SessionError::Nonsense { request: "put a blob" }),
            }
        }
    }

    async fn send(&mut self, request: Request) -> Result<u64, SessionError> {
        let id = self.number();
        self.send_bytes(bytes(wire::encode(&ToAgent { id, request }))).await?;
        Ok(id)
    }

    /// The number of the next request.
    fn number(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    async fn send_bytes(&mut self, message: Zeroizing<Vec<u8>>) -> Result<(), SessionError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SessionError::Cancelled),
            sent = self.transport.send(message) => {
                sent.map_err(SessionError::Lost)?;
                self.unanswered += 1;
                Ok(())
            }
        }
    }

    async fn next(&mut self) -> Result<FromAgent, SessionError> {
        let line = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(SessionError::Cancelled),
            line = self.transport.receive() => line.map_err(SessionError::Lost)?,
        };
        let message = wire::decode(&line).map_err(|error| {
            SessionError::Refused(Failure {
                attempted: "read the agent's answer".to_owned(),
                answer: error.to_string(),
                hint: None,
            })
        })?;
        if matches!(message, FromAgent::Reply { .. } | FromAgent::Failed { .. }) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        Ok(message)
    }
}

/// A line as its bytes.
fn bytes(mut line: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *line).into_bytes())
}

/// A piece that is ready to be sent.
struct Packed {
    message: Zeroizing<Vec<u8>>,
    /// How long the piece is, compressed.
    bytes: u64,
}

/// How a piece is packed.
#[derive(Clone, Copy)]
struct Manner {
    /// Its bytes follow the line as they are.
    is_raw: bool,
    /// zstd's level.
    level: i32,
}

/// Reads a piece, compresses it and writes the line that carries it, on another thread.
fn pack(
    id: u64,
    blob: Blob,
    source: BlobSource,
    store: Store,
    piece: Piece,
    manner: Manner,
) -> JoinHandle<std::io::Result<Packed>> {
    let work = move || {
        let Piece { offset, length } = piece;
        let length = usize::try_from(length).unwrap_or(CHUNK);
        let zstd = zstd::bulk::compress(source.read(offset, length)?.expose(), manner.level)?;
        let length = zstd.len() as u64;
        let zstd = WireBytes(SecretBytes::new(zstd));
        let chunk = Chunk { sha256: blob.sha256, size: blob.size, offset, zstd, store };
        let message = match manner.is_raw {
            true => raw::encode_piece(id, chunk),
            false => bytes(wire::encode(&ToAgent { id, request: Request::Put(chunk) })),
        };
        Ok(Packed { message, bytes: length })
    };
    tokio::spawn(async move {
        let _permit = PACKERS.acquire().await;
        tokio::task::spawn_blocking(work).await?
    })
}

fn unreadable(error: &dyn std::error::Error) -> SessionError {
    SessionError::Refused(Failure {
        attempted: "read and compress a file of this machine".to_owned(),
        answer: error.to_string(),
        hint: None,
    })
}
