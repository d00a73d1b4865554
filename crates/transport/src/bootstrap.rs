//! The agent at the other end: it is started, put on the host if it is not there, and taken away if asked.

use std::time::{Duration, SystemTime};

use k8swin_protocol::bootstrap::{Bootstrap, EXIT_DIGEST_DIFFERS, Verb};
use k8swin_protocol::wire::{self, FromAgent, Hello, PROTOCOL};
use k8swin_protocol::{HostPath, Sha256};
use tokio_util::sync::CancellationToken;

use crate::connect::{Agent, AgentBinary};
use crate::error::{ConnectError, TransportError};
use crate::lines::Lines;
use crate::remote::{Ended, Output, Program, Remote, Running, Transcript};

/// How long an agent may take to greet: a virus scanner may read a new program first, and what it is asked at its start
/// comes with the greeting.
const GREETING: Duration = Duration::from_secs(120);

/// How long the removal may take: it is part of every end, Ctrl-C's included.
const REMOVAL: Duration = Duration::from_secs(20);

/// How long putting the agent on a host may take: PowerShell on a fresh image needs seconds to start (facts F.3), and the upload
/// goes at the line's pace.
const UPLOAD: Duration = Duration::from_secs(600);

/// Exit codes that say that a program is there and cannot be run here: `sh` (126), and Windows (193, 216: not a valid
/// program, a program for another architecture).
const NOT_FOR_THIS_HOST: [i32; 3] = [126, 193, 216];

/// An agent that has greeted.
pub(crate) struct Greeted {
    pub(crate) running: Running,
    /// What came after the greeting.
    pub(crate) lines: Lines,
    /// When it was started, by this machine's clock.
    pub(crate) started: SystemTime,
    /// Whether the agent had to be put on the host.
    pub(crate) put_agent: bool,
}

/// Starts the agent with what it is asked at its start; puts it there first if it is not, and says in `put_agent` that it
/// does. `cancel` ends the waiting for the host's answers; what is begun before that is brought to its end, so that the
/// connection can be used.
pub(crate) async fn establish(
    remote: &mut impl Remote,
    agent: Agent<'_>,
    cancel: &CancellationToken,
    put_agent: &mut bool,
) -> Result<Greeted, ConnectError> {
    let Agent { binary, path, opening } = agent;
    let program = Program::Agent { path: path.clone(), opening: opening.map(str::to_owned) };
    // What is not there cannot be told from what does not start by words that every host says in its own language. So
    // whatever ended without a greeting is put there anew, once: that also mends a damaged file.
    match greet(remote, path, &program, cancel).await? {
        Greeting::Hello { running, lines, started } => {
            return Ok(Greeted { running, lines, started, put_agent: false });
        }
        Greeting::Ended(ended) if ended.code.is_some_and(|code| NOT_FOR_THIS_HOST.contains(&code)) => {
            return Err(does_not_start(remote, path, &ended));
        }
        Greeting::Ended(ended) => {
            tracing::debug!(host = %remote.target(), answer = %ended.answer(), "the agent is not there yet");
        }
    }
    *put_agent = true;
    put(remote, binary, path, cancel).await?;
    match greet(remote, path, &program, cancel).await? {
        Greeting::Hello { running, lines, started } => Ok(Greeted { running, lines, started, put_agent: true }),
        Greeting::Ended(ended) => Err(does_not_start(remote, path, &ended)),
    }
}

/// Takes the agent away.
pub(crate) async fn remove(remote: &mut impl Remote, sha256: Sha256, path: &HostPath) -> Result<(), TransportError> {
    let bootstrap = Bootstrap { verb: Verb::Remove, sha256, path: path.clone() };
    // It is part of every end, so nothing ends it but its limit.
    let never = CancellationToken::new();
    match script(remote, &bootstrap, &[], REMOVAL, &never, "removing the agent").await? {
        Some(ended) if ended.code != Some(0) => {
            Err(TransportError::AgentNotRemoved { target: remote.target().clone(), answer: ended.answer() })
        }
        _ => Ok(()),
    }
}

async fn put(
    remote: &mut impl Remote,
    agent: &AgentBinary,
    path: &HostPath,
    cancel: &CancellationToken,
) -> Result<(), ConnectError> {
    let bootstrap = Bootstrap { verb: Verb::Put, sha256: agent.sha256, path: path.clone() };
    let ended = script(remote, &bootstrap, &agent.bytes, UPLOAD, cancel, "putting the agent on the host").await?;
    let Some(ended) = ended else { return Err(ConnectError::Cancelled { target: remote.target().clone() }) };
    if ended.code == Some(0) {
        return Ok(());
    }
    let target = remote.target().clone();
    let answer = ended.answer();
    // sudo begins its messages with its name, whatever their language.
    if let Some(user) = remote.sudo_user()
        && ended.transcript.text().lines().any(|line| line.starts_with("sudo: "))
    {
        return Err(ConnectError::Sudo { target, user: user.to_owned(), answer: ended.transcript.text() });
    }
    let answer = if ended.code == Some(EXIT_DIGEST_DIFFERS) {
        format!("what arrived has another SHA-256 than {} ({answer})", agent.sha256)
    } else {
        answer
    };
    Err(ConnectError::AgentNotPut { target, path: path.clone(), answer })
}

