//! The other end of every measurement, as a process of its own: a lab, a Windows host for other tools' uploads, and a place
//! to copy bytes to over TLS. It is told on standard input what to do, a line each, and answers with a line of JSON.

use std::io::{BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_lab::keys::Authority;
use k8swin_lab::winrm::{Counters, Limits, Security, Server as WinRm};
use k8swin_lab::{Lab, LabOptions, keys};
use k8swin_protocol::{SecretBytes, Sha256};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::process;
use crate::uploads::UploadHost;

/// The program of Windows hosts that benchmarks replace.
pub(crate) const PROGRAM: &str = "kubelet.exe";

/// How the process is reached, which it says first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The inventory that reaches the lab.
    pub(crate) inventory: Utf8PathBuf,
    /// The WinRM port for other tools.
    pub(crate) uploads: u16,
    /// The port that takes bytes over TLS.
    pub(crate) copies: u16,
    /// The CA of both.
    pub(crate) ca: Utf8PathBuf,
    /// The password of the WinRM port.
    pub(crate) password: Utf8PathBuf,
}

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Connections of the lab's hosts.
    pub(crate) connections: u64,
    /// HTTP requests of the lab's Windows hosts.
    pub(crate) requests: u64,
    /// Bytes to and from the lab's hosts, below TLS and SSH.
    pub(crate) bytes: u64,
    /// Bytes to and from the port for other tools.
    pub(crate) upload_bytes: u64,
    /// Bytes that the lab's hosts took from depots, below TLS.
    pub(crate) pulled_bytes: u64,
}

/// Serves until standard input ends.
pub(crate) fn serve(inventory: &Utf8Path, out: &Utf8Path) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(serving(inventory, out))
}

async fn serving(inventory: &Utf8Path, out: &Utf8Path) -> Result<(), String> {
    let text = std::fs::read_to_string(inventory).map_err(|error| format!("cannot read {inventory}: {error}"))?;
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let lab = Lab::start(&text, inventory, &out.join("lab"), LabOptions::default()).await.map_err(|e| told(&e))?;
    let authority = Authority::new().map_err(|e| told(&e))?;
    let tls = authority.server("win01", Ipv4Addr::LOCALHOST).map_err(|e| told(&e))?;
    let (ca, password) = (out.join("ca.pem"), out.join("password"));
    let secret = keys::password();
    std::fs::write(&ca, authority.pem()).map_err(|e| told(&e))?;
    std::fs::write(&password, &secret).map_err(|e| told(&e))?;
    let (uploads, upload_port) = listen().await?;
    let (copies, copy_port) = listen().await?;
    let host = UploadHost::new(SecretBytes::new(secret), tokio::runtime::Handle::current());
    let server = WinRm::new(Security::Https(Arc::clone(&tls)), Arc::clone(&host) as _, Limits::default());
    let counters = server.counters();
    tokio::spawn(server.serve(uploads, CancellationToken::new()));
    tokio::spawn(take_copies(copies, tls));
    let ready = Ready { inventory: lab.inventory(), uploads: upload_port, copies: copy_port, ca, password };
    say(&ready)?;
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["count"] => say(&traffic(&lab, &counters))?,
            ["digest"] => say(&host.take())?,
            ["slow", latency, start] => {
                let milliseconds = |text: &str| text.parse().map(Duration::from_millis).unwrap_or_default();
                host.slow(milliseconds(latency), milliseconds(start));
                say(&())?;
            }
            _ => return Err(format!("`{line}` is nothing that can be asked")),
        }
    }
    lab.shutdown().await.map_err(|e| told(&e))
}

fn say(answer: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string(answer).map_err(|error| error.to_string())?;
    println!("{text}");
    std::io::stdout().flush().map_err(|error| error.to_string())
}

fn traffic(lab: &Lab, uploads: &Counters) -> Traffic {
    let mut sum = Traffic { upload_bytes: uploads.bytes_in() + uploads.bytes_out(), ..Traffic::default() };
    for (_, host) in lab.hosts() {
        let counted = host.counters();
        sum.connections += counted.connections;
        sum.bytes += counted.bytes_in + counted.bytes_out;
        sum.requests += host.winrm().map_or(0, Counters::requests);
        sum.pulled_bytes += host.simulated().transfers().pulled;
    }
    sum
}

