//! One HTTP connection: authentication, sealing and the answers' status codes, as http.sys and WinRM give them.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SERVER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::authentication::{Authentication, Verdict};
use super::operations::{Answer, Operations};
use super::{Counters, envelope, sealing};

/// A body that is too large is read to its end, so that the client sees the answer, but not beyond this many envelopes.
const DRAINED_ENVELOPES: usize = 64;

/// The state of a connection.
pub(super) struct Connection {
    operations: Arc<Operations>,
    counters: Arc<Counters>,
    over_tls: bool,
    authentication: Mutex<Authentication>,
    traffic: Arc<AtomicU64>,
    cut: CancellationToken,
}

enum Body {
    Whole(Bytes),
    TooLarge,
}

/// An answer without a body.
type Refusal = (StatusCode, Vec<String>);

impl Connection {
    /// Of a new connection over `stream`, which carries `traffic` bytes and ends with `cut`.
    pub(super) fn new(
        operations: Arc<Operations>,
        counters: Arc<Counters>,
        over_tls: bool,
        traffic: Arc<AtomicU64>,
        cut: CancellationToken,
    ) -> Self {
        let authentication = Mutex::new(Authentication::new(over_tls));
        Self { operations, counters, over_tls, authentication, traffic, cut }
    }

    /// Serves the connection to its end.
    pub(super) async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<()> {
        let connection = Arc::new(self);
        let service = hyper::service::service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        // WinRM keeps connections open between requests; their end is the client's.
        hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.counters.request();
        let faults = self.operations.host.connection_faults();
        if faults.drop_after_bytes.is_some_and(|most| most <= self.traffic.load(Ordering::Relaxed)) {
            // The limit came after the connection.
            self.cut.cancel();
            return std::future::pending().await;
        }
        let mut response = self.respond(request).await.unwrap_or_else(|(status, challenges)| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            challenge(response.headers_mut(), &challenges);
            response
        });
        response.headers_mut().insert(SERVER, HeaderValue::from_static("Microsoft-HTTPAPI/2.0"));
        // A sleep of no time would still wait for the next tick.
        if !faults.latency.is_zero() {
            tokio::time::sleep(faults.latency).await;
        }
        response
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = request.into_parts();
        // The body is read first, or a refusal would leave the rest of it on the connection.
        let body = self.read(body).await?;
        if head.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, Vec::new()));
        }
        let unauthenticated_identify = text(&head.headers, &HeaderName::from_static("wsmanidentify"));
        if unauthenticated_identify.is_some_and(|value| value.eq_ignore_ascii_case("unauthenticated")) {
            let envelope = envelope::identity(false);
            return Ok(soap(Answer { status: 200, envelope }));
        }
        if head.uri.path() != "/wsman" && !head.uri.path().starts_with("/wsman/") {
            return Err((StatusCode::NOT_FOUND, Vec::new()));
        }
        let account = self.operations.host.account();
        let verdict = self.authentication().check(text(&head.headers, &AUTHORIZATION), account);
        if let Verdict::Refused(challenges) = verdict {
            return Err((StatusCode::UNAUTHORIZED, challenges));
        }
        let body = match body {
            Body::Whole(body) => body,
            // Windows' answer to more than MaxEnvelopeSizekb (ansible.windows#391).
            Body::TooLarge => return Err((StatusCode::PAYLOAD_TOO_LARGE, Vec::new())),
        };
        self.process(text(&head.headers, &CONTENT_TYPE).unwrap_or_default(), &body).await
    }

    /// Answers the body of an authenticated request.
    async fn process(&self, content_type: &str, body: &[u8]) -> Result<Response<Full<Bytes>>, Refusal> {
        if body.is_empty() {
            // The end of a handshake: the client sends its first envelope once it can seal it.
            return Ok(Response::new(Full::default()));
        }
        if !sealing::is_sealed(content_type) {
            if !self.over_tls {
                // AllowUnencrypted is false: Windows answers 500 and says nothing (winrm-rs 2.0.1, EncryptionMode::Never).
                return Err((StatusCode::INTERNAL_SERVER_ERROR, Vec::new()));
            }
            return Ok(soap(self.operations.answer(body).await));
        }
        let bad_request = || (StatusCode::BAD_REQUEST, Vec::new());
        let sealed = sealing::parse(body).map_err(|error| {
            tracing::debug!(%error, "a WinRM request is not framed as a sealed one");
            bad_request()
        })?;
        let opened = self.authentication().open(sealed);
        let answer = self.operations.answer(&opened.ok_or_else(bad_request)?).await;
        let sealed = self.authentication().seal(answer.envelope.into_bytes()).ok_or_else(bad_request)?;
        Ok(response(answer.status, &sealing::content_type(), sealing::frame(&sealed)))
    }

    async fn read(&self, mut body: Incoming) -> Result<Body, Refusal> {
        let most = self.operations.limits.envelope;
        let mut whole = Vec::new();
        let mut seen = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, Vec::new()))?;
            let Some(data) = frame.data_ref() else { continue };
            seen = seen.saturating_add(data.len());
            if seen <= most {
                whole.extend_from_slice(data);
            } else if seen > most.saturating_mul(DRAINED_ENVELOPES) {
                break;
            }
        }
        Ok(if seen > most { Body::TooLarge } else { Body::Whole(whole.into()) })
    }

    fn authentication(&self) -> MutexGuard<'_, Authentication> {
        self.authentication.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn challenge(headers: &mut HeaderMap, challenges: &[String]) {
    for value in challenges.iter().filter_map(|challenge| HeaderValue::from_str(challenge).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
}

fn soap(answer: Answer) -> Response<Full<Bytes>> {
    response(answer.status, "application/soap+xml;charset=UTF-8", answer.envelope.into_bytes())
}

fn response(status: u16, content_type: &str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// A stream that counts the bytes it carries.
pub(super) struct Counted<S> {
    pub(super) stream: S,
    /// Of this connection, both ways.
    pub(super) traffic: Arc<AtomicU64>,
    /// Of the server.
    pub(super) counters: Arc<Counters>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        self.traffic.fetch_add(read, Ordering::Relaxed);
        self.counters.received(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.traffic.fetch_add(written as u64, Ordering::Relaxed);
        self.counters.sent(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
