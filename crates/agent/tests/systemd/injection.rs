//! A failure at any system call, or the agent's death at it, leaves a host on which the next run succeeds, and from which
//! all can be taken back.
//!
//! The real agent works under strace, which fails one call after the other or ends the agent there. The calls that change
//! something are all tried; deaths, and those that only read, are sampled. Calls are counted from the agent's greeting on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use k8swin_protocol::resource::{LinuxResource, Phase};
use k8swin_protocol::wire::{self, FromAgent, Request, ResourceResult, Response, ToAgent};

use crate::host::Host;
use crate::kinds::KUBECTL;
use crate::resources::*;
use crate::session::{self, planned};

/// Calls that change something, or start something that does: each one is tried.
const CHANGING: &str = "?write,?pwrite64,?open,?openat,?rename,?renameat,?renameat2,?fsync,?fdatasync,?ftruncate,?unlink,\
                        ?unlinkat,?rmdir,?mkdir,?mkdirat,?chmod,?fchmod,?fchmodat,?chown,?lchown,?fchown,?fchownat,?link,\
                        ?linkat,?symlink,?symlinkat,?sendfile,?copy_file_range,?splice,?flock,?connect,?sendto,?sendmsg,\
                        ?socket,?socketpair,?clone,?clone3,?vfork,?execve,?pipe2,?kill,?umount2";

/// Calls that only look: a sample of them is tried. Not `close`, which never leaves a file open on Linux, whatever it
/// returns.
const READING: &str = "?read,?pread64,?stat,?lstat,?statx,?newfstatat,?fstat,?readlink,?getdents64,?lseek,?fcntl,\
                       ?poll,?ppoll,?wait4,?waitid,?dup,?dup2";

/// How many of the reading calls of one name are tried.
const SAMPLE: usize = 4;

/// Calls of the programs that the agent runs, each counted in its program. The search for a program takes several
/// `execve`; the first one of all is strace's own.
const PROGRAMS: [(&str, std::ops::RangeInclusive<usize>); 4] =
    [("execve", 2..=4), ("connect", 1..=2), ("sendto", 1..=2), ("sendmsg", 1..=3)];

/// What strace wrote, on the host.
const TRACE: &str = "/run/demo-trace";

/// What happens at a call.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Error(&'static str),
    Killed,
}

/// A call at which something happens.
#[derive(Clone, Debug)]
struct Injection {
    call: String,
    number: usize,
    trouble: Trouble,
    /// Whether it happens in the programs that the agent runs, not in the agent.
    programs: bool,
}

impl Injection {
    /// How strace is told.
    fn words(&self) -> Vec<String> {
        let what = match self.trouble {
            Trouble::Error(name) => format!("error={name}"),
            Trouble::Killed => "signal=KILL".to_owned(),
        };
        let mut words = vec![format!("inject={}:{what}:when={}", self.call, self.number)];
        words.splice(0..0, self.programs.then(|| "-f".to_owned()).into_iter().chain(["-e".to_owned()]));
        words
    }
}

/// What is done to a host, and what must be so afterwards.
struct Sweep<'a> {
    host: &'a Host,
    resources: &'a [LinuxResource],
    blobs: &'a [&'a [u8]],
    before: String,
}

/// The requests of a run, one line each.
fn lines(requests: Vec<Request>) -> String {
    let requests = requests.into_iter().chain([Request::Bye { clear_staging: true }]);
    let line = |(id, request)| wire::encode(&ToAgent { id: id as u64 + 1, request }).to_string();
    requests.enumerate().map(line).collect()
}

