//! A Wine prefix as a machine: built, booted, talked to, powered off.

use std::fs;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::wire::{self, FromAgent, Request, Response, ToAgent};
use tempfile::TempDir;

const TARGET: &str = "x86_64-pc-windows-gnu";
const COMPILER: &str = "x86_64-w64-mingw32-gcc";
const LOADER: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver64";

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine of its own for one test.
pub(crate) struct Machine {
    prefix: TempDir,
}

impl Machine {
    /// Sets one up; the error says what this machine lacks.
    pub(crate) fn new() -> Result<Self, String> {
        let agent = agent()?;
        for needed in [LOADER, SERVER] {
            if !Path::new(needed).is_file() {
                return Err(format!("there is no {needed}"));
            }
        }
        let machine = Self { prefix: tempfile::tempdir().unwrap() };
        machine.wine(&["wineboot", "-i"]).status().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wine");
        let system = machine.prefix.path().join("drive_c/windows/system32/bcryptprimitives.dll");
        compile(&sources.join("shim.c"), &system, &["-shared", "-ladvapi32"]);
        for folder in ["bin", "work"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        compile(&sources.join("worker.c"), &machine.path("work/worker.exe"), &[]);
        fs::copy(agent, machine.path("bin/k8swin-agent.exe")).unwrap();
        machine.power_off();
        Ok(machine)
    }

    fn wine(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(LOADER);
        command.args(arguments).env("WINEPREFIX", self.prefix.path()).env("WINEDEBUG", "-all").env_remove("DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn server(&self, argument: &str) {
        // Its end is not this test's subject.
        let _ = Command::new(SERVER)
            .arg(argument)
            .env("WINEPREFIX", self.prefix.path())
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    /// Boots the machine, if it is off, and starts the agent.
    pub(crate) fn session(&self) -> Session {
        // A server that stays lets services live on between two commands.
        self.server("-p");
        let mut agent = self.wine(&[r"C:\k8swin\bin\k8swin-agent.exe", "serve"]);
        let mut child = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut session = Session { child, input, output, next: 1 };
        assert!(matches!(session.receive(), FromAgent::Hello(_)));
        session
    }

    /// Ends all that runs on it.
    pub(crate) fn power_off(&self) {
        self.server("-k");
        self.server("-w");
    }

    /// Where a file below `C:\k8swin` lies.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.prefix.path().join("drive_c/k8swin").join(below)
    }

    /// A file below `C:\k8swin`, empty when it is not there.
    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_default()
    }

    pub(crate) fn write(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    /// Waits until something is so.
    pub(crate) fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what} did not come; the log: {}", self.read("log/worker.log"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// A conversation with the agent.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Session {
    /// What the agent answers.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let id = self.next;
        self.next += 1;
        self.input.write_all(wire::encode(&ToAgent { id, request }).as_bytes()).unwrap();
        self.input.flush().unwrap();
        loop {
            match self.receive() {
                FromAgent::Event { .. } => {}
                FromAgent::Reply { response, .. } => return response,
                other => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self) -> FromAgent {
        let line = wire::read_line(&mut self.output).unwrap().expect("the agent ended");
        wire::decode(&line).unwrap()
    }

    /// Says goodbye.
    pub(crate) fn end(mut self) {
        self.ask(Request::Bye { clear_staging: true });
        assert!(self.child.wait().unwrap().success());
    }
}

/// How many processes of this machine have that text in their command line.
pub(crate) fn processes(text: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let command_lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

/// Builds the agent, if this machine can.
fn agent() -> Result<PathBuf, String> {
    let installed = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    installed(COMPILER, "--version").ok_or_else(|| format!("there is no {COMPILER}"))?;
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let libraries = libraries.map_err(|error| format!("rustc: {error}"))?.stdout;
    if !Path::new(String::from_utf8_lossy(&libraries).trim()).is_dir() {
        return Err(format!("Rust's target {TARGET} is not installed"));
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "k8swin-agent", "--ignore-rust-version", "--target", TARGET])
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", COMPILER)
        .current_dir(manifest)
        .status();
    assert!(built.unwrap().success(), "the agent for Windows does not build");
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../../target"), PathBuf::from);
    Ok(folder.join(TARGET).join("debug/k8swin-agent.exe"))
}

fn compile(source: &Path, to: &Path, arguments: &[&str]) {
    let status = Command::new(COMPILER).arg("-o").arg(to).arg(source).args(arguments).status();
    assert!(status.unwrap().success(), "{} does not compile", source.display());
}
