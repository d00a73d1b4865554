//! A TCP connection with the faults of its host: latency, a cut after so many bytes, the loss of power.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::program::{ConnectionFaults, SharedHost};

/// Bytes that wait between the socket and the server.
const BUFFER: usize = 64 << 10;

/// The next connection of a listener; `None` when `stop` is cancelled. Failures to accept (too many open files) are
/// waited out, as they concern the process and not the listener.
pub(crate) async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // An answer of one line must not wait for the acknowledgement of the line before.
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The connection as its server sees it. It is cut when `cut` is cancelled, and closed when the server drops its end; what
/// the server has written before has left the host in both cases. `host` counts what it carries.
pub(crate) fn with_faults(
    socket: TcpStream,
    faults: ConnectionFaults,
    cut: CancellationToken,
    host: Option<SharedHost>,
) -> DuplexStream {
    let (server, pump) = tokio::io::duplex(BUFFER);
    if let Some(host) = &host {
        host.connected();
    }
    tokio::spawn(relay(socket, pump, faults, cut, host));
    server
}

async fn relay(
    socket: TcpStream,
    server: DuplexStream,
    faults: ConnectionFaults,
    cut: CancellationToken,
    host: Option<SharedHost>,
) {
    let traffic = Traffic {
        budget: AtomicU64::new(faults.drop_after_bytes.unwrap_or(u64::MAX)),
        asked: AtomicBool::new(false),
        latency: faults.latency,
        host,
    };
    let (from_client, to_client) = socket.into_split();
    let (from_server, to_server) = tokio::io::split(server);
    let requests = copy(from_client, to_server, &traffic, Direction::Requests);
    let mut answers = pin!(copy(from_server, to_client, &traffic, Direction::Answers));
    tokio::select! {
        () = cut.cancelled() => {
            poll_fn(|context| {
                // Passes on what is there, and waits for nothing more.
                let _ = answers.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        }
        // The client's end is not the end of the answers; a failure is.
        _ = async {
            if requests.await.is_ok() {
                pending::<()>().await;
            }
        } => {}
        // However it ended, the socket is dropped now, which is all that the client is to notice.
        _ = &mut answers => {}
    }
}

/// What both directions of a connection share.
struct Traffic {
    /// Bytes until the cut.
    budget: AtomicU64,
    /// The client has sent something since the last answer began.
    asked: AtomicBool,
    latency: Duration,
    host: Option<SharedHost>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    traffic: &Traffic,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        match direction {
            Direction::Requests => traffic.asked.store(true, Ordering::Relaxed),
            // Once for each answer, not for each piece of it: this is latency, not bandwidth.
            Direction::Answers => {
                if traffic.asked.swap(false, Ordering::Relaxed) && !traffic.latency.is_zero() {
                    tokio::time::sleep(traffic.latency).await;
                }
            }
        }
        let left = traffic.budget.load(Ordering::Relaxed);
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        traffic.budget.store(left.saturating_sub(allowed as u64), Ordering::Relaxed);
        if let Some(host) = &traffic.host {
            let bytes = allowed as u64;
            match direction {
                Direction::Requests => host.carried(bytes, 0),
                Direction::Answers => host.carried(0, bytes),
            }
        }
        to.write_all(buffer.split_at(allowed).0).await?;
        if allowed < read {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(faults: ConnectionFaults, cut: CancellationToken, sent: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = accept(&listener, &CancellationToken::new()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(with_faults(socket, faults, cut, None));
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
        let _ = client.write_all(&vec![7; sent]).await;
        let _ = client.shutdown().await;
        let mut received = Vec::new();
        let _ = client.read_to_end(&mut received).await;
        received.len()
    }

    #[tokio::test]
    async fn without_faults_everything_passes() {
        assert_eq!(echo(ConnectionFaults::default(), CancellationToken::new(), 100).await, 100);
    }

    #[tokio::test]
    async fn the_connection_is_cut_after_so_many_bytes() {
        let faults = ConnectionFaults { drop_after_bytes: Some(150), ..ConnectionFaults::default() };
        assert!(echo(faults, CancellationToken::new(), 100).await <= 50);
    }

    #[tokio::test]
    async fn what_was_written_before_the_cut_arrives() {
        for _ in 0..50 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let socket = accept(&listener, &CancellationToken::new()).await.unwrap();
            let cut = CancellationToken::new();
            let mut server = with_faults(socket, ConnectionFaults::default(), cut.clone(), None);
            server.write_all(&[7; 5000]).await.unwrap();
            drop(server);
            cut.cancel();
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), 5000);
        }
    }

    #[tokio::test]
    async fn a_power_cut_ends_the_connection() {
        let cut = CancellationToken::new();
        cut.cancel();
        assert_eq!(echo(ConnectionFaults::default(), cut, 100).await, 0);
    }
}
