//! What a run costs apart from time: connections, requests and bytes of a small cluster. They do not depend on the machine, so
//! that a change that costs more is noticed. The bounds lie a little above what is needed now; times are in docs/performance.md.

use std::collections::BTreeMap;

use camino::Utf8Path;
use k8swin_lab::{Lab, LabOptions};
use k8swin_orchestrator::report::Summary;
use k8swin_orchestrator::up;
use k8swin_protocol::Os;
use tokio::sync::mpsc;

use crate::preflight::options;
use crate::support::inventory;

/// What has passed between this machine and a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    connections: u64,
    commands: u64,
    requests: u64,
    bytes: u64,
}

fn passed(lab: &Lab) -> BTreeMap<String, (Os, Passed)> {
    let of = |(name, host): (&str, &k8swin_lab::LabHost)| {
        let counted = host.counters();
        let requests = host.winrm().map_or(0, k8swin_lab::winrm::Counters::requests);
        let bytes = counted.bytes_in + counted.bytes_out;
        let passed = Passed { connections: counted.connections, commands: counted.commands, requests, bytes };
        (name.to_owned(), (host.simulated().os(), passed))
    };
    lab.hosts().map(of).collect()
}

/// What passed in one run.
async fn counted(lab: &Lab, folder: &Utf8Path) -> (Summary, BTreeMap<String, (Os, Passed)>) {
    let file = lab.inventory();
    let cluster = k8swin_inventory::parse(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
    let (events, _received) = mpsc::unbounded_channel();
    let before = passed(lab);
    let summary = up(&cluster, &options(folder, events)).await.unwrap();
    let mut after = passed(lab);
    for (name, (_, now)) in &mut after {
        let (_, then) = before[name];
        now.connections -= then.connections;
        now.commands -= then.commands;
        now.requests -= then.requests;
        now.bytes -= then.bytes;
    }
    (summary, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_takes_one_connection_a_host_few_requests_and_few_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let text = std::fs::read_to_string(inventory("seed.toml")).unwrap();
    let lab = Lab::start(&text, "seed.toml".into(), &folder.join("lab"), LabOptions::default()).await.unwrap();
    let (first, of_first) = counted(&lab, folder).await;
    assert!(first.hosts.values().all(|host| host.error.is_none()));
    for (name, (_, passed)) in &of_first {
        assert!(passed.bytes <= FIRST_BYTES, "{name}: {passed:?}");
        assert!(passed.requests <= FIRST_REQUESTS, "{name}: {passed:?}");
    }

    let (second, of_second) = counted(&lab, folder).await;
    assert!(second.hosts.values().all(|host| host.changed == 0 && host.error.is_none()));
    for (name, (os, passed)) in of_second {
        assert_eq!(passed.commands, 1, "{name} has one program run on it: {passed:?}");
        assert_eq!(passed.connections, CONNECTIONS, "{name}: {passed:?}");
        let requests = if os == Os::Windows { WINDOWS_REQUESTS } else { 0 };
        assert!(passed.requests <= requests, "{name}: {passed:?}");
        assert!(passed.bytes <= BYTES, "{name}: {passed:?}");
    }
    lab.shutdown().await.unwrap();
}

/// Bytes to and from a host in the first run, with the lab's stand-ins for programs: 290 kB on average.
const FIRST_BYTES: u64 = 700_000;
/// HTTP requests of a Windows host in the first run: 82 on a quiet machine; each empty answer that is waited for adds one.
const FIRST_REQUESTS: u64 = 150;
/// Connections of a host in the second run.
const CONNECTIONS: u64 = 1;
/// HTTP requests of a Windows host in the second run: 16, and room for two answers that come late.
const WINDOWS_REQUESTS: u64 = 20;
/// Bytes to and from a host in the second run: 70 kB on average.
const BYTES: u64 = 160_000;