impl<'a> Sweep<'a> {
    fn new(host: &'a Host, resources: &'a [LinuxResource], blobs: &'a [&'a [u8]]) -> Self {
        Self { host, resources, blobs, before: state(host) }
    }

    fn apply(&self) -> Vec<Request> {
        let puts = self.blobs.iter().flat_map(|blob| session::put(blob));
        puts.chain([session::apply(self.resources)]).collect()
    }

    fn check(&self) -> Request {
        Request::Check { resources: planned(self.resources) }
    }

    fn reset() -> Vec<Request> {
        Phase::ALL.into_iter().rev().map(|phase| Request::Remove { phase }).collect()
    }

    /// Runs the agent with these requests, after the words of another program where there are some. Returns what it said,
    /// and whether it ended well.
    fn run(&self, before: &[String], requests: Vec<Request>) -> (Vec<FromAgent>, bool) {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(lines(requests).as_bytes()).unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let mut words: Vec<&str> = before.iter().map(String::as_str).collect();
        words.extend([self.host.agent.as_str(), "serve"]);
        let output = self.host.command(&words).stdin(Stdio::from(input)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // An agent that was killed may have ended in the middle of a line.
        (text.lines().filter_map(|line| wire::decode(line.as_bytes()).ok()).collect(), output.status.success())
    }

    /// A run in which all must go well.
    fn run_well(&self, requests: Vec<Request>, context: &str) {
        let (said, well) = self.run(&[], requests);
        assert!(well, "{context}: {said:?}");
        for message in said {
            let good = match &message {
                FromAgent::Failed { .. } => false,
                FromAgent::Reply { response: Response::Applied { results }, .. } => {
                    !matches!(results.last(), Some((_, ResourceResult::Failed(_) | ResourceResult::NeedsReboot { .. })))
                }
                FromAgent::Reply { response: Response::Checked(checked), .. } => checked.differing.is_empty(),
                _ => true,
            };
            assert!(good, "{context}: {message:?}");
        }
    }

    fn traced(&self, words: Vec<String>, requests: Vec<Request>) -> String {
        let strace = ["strace", "-q", "-o", TRACE].map(str::to_owned);
        self.run(&[strace.to_vec(), words].concat(), requests);
        self.host.run(&["cat", TRACE])
    }

    /// The calls of an undisturbed run, by name: how many there are at the greeting, and at the end.
    fn calls(&self, set: &str, requests: Vec<Request>) -> BTreeMap<String, (usize, usize)> {
        let trace = self.traced(vec!["-e".into(), format!("trace={CHANGING},{READING}")], requests);
        let mut calls = BTreeMap::new();
        let mut greeted = false;
        for line in trace.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let (start, end) = calls.entry(name.to_owned()).or_insert((0, 0));
            *end += 1;
            *start += usize::from(!greeted);
            greeted |= line.starts_with("write(1, ");
        }
        assert!(greeted, "{trace}");
        calls.retain(|name, (start, end)| end > start && set.split(',').any(|call| call == format!("?{name}")));
        calls
    }

    /// All injections into a run with these requests.
    fn injections(&self, requests: &[Request]) -> Vec<Injection> {
        let mut injections = Vec::new();
        for (set, sample) in [(CHANGING, usize::MAX), (READING, SAMPLE)] {
            for (call, (start, end)) in self.calls(set, requests.to_vec()) {
                let step = (end - start).div_ceil(sample).max(1);
                for number in (start + 1..=end).step_by(step) {
                    let error = Trouble::Error(if number % 3 == 0 { "ENOSPC" } else { "EIO" });
                    // A death before a call is one after the call before: every other one is enough.
                    let death = (number % 2 == 0).then_some(Trouble::Killed);
                    for trouble in [error].into_iter().chain(death) {
                        injections.push(Injection { call: call.clone(), number, trouble, programs: false });
                    }
                }
            }
            self.run_well(Self::reset(), "an undisturbed run");
        }
        for (call, numbers) in PROGRAMS {
            for number in numbers {
                for trouble in [Trouble::Error("EIO"), Trouble::Killed] {
                    injections.push(Injection { call: call.to_owned(), number, trouble, programs: true });
                }
            }
        }
        injections
    }

    /// Compares with how the host was found.
    fn as_found(&self, context: &str) {
        let after = state(self.host);
        assert!(after == self.before, "{context}: not as found:\n{}", difference(&self.before, &after));
    }

    /// Trouble at each call of an apply, of which every `every`th is tried: then an apply succeeds, and all can be taken
    /// back. After every other death nothing is applied before.
    fn applies(&self, part: usize, every: usize) {
        let apply = self.apply();
        let injections = self.injections(&apply);
        let mut missed = 0;
        let tried: Vec<_> = injections.iter().skip(part).step_by(every).collect();
        for (number, injection) in tried.iter().enumerate() {
            let context = format!("{:?} while applying", injection);
            let trace = self.traced(injection.words(), apply.clone());
            let happened = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
            // The programs that a run starts make few of the calls that are tried in them.
            missed += usize::from(!happened && !injection.programs);
            let mut next = Self::reset();
            if !matches!(injection.trouble, Trouble::Killed) || number % 4 < 2 {
                next.splice(0..0, self.apply().into_iter().chain([self.check()]));
            }
            self.run_well(next, &context);
            self.as_found(&context);
        }
        println!("apply: {} of {} troubles tried, {missed} of them did not happen", tried.len(), injections.len());
        assert!(missed * 10 <= tried.len(), "the calls of a run are nearly the same each time");
    }

    /// Trouble at each call of a removal, of which every `every`th is tried: then a removal succeeds.
    fn removals(&self, part: usize, every: usize) {
        self.run_well(self.apply(), "an undisturbed run");
        let mut injections = Vec::new();
        for (call, (start, end)) in self.calls(CHANGING, Self::reset()) {
            for number in start + 1..=end {
                let trouble = if number % 2 == 0 { Trouble::Error("EIO") } else { Trouble::Killed };
                injections.push(Injection { call: call.clone(), number, trouble, programs: false });
            }
        }
        let tried: Vec<_> = injections.iter().skip(part).step_by(every).collect();
        for injection in &tried {
            let context = format!("{injection:?} while removing");
            self.run_well(self.apply(), &context);
            self.traced(injection.words(), Self::reset());
            self.run_well(Self::reset(), &context);
            self.as_found(&context);
        }
        println!("remove: {} of {} troubles tried", tried.len(), injections.len());
    }
}

