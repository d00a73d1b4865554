//! The seam between sessions and the two ways to reach a host: start a program, and close.

use std::future::poll_fn;
use std::sync::Arc;

use k8swin_protocol::bootstrap::Bootstrap;
use k8swin_protocol::{HostPath, Os};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use crate::error::{Target, TransportError};

/// Bytes on their way. They may be a private key, so they are wiped.
pub(crate) type Bytes = Zeroizing<Vec<u8>>;

/// Pieces that wait in a stream before its writer has to wait.
const QUEUE: usize = 16;

/// A way to reach one host: it runs one program at a time.
pub(crate) trait Remote: Send {
    /// Whom it leads to.
    fn target(&self) -> &Target;

    /// The host's operating system.
    fn os(&self) -> Os;

    /// The account that needs `sudo`, if it does.
    fn sudo_user(&self) -> Option<&str>;

    /// What the bootstrap script is to read for `bootstrap`, with the agent's bytes if it is to put them.
    fn bootstrap_input(&self, bootstrap: &Bootstrap, agent: &[u8]) -> Bytes;

    /// Starts a program. The one before it has ended.
    fn start(&mut self, program: &Program) -> impl Future<Output = Result<Running, TransportError>> + Send;

    /// Ends the connection in order.
    fn close(self) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// The programs that are ever started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `PATH serve`.
    Agent {
        /// Its file.
        path: HostPath,
        /// What it is asked at its start, if anything ([`ToAgent::opening`](k8swin_protocol::wire::ToAgent::opening)).
        opening: Option<String>,
    },
    /// The script that puts the agent on the host or takes it away.
    Bootstrap,
}

/// A program that runs on a host. Dropping it ends the program.
pub(crate) struct Running {
    /// Its standard input; dropping the sender is the end of the stream.
    pub(crate) stdin: mpsc::Sender<Bytes>,
    /// Its output. [`Output::Exited`] or [`Output::Lost`] is the last.
    pub(crate) output: Outputs,
    /// Ends the program when it is dropped.
    pub(crate) guard: DropGuard,
}

/// The other side of a [`Running`] program: what a connection drives.
pub(crate) struct Streams {
    /// What to send.
    pub(crate) stdin: mpsc::Receiver<Bytes>,
    /// Where output goes.
    pub(crate) output: mpsc::Sender<Output>,
    /// Told when somebody waits for output.
    pub(crate) wanted: Arc<Notify>,
    /// Whether the program is to be ended.
    pub(crate) terminate: CancellationToken,
}

/// A program's output. Whoever waits for some says so to the other side, which need not ask the host before.
pub(crate) struct Outputs {
    pieces: mpsc::Receiver<Output>,
    wanted: Arc<Notify>,
    /// Whether it was said since the last piece.
    said: bool,
}

impl Outputs {
    /// The next piece; none when nobody writes any more. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Output> {
        let piece = poll_fn(|context| {
            let polled = self.pieces.poll_recv(context);
            // Pieces that are there may be Pending, too: while one is being put in, or when the task is to let others run.
            if polled.is_pending() && self.pieces.is_empty() && !std::mem::replace(&mut self.said, true) {
                self.wanted.notify_one();
            }
            polled
        });
        let piece = piece.await;
        self.said = false;
        piece
    }
}

impl Running {
    /// A program and the side that drives it.
    pub(crate) fn new() -> (Self, Streams) {
        let (stdin, stdin_receiver) = mpsc::channel(QUEUE);
        let (output_sender, pieces) = mpsc::channel(QUEUE);
        let (wanted, terminate) = (Arc::new(Notify::new()), CancellationToken::new());
        let output = Outputs { pieces, wanted: Arc::clone(&wanted), said: false };
        let running = Self { stdin, output, guard: terminate.clone().drop_guard() };
        (running, Streams { stdin: stdin_receiver, output: output_sender, wanted, terminate })
    }

    /// Gives the program all of `input`, and collects what it says until it ends.
    pub(crate) async fn complete(self, input: Bytes) -> Result<Ended, String> {
        let Self { stdin, mut output, guard: _guard } = self;
        let feed = async move {
            // A program that ends before it has read everything says why in its output.
            let _ = stdin.send(input).await;
        };
        let collect = async move {
            let mut transcript = Transcript::default();
            loop {
                match output.recv().await {
                    Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => transcript.add(&bytes),
                    Some(Output::Exited(code)) => return Ok(Ended { code, transcript }),
                    Some(Output::Lost(cause)) => return Err(cause),
                    None => return Err("the connection's task has ended".to_owned()),
                }
            }
        };
        let ((), ended) = tokio::join!(feed, collect);
        ended
    }
}

/// What a program says.
#[derive(Debug)]
pub(crate) enum Output {
    /// On standard output.
    Stdout(Bytes),
    /// On standard error.
    Stderr(Bytes),
    /// It ended with this code; none when a signal ended it.
    Exited(Option<i32>),
    /// The connection is gone.
    Lost(String),
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said, both streams in the order of arrival.
    pub(crate) transcript: Transcript,
}

impl Ended {
    /// Exit code and words, for messages.
    pub(crate) fn answer(&self) -> String {
        let code = match self.code {
            Some(code) => format!("exit code {code}"),
            None => "ended by a signal".to_owned(),
        };
        match self.transcript.text() {
            text if text.is_empty() => code,
            text => format!("{code}: {text}"),
        }
    }
}

/// The first and the last of what a program says: enough for an error, however much it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    bytes: Vec<u8>,
    skipped: bool,
}

impl Transcript {
    const HALF: usize = 2048;

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * Self::HALF {
            self.skipped = true;
            self.bytes.drain(Self::HALF..self.bytes.len() - Self::HALF);
        }
    }

    /// As text without control characters.
    pub(crate) fn text(&self) -> String {
        let clean = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let spaced = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
            spaced.collect::<String>().trim().to_owned()
        };
        match self.bytes.split_at_checked(Self::HALF) {
            Some((first, last)) if self.skipped => format!("{}\n[…]\n{}", clean(first), clean(last)),
            _ => clean(&self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Many conversations in one task, each read while it is written to: when one of them was read with `try_recv`, the
    /// wake-up of another was lost now and then (clippy.toml says how), and a run of 1000 hosts stood still for ever.
    #[test]
    fn conversations_in_one_task_lose_no_wake_up() {
        const CONVERSATIONS: usize = 300;
        const QUESTIONS: usize = 500;
        const PIECES: usize = 5;
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let conversation = async || {
                let (mut running, Streams { mut stdin, output, .. }) = Running::new();
                tokio::spawn(async move {
                    while stdin.recv().await.is_some() {
                        for _ in 0..PIECES {
                            output.send(Output::Exited(None)).await.unwrap();
                        }
                    }
                });
                for _ in 0..QUESTIONS {
                    running.stdin.send(Bytes::default()).await.unwrap();
                    for _ in 0..PIECES {
                        running.output.recv().await.unwrap();
                    }
                }
            };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(futures_util::future::join_all((0..CONVERSATIONS).map(|_| conversation())));
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(300)).expect("a wake-up was lost");
    }

    #[test]
    fn a_transcript_keeps_both_ends() {
        let mut transcript = Transcript::default();
        transcript.add(b"first\r\n");
        for _ in 0..1000 {
            transcript.add(&[b'.'; 100]);
        }
        transcript.add(b"\nlast\x07");
        let text = transcript.text();
        assert!(text.starts_with("first") && text.ends_with("last") && text.contains("[…]"), "{text}");
        assert!(text.len() < 5000);
    }
}
