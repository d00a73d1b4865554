//! `DIR/faults.toml`: what goes wrong on which simulated host, read again whenever the file changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use camino::Utf8PathBuf;
use k8swin_agent::simulated::{Faults, SimulatedHost};

/// The file as it is written when a lab starts.
pub(crate) const EXAMPLES: &str = r#"# Faults of this lab's hosts. The lab reads this file again when it has changed: at the next connection or command.
# Take the `#` from a table and from the lines that you want.

# [hosts.NAME]
# unreachable = true            # new connections are refused
# slow_ms = 250                 # each answer comes this many milliseconds later
# drop_after_bytes = 100000     # connections are cut after this many bytes
# network_cuts = true           # while pods have a network there, connections are cut and refused
# stays_down = true             # it does not come back from a restart
# disk_full = true              # writes fail
# clock_skew_seconds = 600      # the clock is ahead (or behind, if negative)
# no_docker = true              # there is no Docker
# docker_version = "1.11.0"     # Docker says that it is this version
# port_taken = [{ port = 10250, program = "nginx" }]   # something else listens there
# crashing = ["kubelet"]       # these programs end right after each start
# swap = true                   # Linux: swap is active
# windows_build = 10586         # Windows: another build than 14393
# pending_reboot = true         # Windows: a reboot is pending
# one_adapter = true            # Windows: the second adapter is missing
# ui_language = "de-DE"         # Windows: the display language
"#;

/// What tells one version of the file from another.
type Stamp = (SystemTime, u64);

/// The file and the hosts that it is about.
pub(crate) struct FaultsFile {
    path: Utf8PathBuf,
    hosts: BTreeMap<String, SimulatedHost>,
    seen: Mutex<Option<Stamp>>,
}

impl FaultsFile {
    /// The file at `path`, which has been written with [`EXAMPLES`]: no faults.
    pub(crate) fn new(path: Utf8PathBuf, hosts: BTreeMap<String, SimulatedHost>) -> Self {
        let seen = Mutex::new(stamp(&path));
        Self { path, hosts, seen }
    }

    /// Gives the hosts their faults if the file has changed. What cannot be read is reported and changes nothing.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if *seen == now {
            return;
        }
        *seen = now;
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => return tracing::warn!(path = %self.path, %error, "cannot read the faults of this lab"),
        };
        let (mut faults, problems) = parse(&text);
        for problem in problems {
            tracing::warn!("{}: {problem}", self.path);
        }
        let Some(faults) = &mut faults else { return };
        for (name, host) in &self.hosts {
            host.set_faults(faults.remove(name).unwrap_or_default());
        }
        for name in faults.keys() {
            tracing::warn!("{}: there is no host `{name}` in this lab", self.path);
        }
    }
}

fn stamp(path: &camino::Utf8Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The faults by host (none when the text is no TOML at all), and what is wrong with the text.
fn parse(text: &str) -> (Option<BTreeMap<String, Faults>>, Vec<String>) {
    let top = match text.parse::<toml::Table>() {
        Ok(top) => top,
        Err(error) => return (None, vec![error.to_string()]),
    };
    let mut problems = Vec::new();
    let mut faults = BTreeMap::new();
    for (key, value) in top {
        let toml::Value::Table(hosts) = value else {
            problems.push(format!("`{key}` is not a table [hosts.NAME]"));
            continue;
        };
        if key != "hosts" {
            problems.push(format!("unknown table [{key}]: expected [hosts.NAME]"));
            continue;
        }
        for (name, value) in hosts {
            match value.try_into::<Faults>() {
                Ok(of_host) => {
                    faults.insert(name, of_host);
                }
                Err(error) => problems.push(format!("[hosts.{name}]: {}", error.to_string().trim_end())),
            }
        }
    }
    (Some(faults), problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_say_nothing_until_they_are_uncommented_and_then_name_every_fault() {
        assert_eq!(parse(EXAMPLES), (Some(BTreeMap::new()), Vec::new()));
        let (_, table) = EXAMPLES.split_once("\n\n").unwrap();
        let (faults, problems) = parse(&table.replace("# [", "[").replace("\n# ", "\n"));
        assert_eq!(problems, Vec::<String>::new());
        let toml::Value::Table(shown) = toml::Value::try_from(&faults.unwrap()["NAME"]).unwrap() else { panic!() };
        let names = |text: &str| text.lines().filter_map(|l| l.strip_prefix("# ")?.split_once(" =")).count();
        assert_eq!(shown.len(), names(table));
        assert_ne!(toml::Value::Table(shown), toml::Value::try_from(Faults::default()).unwrap());
    }

    #[test]
    fn mistakes_are_named_and_do_not_hide_the_rest() {
        let (faults, problems) = parse("[hosts.a]\nunreachable = true\n[hosts.b]\nunreachible = true\n[host.c]\n");
        assert!(faults.unwrap()["a"].unreachable);
        assert!(problems.iter().any(|problem| problem.contains("[hosts.b]") && problem.contains("unreachible")));
        assert!(problems.iter().any(|problem| problem.contains("unknown table [host]")));
        assert_eq!(parse("]").0, None);
    }
}
