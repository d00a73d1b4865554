//! A command of a shell: hands a program's input and output to the requests that carry them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::envelope::Input;
use super::fault::Fault;
use crate::program::{CommandLine, Output, RunningProgram};

/// What stands in for the exit code of a program that ended without one.
const NO_EXIT_CODE: i32 = 1;

/// Bytes of an answer that a new piece of output costs beside its own, in the raw bytes that its room could hold.
const PIECE: usize = 160;

/// A command.
pub(super) struct Command {
    stdin: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>,
    output: Mutex<Pending>,
    /// The client knows that it is done.
    done: AtomicBool,
    /// Interrupts the program.
    interrupt: CancellationToken,
    /// The shell is deleted, or the client terminated the command.
    closed: CancellationToken,
}

struct Pending {
    receiver: mpsc::Receiver<Output>,
    /// What had no room in the answer before.
    held: Option<Output>,
    exit: Option<i32>,
}

/// A stream of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a Receive brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The pieces in their order; neighbours of one stream are one piece.
    pub(super) pieces: Vec<(Stream, Vec<u8>)>,
    /// The exit code, once all output is delivered.
    pub(super) exit: Option<i32>,
}

impl Command {
    /// Takes over a running program; `closed` ends it.
    pub(super) fn new(program: RunningProgram, closed: CancellationToken) -> Self {
        let RunningProgram { stdin, output, terminate } = program;
        let (end, closing) = (terminate.clone(), closed.clone());
        tokio::spawn(async move {
            closing.cancelled().await;
            end.cancel();
        });
        Self {
            stdin: Arc::new(Mutex::new(Some(stdin))),
            output: Mutex::new(Pending { receiver: output, held: None, exit: None }),
            done: AtomicBool::new(false),
            interrupt: terminate,
            closed,
        }
    }

    /// Whether its client knows that it is done.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Ctrl-C: the program ends, and its last output and exit code can still be received.
    pub(super) fn interrupt(&self) {
        self.interrupt.cancel();
    }

    /// Ends the program and every request that waits for it.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Writes input. A fault for time does not take the input back: as on Windows it is delivered when the program reads
    /// (ansible#81538), in order with what follows.
    pub(super) async fn send(&self, input: Vec<Input>, timeout: Duration) -> Result<(), Fault> {
        let stdin = Arc::clone(&self.stdin);
        let closed = self.closed.clone();
        let delivery = tokio::spawn(async move {
            tokio::select! {
                () = closed.cancelled() => Err(Fault::aborted()),
                delivered = deliver(stdin, input) => delivered,
            }
        });
        match tokio::time::timeout(timeout, delivery).await {
            Ok(Ok(delivered)) => delivered,
            Ok(Err(_)) => Err(Fault::aborted()),
            Err(_) => Err(Fault::timed_out()),
        }
    }

    /// Waits for output, at most `room` bytes of it. What the program wrote waits in its channel until it is asked for, so
    /// a program without a reader stands still, as behind a full pipe.
    pub(super) async fn receive(&self, room: usize, timeout: Duration) -> Result<Received, Fault> {
        let deadline = Instant::now() + timeout;
        let received = tokio::select! {
            () = self.closed.cancelled() => return Err(Fault::aborted()),
            received = tokio::time::timeout_at(deadline, async {
                self.output.lock().await.receive(room).await
            }) => received.map_err(|_| Fault::timed_out())?,
        };
        if received.exit.is_some() {
            self.done.store(true, Ordering::Relaxed);
        }
        Ok(received)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn deliver(stdin: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>, input: Vec<Input>) -> Result<(), Fault> {
    let mut stdin = stdin.lock().await;
    for Input { bytes, end } in input {
        if !bytes.is_empty() {
            let program = stdin.as_ref().ok_or_else(Fault::pipe_ended)?;
            program.send(bytes).await.map_err(|_| Fault::pipe_ended())?;
        }
        if end {
            *stdin = None;
        }
    }
    Ok(())
}

impl Pending {
    /// Waits for the first piece, which nothing loses when the wait is given up, and takes what else is there at once.
    async fn receive(&mut self, room: usize) -> Received {
        let mut received = Received::default();
        let mut left = room;
        if self.exit.is_none() && self.held.is_none() {
            self.held = Some(self.receiver.recv().await.unwrap_or(Output::Exit(NO_EXIT_CODE)));
        }
        while self.exit.is_none() {
            let Some(next) = self.held.take().or_else(|| self.next_at_once()) else { break };
            let (stream, bytes) = match next {
                Output::Exit(code) => {
                    self.exit = Some(code);
                    break;
                }
                Output::Stdout(bytes) => (Stream::Stdout, bytes),
                Output::Stderr(bytes) => (Stream::Stderr, bytes),
            };
            left = received.add(stream, bytes, left, &mut self.held);
            if self.held.is_some() {
                break;
            }
        }
        received.exit = self.exit;
        received
    }

    fn next_at_once(&mut self) -> Option<Output> {
        match self.receiver.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output.unwrap_or(Output::Exit(NO_EXIT_CODE))),
            Poll::Pending => None,
        }
    }
}

