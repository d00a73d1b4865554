//! Shipping a program to one Windows host: by k8swin's stream, as other tools do it, and copied without WinRM.

use std::collections::BTreeMap;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;

use crate::page::{Results, number};
use crate::plot;
use crate::process::{self, Cost};
use crate::run::{Settings, host};
use crate::server::{Handle, PROGRAM};
use crate::{depot, timeline};

/// How long a process takes to start on a Windows host, in milliseconds: PowerShell's 0.2 to 2 s (facts F.3).
const START: u64 = 250;

/// winrm-rs' `upload_file` is measured with so many bytes: each 2,000 of them take a process.
const SLOW_BYTES: usize = 40_000;

/// How often winrm-rs is tried. It gives up when one of its connections has lost its log-in; and where it logs in for each request it
/// now and then sends the second half of a log-in over another connection than the first, and is refused.
const TRIES: usize = 10;

/// The inventory: a control plane, and the Windows host that is sent to.
fn inventory() -> String {
    crate::hosts::inventory(2)
}

/// One transfer.
#[derive(Clone, Copy, Default)]
struct Transfer {
    bytes: usize,
    seconds: f64,
    wire: u64,
    client: Cost,
    server_cpu: f64,
    server_peak: f64,
}

impl Transfer {
    fn megabytes_a_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

/// The ways, in the order of the table.
const STREAM: &str = "k8swin, stream";
const DEPOT: &str = "k8swin, depot";
const COPY: &str = "copy over TLS, no WinRM";
const PYWINRM: &str = "pywinrm, as Ansible's plugin";
const UPLOAD_FILE: &str = "winrm-rs `upload_file`";
const SEALED: &str = "winrm-rs `send_input` alone";
const UNSEALED: &str = "winrm-rs `send_input` alone, unsealed";

/// So many hosts take the program from the depot, one after the other.
const TAKERS: usize = 2;

/// What a program that [`TAKERS`] hosts need took by the depot, in seconds.
#[derive(Clone, Copy)]
struct ByDepot {
    /// The way to the depot.
    sent: f64,
    /// From the beginning of that until the last host had it.
    all: f64,
}

/// Measures and writes the results.
pub(crate) fn run(settings: &Settings, results: &mut Results) -> Result<(), String> {
    let size = if settings.quick { 40_000_000 } else { 100_000_000 };
    let (program, content) = program(settings, size + (1 << 20))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Utf8Path::from_path(folder.path()).ok_or("the temporary folder's name is not UTF-8")?;
    let mut server = Handle::start(&inventory(), &folder.join("server"))?;
    let mut bench = Bench { settings, folder, server: &mut server, content: &content, round: 0 };
    bench.first_up()?;
    // What one host alone needs is sent to it: the depot is a cluster of its own.
    let folder = folder.join("depot");
    let mut server = Handle::start(&depot::inventory(TAKERS), &folder.join("server"))?;
    let mut many = Bench { settings, folder: &folder, server: &mut server, content: &content, round: 0 };
    many.first_up()?;
    let python = crate::python::environment(&settings.work.join("python"), &["pywinrm"]);
    if let Err(why) = &python {
        results.note(format!("pywinrm was left out: {why}."));
    }
    let latencies: &[u64] = if settings.quick { &[0, 5] } else { &[0, 5, 50] };
    let mut all: BTreeMap<(u64, &str), Transfer> = BTreeMap::new();
    let mut depots: BTreeMap<u64, ByDepot> = BTreeMap::new();
    for &latency in latencies {
        let rounds = if settings.quick || latency > 0 { 1 } else { 3 };
        // In turns, so that whatever else this machine does disturbs all alike.
        for _ in 0..rounds {
            let mut keep = |way, transfer: Transfer| {
                let best = all.entry((latency, way)).or_insert(transfer);
                if transfer.seconds < best.seconds {
                    *best = transfer;
                }
            };
            bench.round += 1;
            bench.server.slow(latency, START, [host(1)].iter().map(String::as_str))?;
            many.round += 1;
            many.server.slow(latency, START, (0..=TAKERS).map(host).collect::<Vec<_>>().iter().map(String::as_str))?;
            if latency == 0 {
                keep(COPY, bench.copy(size)?);
                for (way, sealed) in [(SEALED, true), (UNSEALED, false)] {
                    match (0..TRIES).find_map(|_| bench.send_input(size, sealed).ok()) {
                        Some(transfer) => keep(way, transfer),
                        None => results.note(format!("{way}: failed {TRIES} times.")),
                    }
                }
            }
            keep(STREAM, bench.stream(size)?);
            let (transfer, by_depot) = many.depot(size)?;
            keep(DEPOT, transfer);
            let best = depots.entry(latency).or_insert(by_depot);
            if by_depot.all < best.all {
                *best = by_depot;
            }
            if let Ok(python) = &python {
                let part = if latency > 5 { size / 4 } else { size };
                keep(PYWINRM, bench.pywinrm(python, part)?);
            }
        }
        match (0..TRIES).find_map(|_| bench.upload_file(SLOW_BYTES).ok()) {
            Some(slow) => drop(all.insert((latency, UPLOAD_FILE), slow)),
            None => results.note(format!("{UPLOAD_FILE}: failed {TRIES} times at {latency} ms.")),
        }
    }
    report(results, &program, size, latencies, &all);
    report_depots(results, &depots);
    Ok(())
}

fn report(
    results: &mut Results,
    program: &Utf8Path,
    size: usize,
    latencies: &[u64],
    all: &BTreeMap<(u64, &str), Transfer>,
) {
    results.heading("Shipping a program to one Windows host", "cargo xtask bench stream");
    results.text(format!(
        "{} MB of `{}`, to the lab's WinRM server over HTTPS, but for the copy and the depot. Each answer of the server comes the stated time later, and a \
         process takes {START} ms to start there. `upload_file` was measured with {} kB and pywinrm at 50 ms with a quarter of \
         the bytes; they are stated as rates. `send_input` alone is what WinRM takes for these bytes without anything else: they are \
         neither packed nor written, but thrown away at the other end. Wire bytes, CPU and memory are for what was sent. k8swin's CPU and memory are those of \
         the whole `up`; the server's memory has the simulated host's files in it. The best of three rounds at 0 ms.",
        size / 1_000_000,
        program.file_name().unwrap_or("a program"),
        SLOW_BYTES / 1000,
    ));
    let mut rows = Vec::new();
    for latency in latencies {
        let ours = all.get(&(*latency, STREAM)).map(Transfer::megabytes_a_second);
        for way in [COPY, SEALED, UNSEALED, STREAM, DEPOT, PYWINRM, UPLOAD_FILE] {
            let Some(transfer) = all.get(&(*latency, way)) else { continue };
            let rate = transfer.megabytes_a_second();
            let ratio = ours.map_or_else(String::new, |ours| number(ours / rate));
            rows.push(vec![
                format!("{latency} ms"),
                way.to_owned(),
                number(rate),
                ratio,
                number(transfer.bytes as f64 / 1e6),
                number(transfer.wire as f64 / 1e6),
                number(transfer.client.cpu),
                number(transfer.client.peak_mib),
                number(transfer.server_cpu),
                number(transfer.server_peak),
            ]);
        }
    }
    results.table(
        &[
            "round trip",
            "way",
            "MB/s",
            "k8swin is faster by",
            "MB sent",
            "MB on the wire",
            "client CPU s",
            "client MiB",
            "server CPU s",
            "server MiB",
        ],
        &rows,
    );
    let ways = [STREAM, DEPOT, PYWINRM, UPLOAD_FILE];
    let series: Vec<_> = ways
        .into_iter()
        .map(|way| {
            let points = latencies
                .iter()
                .filter_map(|latency| Some((latency.to_string(), all.get(&(*latency, way))?.megabytes_a_second())));
            plot::Series { name: way.replace('`', ""), points: points.collect() }
        })
        .collect();
    results.plot("stream.svg", "MB/s to one Windows host (logarithmic)", "round trip in ms", &series);
}

fn report_depots(results: &mut Results, depots: &BTreeMap<u64, ByDepot>) {
    let each: Vec<_> = depots
        .iter()
        .map(|(latency, ByDepot { sent, all })| format!("{} s and {} s at {latency} ms", number(*sent), number(*all)))
        .collect();
    results.text(format!(
        "\"{DEPOT}\" is what one host takes from another one's depot, on the average of {TAKERS} that take it one after the \
         other (`--uploads 1`): the bytes and seconds of that way alone, between hosts, which no round trip to this machine slows. \
         Before that the program is sent once to the depot, over SSH. That way, and all of it until both hosts have the program, \
         take {}.",
        each.join(", "),
    ));
}

/// A real program: `--file`, or the compiler's own library, which whoever builds this has. It has so many bytes at least.
pub(crate) fn program(settings: &Settings, size: usize) -> Result<(Utf8PathBuf, Vec<u8>), String> {
    let path = match &settings.file {
        Some(path) => path.clone(),
        None => {
            let output = Command::new("rustc").args(["--print", "sysroot"]).output().map_err(|e| e.to_string())?;
            let root = Utf8PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
            let files = root.join("lib").read_dir_utf8().map_err(|error| error.to_string())?;
            let found = files.flatten().find(|file| file.file_name().starts_with("librustc_driver"));
            found.ok_or("no librustc_driver beside rustc: name a program with --file")?.path().to_owned()
        }
    };
    let content = std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    if content.len() < size {
        return Err(format!("{path} has fewer than {size} bytes: name a larger program with --file"));
    }
    Ok((path, content))
}

struct Bench<'a> {
    settings: &'a Settings,
    folder: &'a Utf8Path,
    server: &'a mut Handle,
    content: &'a [u8],
    /// Each round sends other bytes of the program, since what a host has is not sent again.
    round: usize,
}