/// Runs the script; none when it was cancelled.
async fn script(
    remote: &mut impl Remote,
    bootstrap: &Bootstrap,
    agent: &[u8],
    limit: Duration,
    cancel: &CancellationToken,
    doing: &str,
) -> Result<Option<Ended>, TransportError> {
    let input = remote.bootstrap_input(bootstrap, agent);
    let running = remote.start(&Program::Bootstrap).await?;
    let completion = cancel.run_until_cancelled(running.complete(input));
    match tokio::time::timeout(limit, completion).await {
        Ok(ended) => ended.transpose().map_err(|cause| TransportError::lost(remote.target(), doing, cause)),
        Err(_) => Err(TransportError::lost(remote.target(), doing, "the script takes too long")),
    }
}

enum Greeting {
    Hello { running: Running, lines: Lines, started: SystemTime },
    Ended(Ended),
}

async fn greet(
    remote: &mut impl Remote,
    path: &HostPath,
    program: &Program,
    cancel: &CancellationToken,
) -> Result<Greeting, ConnectError> {
    let started = SystemTime::now();
    let mut running = remote.start(program).await?;
    let mut transcript = Transcript::default();
    let greeting = cancel.run_until_cancelled(hello(&mut running, &mut transcript));
    let greeting = match tokio::time::timeout(GREETING, greeting).await {
        Ok(Some(greeting)) => Ok(greeting),
        Ok(None) => return Err(ConnectError::Cancelled { target: remote.target().clone() }),
        Err(elapsed) => Err(elapsed),
    };
    match greeting {
        Ok(Ok(Some((hello, lines)))) if hello.protocol == PROTOCOL => Ok(Greeting::Hello { running, lines, started }),
        Ok(Ok(Some((hello, _)))) => {
            Err(ConnectError::AgentVersion { target: remote.target().clone(), found: hello.protocol })
        }
        Ok(Ok(None)) => Err(TransportError::lost(remote.target(), "starting the agent", "the task has ended").into()),
        Ok(Err(Silence::Ended(code))) => Ok(Greeting::Ended(Ended { code, transcript })),
        Ok(Err(Silence::Lost(cause))) => Err(TransportError::lost(remote.target(), "starting the agent", cause).into()),
        Err(_) => Err(ConnectError::AgentDoesNotStart {
            target: remote.target().clone(),
            path: path.clone(),
            answer: format!("no greeting in {} s: {}", GREETING.as_secs(), transcript.text()),
            hint: "does something on the host hold up new programs, such as a virus scanner?".to_owned(),
        }),
    }
}

enum Silence {
    Ended(Option<i32>),
    Lost(String),
}

/// Reads up to the greeting. What login scripts print before it is skipped, and kept for an error.
async fn hello(running: &mut Running, transcript: &mut Transcript) -> Result<Option<(Hello, Lines)>, Silence> {
    let mut lines = Lines::default();
    while let Some(output) = running.output.recv().await {
        match output {
            Output::Stdout(piece) => {
                lines.push(&piece);
                // A line without an end is not a greeting either; it is shown when the program ends.
                while let Ok(Some(line)) = lines.next() {
                    if let Ok(FromAgent::Hello(hello)) = wire::decode::<FromAgent>(&line) {
                        return Ok(Some((hello, lines)));
                    }
                    transcript.add(&line);
                    transcript.add(b"\n");
                }
            }
            Output::Stderr(piece) => transcript.add(&piece),
            Output::Exited(code) => {
                transcript.add(lines.rest());
                return Err(Silence::Ended(code));
            }
            Output::Lost(cause) => return Err(Silence::Lost(cause)),
        }
    }
    Ok(None)
}

