//! The same no-op work by Ansible and by k8swin's agent, over SSH, against a host that this machine boots: folders, files,
//! services and kernel settings that are as they should be.

use std::fmt::Write as _;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::resource::LinuxResource;

use crate::booted::{Booted, MOST, Parts, address};
use crate::page::{Results, number};
use crate::process::{self, Cost};
use crate::run::{Settings, host};
use crate::{plot, python, tasks};

/// The package of PyPI. `ansible-core` alone has no tasks for kernel settings.
const PACKAGE: &str = "ansible";

/// More hosts than these are measured once, since each round takes minutes.
const TWICE: usize = 10;

/// Measures and writes the results; one line where that cannot be done.
pub(crate) fn run(settings: &Settings, results: &mut Results) -> Result<(), String> {
    results.heading("Ten tasks that are all done, by Ansible and by k8swin", "cargo xtask bench ansible");
    let parts = Parts::new()
        .map_err(|error| error.to_string())
        .and_then(|parts| Ok((parts, python::environment(&settings.work.join("python-ansible"), &[PACKAGE])?)));
    let (parts, python) = match parts {
        Ok(parts) => parts,
        Err(why) => {
            results.note(format!("Left out: {why}."));
            return Ok(());
        }
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Utf8Path::from_path(folder.path()).ok_or("the temporary folder's name is not UTF-8")?;
    let bench = Bench { settings, folder, python, booted: Booted::start(parts, folder)?, tasks: tasks::resources()? };
    bench.prepare()?;
    let sizes: &[usize] = if settings.quick { &[1, 10] } else { &[1, 3, 10, MOST] };
    let points = sizes.iter().map(|hosts| bench.measure(*hosts)).collect::<Result<Vec<_>, _>>()?;
    report(results, &points);
    Ok(())
}

/// The cost of the quicker run.
fn quicker(one: Cost, other: Cost) -> Cost {
    if other.seconds < one.seconds { other } else { one }
}

/// Whether Ansible's recapitulation has hosts, and says of each that all tasks changed nothing.
fn all_in_place(said: &str, tasks: usize) -> bool {
    let hosts = said.lines().skip_while(|line| !line.starts_with("PLAY RECAP")).skip(1);
    let in_place = |line: &str| {
        let counts: Vec<&str> = line.split_whitespace().collect();
        [&format!("ok={tasks}"), "changed=0", "unreachable=0", "failed=0"].iter().all(|count| counts.contains(count))
    };
    let mut hosts = hosts.filter(|line| !line.trim().is_empty()).peekable();
    hosts.peek().is_some() && hosts.all(in_place)
}

/// So many hosts: Ansible's cost and the agent's.
type Point = (usize, Cost, Cost);

fn report(results: &mut Results, points: &[Point]) {
    results.text(format!(
        "`{PACKAGE}` from PyPI with pipelining, without facts, as many forks as hosts; k8swin's agent, which lies on the host \
         already, checks equal resources in one request. The tasks: {}. Both log in as root to the sshd of a Debian that is booted in \
         namespaces of this machine, by systemd-nspawn; that one host has {MOST} addresses and stands for as many hosts, so that their \
         work, and Ansible's modules, are on the same cores. Whole processes, log-in included, after one to warm up; the better of two \
         rounds up to {TWICE} hosts, and one round beyond. Hosts with cores of their own would answer both sooner. CPU and memory are \
         those on this side, memory that of the first process, without Ansible's one for each host.",
        tasks::TOLD,
    ));
    let rows: Vec<_> = points
        .iter()
        .map(|(hosts, theirs, ours)| {
            vec![
                hosts.to_string(),
                number(theirs.seconds),
                number(ours.seconds),
                number(theirs.seconds / ours.seconds),
                number(theirs.cpu),
                number(ours.cpu),
                number(theirs.peak_mib),
                number(ours.peak_mib),
            ]
        })
        .collect();
    results.table(
        &[
            "hosts",
            "Ansible s",
            "k8swin s",
            "k8swin is faster by",
            "Ansible CPU s",
            "k8swin CPU s",
            "Ansible MiB",
            "k8swin MiB",
        ],
        &rows,
    );
    let line = |name: &str, cost: fn(&Point) -> f64| plot::Series {
        name: name.to_owned(),
        points: points.iter().map(|point| (point.0.to_string(), cost(point))).collect(),
    };
    let series = [line("Ansible", |point| point.1.seconds), line("k8swin", |point| point.2.seconds)];
    results.plot("ansible.svg", "seconds for ten tasks that are done (logarithmic)", "hosts", &series);
}

struct Bench<'a> {
    settings: &'a Settings,
    folder: &'a Utf8Path,
    /// The folder with Ansible's programs.
    python: Utf8PathBuf,
    booted: Booted,
    tasks: Vec<LinuxResource>,
}

