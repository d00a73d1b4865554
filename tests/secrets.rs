//! No password and no private key in any output, log or state file, at any verbosity.

use std::fs;
use std::path::Path;

use crate::support::{Lab, Run};

#[test]
fn canaries_are_nowhere() {
    let lab = Lab::of("ha.toml");
    let log = lab.path("run.log");
    let log_argument = log.to_str().unwrap().to_owned();
    let mut outputs = Vec::new();
    for arguments in [
        &["preflight", "-vv"][..],
        &["plan", "--explain", "-vv"],
        &["up", "-vv"],
        &["up", "-vv", "-o", "json"],
        &["status", "-vv"],
        &["verify", "-vv"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--log-file", log_argument.as_str()]);
        let run = Run::new(lab.command(&arguments).output().unwrap()).exits(0);
        outputs.push((format!("{arguments:?}"), run.stdout + &run.stderr));
    }
    outputs.push(("log".to_owned(), fs::read_to_string(&log).unwrap()));
    outputs.push(("journal".to_owned(), find(&lab.path(""), "journal.jsonl")));
    outputs.extend(lab.states());
    assert!(outputs.iter().all(|(_, text)| !text.is_empty()));

    let mut canaries: Vec<String> = fs::read_dir(lab.path("passwords"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap().trim().to_owned())
        .collect();
    assert_eq!(canaries.len(), 3);
    let mut keys = Vec::new();
    collect_keys(&lab.path(""), &mut keys);
    assert!(keys.len() > 10, "{}", keys.len());
    for key in keys {
        // A line out of the middle of each key's base64, and its start.
        let body: Vec<_> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        canaries.push(body[body.len() / 2].to_owned());
    }
    canaries.push("PRIVATE KEY".to_owned());
    for canary in &canaries {
        assert!(canary.len() >= 8, "a canary must be long enough to mean something");
        for (place, text) in &outputs {
            assert!(!text.contains(canary.as_str()), "{place} holds the secret that begins with {}", &canary[..4]);
        }
    }
}

fn find(folder: &Path, name: &str) -> String {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            let found = find(&entry.path(), name);
            if !found.is_empty() {
                return found;
            }
        } else if entry.file_name() == name {
            return fs::read_to_string(entry.path()).unwrap();
        }
    }
    String::new()
}

fn collect_keys(folder: &Path, keys: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            collect_keys(&entry.path(), keys);
        } else if entry.path().extension().is_some_and(|extension| extension == "key")
            || entry.file_name() == "id_ed25519"
        {
            keys.push(fs::read_to_string(entry.path()).unwrap());
        }
    }
}