impl Received {
    /// Adds as much of a piece as there is room for, holds the rest, and says what room is left.
    fn add(&mut self, stream: Stream, mut bytes: Bytes, left: usize, held: &mut Option<Output>) -> usize {
        let joins = self.pieces.last().is_some_and(|(last, _)| *last == stream);
        let usable = if joins { left } else { left.saturating_sub(PIECE) };
        let taken = bytes.split_to(usable.min(bytes.len()));
        if !bytes.is_empty() {
            *held = Some(match stream {
                Stream::Stdout => Output::Stdout(bytes),
                Stream::Stderr => Output::Stderr(bytes),
            });
        }
        let rest = usable - taken.len();
        match self.pieces.last_mut() {
            Some((last, piece)) if *last == stream => piece.extend_from_slice(&taken),
            _ if taken.is_empty() => {}
            _ => self.pieces.push((stream, taken.to_vec())),
        }
        rest
    }
}

/// Whether cmd.exe refuses a command line: it takes 8191 characters (facts F.3).
pub(super) fn too_long_for_cmd(line: &CommandLine, most: usize) -> bool {
    let parts = std::iter::once(&line.command).chain(&line.arguments);
    // One blank between two parts, counted as one before each and taken back once.
    parts.map(|part| part.encode_utf16().count() + 1).sum::<usize>().saturating_sub(1) > most
}

/// What cmd.exe does then.
pub(super) fn refuse_line() -> RunningProgram {
    let (stdin, _) = mpsc::channel(1);
    let (output, receiver) = mpsc::channel(2);
    for line in [Output::Stderr(Bytes::from_static(b"The command line is too long.\r\n")), Output::Exit(1)] {
        // There is room for both.
        let _ = output.try_send(line);
    }
    RunningProgram { stdin, output: receiver, terminate: CancellationToken::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(written: Vec<Output>, room: usize) -> Vec<Received> {
        let (stdin, _input) = mpsc::channel(1);
        let (output, receiver) = mpsc::channel(written.len());
        for piece in written {
            output.send(piece).await.unwrap();
        }
        drop(output);
        let program = RunningProgram { stdin, output: receiver, terminate: CancellationToken::new() };
        let command = Command::new(program, CancellationToken::new());
        let mut all = Vec::new();
        while !command.is_done() {
            all.push(command.receive(room, Duration::from_secs(5)).await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn neighbours_are_joined_and_the_exit_code_comes_last() {
        let written =
            vec![Output::Stdout("a".into()), Output::Stdout("b".into()), Output::Stderr("c".into()), Output::Exit(3)];
        let pieces = vec![(Stream::Stdout, b"ab".to_vec()), (Stream::Stderr, b"c".to_vec())];
        assert_eq!(received(written, 1000).await, [Received { pieces, exit: Some(3) }]);
    }

    #[tokio::test]
    async fn what_has_no_room_comes_next() {
        let answers = received(vec![Output::Stdout(vec![1; 250].into()), Output::Exit(0)], PIECE + 100).await;
        let sizes: Vec<usize> =
            answers.iter().flat_map(|answer| &answer.pieces).map(|(_, piece)| piece.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(answers.last().unwrap().exit, Some(0));
    }

    #[tokio::test]
    async fn the_end_of_the_shell_ends_the_program_and_those_who_wait_for_it() {
        let (stdin, _input) = mpsc::channel(1);
        let (_output, receiver) = mpsc::channel(1);
        let (terminate, shell) = (CancellationToken::new(), CancellationToken::new());
        let program = RunningProgram { stdin, output: receiver, terminate: terminate.clone() };
        let command = Command::new(program, shell.child_token());
        // The second piece has no room, and the program does not read.
        let input = (0..2).map(|_| Input { bytes: "x".into(), end: false }).collect();
        let patience = Duration::from_secs(60);
        let (received, sent, ()) =
            tokio::join!(command.receive(1000, patience), command.send(input, patience), async { shell.cancel() });
        assert_eq!((received, sent), (Err(Fault::aborted()), Err(Fault::aborted())));
        terminate.cancelled().await;
    }

    #[tokio::test]
    async fn input_that_is_late_is_delivered_in_order() {
        let (stdin, mut input) = mpsc::channel(1);
        let (_output, receiver) = mpsc::channel(1);
        let program = RunningProgram { stdin, output: receiver, terminate: CancellationToken::new() };
        let command = Command::new(program, CancellationToken::new());
        let pieces = |texts: &[&'static str], end| -> Vec<Input> {
            texts.iter().map(|text| Input { bytes: Bytes::from_static(text.as_bytes()), end }).collect()
        };
        let late = command.send(pieces(&["a", "b"], false), Duration::from_millis(1)).await;
        assert_eq!(late, Err(Fault::timed_out()));
        let reader = async {
            let mut read = Vec::new();
            while let Some(bytes) = input.recv().await {
                read.extend_from_slice(&bytes);
            }
            read
        };
        let (sent, read) = tokio::join!(command.send(pieces(&["c"], true), Duration::from_secs(60)), reader);
        assert_eq!((sent, read.as_slice()), (Ok(()), &b"abc"[..]));
    }

    #[tokio::test]
    async fn a_program_that_vanishes_has_failed() {
        assert_eq!(received(vec![Output::Stdout("x".into())], 1000).await.last().unwrap().exit, Some(NO_EXIT_CODE));
    }

    #[test]
    fn a_command_line_is_counted_as_windows_counts() {
        let line = |command: &str, argument: String| CommandLine { command: command.into(), arguments: vec![argument] };
        assert!(!too_long_for_cmd(&line("echo", "x".repeat(8186)), 8191));
        assert!(too_long_for_cmd(&line("echo", "x".repeat(8187)), 8191));
        assert!(too_long_for_cmd(&line("echo", "😀".repeat(4094)), 8191));
    }
}
