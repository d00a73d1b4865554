//! Runs a program and measures it: time, CPU, and the most memory it ever had.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often a running program's memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Clock ticks of /proc in a second: 100 on every Linux that Rust runs on (USER_HZ).
const TICKS: f64 = 100.0;

/// What a program took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Wall-clock seconds.
    pub(crate) seconds: f64,
    /// Seconds of CPU, in user and system mode, with those of the programs that it ran and waited for.
    pub(crate) cpu: f64,
    /// The most memory it had, in MiB (VmHWM).
    pub(crate) peak_mib: f64,
}

/// A program that has ended well.
pub(crate) struct Ended {
    pub(crate) cost: Cost,
    pub(crate) stdout: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be run, or fails: with the last of what it said.
pub(crate) fn measure(command: &mut Command) -> Result<Ended, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: &str| format!("{name}: {what}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let id = child.id();
    let streams = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, seconds, cpu) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(peak_kib(id).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
            let mut text = Vec::new();
            if let Some(mut stream) = stream {
                // What cannot be read is nothing that it said.
                let _ = stream.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        let (out, err) = streams;
        let out = scope.spawn(move || read(out.map(|stream| Box::new(stream) as _)));
        let err = scope.spawn(move || read(err.map(|stream| Box::new(stream) as _)));
        // Not yet taken away, so that its times can still be read.
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
        let seconds = started.elapsed().as_secs_f64();
        let cpu = cpu_seconds(id).unwrap_or(0.0);
        ended.store(true, Ordering::Relaxed);
        (out.join().unwrap_or_default(), err.join().unwrap_or_default(), seconds, cpu)
    });
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    if !status.success() {
        let tail: Vec<&str> = stderr.lines().chain(stdout.lines()).rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        return Err(failed(&format!("{status}\n{}", tail.join("\n"))));
    }
    let peak_mib = peak.into_inner() as f64 / 1024.0;
    Ok(Ended { cost: Cost { seconds, cpu, peak_mib }, stdout })
}

/// The CPU time of a process so far, and of its children that have ended and were waited for, in seconds.
pub(crate) fn cpu_seconds(id: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?) / TICKS)
}

/// The CPU time of all processes since the machine's start, in seconds.
pub(crate) fn busy_seconds() -> Option<f64> {
    busy(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// User, nice, system, (idle, waiting,) interrupts, and what other machines of the same hardware took (proc(5)).
fn busy(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks = fields.take(8).map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Some((ticks.iter().sum::<f64>() - idle) / TICKS)
}

/// The most memory that a process had so far, in KiB.
pub(crate) fn peak_kib(id: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Ends a program, however it takes that.
pub(crate) fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nothing_ran_is_not_busy() {
        assert_eq!(busy("cpu  100 10 50 9000 800 5 5 30 7 0\ncpu0 1 2 3\n"), Some(2.0));
        assert_eq!(busy("intr 5"), None);
    }

    #[test]
    fn programs_that_a_program_ran_count_for_it() {
        // It waits for the other one and has nothing to do itself.
        let mut command = Command::new("timeout");
        command.args(["60", "dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=4000"]);
        assert!(measure(&mut command).unwrap().cost.cpu > 0.0);
    }
}
