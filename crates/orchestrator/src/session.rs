//! A conversation with one host's agent: requests, their events and answers, and blobs.

use std::time::Duration;

use k8swin_protocol::SecretBytes;
use k8swin_protocol::resource::{Blob, ResourceId};
use k8swin_protocol::wire::{
    self, AgentEvent, CHUNK, Chunk, Failure, FromAgent, KubeAnswer, KubeCall, Request, ResourceResult, Response,
    ToAgent, WireBytes,
};
use k8swin_transport::{AgentFate, TransportError};
use tokio_util::sync::CancellationToken;

use crate::blob::BlobSource;

/// How many pieces of a blob are on their way at once: enough to fill a line of 50 ms with the next piece always ready.
const PIECES_IN_FLIGHT: u64 = 8;

/// How long an idle agent may take to clear its staging folder.
const GOODBYE: Duration = Duration::from_secs(3);

/// zstd's level for blobs: faster than a gigabit line on one core.
const COMPRESSION: i32 = 3;

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

/// A conversation with one host's agent.
pub(crate) struct AgentSession {
    transport: k8swin_transport::Session,
    cancel: CancellationToken,
    next_id: u64,
    /// Requests without an answer yet: after Ctrl-C the agent may still be at work on one.
    unanswered: u64,
}

impl AgentSession {
    /// Takes over a connection whose agent has said hello.
    pub(crate) fn new(transport: k8swin_transport::Session, cancel: CancellationToken) -> Self {
        Self { transport, cancel, next_id: 1, unanswered: 0 }
    }

    /// Whether this session put the agent on the host.
    pub(crate) fn put_agent(&self) -> bool {
        self.transport.put_agent()
    }

    /// Ends the conversation and the connection. An agent that is idle is told, so that it can clear its staging
    /// folder; one that is at work finds its output closed after the resource in hand, and keeps what was staged for the next run.
    pub(crate) async fn close(mut self, agent: AgentFate, clear_staging: bool) -> Result<(), TransportError> {
        if self.unanswered == 0 {
            let line = wire::encode(&ToAgent { id: self.next_id, request: Request::Bye { clear_staging } });
            let goodbye = async {
                self.transport.send(line).await?;
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

    /// Asks the cluster's API by way of this control-plane host.
    pub(crate) async fn kube(&mut self, call: KubeCall) -> Result<KubeAnswer, SessionError> {
        match self.ask(Request::Kube(call)).await? {
            Response::Kube(answer) => Ok(answer),
            _ => Err(SessionError::Nonsense { request: "a call of the Kubernetes API" }),
        }
    }

    /// Applies or removes, and gives the result of each resource that was reached.
    pub(crate) async fn apply(
        &mut self,
        request: Request,
        on_event: &mut (dyn FnMut(AgentEvent) + Send),
    ) -> Result<Vec<(ResourceId, ResourceResult)>, SessionError> {
        match self.request(request, on_event).await? {
            Response::Applied { results } => Ok(results),
            _ => Err(SessionError::Nonsense { request: "apply" }),
        }
    }

    /// Puts a blob on the host, from where an earlier attempt ended. `progress` is told how many bytes are there.
    pub(crate) async fn put(
        &mut self,
        blob: Blob,
        source: &BlobSource,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), SessionError> {
        let (mut next, mut received, mut in_flight, mut stalled) = (0_u64, None, 0_u64, 0_u64);
        loop {
            // An empty blob is one empty piece.
            while in_flight < PIECES_IN_FLIGHT && (next < blob.size || (received.is_none() && in_flight == 0)) {
                let length = (blob.size - next).min(CHUNK as u64);
                let zstd = compressed(source.clone(), next, length).await?;
                self.send(Request::Put(Chunk { sha256: blob.sha256, size: blob.size, offset: next, zstd })).await?;
                next += length;
                in_flight += 1;
            }
            let there = loop {
                match self.next().await? {
                    FromAgent::Reply { response: Response::Staged { received }, .. } => break received,
                    FromAgent::Failed { failure, .. } => return Err(SessionError::Refused(failure)),
                    _ => {}
                }
            };
            in_flight -= 1;
            progress(there);
            stalled = if received.is_none_or(|before| there > before) { 0 } else { stalled + 1 };
            received = Some(there);
            if in_flight == 0 {
                if there == blob.size {
                    return Ok(());
                }
                // The host has another part of the blob than was thought (an earlier attempt's): go on from its end.
                next = there;
            }
            if stalled > 4 * PIECES_IN_FLIGHT {
                return Err(SessionError::Nonsense { request: "put a blob" });
            }
        }
    }

    async fn send(&mut self, request: Request) -> Result<u64, SessionError> {
        let id = self.next_id;
        self.next_id += 1;
        let line = wire::encode(&ToAgent { id, request });
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SessionError::Cancelled),
            sent = self.transport.send(line) => {
                sent.map_err(SessionError::Lost)?;
                self.unanswered += 1;
                Ok(id)
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

async fn compressed(source: BlobSource, offset: u64, length: u64) -> Result<WireBytes, SessionError> {
    let length = usize::try_from(length).unwrap_or(CHUNK);
    let work = move || zstd::bulk::compress(source.read(offset, length)?.expose(), COMPRESSION);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(bytes)) => Ok(WireBytes(SecretBytes::new(bytes))),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &dyn std::error::Error) -> SessionError {
    SessionError::Refused(Failure {
        attempted: "read and compress a file of this machine".to_owned(),
        answer: error.to_string(),
        hint: None,
    })
}
