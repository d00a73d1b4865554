//! A Windows host's WinRM: the lab's server in front of real programs under Wine.
//!
//! A command is a process, with pipes as its standard streams, that ends with its shell, together with all that it started
//! (on Windows a job object does that). The one thing that is not real is PowerShell: of it there is only what the bootstrap
//! script does, done by the lab's own code.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use k8swin_lab::bootstrap::{self, AgentPlace};
use k8swin_lab::command_line::{self, Command};
use k8swin_lab::pipe::{self, Console};
use k8swin_lab::program::{Account, CommandHost, CommandLine, ConnectionFaults, Output, RunningProgram};
use k8swin_protocol::{HostPath, Os, SecretBytes};
use k8swin_sandbox::{ADMINISTRATOR, SandboxError, WindowsHost};
use k8swin_stand_ins::kit;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What `cmd /c` ends with when it does not know the command.
const CMD_FAILED: i32 = 1;

/// The exit code of a process that was killed.
const KILLED: i32 = 1;

/// How long output may be held open by a process that outlives its command.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A Windows host as its WinRM server sees it.
pub(crate) struct WindowsMachine {
    /// The host.
    pub(crate) host: Arc<WindowsHost>,
    account: Account,
    runtime: Handle,
    power: Mutex<CancellationToken>,
    off: AtomicBool,
}

impl std::fmt::Debug for WindowsMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowsMachine").field("host", &self.host).finish_non_exhaustive()
    }
}

impl WindowsMachine {
    /// A host that is on.
    pub(crate) fn new(host: WindowsHost, password: SecretBytes, runtime: Handle) -> Arc<Self> {
        let account = Account { user: ADMINISTRATOR.to_owned(), password: Some(password), authorized_keys: Vec::new() };
        let power = Mutex::new(CancellationToken::new());
        Arc::new(Self { host: Arc::new(host), account, runtime, power, off: AtomicBool::new(false) })
    }

    /// Restarts it: connections are cut, all processes end, services that start by themselves run again afterwards.
    pub(crate) fn reboot(&self) -> Result<(), SandboxError> {
        self.off.store(true, Ordering::Release);
        self.power().cancel();
        self.host.power_off()?;
        self.host.power_on()?;
        *self.power() = CancellationToken::new();
        self.off.store(false, Ordering::Release);
        Ok(())
    }

    /// Restarts its WinRM service: connections are cut, and what their shells had started ends.
    pub(crate) fn restart_winrm(&self) {
        std::mem::take(&mut *self.power()).cancel();
    }

    /// Restarts it if somebody on it asked for that and the time has come, or if nothing runs on it.
    pub(crate) fn restart_if_asked(&self) -> Result<(), SandboxError> {
        let note = self.host.prefix().join(kit::RESTART);
        if let Ok(text) = fs::read_to_string(&note) {
            let grace = Duration::from_secs(text.trim().parse().unwrap_or_default());
            let asked = fs::metadata(&note).and_then(|note| note.modified()).ok();
            if asked.and_then(|asked| asked.elapsed().ok()).is_none_or(|passed| passed < grace) {
                return Ok(());
            }
            let _ = fs::remove_file(&note);
            return self.reboot();
        }
        if self.host.is_on() { Ok(()) } else { self.reboot() }
    }