async fn listen() -> Result<(TcpListener, u16), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    Ok((listener, port))
}

/// Reads each connection to its end, and answers with one byte.
async fn take_copies(listener: TcpListener, tls: Arc<ServerConfig>) {
    while let Ok((socket, _)) = listener.accept().await {
        let acceptor = TlsAcceptor::from(Arc::clone(&tls));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let mut buffer = vec![0; 64 << 10];
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
            // Whoever is gone does not want it.
            let _ = stream.write_all(b".").await;
            let _ = stream.shutdown().await;
        });
    }
}

/// A running server.
pub(crate) struct Handle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// How it is reached.
    pub(crate) ready: Ready,
}

impl Handle {
    /// Starts one: the twin of `inventory` with its files in `out`.
    pub(crate) fn start(inventory: &str, out: &Utf8Path) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("the benchmark's server: {error}");
        std::fs::create_dir_all(out).map_err(|e| told(&e))?;
        let file = out.join("original.toml");
        std::fs::write(&file, inventory).map_err(|e| told(&e))?;
        let this = std::env::current_exe().map_err(|e| told(&e))?;
        let mut command = Command::new(this);
        command.args(["serve", file.as_str(), out.as_str()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| told(&e))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(told(&"it has no streams"));
        };
        let mut output = BufReader::new(output);
        let ready = answer(&mut output)?;
        Ok(Self { child, input, output, ready })
    }

    /// What has passed so far.
    pub(crate) fn traffic(&mut self) -> Result<Traffic, String> {
        self.ask("count")
    }

    /// The digest of what other tools have uploaded since the last call.
    pub(crate) fn digest(&mut self) -> Result<String, String> {
        self.ask("digest")
    }

    /// How late answers and processes come: on these hosts of the lab and on the host for other tools.
    pub(crate) fn slow<'h>(
        &mut self,
        latency: u64,
        start: u64,
        hosts: impl Iterator<Item = &'h str>,
    ) -> Result<(), String> {
        let faults: String =
            hosts.map(|host| format!("[hosts.{host}]\nslow_ms = {latency}\nstart_ms = {start}\n")).collect();
        self.faults(&faults)?;
        self.ask::<()>(&format!("slow {latency} {start}"))
    }

    /// How the hosts of the lab are from now on.
    pub(crate) fn faults(&self, faults: &str) -> Result<(), String> {
        let path = self.ready.inventory.with_file_name("faults.toml");
        std::fs::write(&path, faults).map_err(|error| format!("cannot write {path}: {error}"))
    }

    /// Has [`PROGRAM`] be these bytes from the next run on.
    pub(crate) fn replace_program(&self, content: &[u8]) -> Result<(), String> {
        let artifacts = self.ready.inventory.with_file_name("artifacts");
        let name = format!("windows/{PROGRAM}");
        let told = |error: std::io::Error| format!("cannot put {name} into {artifacts}: {error}");
        std::fs::write(artifacts.join(&name), content).map_err(told)?;
        let sums = std::fs::read_to_string(artifacts.join("sha256sums")).map_err(told)?;
        let digest = Sha256::of(content);
        let sums: String = sums
            .lines()
            .map(|line| if line.ends_with(&name) { format!("{digest}  {name}\n") } else { format!("{line}\n") })
            .collect();
        std::fs::write(artifacts.join("sha256sums"), sums).map_err(told)
    }

    /// The CPU time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        process::cpu_seconds(self.child.id()).unwrap_or(0.0)
    }

    /// The most memory since the last call, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        let peak = process::peak_kib(self.child.id()).unwrap_or(0);
        // 5 sets the peak back (proc(5)); where that is not allowed, it is that of the whole time.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
        peak as f64 / 1024.0
    }

    fn ask<T: for<'de> Deserialize<'de>>(&mut self, line: &str) -> Result<T, String> {
        writeln!(self.input, "{line}").map_err(|error| format!("the benchmark's server is gone: {error}"))?;
        answer(&mut self.output)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

fn answer<T: for<'de> Deserialize<'de>>(output: &mut impl std::io::BufRead) -> Result<T, String> {
    let mut line = String::new();
    output.read_line(&mut line).map_err(|error| format!("the benchmark's server: {error}"))?;
    serde_json::from_str(&line).map_err(|error| format!("the benchmark's server said `{}`: {error}", line.trim()))
}