fn does_not_start(remote: &impl Remote, path: &HostPath, ended: &Ended) -> ConnectError {
    let foreign = ended.code.is_some_and(|code| NOT_FOR_THIS_HOST.contains(&code));
    let hint = if foreign {
        format!("the agent is built for {} on x86-64: is the host that?", remote.os())
    } else {
        "its words above may tell why; a virus scanner or a mount without `exec` are known causes".to_owned()
    };
    ConnectError::AgentDoesNotStart {
        target: remote.target().clone(),
        path: path.clone(),
        answer: ended.answer(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use k8swin_protocol::Os;
    use zeroize::Zeroizing;

    use super::*;
    use crate::error::Target;
    use crate::remote::Bytes;

    /// A host whose programs say what they are told to.
    struct Scripted {
        target: Target,
        sudo: Option<String>,
        programs: VecDeque<(&'static str, &'static str, i32)>,
        started: Arc<Mutex<Vec<Program>>>,
    }

    impl Scripted {
        fn new(programs: &[(&'static str, &'static str, i32)]) -> Self {
            Self {
                target: Target { host: "lin01".into(), endpoint: "127.0.0.1:22".into() },
                sudo: Some("admin".into()),
                programs: programs.iter().copied().collect(),
                started: Arc::default(),
            }
        }

        async fn establish(mut self) -> (Result<bool, ConnectError>, Vec<Program>) {
            let binary = AgentBinary { sha256: Sha256::of(b"agent"), bytes: b"agent".as_slice().into() };
            let path = Os::Linux.agent(binary.sha256);
            let agent = Agent { binary: &binary, path: &path, opening: Some("word") };
            let greeted = establish(&mut self, agent, &CancellationToken::new(), &mut false)
                .await
                .map(|greeted| greeted.put_agent);
            let started = self.started.lock().unwrap().clone();
            (greeted, started)
        }
    }

    impl Remote for Scripted {
        fn target(&self) -> &Target {
            &self.target
        }

        fn os(&self) -> Os {
            Os::Linux
        }

        fn sudo_user(&self) -> Option<&str> {
            self.sudo.as_deref()
        }

        fn bootstrap_input(&self, bootstrap: &Bootstrap, agent: &[u8]) -> Bytes {
            Zeroizing::new([bootstrap.header().as_bytes(), agent].concat())
        }

        async fn start(&mut self, program: &Program) -> Result<Running, TransportError> {
            self.started.lock().unwrap().push(program.clone());
            let (stdout, stderr, code) = self.programs.pop_front().unwrap();
            let (running, streams) = Running::new();
            tokio::spawn(async move {
                streams.output.send(Output::Stderr(Zeroizing::new(stderr.into()))).await.unwrap();
                streams.output.send(Output::Stdout(Zeroizing::new(stdout.into()))).await.unwrap();
                if code >= 0 {
                    streams.output.send(Output::Exited(Some(code))).await.unwrap();
                }
                streams.terminate.cancelled().await;
            });
            Ok(running)
        }

        async fn close(self) -> Result<(), TransportError> {
            Ok(())
        }
    }

    const HELLO: &str = "Welcome!\n{\"hello\":{\"protocol\":2,\"version\":\"0.1.0\"}}\n";

    #[tokio::test]
    async fn nothing_is_sent_to_a_host_that_has_the_agent() {
        let (greeted, started) = Scripted::new(&[(HELLO, "", -1)]).establish().await;
        assert!(!greeted.unwrap());
        assert_eq!(started.len(), 1);
    }

    #[tokio::test]
    async fn the_agent_is_put_where_it_is_not() {
        let (greeted, started) =
            Scripted::new(&[("", "sh: not found", 127), ("", "", 0), (HELLO, "", -1)]).establish().await;
        assert!(greeted.unwrap());
        assert_eq!(started[1], Program::Bootstrap);
    }

    #[tokio::test]
    async fn what_was_said_instead_of_a_greeting_is_in_the_error() {
        let (greeted, _) =
            Scripted::new(&[("", "", 127), ("", "", 0), ("motd\n", "cannot allocate memory", 3)]).establish().await;
        let failure = greeted.unwrap_err().failure();
        assert!(failure.answer.contains("exit code 3"), "{failure}");
        assert!(failure.answer.contains("cannot allocate memory") && failure.answer.contains("motd"), "{failure}");
    }

    #[tokio::test]
    async fn a_program_for_another_architecture_is_not_sent_again() {
        let (greeted, started) = Scripted::new(&[("", "Exec format error", 126)]).establish().await;
        let error = greeted.unwrap_err();
        assert!(matches!(error, ConnectError::AgentDoesNotStart { .. }), "{error}");
        assert!(error.failure().hint.unwrap().contains("x86-64"));
        assert_eq!(started.len(), 1);
    }

    #[tokio::test]
    async fn a_refusing_sudo_is_told_apart() {
        let refusal = "sudo: Ein Passwort ist notwendig\n";
        let (greeted, _) = Scripted::new(&[("", refusal, 1), ("", refusal, 1)]).establish().await;
        let error = greeted.unwrap_err();
        assert!(matches!(error, ConnectError::Sudo { .. }), "{error}");
        assert!(error.failure().hint.unwrap().contains("NOPASSWD"));
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn an_agent_of_another_version_is_refused() {
        let other = "{\"hello\":{\"protocol\":99,\"version\":\"9\"}}\n";
        let (greeted, _) = Scripted::new(&[(other, "", -1)]).establish().await;
        assert!(matches!(greeted, Err(ConnectError::AgentVersion { found: 99, .. })));
    }

    #[tokio::test]
    async fn a_damaged_upload_says_so() {
        let (greeted, _) = Scripted::new(&[("", "", 127), ("", "sha256 of the upload differs", 65)]).establish().await;
        let failure = greeted.unwrap_err().failure();
        assert!(failure.answer.contains("another SHA-256"), "{failure}");
    }
}
