//! The task that owns a host's shell: it runs one program after the other in it, and deletes it at the end, also when
//! nobody waits for that any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use k8swin_protocol::bootstrap::{POWERSHELL_PROGRAM, powershell_arguments};
use tokio::sync::{Notify, mpsc, oneshot};
use winrm_rs::{Shell, WinrmClient, WinrmError};
use zeroize::Zeroizing;

use super::fault;
use crate::error::Target;
use crate::remote::{Bytes, Output, Program, Running, Streams};

/// Bytes in one Send at most, where no more is known of a host than that MaxEnvelopeSizekb of Windows Server 2016 is 500
/// (facts F.1): their base64, with the envelope and the seal around it, is just below 500 KiB.
const SEND: usize = 360 << 10;

/// Bytes in one Send at most, whatever a host takes: more of them would only wait in memory.
const LARGEST_SEND: usize = 4 << 20;

/// Bytes in one Send at least, where the host takes smaller envelopes only.
const SMALLEST_SEND: usize = 16 << 10;

/// How long a program that takes no more input may take to tell that it has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long a program's output waits on the host for somebody to ask for it. Asking costs a request, and at the end of a
/// session one that is under way another connection with its log-in; but without any the host deletes the shell
/// (`IDLE_SECONDS`), and its own end is not noticed.
const UNASKED: Duration = Duration::from_secs(20);

/// How long a clean-up request may take.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// How many bytes one Send takes to a host.
#[derive(Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(SEND)))
    }
}

