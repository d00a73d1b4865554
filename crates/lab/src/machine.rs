//! What commands do on a simulated host.

use std::io::BufReader;
use std::sync::Arc;

use bytes::Bytes;
use k8swin_agent::simulated::SimulatedHost;
use k8swin_agent::{Host, ServeError};
use k8swin_protocol::wire::ToAgent;
use k8swin_protocol::{Facts, HostPath, Os};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::bootstrap;
use crate::command_line::Command;
use crate::pipe::Console;
use crate::program::Output;
use crate::state_files::StateFile;

/// `sh`'s exit code for a program that is not there.
const SH_NOT_FOUND: i32 = 127;
/// `sh`'s exit code for a file that cannot be run.
const SH_NOT_EXECUTABLE: i32 = 126;
/// What `cmd /c` ends with when it does not know the command. (9009 is what a batch file sees.)
const CMD_FAILED: i32 = 1;

const SIMULATED: &str = "hostname, uname, whoami, id -u, true, echo, cat PATH, ls PATH and k8swin's own commands are";
const SIMULATED_ON_WINDOWS: &str = "hostname, ver, whoami, echo, type PATH, dir PATH and k8swin's own commands are";

/// A simulated host together with what the lab knows about it.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) os: Os,
    /// The account that logs in.
    pub(crate) user: String,
    pub(crate) simulated: SimulatedHost,
    /// The stand-in for the agent's program: these bytes, and no others, run as an agent.
    pub(crate) agent: Bytes,
    pub(crate) state: Arc<StateFile>,
    /// Threads of agents, for an orderly end of the lab.
    pub(crate) agents: TaskTracker,
}

/// What a short command writes, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    stdout: String,
    stderr: String,
    code: i32,
}

impl Answer {
    fn text(line: impl Into<String>) -> Self {
        Self { stdout: line.into(), stderr: String::new(), code: 0 }
    }

    fn error(code: i32, line: impl Into<String>) -> Self {
        Self { stdout: String::new(), stderr: line.into(), code }
    }
}

impl Machine {
    /// Runs a command to its end.
    pub(crate) async fn run(self: Arc<Self>, command: Command, mut console: Console) {
        let answer = match command {
            Command::Agent { path, opening } => match self.not_an_agent(&path) {
                Some(answer) => answer,
                None => return self.run_agent(opening.as_deref(), console),
            },
            Command::Bootstrap => match bootstrap::run(self.os, &self.simulated, &mut console).await {
                Some((code, message)) => {
                    self.flush_state();
                    Answer::error(code, message)
                }
                None => return,
            },
            Command::HostName => Answer::text(&self.name),
            Command::System { all } => Answer::text(self.system(all)),
            Command::User { sudo } => Answer::text(self.whoami(sudo)),
            Command::UserId { sudo } => Answer::text(if sudo || self.user == "root" { "0" } else { "1000" }),
            Command::Succeed => Answer::text(""),
            Command::Echo(text) => Answer::text(text + "\n"),
            Command::Show(path) => self.show(&path),
            Command::List(path) => self.list(&path),
            Command::NotSimulated(program) => self.not_simulated(&program),
        };
        let parts = [(answer.stdout, Output::Stdout as fn(Bytes) -> Output), (answer.stderr, Output::Stderr)];
        for (text, output) in parts.into_iter().filter(|(text, _)| !text.is_empty()) {
            console.write(output(Bytes::from(self.lines(&text)))).await;
        }
        console.write(Output::Exit(answer.code)).await;
    }

    /// The text with this system's line endings, and one at its end.
    fn lines(&self, text: &str) -> String {
        let ending = match self.os {
            Os::Linux => "\n",
            Os::Windows => "\r\n",
        };
        text.lines().flat_map(|line| [line, ending]).collect()
    }

    /// Brings the state file up to date before the end of a command is told, so that whoever waited for it sees it.
    fn flush_state(&self) {
        if let Err(error) = self.state.flush() {
            tracing::warn!(host = %self.name, %error, "cannot write the state of a simulated host");
        }
    }

