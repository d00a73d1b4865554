//! A running channel: its three streams, driven by the readiness of the socket, with keep-alives.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use ssh2::{BlockDirections, Channel};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::link::{Link, would_block};
use crate::remote::{Bytes, Output, Running};

/// How often a silent connection is asked for a sign of life, which also keeps NAT entries alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a single step, such as closing a channel, may take.
const STEP: Duration = Duration::from_secs(10);

/// What is read at once: as much as libssh2 has in one packet.
const PIECE: usize = 32 << 10;

/// Pieces that are read or written before other tasks get their turn.
const TURN: usize = 16;

/// Pieces of output that wait for their reader before no more are read.
const WAITING: usize = 64;

/// Drives `channel`, on which a program was started or which leads on to another host, until it ends.
pub(super) fn drive(link: Link, channel: Channel) -> (Running, JoinHandle<()>) {
    let (running, streams) = Running::new();
    let driver = Driver {
        channel,
        stdin: Some(streams.stdin),
        outgoing: VecDeque::new(),
        written: 0,
        end_of_input: false,
        incoming: VecDeque::new(),
        buffer: Zeroizing::new(vec![0; PIECE]),
        heard: Instant::now(),
        link,
    };
    let task = tokio::spawn(driver.run(streams.output, streams.terminate));
    (running, task)
}

struct Driver {
    channel: Channel,
    /// None once the input has ended.
    stdin: Option<mpsc::Receiver<Bytes>>,
    outgoing: VecDeque<Bytes>,
    /// How much of the first of them is sent.
    written: usize,
    /// Whether the other side knows that the input has ended.
    end_of_input: bool,
    incoming: VecDeque<Output>,
    buffer: Zeroizing<Vec<u8>>,
    /// When the host last gave a sign of life.
    heard: Instant,
    link: Link,
}

enum Step {
    /// Something was read or written.
    Moved,
    /// Nothing can be done before the socket is ready.
    Idle,
    /// The program has ended.
    Ended,
}

impl Driver {
    async fn run(mut self, output: mpsc::Sender<Output>, terminate: CancellationToken) {
        let end = tokio::select! {
            biased;
            () = terminate.cancelled() => None,
            end = self.exchange(&output) => Some(end),
        };
        let last = match &end {
            Some(Ok(())) => Output::Exited(self.exit_code()),
            Some(Err(cause)) => Output::Lost(cause.clone()),
            None => Output::Lost("it was ended".to_owned()),
        };
        if !matches!(end, Some(Err(_))) {
            // Before the end is told: the session's next user must find it at rest.
            let mut channel = self.channel.clone();
            let _ = self.link.blocking(STEP, move |_| channel.close()).await;
        }
        for piece in self.incoming.drain(..) {
            let _ = output.send(piece).await;
        }
        let _ = output.send(last).await;
    }

    async fn exchange(&mut self, output: &mpsc::Sender<Output>) -> Result<(), String> {
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
        keep_alive.reset();
        loop {
            // First without looking at the socket's readiness: it tells changes only.
            match self.step().map_err(|error| error.to_string())? {
                Step::Ended => return Ok(()),
                Step::Moved => {
                    self.hand_out(output);
                    tokio::task::consume_budget().await;
                    continue;
                }
                Step::Idle => {}
            }
            if self.stdin.is_none() && self.outgoing.is_empty() && !self.end_of_input && !self.half_sent() {
                self.end_of_input = true;
                let mut channel = self.channel.clone();
                let sent = self.link.blocking(SILENCE, move |_| channel.send_eof()).await?;
                sent.map_err(|error| error.to_string())?;
                continue;
            }
            let socket = Arc::clone(&self.link.socket);
            tokio::select! {
                piece = next_piece(&mut self.stdin), if self.stdin.is_some() && self.outgoing.len() < TURN => {
                    match piece {
                        Some(piece) if piece.is_empty() => {}
                        Some(piece) => self.outgoing.push_back(piece),
                        None => self.stdin = None,
                    }
                }
                permit = output.reserve(), if !self.incoming.is_empty() => match (permit, self.incoming.pop_front()) {
                    (Ok(permit), Some(piece)) => permit.send(piece),
                    // Nobody listens; the program runs on until it is ended.
                    (Err(_), _) => self.incoming.clear(),
                    (Ok(_), None) => {}
                },
                // While output waits for its reader and there is nothing to send, a step would do nothing.
                ready = socket.ready(Interest::READABLE | Interest::WRITABLE),
                    if self.incoming.len() < WAITING || !self.outgoing.is_empty() =>
                {
                    let ready = ready.map_err(|error| error.to_string())?;
                    if ready.is_readable() {
                        self.heard = Instant::now();
                    }
                    match self.step_when_ready(&socket, ready)? {
                        Step::Ended => return Ok(()),
                        Step::Moved => self.hand_out(output),
                        Step::Idle => {}
                    }
                }
                _ = keep_alive.tick() => {
                    // What waits for its reader here is not the host's silence.
                    if self.incoming.len() >= WAITING {
                        self.heard = Instant::now();
                    }
                    if self.heard.elapsed() > SILENCE {
                        return Err(format!("silent for {} s", SILENCE.as_secs()));
                    }
                    if !self.half_sent() {
                        let sent = self.link.blocking(STEP, |session| session.keepalive_send()).await?;
                        sent.map_err(|error| error.to_string())?;
                    }
                }
            }
        }
    }