    fn power(&self) -> MutexGuard<'_, CancellationToken> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandHost for WindowsMachine {
    fn name(&self) -> &str {
        self.host.hostname()
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn connection_faults(&self) -> ConnectionFaults {
        ConnectionFaults { unreachable: self.off.load(Ordering::Acquire), ..ConnectionFaults::default() }
    }

    fn start(&self, line: CommandLine) -> RunningProgram {
        let (running, console) = pipe::streams(CommandHost::power(self).child_token());
        let host = Arc::clone(&self.host);
        self.runtime.spawn(async move {
            match command_line::windows(&line) {
                Command::Bootstrap => run_bootstrap(&host, console).await,
                Command::Agent { path, opening } => run_agent(&host, &path, opening.as_deref(), console).await,
                _ => run(&host, &["cmd.exe", "/c", &joined(&line)], console).await,
            }
        });
        running
    }

    fn power(&self) -> CancellationToken {
        WindowsMachine::power(self).clone()
    }
}

fn joined(line: &CommandLine) -> String {
    std::iter::once(&line.command).chain(&line.arguments).map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Files below the drive C: of a prefix.
struct Drive(PathBuf);

impl Drive {
    fn file(&self, path: &HostPath) -> PathBuf {
        let below = path.as_str().get(3..).unwrap_or_default().replace('\\', "/");
        self.0.join(below)
    }
}

impl AgentPlace for Drive {
    fn put(&self, path: &HostPath, bytes: &[u8]) -> Result<(), String> {
        let file = self.file(path);
        let partial = file.with_extension("partial");
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&partial, bytes));
        written.and_then(|()| fs::rename(&partial, &file)).map_err(|error| error.to_string())
    }

    fn remove(&self, path: &HostPath) {
        let file = self.file(path);
        let _ = fs::remove_file(&file);
        for folder in file.ancestors().skip(1).take(2) {
            // A folder that holds other things stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

async fn run_bootstrap(host: &WindowsHost, mut console: Console) {
    let Some((code, message)) = bootstrap::run(Os::Windows, &Drive(host.drive()), &mut console).await else { return };
    if !message.is_empty() {
        console.write(Output::Stderr(Bytes::from(format!("{message}\r\n")))).await;
    }
    console.write(Output::Exit(code)).await;
}

/// Wine does not say, as cmd.exe does, that a program is not there.
async fn run_agent(host: &WindowsHost, path: &HostPath, opening: Option<&str>, console: Console) {
    if Drive(host.drive()).file(path).is_file() {
        let words: Vec<&str> = [path.as_str(), "serve"].into_iter().chain(opening).collect();
        return run(host, &words, console).await;
    }
    let words = format!(
        "'{path}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
    );
    console.write(Output::Stderr(Bytes::from(words))).await;
    console.write(Output::Exit(CMD_FAILED)).await;
}

/// Runs a program to its end, or until its shell ends.
async fn run(host: &WindowsHost, words: &[&str], console: Console) {
    let (command, mark) = host.marked(words);
    let mut command = tokio::process::Command::from(command);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            console.write(Output::Stderr(Bytes::from(error.to_string()))).await;
            console.write(Output::Exit(CMD_FAILED)).await;
            return;
        }
    };
    let Console { stdin, output, ended } = console;
    let input = child.stdin.take().map(|input| tokio::spawn(feed(stdin, input)));
    let mut readers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        readers.push(tokio::spawn(forward(stdout, output.clone(), Output::Stdout)));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.push(tokio::spawn(forward(stderr, output.clone(), Output::Stderr)));
    }
    let status = tokio::select! {
        biased;
        () = ended.cancelled() => None,
        status = child.wait() => status.ok(),
    };
    host.end(&mark);
    if status.is_none() {
        let _ = child.wait().await;
    }
    for reader in readers {
        // A service may have been given the stream.
        let _ = tokio::time::timeout(LAST_WORDS, reader).await;
    }
    if let Some(input) = input {
        input.abort();
    }
    let code = status.and_then(|status| status.code()).unwrap_or(KILLED);
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        _ = output.send(Output::Exit(code)) => {}
    }
}

async fn feed(mut stdin: mpsc::Receiver<Bytes>, mut input: tokio::process::ChildStdin) {
    while let Some(bytes) = stdin.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
        // A program that ended reads no more; its end is told elsewhere.
        let _ = input.flush().await;
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Output>, kind: fn(Bytes) -> Output) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut buffer).await {
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else { return };
        if to.send(kind(Bytes::copy_from_slice(read))).await.is_err() {
            return;
        }
    }
}
