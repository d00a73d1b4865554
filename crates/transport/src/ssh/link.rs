//! One SSH connection: the handshake and single steps on a thread for blocking work, a running channel without any thread.
//!
//! libssh2 keeps half-sent packets in its callers' stack frames for some calls (end of input, keep-alive): those must be
//! repeated from the very same frame, which only its blocking mode does. So everything that happens once runs in blocking
//! mode; what runs all the time, reading and writing, is driven by the socket's readiness.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

/// The socket as libssh2 is given it. It stays registered with the runtime, which tells when it is ready.
struct Socket(Arc<TcpStream>);

#[cfg(unix)]
impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsRawSocket for Socket {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.0.as_raw_socket()
    }
}

/// libssh2's number for "would block", which the crate does not name.
const WOULD_BLOCK: i32 = -37;

/// An SSH session on its socket. Clones are the same session: only one of them is to be used at a time.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) session: ssh2::Session,
    pub(super) socket: Arc<TcpStream>,
}

impl Link {
    /// A session that has yet to shake hands.
    pub(super) fn new(stream: TcpStream) -> Result<Self, ssh2::Error> {
        let socket = Arc::new(stream);
        let mut session = ssh2::Session::new()?;
        session.set_tcp_stream(Socket(Arc::clone(&socket)));
        session.set_blocking(false);
        Ok(Self { session, socket })
    }

    /// Does `work` in blocking mode, each single wait of it `limit` at most. No channel of the session may be driven
    /// meanwhile.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut ssh2::Session) -> T + Send + 'static,
    ) -> Result<T, String> {
        let mut session = self.session.clone();
        let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let task = tokio::task::spawn_blocking(move || {
            session.set_timeout(milliseconds);
            session.set_blocking(true);
            let result = work(&mut session);
            session.set_blocking(false);
            result
        });
        task.await.map_err(|error| format!("libssh2 could not go on: {error}"))
    }
}

/// Whether a call is to be repeated when the socket is ready.
pub(super) fn would_block(error: &ssh2::Error) -> bool {
    error.code() == ssh2::ErrorCode::Session(WOULD_BLOCK)
}
