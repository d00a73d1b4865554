//! Whether the programs take the flags that they are started with: what they say of flags in their logs, compared with the
//! list of what is known, and why (`flags.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_sandbox::LinuxHost;
use serde_json::Value;

use crate::error::Error;
use crate::hosts::Hosts;

/// What is known, as data.
const KNOWN: &str = include_str!("flags.json");

/// The programs whose logs are read.
const COMPONENTS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// What a line says that is about a flag that a program does not take, or takes and does not heed.
const WORDS: [&str; 9] = [
    "deprecated",
    "unknown flag",
    "unknown shorthand",
    "provided but not defined",
    "ignored",
    "ignoring",
    "no effect",
    "obsolete",
    "not supported",
];

/// A flag that a program had something to say about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Remark {
    component: String,
    flag: String,
}

/// A remark that is known, with the reason why the flag is passed all the same.
struct Known {
    remark: Remark,
    reason: String,
}

/// What came of reading the logs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// How many logs were read.
    pub(crate) logs: usize,
    /// Each flag that something was said of, with the reason why it is passed all the same.
    pub(crate) known: Vec<String>,
}

/// Reads the logs of all components on all hosts.
///
/// # Errors
/// When one of them says something of a flag that is not known.
pub(crate) fn check(hosts: &Hosts, kubernetes: KubernetesMinor) -> Result<Checked, Error> {
    let mut logs = Vec::new();
    for host in hosts.linux() {
        for component in COMPONENTS {
            let text = journal(host, component)?;
            if !text.is_empty() {
                logs.push((component, format!("{component} on {}", host.hostname()), text));
            }
        }
    }
    for host in hosts.windows() {
        for component in COMPONENTS {
            let text = files(&host.drive().join("k8swin/log"), component);
            if !text.is_empty() {
                logs.push((component, format!("{component}.exe on {}", host.hostname()), text));
            }
        }
    }
    let known = known(kubernetes)?;
    let mut reasons = BTreeSet::new();
    let mut unknown = BTreeMap::new();
    for (component, place, text) in &logs {
        for (flag, line) in remarks(text) {
            let remark = Remark { component: (*component).to_owned(), flag };
            match known.iter().find(|known| known.remark == remark) {
                Some(Known { remark, reason }) => {
                    reasons.insert(format!("{} --{}: {reason}", remark.component, remark.flag));
                }
                None => {
                    unknown.entry(remark).or_insert_with(|| format!("{place}: {line}"));
                }
            }
        }
    }
    if unknown.is_empty() {
        return Ok(Checked { logs: logs.len(), known: reasons.into_iter().collect() });
    }
    let lines: Vec<_> = unknown.into_values().collect();
    let list = "correct the release profile, or give the reason in crates/e2e/src/flags.json";
    Err(Error::Cluster(format!("flags that programs do not take, or do not heed ({list}):\n  {}", lines.join("\n  "))))
}

fn journal(host: &LinuxHost, unit: &str) -> Result<String, Error> {
    let unit = format!("--unit={unit}");
    Ok(host.run(&["journalctl", &unit, "--output=cat", "--no-pager", "--quiet"])?)
}

/// The log of a service on Windows, with those before it.
fn files(folder: &Path, component: &str) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let of_component = entries.filter(|entry| is_log_of(&entry.file_name().to_string_lossy(), component));
    let texts = of_component.filter_map(|entry| fs::read(entry.path()).ok());
    texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

/// `kubelet.log` is the newest, `kubelet.1.log` the one before.
fn is_log_of(file: &str, component: &str) -> bool {
    file.strip_prefix(component).is_some_and(|rest| rest.starts_with('.'))
}

/// What is known of a release.
fn known(kubernetes: KubernetesMinor) -> Result<Vec<Known>, Error> {
    static PARSED: LazyLock<Result<Value, String>> =
        LazyLock::new(|| serde_json::from_str(KNOWN).map_err(|error| error.to_string()));
    let list = PARSED.as_ref().map_err(|error| Error::Cluster(format!("flags.json: {error}")))?;
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let of_release = |entry: &&Value| {
        let releases = entry["kubernetes"].as_array().into_iter().flatten();
        releases.into_iter().any(|release| release == kubernetes.as_str())
    };
    let entries = list.as_array().into_iter().flatten().filter(of_release);
    Ok(entries
        .map(|entry| Known {
            remark: Remark { component: text(entry, "component"), flag: text(entry, "flag") },
            reason: text(entry, "reason"),
        })
        .collect())
}

/// The flags that a log says something of, each with the line.
fn remarks(log: &str) -> BTreeMap<String, String> {
    let mut remarks = BTreeMap::new();
    for line in log.lines() {
        // With a higher verbosity, programs list all their flags.
        if line.contains("FLAG: --") {
            continue;
        }
        let lower = line.to_lowercase();
        if WORDS.iter().any(|word| lower.contains(word))
            && let Some(flag) = flag(line)
        {
            remarks.entry(flag).or_insert_with(|| line.trim().to_owned());
        }
    }
    remarks
}

/// The first flag that a line names.
fn flag(line: &str) -> Option<String> {
    let begins = |at: &usize| {
        let before = line.get(..*at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_ascii_alphanumeric() && before != '-')
    };
    let named = line.match_indices("--").map(|(at, _)| at).filter(begins).find_map(|at| {
        let name = line.get(at + 2..)?;
        let end = name.find(|next: char| !next.is_ascii_alphanumeric() && !"-_".contains(next)).unwrap_or(name.len());
        name.get(..end).filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))
    });
    // Go's own package for flags names them with one dash.
    let defined = || line.split_once("provided but not defined: -").map(|(_, name)| name.trim());
    named.or_else(defined).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_flags_is_found() {
        for (line, expected) in [
            ("Flag --port has been deprecated, see --secure-port instead.", Some("port")),
            ("Error: unknown flag: --experimental-thing", Some("experimental-thing")),
            ("flag provided but not defined: -cloud", Some("cloud")),
            ("[WARNING] Deprecated '--logger=capnslog' flag is set; use '--logger=zap' flag instead", Some("logger")),
            ("W1123 server.go:1 Value for option --x-y is ignored", Some("x-y")),
            ("I1123 flags.go:59] FLAG: --address=\"deprecated\"", None),
            ("W1123 the API v1beta1 Ingress is deprecated in v1.19+", None),
            ("I1123 Starting --everything is fine", None),
            ("ignored -- nothing", None),
        ] {
            let found = remarks(line);
            assert_eq!(found.keys().next().map(String::as_str), expected, "{line}");
        }
    }

    #[test]
    fn the_log_of_a_component_is_none_of_another_one() {
        for (file, expected) in
            [("kubelet.log", true), ("kubelet.1.log", true), ("kube-proxy.log", false), ("kubelet-2.log", false)]
        {
            assert_eq!(is_log_of(file, "kubelet"), expected, "{file}");
        }
    }

    #[test]
    fn every_known_remark_is_told_once_and_has_a_reason() {
        for kubernetes in [KubernetesMinor::V1_5, KubernetesMinor::V1_20] {
            let known = known(kubernetes).unwrap();
            let all: BTreeSet<_> = known.iter().map(|known| known.remark.clone()).collect();
            assert_eq!(all.len(), known.len(), "twice in flags.json");
            assert!(!known.is_empty());
            for Known { remark, reason } in known {
                assert!(COMPONENTS.contains(&remark.component.as_str()), "{remark:?}");
                assert!(reason.len() > 20 && !remark.flag.starts_with('-'), "{remark:?} {reason}");
            }
        }
    }
}
