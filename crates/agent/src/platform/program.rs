//! Runs programs of the host with argument vectors, in English, with a known search path and a time limit.
//!
//! The agent is root: nothing of the environment it was started with reaches these programs.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::{PlatformError, Result};

/// Where programs are looked for, and nowhere else: a login that is not interactive may lack the `sbin` folders, and one
/// that is may have folders that others can write to.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long most programs may take. They take milliseconds, but an overloaded host is no reason to give up.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How often a program that closed its output is looked at until it has ended.
const POLL: Duration = Duration::from_millis(5);

/// What a program left.
pub(super) struct Finished {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    /// What it said, for people.
    pub(super) fn said(&self) -> String {
        match (self.stderr.trim(), self.stdout.trim(), self.code) {
            ("", "", Some(code)) => format!("it said nothing and ended with code {code}"),
            ("", "", None) => "it was ended by a signal".to_owned(),
            ("", said, _) | (said, _, _) => said.to_owned(),
        }
    }
}

/// How a run ended.
pub(super) enum Outcome {
    /// By itself.
    Finished(Finished),
    /// It was ended when its time was up.
    TimedOut,
}

/// A run of a program.
pub(super) struct Run<'a> {
    /// What it is for, for people.
    pub(super) attempted: &'a str,
    /// A name that is looked up in [`SEARCH_PATH`], or a path.
    pub(super) program: &'a str,
    pub(super) arguments: &'a [&'a str],
    /// What it reads.
    pub(super) input: &'a [u8],
    /// Variables beside `PATH` and `LC_ALL`.
    pub(super) environment: &'a [(&'a str, &'a str)],
    pub(super) time_limit: Duration,
}

impl<'a> Run<'a> {
    /// A run that reads nothing.
    pub(super) fn new(attempted: &'a str, program: &'a str, arguments: &'a [&'a str]) -> Self {
        Self { attempted, program, arguments, input: &[], environment: &[], time_limit: TIME_LIMIT }
    }

    /// Runs the program to its end, whatever its exit code is.
    pub(super) fn finish(&self) -> Result<Finished> {
        match self.outcome()? {
            Outcome::Finished(finished) => Ok(finished),
            Outcome::TimedOut => {
                let answer = format!("{} did not end within {} s and was stopped", self.program, self.limit());
                Err(PlatformError::new(self.attempted, answer)
                    .with_hint(format!("run it on the host by hand: {}", self.command_line())))
            }
        }
    }

    /// Runs the program, which must succeed; returns its output.
    pub(super) fn succeed(&self) -> Result<String> {
        let finished = self.finish()?;
        match finished.code {
            Some(0) => Ok(finished.stdout),
            _ => Err(PlatformError::new(self.attempted, finished.said())),
        }
    }

    /// The time limit in seconds.
    pub(super) fn limit(&self) -> u64 {
        self.time_limit.as_secs()
    }

    /// Runs the program until it ends or its time is up.
    pub(super) fn outcome(&self) -> Result<Outcome> {
        let mut child = Command::new(self.program)
            .args(self.arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C")
            .envs(self.environment.iter().copied())
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(&error))?;
        let (stdout, stderr) = match self.attend(&mut child) {
            Ok(outputs) => outputs,
            Err(error) => {
                // Nobody would hear what it says.
                let _ = child.kill();
                let _ = child.wait();
                return Err(self.failed(&error));
            }
        };
        let deadline = Instant::now() + self.time_limit;
        let output = (await_output(&stdout, deadline), await_output(&stderr, deadline));
        let status = await_end(&mut child, deadline).map_err(|error| self.failed(&error))?;
        let ((Some(stdout), Some(stderr)), Some(status)) = (output, status) else {
            // It may have ended in this moment: then there is nothing to stop.
            let _ = child.kill();
            child.wait().map_err(|error| self.failed(&error))?;
            return Ok(Outcome::TimedOut);
        };
        Ok(Outcome::Finished(Finished { code: status.code(), stdout, stderr }))
    }

    /// Gives the program its input, and takes its output, on threads of their own.
    fn attend(&self, child: &mut Child) -> io::Result<(Receiver<String>, Receiver<String>)> {
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input.to_vec();
            // A program that ends without reading says why on its standard error.
            thread::Builder::new().spawn(move || drop(stdin.write_all(&input)))?;
        }
        Ok((gather(child.stdout.take())?, gather(child.stderr.take())?))
    }

    fn failed(&self, error: &io::Error) -> PlatformError {
        match error.kind() {
            io::ErrorKind::NotFound => {
                PlatformError::new(self.attempted, format!("there is no program {}", self.program))
                    .with_hint(format!("install {} on the host", self.program))
            }
            _ => PlatformError::new(self.attempted, format!("{}: {error}", self.program)),
        }
    }

    fn command_line(&self) -> String {
        std::iter::once(&self.program).chain(self.arguments).copied().collect::<Vec<_>>().join(" ")
    }
}

/// Runs a program to its end, whatever its exit code is.
pub(super) fn run(attempted: &str, program: &str, arguments: &[&str]) -> Result<Finished> {
    Run::new(attempted, program, arguments).finish()
}

/// Runs a program that must succeed; returns its output.
pub(super) fn succeed(attempted: &str, program: &str, arguments: &[&str]) -> Result<String> {
    Run::new(attempted, program, arguments).succeed()
}

/// Reads to the end on a thread of its own. A program that leaves a child with its output behind keeps the thread, not us.
fn gather(source: Option<impl Read + Send + 'static>) -> io::Result<Receiver<String>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is all there is.
            let _ = source.read_to_end(&mut bytes);
        }
        // Nobody waits any more when the time was up.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    })?;
    Ok(receiver)
}

fn await_output(receiver: &Receiver<String>, deadline: Instant) -> Option<String> {
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

fn await_end(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => thread::sleep(POLL),
            status => return Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = succeed("try", "k8swin-no-such-program", &[]).unwrap_err();
        assert_eq!(error.answer, "there is no program k8swin-no-such-program");
        let said = run("try", "false", &[]).unwrap().said();
        assert_eq!(said, "it said nothing and ended with code 1");
    }

    #[test]
    fn programs_get_a_clean_environment() {
        let environment = [("HOME", "/nowhere")];
        let said = Run { environment: &environment, ..Run::new("try", "env", &[]) }.succeed().unwrap();
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["HOME=/nowhere", "LC_ALL=C", &format!("PATH={SEARCH_PATH}")]);
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let run = Run { time_limit: Duration::from_millis(200), ..Run::new("wait", "sleep", &["1000"]) };
        let error = run.finish().err().unwrap();
        assert_eq!(error.answer, "sleep did not end within 0 s and was stopped");
        assert_eq!(error.hint.unwrap(), "run it on the host by hand: sleep 1000");
    }

    #[test]
    fn more_than_a_pipe_holds_goes_both_ways() {
        let input = vec![b'x'; 1 << 20];
        let run = Run { input: &input, ..Run::new("copy", "cat", &[]) };
        assert_eq!(run.succeed().unwrap().len(), input.len());
    }
}