/// What the resources here change, to compare: files with their content, and what the kernel and systemd have.
fn state(host: &Host) -> String {
    let script = "find /etc /opt /var/lib /run/k8swin-kubectl -not -path '/var/lib/systemd/*' -not -path '/var/lib/dpkg/*' \
                  -printf '%p %M %U:%G %l %s\\n' 2>/dev/null | sed 's/ 4096$//' | sort; \
                  find /etc/cni /etc/demo /etc/kubernetes /etc/modules-load.d /etc/sysctl.d /etc/systemd/system /var/tmp \
                  -type f -exec sha256sum {} + 2>/dev/null | sort -k2; \
                  cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/rp_filter; ip -4 route; \
                  iptables -w -S FORWARD; systemctl list-units --all --plain --no-legend 'demo*'";
    host.run(&["sh", "-c", script])
}

fn difference(before: &str, after: &str) -> String {
    let gone =
        before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("- {line}\n"));
    let come =
        after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}

fn sweep(resources: &[LinuxResource], blobs: &[&[u8]], prepare: impl Fn(&Host)) {
    let Some(host) = Host::boot() else { return };
    prepare(&host);
    for resource in resources {
        let resources = std::slice::from_ref(resource);
        println!("{}", resource.id());
        let sweep = Sweep::new(&host, resources, blobs);
        sweep.applies(0, 1);
        sweep.removals(0, 1);
    }
}

#[test]
fn files_and_folders() {
    let key = b"-----BEGIN PRIVATE KEY----- canary".as_slice();
    let resources = [
        directory("/var/lib/demo", true),
        text("/etc/demo/settings", "of the cluster\n"),
        secret("/etc/kubernetes/pki/sa.key", key),
    ];
    sweep(&resources[..2], &[], |host| host.write("/etc/demo/settings", "of the administrator\n"));
    sweep(&resources[2..], &[key], |_| {});
}

#[test]
fn modules_and_settings() {
    sweep(&[module("br_netfilter"), sysctl("net.ipv4.ip_forward", "1")], &[], |_| {});
}

#[test]
fn routes_and_rules() {
    sweep(&[route("192.168.1.0/24", [10, 5, 6, 218]), forward()], &[], |host| {
        host.run(&["ip", "route", "add", "192.168.1.0/24", "via", "10.5.6.9"]);
    });
}

/// A service is watched for two seconds after its start, so that several hosts share the work, and every other trouble is
/// tried.
#[test]
fn services() {
    const HOSTS: usize = 5;
    let resources = [service("demo", "/bin/sleep infinity")];
    let part = |part: usize| {
        let Some(host) = Host::boot() else { return };
        let sweep = Sweep::new(&host, &resources, &[]);
        sweep.applies(2 * part, 2 * HOSTS);
        sweep.removals(2 * part, 2 * HOSTS);
    };
    std::thread::scope(|scope| {
        for number in 0..HOSTS {
            scope.spawn(move || part(number));
        }
    });
}

/// The Node object is written by kubectl, for which a stand-in is there.
#[test]
fn node_objects() {
    let kubectl = |host: &Host| {
        host.write("/opt/k8swin/bin/kubectl", KUBECTL);
        host.write("/etc/kubernetes/admin.conf", "stands in for a kubeconfig\n");
        host.run(&["chmod", "755", "/opt/k8swin/bin/kubectl"]);
    };
    sweep(&[node()], &[], kubectl);
}