    fn not_an_agent(&self, path: &HostPath) -> Option<Answer> {
        match self.simulated.read_file(path) {
            Some(bytes) if bytes == self.agent => None,
            Some(_) => Some(match self.os {
                Os::Linux => Answer::error(
                    SH_NOT_EXECUTABLE,
                    format!(
                        "sh: 1: {path}: Exec format error\nk8swin lab: only the lab's own stand-in agent runs here"
                    ),
                ),
                Os::Windows => Answer::error(
                    CMD_FAILED,
                    format!(
                        "This version of {path} is not compatible with the version of Windows you're running.\n\
                         k8swin lab: only the lab's own stand-in agent runs here"
                    ),
                ),
            }),
            None => Some(self.not_simulated(path.as_str())),
        }
    }

    fn run_agent(self: Arc<Self>, opening: Option<&str>, console: Console) {
        let opening = opening.map(ToAgent::read_opening).transpose();
        let runtime = Handle::current();
        let running = self.agents.token();
        let name = self.name.clone();
        let thread = std::thread::Builder::new().name(format!("agent {name}")).spawn(move || {
            let _running = running;
            let (reader, writer) = console.into_blocking(&runtime, self.simulated.faults().unclean_input);
            let ended = opening.map_err(ServeError::from).and_then(|opening| {
                let (host, input) = (self.simulated.platform(), BufReader::new(reader));
                k8swin_agent::serve(host, opening.unwrap_or_default(), input, writer.clone())
            });
            self.flush_state();
            let code = match ended {
                Ok(()) => 0,
                Err(error) => {
                    writer.send(Output::Stderr(Bytes::from(self.lines(&format!("k8swin-agent: {error}")))));
                    1
                }
            };
            writer.send(Output::Exit(code));
        });
        if let Err(error) = thread {
            // The streams are gone with the closure: the client sees a command that was lost.
            tracing::warn!(host = %name, %error, "cannot start a thread for an agent");
        }
    }

    fn system(&self, all: bool) -> String {
        match (self.simulated.facts(), all) {
            (Facts::Linux(_), false) => "Linux".to_owned(),
            (Facts::Linux(facts), true) => format!("Linux {} {} #1 SMP x86_64 GNU/Linux", self.name, facts.kernel),
            // `ver` begins with an empty line.
            (Facts::Windows(facts), _) => format!("\nMicrosoft Windows [Version 10.0.{}]", facts.build),
        }
    }

    fn whoami(&self, sudo: bool) -> String {
        match self.os {
            Os::Linux if sudo => "root".to_owned(),
            Os::Linux => self.user.clone(),
            Os::Windows if self.user.contains('\\') => self.user.to_lowercase(),
            Os::Windows => format!("{}\\{}", self.name, self.user).to_lowercase(),
        }
    }

    fn show(&self, path: &str) -> Answer {
        let content = HostPath::new(path).ok().and_then(|path| self.simulated.read_file(&path));
        match (content, self.os) {
            (Some(bytes), _) => Answer::text(String::from_utf8_lossy(&bytes)),
            (None, Os::Linux) => Answer::error(1, format!("cat: {path}: No such file or directory")),
            (None, Os::Windows) => Answer::error(1, "The system cannot find the file specified."),
        }
    }

    fn list(&self, path: &str) -> Answer {
        let names = HostPath::new(path).ok().and_then(|path| match self.simulated.platform() {
            Host::Linux(mut platform) => platform.list_directory(&path).ok(),
            Host::Windows(mut platform) => platform.list_directory(&path).ok(),
        });
        match (names, self.os) {
            (Some(names), _) => Answer::text(names.join("\n")),
            (None, Os::Linux) => Answer::error(2, format!("ls: cannot access '{path}': No such file or directory")),
            (None, Os::Windows) => Answer::error(1, "File Not Found"),
        }
    }

    fn not_simulated(&self, program: &str) -> Answer {
        match self.os {
            Os::Linux => {
                let missing = HostPath::new(program)
                    .is_ok_and(|path| !path.is_windows() && self.simulated.read_file(&path).is_none());
                let line = if missing {
                    format!("sh: 1: {program}: not found")
                } else {
                    format!("k8swin lab: `{program}` is not simulated; {SIMULATED}")
                };
                Answer::error(SH_NOT_FOUND, line)
            }
            Os::Windows => Answer::error(
                CMD_FAILED,
                format!(
                    "'{program}' is not recognized as an internal or external command,\noperable program or batch file.\n\
                     k8swin lab: not simulated; {SIMULATED_ON_WINDOWS}"
                ),
            ),
        }
    }
}
