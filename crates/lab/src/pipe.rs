//! The two ends of a running program's streams: channels on the servers' side, blocking `Read` and `Write` on the side of
//! the agent, which runs on a thread of its own.

use std::io::{self, Read, Write};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use k8swin_agent::simulated::UncleanInput;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::program::{Output, RunningProgram};

/// Messages that wait in a stream before its writer has to wait.
const CAPACITY: usize = 64;

/// What ends text that is typed on Windows.
const CONTROL_Z: u8 = 0x1a;

/// The program's side of its streams.
pub struct Console {
    /// Standard input.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Standard output, standard error and the exit code.
    pub output: mpsc::Sender<Output>,
    /// The program is ended: its input is at its end, what it writes goes nowhere.
    pub ended: CancellationToken,
}

/// A program's streams: what its server holds, and what the program holds. It is ended when `ended` is cancelled.
#[must_use]
pub fn streams(ended: CancellationToken) -> (RunningProgram, Console) {
    let (stdin, stdin_receiver) = mpsc::channel(CAPACITY);
    let (output_sender, output) = mpsc::channel(CAPACITY);
    let running = RunningProgram { stdin, output, terminate: ended.clone() };
    (running, Console { stdin: stdin_receiver, output: output_sender, ended })
}

impl Console {
    /// The next bytes of standard input; none at its end or when the program is ended.
    pub async fn read(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => None,
            chunk = self.stdin.recv() => chunk,
        }
    }

    /// Writes; whether somebody still listens.
    pub async fn write(&self, output: Output) -> bool {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            sent = self.output.send(output) => sent.is_ok(),
        }
    }

    /// Blocking streams, for a thread that is not one of the runtime's.
    pub(crate) fn into_blocking(self, runtime: &Handle, unclean: Option<UncleanInput>) -> (PipeReader, PipeWriter) {
        let (ended, runtime) = (self.ended.clone(), runtime.clone());
        let reader = PipeReader {
            chunks: self.stdin,
            rest: Bytes::new(),
            ended: ended.clone(),
            runtime: runtime.clone(),
            unclean,
        };
        (reader, PipeWriter { output: self.output, ended, runtime })
    }
}

/// Standard input for a blocking reader.
pub(crate) struct PipeReader {
    chunks: mpsc::Receiver<Bytes>,
    rest: Bytes,
    ended: CancellationToken,
    runtime: Handle,
    unclean: Option<UncleanInput>,
}

impl PipeReader {
    /// What is left of a piece.
    fn pass(&mut self, chunk: Bytes) -> Bytes {
        match self.unclean {
            None => chunk,
            Some(UncleanInput::Text) => {
                let with_return = |byte: &u8| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] };
                chunk.iter().flat_map(with_return).collect()
            }
            Some(UncleanInput::ControlZ) => match chunk.iter().position(|byte| *byte == CONTROL_Z) {
                None => chunk,
                Some(position) => {
                    self.chunks.close();
                    let mut context = Context::from_waker(Waker::noop());
                    while let Poll::Ready(Some(_)) = self.chunks.poll_recv(&mut context) {}
                    chunk.slice(..position)
                }
            },
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let next = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.ended.cancelled() => None,
                    chunk = self.chunks.recv() => chunk,
                }
            });
            match next {
                Some(chunk) => self.rest = self.pass(chunk),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(buffer.split_at_mut(length).0);
        Ok(length)
    }
}

/// Standard output for a blocking writer. Clones write to the same stream.
#[derive(Clone)]
pub(crate) struct PipeWriter {
    output: mpsc::Sender<Output>,
    ended: CancellationToken,
    runtime: Handle,
}

impl PipeWriter {
    /// Sends one message of any kind; whether somebody still listens.
    pub(crate) fn send(&self, output: Output) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => false,
                sent = self.output.send(output) => sent.is_ok(),
            }
        })
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.send(Output::Stdout(Bytes::copy_from_slice(bytes))) {
            Ok(bytes.len())
        } else {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "the session has ended"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_and_the_end_of_input_is_seen() {
        let (mut running, console) = streams(CancellationToken::new());
        let (mut reader, mut writer) = console.into_blocking(&Handle::current(), None);
        let program = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            writer.write_all(text.to_uppercase().as_bytes()).unwrap();
            writer.send(Output::Exit(3))
        });
        for part in ["ab", "cd"] {
            running.stdin.send(Bytes::from(part)).await.unwrap();
        }
        drop(running.stdin);
        assert_eq!(running.output.recv().await, Some(Output::Stdout(Bytes::from("ABCD"))));
        assert_eq!(running.output.recv().await, Some(Output::Exit(3)));
        assert_eq!(running.output.recv().await, None);
        assert!(program.join().unwrap());
    }

    #[tokio::test]
    async fn ending_a_program_wakes_its_blocked_reader() {
        let (running, console) = streams(CancellationToken::new());
        let (mut reader, mut writer) = console.into_blocking(&Handle::current(), None);
        let program = std::thread::spawn(move || (reader.read(&mut [0; 8]).unwrap(), writer.write(b"late").is_err()));
        running.terminate.cancel();
        let joined = tokio::task::spawn_blocking(move || program.join().unwrap()).await.unwrap();
        assert_eq!(joined, (0, true));
    }
}
