//! A Windows host for other tools' uploads: it does what their PowerShell scripts do, without PowerShell, so that only the
//! stated start of a process is counted for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use k8swin_lab::pipe::{self, Console};
use k8swin_lab::program::{Account, CommandHost, CommandLine, ConnectionFaults, Output, RunningProgram};
use k8swin_protocol::{SecretBytes, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The account's name.
pub(crate) const USER: &str = "Administrator";

/// The program that throws away its input.
pub(crate) const SINK: &str = "sink";

/// What was chosen about the host, and what it has got.
#[derive(Default)]
struct State {
    latency: Duration,
    start: Duration,
    received: Vec<u8>,
}

/// The host.
pub(crate) struct UploadHost {
    account: Account,
    runtime: Handle,
    state: Arc<Mutex<State>>,
    power: CancellationToken,
}

impl UploadHost {
    pub(crate) fn new(password: SecretBytes, runtime: Handle) -> Arc<Self> {
        let account = Account { user: USER.to_owned(), password: Some(password), authorized_keys: Vec::new() };
        Arc::new(Self { account, runtime, state: Arc::default(), power: CancellationToken::new() })
    }

    /// How slow it is from now on.
    pub(crate) fn slow(&self, latency: Duration, start: Duration) {
        let mut state = lock(&self.state);
        (state.latency, state.start) = (latency, start);
    }

    /// The digest of what has come since the last call, which is forgotten.
    pub(crate) fn take(&self) -> Sha256 {
        Sha256::of(&std::mem::take(&mut lock(&self.state).received))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CommandHost for UploadHost {
    fn name(&self) -> &str {
        "win01"
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn connection_faults(&self) -> ConnectionFaults {
        ConnectionFaults { latency: lock(&self.state).latency, ..ConnectionFaults::default() }
    }

    fn start(&self, line: CommandLine) -> RunningProgram {
        let (running, console) = pipe::streams(self.power.child_token());
        let state = Arc::clone(&self.state);
        self.runtime.spawn(async move {
            let start = lock(&state).start;
            tokio::time::sleep(start).await;
            run(&line, &state, console).await;
        });
        running
    }

    fn power(&self) -> CancellationToken {
        self.power.clone()
    }
}

async fn run(line: &CommandLine, state: &Mutex<State>, mut console: Console) {
    if line.command == SINK {
        while console.read().await.is_some() {}
        console.write(Output::Exit(0)).await;
        return;
    }
    let script = script(line).unwrap_or_default();
    let (output, code) = match literal(&script) {
        // winrm-rs: a piece of the file stands in the script.
        Some(piece) => {
            lock(state).received.extend_from_slice(&piece);
            (String::new(), 0)
        }
        // Ansible: the pieces come as lines of base64 on standard input.
        None if script.contains("$input") => match read_lines(&mut console).await {
            Some(bytes) => {
                let digest = Sha256::of(&bytes);
                lock(state).received = bytes;
                (format!("{{\"digest\":\"{digest}\"}}\r\n"), 0)
            }
            None => (String::new(), 1),
        },
        None => ("not a script that is known here\r\n".to_owned(), 1),
    };
    if !output.is_empty() {
        console.write(Output::Stdout(Bytes::from(output))).await;
    }
    console.write(Output::Exit(code)).await;
}

/// The script of `powershell … -EncodedCommand BASE64`.
fn script(line: &CommandLine) -> Option<String> {
    let mut words = std::iter::once(&line.command).chain(&line.arguments).flat_map(|part| part.split_whitespace());
    words.find(|word| word.eq_ignore_ascii_case("-EncodedCommand"))?;
    let bytes = BASE64.decode(words.next()?.trim_matches('"')).ok()?;
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| pair.iter().rev().fold(0, |unit, byte| unit << 8 | u16::from(*byte)))
        .collect();
    String::from_utf16(&units).ok()
}

/// The bytes of `FromBase64String('…')`.
fn literal(script: &str) -> Option<Vec<u8>> {
    let text = script.split_once("FromBase64String('")?.1.split_once('\'')?.0;
    BASE64.decode(text).ok()
}

async fn read_lines(console: &mut Console) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), Vec::<u8>::new());
    while let Some(piece) = console.read().await {
        rest.extend_from_slice(&piece);
        if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
            let next = rest.split_off(end + 1);
            for line in std::mem::replace(&mut rest, next).split(|byte| *byte == b'\n') {
                bytes.extend(BASE64.decode(line.trim_ascii()).ok()?);
            }
        }
    }
    bytes.extend(BASE64.decode(rest.trim_ascii()).ok()?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(script: &str) -> CommandLine {
        let bytes: Vec<u8> = script.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let arguments = ["-NoProfile", "-EncodedCommand", &BASE64.encode(bytes)].map(str::to_owned).into();
        CommandLine { command: "powershell.exe".to_owned(), arguments }
    }

    #[test]
    fn the_piece_in_a_script_is_found() {
        let script = script(&encoded("$bytes = [Convert]::FromBase64String('aGVsbG8='); …")).unwrap();
        assert_eq!(literal(&script).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(literal("$input | Write-Output"), None);
    }

    #[tokio::test]
    async fn lines_of_base64_are_joined_however_they_come() {
        let host = UploadHost::new(SecretBytes::new("secret"), Handle::current());
        let mut running = host.start(encoded("begin { } process { $input }"));
        for piece in ["aGVs", "bG8=\r", "\nIHdvcmxk\r\n"] {
            running.stdin.send(Bytes::from(piece)).await.unwrap();
        }
        drop(running.stdin);
        while let Some(output) = running.output.recv().await {
            if let Output::Exit(code) = output {
                assert_eq!(code, 0);
            }
        }
        assert_eq!(host.take(), Sha256::of(b"hello world"));
    }
}