impl Bench<'_> {
    /// Puts the agent onto the host, and in place what the tasks want; then both once, for caches.
    fn prepare(&self) -> Result<(), String> {
        self.write("playbook.yml", &tasks::playbook(&self.tasks))?;
        std::fs::create_dir(self.masters()).map_err(|error| error.to_string())?;
        self.name(1)?;
        process::measure(self.agent()?.arg("--apply"))?;
        self.theirs()?;
        self.ours().map(drop)
    }

    /// From now on the host has so many names.
    fn name(&self, hosts: usize) -> Result<(), String> {
        self.write("inventory.toml", &self.booted.inventory(hosts))?;
        self.write("hosts.ini", &self.names(hosts))?;
        self.write("ansible.cfg", &self.configuration(hosts))
    }

    fn measure(&self, hosts: usize) -> Result<Point, String> {
        eprintln!("{hosts} hosts: ten tasks that are all done");
        self.name(hosts)?;
        // In turns, so that whatever else this machine does disturbs both alike.
        let mut best: Option<(Cost, Cost)> = None;
        for _ in 0..if self.settings.quick || hosts > TWICE { 1 } else { 2 } {
            let (theirs, ours) = (self.theirs()?, self.ours()?);
            let (one, other) = best.unwrap_or((theirs, ours));
            best = Some((quicker(one, theirs), quicker(other, ours)));
        }
        let (theirs, ours) = best.unwrap_or_default();
        Ok((hosts, theirs, ours))
    }

    fn ours(&self) -> Result<Cost, String> {
        Ok(process::measure(&mut self.agent()?)?.cost)
    }

    /// The agent checks, on all hosts of the inventory.
    fn agent(&self) -> Result<Command, String> {
        let mut command = self.booted.client(self.settings.this()?.get_program());
        command.arg("over-ssh").arg(self.folder.join("inventory.toml"));
        command.arg(self.settings.programs.join("k8swin-agent"));
        Ok(command)
    }

    /// A run of Ansible, which must find all in place.
    fn theirs(&self) -> Result<Cost, String> {
        let mut command = self.booted.client(self.python.join("ansible-playbook"));
        command.args(["-i", "hosts.ini", "playbook.yml"]).current_dir(self.folder).env("HOME", self.folder);
        command.env("ANSIBLE_CONFIG", self.folder.join("ansible.cfg"));
        command.env("PATH", format!("{}:{}", self.python, std::env::var("PATH").unwrap_or_default()));
        let ended = process::measure(&mut command);
        self.end_masters();
        let ended = ended?;
        match all_in_place(&ended.stdout, self.tasks.len()) {
            true => Ok(ended.cost),
            false => Err(format!("Ansible does not find all in place:\n{}", ended.stdout)),
        }
    }

    /// Where OpenSSH's client keeps the connections that Ansible's tasks share.
    fn masters(&self) -> Utf8PathBuf {
        self.folder.join("masters")
    }

    /// The next run logs in anew.
    fn end_masters(&self) {
        for socket in self.masters().read_dir_utf8().into_iter().flatten().flatten() {
            let mut command = Command::new("ssh");
            command.args(["-F", "none", "-O", "exit", "-o", &format!("ControlPath={}", socket.path()), "host"]);
            // One that has ended already is what is wanted.
            let _ = process::measure(&mut command);
        }
    }

    /// Ansible's own arguments for ssh, and those that keep this user's files out.
    fn configuration(&self, hosts: usize) -> String {
        format!(
            "[defaults]\nforks = {hosts}\nhost_key_checking = true\ninterpreter_python = /usr/bin/python3\n\
             [ssh_connection]\npipelining = true\ncontrol_path_dir = {}\n\
             ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s -F none -o UserKnownHostsFile={}\n",
            self.masters(),
            self.booted.known_hosts()
        )
    }

    /// Ansible's inventory.
    fn names(&self, hosts: usize) -> String {
        let mut names = String::new();
        for number in 0..hosts {
            // Writing into a String cannot fail.
            let _ = writeln!(
                names,
                "{} ansible_host={} ansible_user=root ansible_ssh_private_key_file={}",
                host(number),
                address(number),
                self.booted.identity()
            );
        }
        names
    }

    fn write(&self, name: &str, content: &str) -> Result<(), String> {
        std::fs::write(self.folder.join(name), content).map_err(|error| format!("cannot write {name}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recapitulation_is_read() {
        let of = |changed| {
            format!(
                "TASK [file] ***\nok: [server0]\n\nPLAY RECAP ***\nserver0 : ok=10   changed=0    unreachable=0    failed=0    skipped=0\n\
                 server1 : ok=10   changed={changed}    unreachable=0    failed=0    skipped=0\n\n"
            )
        };
        assert!(all_in_place(&of(0), 10));
        assert!(!all_in_place(&of(1), 10));
        assert!(!all_in_place(&of(0), 1));
        assert!(!all_in_place("PLAY RECAP ***\n", 10));
    }
}