impl Room {
    /// The host takes envelopes of so many KiB.
    pub(super) fn set_envelope_kib(&self, envelope: u32) {
        let base64 = (envelope as usize * 1024).saturating_sub(3072);
        self.0.store((base64 / 4 * 3).clamp(SMALLEST_SEND, LARGEST_SEND), Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The host did not take that much.
    fn halve(&self) {
        self.0.store(self.get() / 2, Ordering::Relaxed);
    }
}

/// What the task can be asked.
pub(super) enum Command {
    /// Start a program; the one before it has ended, or is ended now.
    Start { program: Program, reply: oneshot::Sender<Result<Running, WinrmError>> },
    /// Delete the shell.
    Close { reply: oneshot::Sender<Result<(), WinrmError>> },
}

/// Opens a shell, tells whether that went well, and serves commands until the last.
pub(super) async fn serve(
    client: WinrmClient,
    address: String,
    target: Target,
    opened: oneshot::Sender<Result<(), WinrmError>>,
    mut commands: mpsc::Receiver<Command>,
    room: Room,
) {
    let shell = match client.open_shell(&address).await {
        Ok(shell) => shell,
        Err(error) => {
            // Whoever asked may be gone.
            let _ = opened.send(Err(error));
            return;
        }
    };
    let _ = opened.send(Ok(()));
    let (mut closing, mut former) = (None, None::<String>);
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start { program, reply } => {
                if let Some(command_id) = former.take() {
                    release(&client, &address, &shell, &command_id).await;
                }
                match start(&shell, &program).await {
                    Ok(command_id) => {
                        let (running, streams) = Running::new();
                        if reply.send(Ok(running)).is_ok() {
                            drive(&shell, &command_id, streams, &room).await;
                        }
                        former = Some(command_id);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            // What runs in it ends with it.
            Command::Close { reply } => {
                closing = Some(reply);
                break;
            }
        }
    }
    let closed = match tokio::time::timeout(CLEAN_UP, shell.close()).await {
        Ok(closed) => closed,
        Err(_) => Err(WinrmError::Timeout(CLEAN_UP.as_secs())),
    };
    if let Err(error) = &closed {
        tracing::debug!(host = %target, error = %fault::text(error), "the shell could not be deleted");
    }
    if let Some(reply) = closing {
        let _ = reply.send(closed);
    }
}

/// Ends what is left of a program, so that the next one finds its place.
async fn release(client: &WinrmClient, address: &str, shell: &Shell<'_>, command_id: &str) {
    let ending = client.signal_terminate(address, shell.shell_id(), command_id);
    if !matches!(tokio::time::timeout(CLEAN_UP, ending).await, Ok(Ok(()))) {
        tracing::debug!(host = address, "the command was not released; its shell will be");
    }
}

/// Starts a program. winrm-rs runs it by way of `cmd /c`, which changes nothing in these words: agents lie where
/// `Os::agent` says, and PowerShell's script and an opening are base64.
async fn start(shell: &Shell<'_>, program: &Program) -> Result<String, WinrmError> {
    match program {
        Program::Agent { path, opening } => {
            let arguments: Vec<&str> = ["serve"].into_iter().chain(opening.as_deref()).collect();
            shell.start_command(path.as_str(), &arguments).await
        }
        Program::Bootstrap => {
            let arguments = powershell_arguments();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            shell.start_command(POWERSHELL_PROGRAM, &arguments).await
        }
    }
}

/// Carries a program's streams until it ends.
async fn drive(shell: &Shell<'_>, command_id: &str, streams: Streams, room: &Room) {
    let Streams { stdin, output, wanted, terminate } = streams;
    let turn = Turn::default();
    let last = {
        let receiving = receive(shell, command_id, &output, &wanted, &turn);
        tokio::pin!(receiving);
        let sending = send(shell, command_id, stdin, &turn, room);
        // Input goes first: it must be on its way before its answer is asked for.
        tokio::select! {
            biased;
            () = terminate.cancelled() => Output::Lost("it was ended".to_owned()),
            unsent = sending => match unsent {
                // Perhaps it has ended, which it will tell itself.
                Some(error @ WinrmError::Soap(_)) => {
                    turn.over.store(true, Ordering::Relaxed);
                    wanted.notify_one();
                    match tokio::time::timeout(LAST_WORDS, receiving).await {
                        Ok(last) => last,
                        Err(_) => Output::Lost(fault::text(&error)),
                    }
                }
                Some(error) => Output::Lost(fault::text(&error)),
                None => tokio::select! {
                    () = terminate.cancelled() => Output::Lost("it was ended".to_owned()),
                    last = receiving => last,
                },
            },
            last = &mut receiving => last,
        }
    };
    let _ = output.send(last).await;
}

/// How input and output take turns, so that one connection serves both as long as nothing is said while an answer is
/// waited for.
#[derive(Default)]
struct Turn {
    /// Held while input is under way. Whoever asks for output takes it for a moment first.
    input: tokio::sync::Mutex<()>,
    /// No more input is taken: what is left to be said is asked for without being wanted.
    over: AtomicBool,
}

/// Asks for output again and again until there is no more.
async fn receive(
    shell: &Shell<'_>,
    command_id: &str,
    output: &mpsc::Sender<Output>,
    wanted: &Notify,
    turn: &Turn,
) -> Output {
    let mut pace = Pace::default();
    let mut satisfied = true;
    loop {
        if satisfied && !turn.over.load(Ordering::Relaxed) {
            // Whether it is wanted or only time to look makes no difference.
            let _ = tokio::time::timeout(UNASKED, wanted.notified()).await;
            drop(turn.input.lock().await);
        }
        let asked = Instant::now();
        let received = match shell.receive_next(command_id).await {
            Ok(received) => received,
            Err(error) => return Output::Lost(fault::text(&error)),
        };
        satisfied = !received.stdout.is_empty() || !received.stderr.is_empty();
        let wait = pace.after(asked.elapsed(), !satisfied);
        for (bytes, wrap) in
            [(received.stdout, Output::Stdout as fn(Bytes) -> Output), (received.stderr, Output::Stderr)]
        {
            if !bytes.is_empty() {
                // When nobody listens any more, the program may still end by itself.
                let _ = output.send(wrap(Zeroizing::new(bytes))).await;
            }
        }
        if received.done {
            return Output::Exited(received.exit_code);
        }
        tokio::time::sleep(wait).await;
    }
}

/// Keeps a host that answers at once with nothing from being asked without pause. Others are never waited for.
#[derive(Default)]
struct Pace {
    quick_and_empty: u32,
}

impl Pace {
    fn after(&mut self, took: Duration, empty: bool) -> Duration {
        if !empty || took >= Duration::from_millis(250) {
            self.quick_and_empty = 0;
            return Duration::ZERO;
        }
        self.quick_and_empty += 1;
        match self.quick_and_empty.checked_sub(3) {
            None => Duration::ZERO,
            Some(more) => Duration::from_millis(50_u64 << more.min(4)),
        }
    }
}

/// Sends input until its end, and then that it has ended. Gives the error that stopped it.
async fn send(
    shell: &Shell<'_>,
    command_id: &str,
    mut stdin: mpsc::Receiver<Bytes>,
    turn: &Turn,
    room: &Room,
) -> Option<WinrmError> {
    let mut waiting = VecDeque::new();
    let mut ended = false;
    while !ended || !waiting.is_empty() {
        if waiting.is_empty() {
            match stdin.recv().await {
                Some(piece) => waiting.push_back((piece, 0)),
                None => {
                    ended = true;
                    continue;
                }
            }
        }
        // What has come meanwhile goes along: each Send is a round trip.
        while let Poll::Ready(Some(piece)) = stdin.poll_recv(&mut Context::from_waker(Waker::noop())) {
            waiting.push_back((piece, 0));
        }
        let chunk = take(&mut waiting, room.get());
        let _turn = turn.input.lock().await;
        loop {
            let part = chunk.get(..room.get().min(chunk.len())).unwrap_or_default();
            match shell.send_input(command_id, part, false).await {
                Ok(()) => {
                    if part.len() < chunk.len() {
                        // The rest of a chunk that was too large goes first next time.
                        waiting.push_front((chunk.clone(), part.len()));
                    }
                    break;
                }
                Err(error) if fault::is_too_large(&error) && room.get() > SMALLEST_SEND => room.halve(),
                Err(error) => return Some(error),
            }
        }
    }
    let _turn = turn.input.lock().await;
    shell.send_input(command_id, b"", true).await.err()
}

/// Takes up to `most` bytes from the front of a queue of pieces, of which part may be taken already.
fn take(waiting: &mut VecDeque<(Bytes, usize)>, most: usize) -> Bytes {
    let mut chunk = Zeroizing::new(Vec::new());
    while chunk.len() < most
        && let Some((piece, taken)) = waiting.front_mut()
    {
        let rest = piece.get(*taken..).unwrap_or_default();
        let part = rest.get(..rest.len().min(most - chunk.len())).unwrap_or_default();
        chunk.extend_from_slice(part);
        *taken += part.len();
        if *taken >= piece.len() {
            waiting.pop_front();
        }
    }
    chunk
}

#[cfg(test)]
mod unit_tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_send_fits_the_envelope() {
        // Envelope, headers and the seal's parts are below 3 KiB.
        assert!(SEND.div_ceil(3) * 4 + 3072 <= 500 << 10);
        let room = Room::default();
        for envelope in [150, 500, 2048] {
            room.set_envelope_kib(envelope);
            let envelope = envelope as usize * 1024;
            assert!((envelope - 4096..=envelope).contains(&(room.get().div_ceil(3) * 4 + 3072)), "{envelope}");
        }
        room.set_envelope_kib(u32::MAX);
        assert_eq!(room.get(), LARGEST_SEND);
    }

    #[test]
    fn only_quick_empty_answers_are_waited_after() {
        let mut pace = Pace::default();
        let waits: Vec<u128> = (0..8).map(|_| pace.after(Duration::ZERO, true).as_millis()).collect();
        assert_eq!(waits, [0, 0, 50, 100, 200, 400, 800, 800]);
        assert_eq!(pace.after(Duration::ZERO, false), Duration::ZERO);
        assert_eq!(pace.after(Duration::ZERO, true), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn pieces_are_cut_and_joined_without_loss(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
            most in 1_usize..30,
        ) {
            let mut waiting: VecDeque<_> = pieces.iter().map(|piece| (Zeroizing::new(piece.clone()), 0)).collect();
            let mut sent = Vec::new();
            while !waiting.is_empty() {
                let chunk = take(&mut waiting, most);
                prop_assert!(chunk.len() <= most);
                sent.extend_from_slice(&chunk);
            }
            prop_assert_eq!(sent, pieces.concat());
        }
    }
}