    /// A step within the socket's readiness, which is taken back when there was nothing to do. Both directions are taken
    /// back: whichever libssh2 waits for, it has found the socket not ready in that direction, and is told of the change.
    /// `try_io` knows single directions only (it ignores a combination), hence one within the other.
    fn step_when_ready(&mut self, socket: &TcpStream, ready: Ready) -> Result<Step, String> {
        let mut step = Ok(Step::Idle);
        let mut run = || {
            step = self.step();
            match step {
                Ok(Step::Idle) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                _ => Ok(()),
            }
        };
        let _ = match (ready.is_readable(), ready.is_writable()) {
            (true, true) => socket.try_io(Interest::READABLE, || socket.try_io(Interest::WRITABLE, run)),
            (true, false) => socket.try_io(Interest::READABLE, run),
            (false, true) => socket.try_io(Interest::WRITABLE, run),
            (false, false) => run(),
        };
        step.map_err(|error| error.to_string())
    }

    /// Reads and writes what can be without waiting.
    fn step(&mut self) -> io::Result<Step> {
        let mut moved = false;
        for (stream, wrap) in [(0, Output::Stdout as fn(Bytes) -> Output), (ssh2::EXTENDED_DATA_STDERR, Output::Stderr)]
        {
            for _ in 0..TURN {
                if self.incoming.len() >= WAITING {
                    break;
                }
                match self.channel.stream(stream).read(&mut self.buffer) {
                    Ok(0) => break,
                    Ok(length) => {
                        let piece = self.buffer.get(..length).unwrap_or_default().to_vec();
                        self.incoming.push_back(wrap(Zeroizing::new(piece)));
                        self.heard = Instant::now();
                        moved = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if self.channel.eof() {
            // A program that has closed its output reads no more either.
            self.outgoing.clear();
            return match self.channel.wait_close() {
                Ok(()) => Ok(Step::Ended),
                Err(error) if would_block(&error) => Ok(if moved { Step::Moved } else { Step::Idle }),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
        }
        for _ in 0..TURN {
            let Some(piece) = self.outgoing.front() else { break };
            match self.channel.write(piece.get(self.written..).unwrap_or_default()) {
                Ok(length) => {
                    self.written += length;
                    if self.written >= piece.len() {
                        self.outgoing.pop_front();
                        self.written = 0;
                    }
                    moved |= length > 0;
                    if length == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(if moved { Step::Moved } else { Step::Idle })
    }

    fn hand_out(&mut self, output: &mpsc::Sender<Output>) {
        while !self.incoming.is_empty()
            && let Ok(permit) = output.try_reserve()
            && let Some(piece) = self.incoming.pop_front()
        {
            permit.send(piece);
        }
    }

    /// Whether a packet is sent in part, so that no other may be begun.
    fn half_sent(&self) -> bool {
        matches!(self.link.session.block_directions(), BlockDirections::Outbound | BlockDirections::Both)
    }

    fn exit_code(&self) -> Option<i32> {
        match self.channel.exit_signal() {
            Ok(signal) if signal.exit_signal.is_some() => None,
            _ => self.channel.exit_status().ok(),
        }
    }
}

async fn next_piece(stdin: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => None,
    }
}
