//! Runs `k8swin` as its user does: a process of its own, on a machine that is on the hosts' network.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, file};
use crate::hosts::Hosts;
use crate::interrupt::Interrupt;
use crate::trouble::Troubles;

/// What a run ends with that found something in the way, and changed nothing (README, exit codes).
const IN_THE_WAY: i32 = 3;

/// What a run ends with that did its work on some hosts and not on others (README, exit codes).
const SOME_HOSTS: i32 = 4;

/// The program, and what it works with.
#[derive(Debug)]
pub(crate) struct K8swin {
    /// The program.
    pub(crate) program: PathBuf,
    /// The network namespace that it runs in.
    pub(crate) namespace: String,
    /// The inventory that reaches the hosts.
    pub(crate) inventory: PathBuf,
    /// Where its logs go.
    pub(crate) logs: PathBuf,
    /// Runs so far, for the names of logs.
    pub(crate) runs: u32,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    command: String,
    /// Its exit code.
    pub(crate) code: i32,
    /// The document that it printed.
    pub(crate) document: Value,
    /// The log of the run.
    log: PathBuf,
}

impl K8swin {
    /// The words that start the program with these arguments.
    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let namespace = format!("--net=/run/netns/{}", self.namespace);
        let inventory = self.inventory.to_string_lossy();
        let program = self.program.to_string_lossy();
        let mut words = vec!["nsenter", &namespace, &program];
        words.extend(arguments);
        words.extend([&*inventory, "--ssh-config", "none", "--no-input", "--yes"]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// What a person types to do the same.
    pub(crate) fn shown(&self, arguments: &[&str]) -> String {
        self.words(arguments).join(" ")
    }

    /// Runs a command to its end. Hosts that restart meanwhile come up again.
    pub(crate) fn run(&mut self, command: &str, hosts: &mut Hosts, interrupt: &Interrupt) -> Result<Outcome, Error> {
        self.run_in_trouble(command, hosts, interrupt, &mut Troubles::default())
    }

    /// The same, while things happen to hosts.
    pub(crate) fn run_in_trouble(
        &mut self,
        command: &str,
        hosts: &mut Hosts,
        interrupt: &Interrupt,
        troubles: &mut Troubles,
    ) -> Result<Outcome, Error> {
        interrupt.check()?;
        self.runs += 1;
        let log = self.logs.join(format!("{:02}-{command}.log", self.runs));
        let errors = File::create(&log).map_err(file("write", &log))?;
        let timeline = log.with_extension("trace.json");
        let timeline = timeline.to_string_lossy();
        let mut arguments = vec![command, "-o", "json", "-v"];
        if command == "up" {
            arguments.extend(["--trace", timeline.as_ref()]);
        }
        let words = self.words(&arguments);
        let failed = |problem: String| Error::K8swin { command: command.to_owned(), problem };
        let home = self.inventory.parent().unwrap_or(Path::new("/"));
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .args(&words)
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        // Its document is larger than a pipe, perhaps.
        let mut stdout = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let mut told = false;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
                break status;
            }
            if interrupt.is_asked() && !told {
                told = true;
                // On a terminal it has had the signal itself; a second SIGTERM would end it at once.
                let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            }
            hosts.restart_those_that_asked()?;
            troubles.look(&log, hosts)?;
            thread::sleep(Duration::from_millis(50));
        };
        interrupt.check()?;
        let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
        let document = serde_json::from_str(&text).unwrap_or(Value::Null);
        let code = status.code().ok_or_else(|| failed(format!("it ended by {status}")))?;
        let path = log.with_extension("json");
        fs::write(&path, text).map_err(file("write", path))?;
        Ok(Outcome { command: command.to_owned(), code, document, log })
    }
}

impl Outcome {
    /// An error unless the run ended well.
    pub(crate) fn succeeded(self) -> Result<Self, Error> {
        if self.code == 0 && self.document["result"] == "ok" {
            return Ok(self);
        }
        Err(self.error())
    }

    /// An error unless the run did all that can be done without one host, and says so of that host only.
    pub(crate) fn failed_on(self, host: &str) -> Result<Self, Error> {
        if self.code == SOME_HOSTS && self.failed() == [host] { Ok(self) } else { Err(self.error()) }
    }

    /// The hosts with what it found wrong with them; an error unless it ended because of that.
    pub(crate) fn refused(self) -> Result<BTreeSet<(String, String)>, Error> {
        if self.code != IN_THE_WAY {
            return Err(self.error());
        }
        let findings = self.document["findings"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = findings.filter(|finding| finding["severity"] == "error");
        Ok(errors.map(|finding| (text(&finding["host"]), text(&finding["check"]))).collect())
    }

    /// The hosts that the document has errors of.
    fn failed(&self) -> Vec<&str> {
        let hosts = self.document["hosts"].as_object().into_iter().flatten();
        hosts.filter(|(_, host)| !host["error"].is_null()).map(|(name, _)| name.as_str()).collect()
    }

    fn error(self) -> Error {
        let mut problems = vec![format!("exit code {}", self.code)];
        problems.extend(self.messages());
        problems.push(format!("its log: {}", self.log.display()));
        Error::K8swin { command: self.command, problem: problems.join("\n  ") }
    }

    /// What it says went wrong: each finding and each host, with its name.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let findings = self.document["findings"].as_array().into_iter().flatten();
        for finding in findings.filter(|finding| finding["severity"] == "error") {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            problems.push(format!("{} {}: {}", text("host"), text("check"), text("detail")));
        }
        for (name, host) in self.document["hosts"].as_object().into_iter().flatten() {
            if let Some(message) = host["error"]["message"].as_str() {
                problems.push(format!("{name}: {message}"));
            }
        }
        if let Some(message) = self.document["error"]["message"].as_str() {
            problems.push(message.to_owned());
        }
        problems
    }

    /// An error unless it ended well, or said of which hosts it did not: all of these had trouble.
    pub(crate) fn recovered_or_told(self, troubled: &[&str]) -> Result<String, Error> {
        if self.code == 0 {
            return Ok("recovered".to_owned());
        }
        let failed = self.failed();
        if !failed.is_empty() && failed.iter().all(|name| troubled.contains(name)) {
            return Ok(format!("failed, and says why: {}", failed.join(", ")));
        }
        Err(self.error())
    }

    /// A count of the document, such as `changed`.
    pub(crate) fn count(&self, key: &str) -> Result<u64, Error> {
        self.document[key].as_u64().ok_or_else(|| Error::K8swin {
            command: self.command.clone(),
            problem: format!("its document has no `{key}`"),
        })
    }

    /// How many findings are of this severity.
    pub(crate) fn findings(&self, severity: &str) -> usize {
        let findings = self.document["findings"].as_array().into_iter().flatten();
        findings.filter(|finding| finding["severity"] == severity).count()
    }
}
