//! A real WinRM server in front of one simulated host: WS-Management shells over HTTP with encrypted messages, or HTTPS.
//!
//! Written from the protocols (MS-WSMV, MS-NLMP, DSP0226), with the manners of Windows Server 2016 where they are known:
//! its limits, its fault codes, and its refusal of unencrypted messages over plain HTTP.

mod authentication;
mod command;
mod envelope;
mod fault;
mod http;
mod ntlm;
mod operations;
mod sealing;
mod shell;
mod xml;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::program::{ConnectionFaults, SharedHost};
use http::{Connection, Counted};
use operations::Operations;
use shell::Shells;

/// How connections are protected.
#[derive(Clone)]
pub enum Security {
    /// TLS; Negotiate and Basic authentication.
    Https(Arc<rustls::ServerConfig>),
    /// None but what Negotiate brings: bodies that are not encrypted are refused, and so is Basic authentication.
    Http,
}

/// The limits of the WinRM service (`winrm get winrm/config`). The default is Windows Server 2016's (facts F.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// MaxEnvelopeSizekb: the largest request and the largest answer, in bytes.
    pub envelope: usize,
    /// MaxTimeoutms: the longest time a request may take.
    pub timeout: Duration,
    /// MaxShellsPerUser.
    pub shells_per_user: usize,
    /// MaxProcessesPerShell.
    pub processes_per_shell: usize,
    /// IdleTimeout: how long a shell lives unused when its client does not say.
    pub idle_timeout: Duration,
    /// The least IdleTimeout a client may ask for.
    pub least_idle_timeout: Duration,
    /// The longest command line that cmd.exe takes, in UTF-16 units (facts F.3).
    pub command_line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            envelope: 500 << 10,
            timeout: Duration::from_secs(60),
            shells_per_user: 30,
            processes_per_shell: 25,
            idle_timeout: Duration::from_secs(7200),
            least_idle_timeout: Duration::from_secs(60),
            command_line: 8191,
        }
    }
}

/// What a server did so far, for tests and benchmarks.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    shells_created: AtomicU64,
    shells_closed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    /// HTTP requests, those of handshakes included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Shells that are open now.
    #[must_use]
    pub fn shells_open(&self) -> u64 {
        // Closed first: a shell that is opened and closed in between must not be missing from those created.
        let closed = self.shells_closed.load(Ordering::Acquire);
        self.shells_created().saturating_sub(closed)
    }

    /// Shells that were opened.
    #[must_use]
    pub fn shells_created(&self) -> u64 {
        self.shells_created.load(Ordering::Acquire)
    }

    /// Bytes received, below TLS.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes sent, below TLS.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn shell_opened(&self) {
        self.shells_created.fetch_add(1, Ordering::Release);
    }

    fn shell_closed(&self) {
        self.shells_closed.fetch_add(1, Ordering::Release);
    }

    fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The server of one host.
pub struct Server {
    security: Security,
    counters: Arc<Counters>,
    operations: Arc<Operations>,
}

/// Serves WinRM until `stop` is cancelled; see [`Server::serve`].
pub async fn serve(
    listener: TcpListener,
    security: Security,
    host: SharedHost,
    limits: Limits,
    stop: CancellationToken,
) {
    Server::new(security, host, limits).serve(listener, stop).await;
}

impl Server {
    /// A server in front of `host`.
    #[must_use]
    pub fn new(security: Security, host: SharedHost, limits: Limits) -> Self {
        let counters = Arc::new(Counters::default());
        let shells = Arc::new(Shells::new(Arc::clone(&host), limits, Arc::clone(&counters)));
        Self { security, counters, operations: Arc::new(Operations { host, limits, shells }) }
    }

    /// What the server does, counted as it does it.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves until `stop` is cancelled; then every connection is cut and every shell is gone.
    ///
    /// Faults of connections: latency counts for each answer; a cut after so many bytes holds exactly for connections
    /// opened since it was set, and for older ones at their next request.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let host = &self.operations.host;
        while let Some(socket) = connection::accept(&listener, &stop).await {
            let (faults, power) = (host.connection_faults(), host.power());
            if faults.unreachable || power.is_cancelled() {
                continue;
            }
            // The latency is the requests', not the connection's: see Connection.
            let faults = ConnectionFaults { latency: Duration::ZERO, ..faults };
            let cut = CancellationToken::new();
            let traffic = Arc::new(AtomicU64::new(0));
            let stream = Counted {
                stream: connection::with_faults(socket, faults, cut.clone(), Some(Arc::clone(host))),
                traffic: Arc::clone(&traffic),
                counters: self.counters(),
            };
            let over_tls = matches!(self.security, Security::Https(_));
            let connection =
                Connection::new(Arc::clone(&self.operations), self.counters(), over_tls, traffic, cut.clone());
            let (stop, security) = (stop.clone(), self.security.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = power.cancelled() => {}
                    () = serve_connection(connection, stream, security) => {}
                }
                cut.cancel();
            });
        }
        self.operations.shells.close_all();
    }
}

async fn serve_connection(connection: Connection, stream: Counted<tokio::io::DuplexStream>, security: Security) {
    // A client that disappears or speaks nonsense ends its own connection and nothing else.
    let served = match security {
        Security::Http => connection.serve(stream).await,
        Security::Https(config) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => connection.serve(stream).await,
            Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
        },
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a WinRM connection ended");
    }
}

/// A new identity, written as Windows writes those of shells and commands.
fn guid() -> String {
    let random: u128 = rand::random();
    // Version 4, variant 1 (RFC 9562 §5.4).
    let value = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    format!(
        "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
        value >> 96,
        value >> 80 & 0xffff,
        value >> 64 & 0xffff,
        value >> 48 & 0xffff,
        value & 0xffff_ffff_ffff
    )
}
