//! `--trace FILE`: a timeline that other programs can read, however the run ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::interrupt::{SLOW, interrupted_at};
use crate::support::Lab;

/// The events of a timeline, of which every span ends where it should: in its row, innermost first, and not before it began.
#[track_caller]
fn timeline(file: &Path) -> Vec<Value> {
    let events: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    for event in &events {
        let (name, at) = (event["name"].as_str().unwrap(), event["ts"].as_u64().unwrap());
        let spans = open.entry(event["tid"].as_u64().unwrap()).or_default();
        match event["ph"].as_str().unwrap() {
            "B" => spans.push((name.to_owned(), at)),
            "E" => {
                let (began, since) = spans.pop().unwrap();
                assert_eq!(began, name);
                assert!(since <= at);
            }
            _ => {}
        }
    }
    assert!(open.values().all(Vec::is_empty), "{open:?}");
    events
}

/// The names of the spans of a category, in each host's row.
fn spans(events: &[Value], category: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = events.iter().filter(|event| event["name"] == "thread_name");
    let mut rows: BTreeMap<u64, (String, BTreeSet<String>)> =
        names.map(|event| (event["tid"].as_u64().unwrap(), (text(&event["args"]["name"]), BTreeSet::new()))).collect();
    for event in events.iter().filter(|event| event["ph"] == "B" && event["cat"] == category) {
        rows.get_mut(&event["tid"].as_u64().unwrap()).unwrap().1.insert(text(&event["name"]));
    }
    rows.into_values().collect()
}

#[test]
fn a_run_has_every_host_with_its_stages_uploads_and_resources() {
    let lab = Lab::of("seed.toml");
    let file = lab.path("trace.json");
    lab.json(&["up", "--trace", file.to_str().unwrap()]).exits(0);
    let events = timeline(&file);
    assert_eq!(events.iter().map(|event| event["pid"].as_u64()).collect::<BTreeSet<_>>().len(), 1);
    let (stages, uploads) = (spans(&events, "stage"), spans(&events, "upload"));
    let resources = spans(&events, "resource");
    for host in ["lin01", "win01", "win02"] {
        for stage in ["connect", "check", "binaries"] {
            assert!(stages[host].contains(stage), "{host} has no {stage}: {:?}", stages[host]);
        }
        assert!(stages[host].contains("programs to the hosts"), "{host}: {:?}", stages[host]);
        assert!(uploads[host].iter().any(|name| name.contains("kubelet")), "{host}: {:?}", uploads[host]);
        assert!(resources[host].iter().any(|name| name.starts_with("route:")), "{host}: {:?}", resources[host]);
        assert!(spans(&events, "wait")[host].contains("waits for other hosts"));
    }
    // What goes to the depot is in the row of its host, what is taken from there in the rows of those that take it.
    let with = |host: &str, end: &str| uploads[host].iter().any(|name| name.ends_with(end));
    assert!(with("lin01", "kubelet.exe (for all)"), "{uploads:?}");
    for host in ["win01", "win02"] {
        assert!(with(host, "kubelet.exe from the depot") && !with(host, "(for all)"), "{uploads:?}");
    }
    for stage in ["artifacts", "connect", "facts and preflight", "check", "verify"] {
        assert!(stages["all hosts"].contains(stage), "no {stage}: {:?}", stages["all hosts"]);
    }
}

#[test]
fn a_run_that_fails_or_is_interrupted_leaves_a_whole_timeline() {
    let lab = Lab::of("seed.toml");
    let file = lab.path("trace.json");
    let path = file.to_str().unwrap();
    lab.faults("[hosts.win01]\nunreachable = true\n");
    lab.json(&["up", "--trace", path]).exits(4);
    let events = timeline(&file);
    assert!(events.iter().any(|event| event["ph"] == "i" && event["name"] == "failed"));

    lab.faults(SLOW);
    interrupted_at(&lab, &["plan", "--trace", path], "==> check");
    assert!(spans(&timeline(&file), "stage")["all hosts"].contains("check"));
    // A file that cannot be written is told before anything is done.
    lab.json(&["plan", "--trace", lab.path("no/such/folder").to_str().unwrap()]).exits(1);
}