impl Bench<'_> {
    fn bytes(&self, size: usize) -> &[u8] {
        let start = self.round * 4096;
        self.content.get(start..start + size).unwrap_or_default()
    }

    fn file(&self, size: usize) -> Result<Utf8PathBuf, String> {
        let path = self.folder.join("file");
        std::fs::write(&path, self.bytes(size)).map_err(|error| error.to_string())?;
        Ok(path)
    }

    fn up(&self) -> Command {
        let mut command = self.settings.k8swin(self.folder);
        command
            .args(["up", self.server.ready.inventory.as_str(), "--quiet", "--trace"])
            .arg(self.folder.join("trace.json"));
        command
    }

    /// The cluster without large programs.
    fn first_up(&mut self) -> Result<(), String> {
        process::measure(&mut self.up()).map(drop)
    }

    /// `up` after kubelet.exe has become another one: the time of its upload, from the timeline.
    fn stream(&mut self, size: usize) -> Result<Transfer, String> {
        self.server.replace_program(self.bytes(size))?;
        let mut command = self.up();
        let mut transfer = self.measured(size, &mut command, |traffic| traffic.bytes)?;
        let uploads = self.timeline()?;
        transfer.seconds =
            timeline::span(&timeline::of(&uploads, PROGRAM)).ok_or("the timeline has no upload of it")?;
        Ok(transfer)
    }

    /// `up` after kubelet.exe has become another one where more than one host needs it: what one host took from the depot.
    fn depot(&mut self, size: usize) -> Result<(Transfer, ByDepot), String> {
        self.server.replace_program(self.bytes(size))?;
        let mut command = self.up();
        command.args(["--uploads", "1"]);
        let mut transfer = self.measured(size, &mut command, |traffic| traffic.pulled_bytes)?;
        let uploads = self.timeline()?;
        let sending = timeline::of(&uploads, &format!("{PROGRAM} (for all)"));
        let pulls = timeline::of(&uploads, &depot::from_depot());
        if pulls.len() != TAKERS {
            return Err(format!("{} of {TAKERS} hosts took the program from the depot", pulls.len()));
        }
        transfer.seconds = pulls.iter().map(|pull| pull.end - pull.begin).sum::<f64>() / TAKERS as f64;
        transfer.wire /= TAKERS as u64;
        let all = [sending.as_slice(), pulls.as_slice()].concat();
        let untold = "the timeline does not tell of the depot";
        let by_depot =
            ByDepot { sent: timeline::span(&sending).ok_or(untold)?, all: timeline::span(&all).ok_or(untold)? };
        Ok((transfer, by_depot))
    }

    /// What the timeline of the last `up` says of files.
    fn timeline(&self) -> Result<Vec<timeline::Upload>, String> {
        let trace = std::fs::read_to_string(self.folder.join("trace.json")).map_err(|error| error.to_string())?;
        Ok(timeline::uploads(&trace))
    }

    fn copy(&mut self, size: usize) -> Result<Transfer, String> {
        let file = self.file(size)?;
        let mut command = self.settings.this()?;
        command.args(["copy", &self.server.ready.copies.to_string(), self.server.ready.ca.as_str(), file.as_str()]);
        let mut transfer = self.said(size, &mut command)?;
        transfer.wire = size as u64;
        Ok(transfer)
    }

    fn upload_file(&mut self, size: usize) -> Result<Transfer, String> {
        let mut command = self.winrm_rs("upload-file", size)?;
        let transfer = self.said(size, &mut command)?;
        self.arrived(size)?;
        Ok(transfer)
    }

    fn send_input(&mut self, size: usize, sealed: bool) -> Result<Transfer, String> {
        let mut command = self.winrm_rs("send-input", size)?;
        self.said(size, command.args(sealed.then_some("--sealed")))
    }

    /// A client that sends so many bytes to the host for other tools.
    fn winrm_rs(&self, part: &str, size: usize) -> Result<Command, String> {
        let file = self.file(size)?;
        let ready = &self.server.ready;
        let mut command = self.settings.this()?;
        command.args([part, &ready.uploads.to_string(), ready.ca.as_str(), ready.password.as_str(), file.as_str()]);
        Ok(command)
    }

    fn pywinrm(&mut self, programs: &Utf8Path, size: usize) -> Result<Transfer, String> {
        let file = self.file(size)?;
        let script = self.folder.join("put.py");
        std::fs::write(&script, include_str!("pywinrm_put.py")).map_err(|error| error.to_string())?;
        let ready = &self.server.ready;
        let mut command = Command::new(programs.join("python"));
        command.arg(&script).args([&ready.uploads.to_string(), ready.ca.as_str(), ready.password.as_str()]).arg(&file);
        let transfer = self.said(size, &mut command)?;
        self.arrived(size)?;
        Ok(transfer)
    }

    /// Whether the host for other tools has got the very bytes.
    fn arrived(&mut self, size: usize) -> Result<(), String> {
        let (found, expected) = (self.server.digest()?, Sha256::of(self.bytes(size)).to_string());
        if found == expected { Ok(()) } else { Err("other bytes have arrived than were sent".to_owned()) }
    }

    /// A client that says itself how long it took.
    fn said(&mut self, size: usize, command: &mut Command) -> Result<Transfer, String> {
        self.measured(size, command, |traffic| traffic.upload_bytes)
    }

    fn measured(
        &mut self,
        size: usize,
        command: &mut Command,
        wire: impl Fn(&crate::server::Traffic) -> u64,
    ) -> Result<Transfer, String> {
        let (before, cpu) = (self.server.traffic()?, self.server.cpu());
        self.server.peak_mib();
        let ended = process::measure(command)?;
        let after = self.server.traffic()?;
        Ok(Transfer {
            bytes: size,
            seconds: ended.stdout.trim().parse().unwrap_or(ended.cost.seconds),
            wire: wire(&after) - wire(&before),
            client: ended.cost,
            server_cpu: self.server.cpu() - cpu,
            server_peak: self.server.peak_mib(),
        })
    }
}
