//! A supervised program: started in a job, logged, started again with growing pauses, ended with its whole tree.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8swin_protocol::resource::ProgramInvocation;

use super::backoff::Backoff;
use super::log::Log;
use super::service::{Ended, Event, Status};
use crate::platform::windows::job::Job;
use crate::platform::windows::services::{self, NotedExit};

/// A program whose start is waited for must live this long.
const PROBATION: Duration = Duration::from_secs(1);

/// How long the end of a tree may take.
const ENDING: Duration = Duration::from_secs(20);

/// The longest piece of a line that is written at once, in bytes.
const PIECE: u64 = 64 << 10;

/// The code of a service whose program did not even start.
const NOT_STARTED: u32 = 1;

/// A log that several threads write into. A log that cannot be written is no reason to stop the program.
#[derive(Clone)]
pub(super) struct SharedLog(Arc<Mutex<Option<Log>>>);

impl SharedLog {
    pub(super) fn open(folder: &Path, name: &str) -> Self {
        Self(Arc::new(Mutex::new(Log::open(folder, name, Timestamp::now()).ok())))
    }

    pub(super) fn note(&self, text: &str) {
        if let Some(log) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = log.note(Timestamp::now(), text);
        }
    }

    fn write(&self, bytes: &[u8]) {
        if let Some(log) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let _ = log.write(Timestamp::now(), bytes);
        }
    }
}

/// Keeps a program running until the service is stopped. Returns how it ended if nobody stopped it: a program whose start
/// is attended, and that ends right away, has failed.
pub(super) fn run(
    name: &str,
    program: &ProgramInvocation,
    attended: bool,
    status: &mut Status,
    events: &Sender<Event>,
    received: &Receiver<Event>,
) -> Option<Ended> {
    let log = SharedLog::open(Path::new(program.log_directory.as_str()), name);
    let (mut backoff, mut ends) = (Backoff::default(), 0);
    let mut on_probation = attended;
    if !attended {
        status.running();
    }
    loop {
        let began = Instant::now();
        let code = match start(program, events, &log) {
            Err(error) => {
                log.note(&format!("cannot start {}: {error}", program.program));
                if on_probation {
                    return Some(Ended { code: NOT_STARTED });
                }
                None
            }
            Ok(job) => {
                note_start(name, ends, &log);
                if on_probation {
                    match received.recv_timeout(PROBATION) {
                        Err(_) => status.running(),
                        Ok(Event::Exited(code)) => {
                            note_exit(name, code, began.elapsed(), 1, false, &log);
                            let _ = job.end();
                            return Some(Ended { code: code.map_or(NOT_STARTED, |code| code.cast_unsigned().max(1)) });
                        }
                        Ok(Event::Stop | Event::Reconciled(_)) => {
                            stop(&job, status, received, &log);
                            return None;
                        }
                    }
                }
                match received.recv() {
                    Ok(Event::Exited(code)) => {
                        // What it started and left behind would hold its ports.
                        let _ = job.end();
                        code
                    }
                    Ok(Event::Stop | Event::Reconciled(_)) | Err(_) => {
                        stop(&job, status, received, &log);
                        return None;
                    }
                }
            }
        };
        on_probation = false;
        ends += 1;
        note_exit(name, code, began.elapsed(), ends, true, &log);
        let pause = backoff.pause(began.elapsed());
        log.note(&format!("starts again in {} s", pause.as_secs()));
        match received.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn start(program: &ProgramInvocation, events: &Sender<Event>, log: &SharedLog) -> std::io::Result<Job> {
    let job = Job::new()?;
    let mut child = job.start(
        Command::new(program.program.as_str())
            .args(&program.arguments)
            .envs(&program.environment)
            .current_dir(program.working_directory.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    log.note(&format!("{} runs as process {}", program.program.file_name(), child.id()));
    let pumps = [
        child.stdout.take().map(|stream| pump(stream, log.clone())),
        child.stderr.take().map(|stream| pump(stream, log.clone())),
    ];
    drop(pumps);
    let events = events.clone();
    thread::spawn(move || {
        let code = child.wait().ok().and_then(|status| status.code());
        // A service that has ended takes no more events, which is as well.
        let _ = events.send(Event::Exited(code));
    });
    Ok(job)
}

/// Writes what a program says into the log, until it and all that it started have closed the stream.
fn pump(stream: impl Read + Send + 'static, log: SharedLog) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match stream.by_ref().take(PIECE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => log.write(&line),
            }
        }
    })
}

/// Ends the whole tree. The kubelet and kube-proxy 1.5 have nothing to save: what they keep is written as they go.
fn stop(job: &Job, status: &mut Status, received: &Receiver<Event>, log: &SharedLog) {
    status.stopping();
    log.note("stopped");
    let _ = job.end();
    let deadline = Instant::now() + ENDING;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match received.recv_timeout(left) {
            Ok(Event::Exited(_)) | Err(_) => return,
            Ok(Event::Stop | Event::Reconciled(_)) => {}
        }
    }
}

fn note_exit(name: &str, code: Option<i32>, ran: Duration, ends: u32, starts_again: bool, log: &SharedLog) {
    let shown = code.map_or_else(|| "without a code".to_owned(), |code| format!("with the code {code}"));
    log.note(&format!("ended {shown} after {} ms", ran.as_millis()));
    let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
    let at_ms = Timestamp::now().as_millisecond();
    if let Err(error) = services::note_exit(name, &NotedExit { code, at_ms, ran_ms, ends, starts_again }) {
        log.note(&error.to_string());
    }
}

/// Notes that the program runs: how it ended before stays, that it is to be started again does not.
fn note_start(name: &str, ends: u32, log: &SharedLog) {
    if let Some(noted) = services::noted_exit(name)
        && (noted.starts_again || noted.ends != ends)
        && let Err(error) = services::note_exit(name, &NotedExit { ends, starts_again: false, ..noted })
    {
        log.note(&error.to_string());
    }
}
