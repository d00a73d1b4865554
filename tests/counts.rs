//! What a run costs apart from time: connections, programs, requests and bytes of a small cluster, so that a change that costs
//! more is noticed. What is compared is the same on every machine; what depends on how an agent's lines come, together or apart
//! (requests over WinRM, and with them bytes), has bounds with room for all of them to come apart. How long something takes is
//! in docs/performance.md.

use std::collections::BTreeMap;

use camino::Utf8Path;
use k8swin_inventory::Cluster;
use k8swin_lab::{Lab, LabOptions};
use k8swin_orchestrator::report::Summary;
use k8swin_orchestrator::{Options, preflight, up};
use k8swin_protocol::Os;
use tokio::sync::mpsc;

use crate::preflight::options;
use crate::support::inventory;

/// What has passed between this machine and a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    connections: u64,
    /// WinRM shells: a session has one, whatever the number of its connections.
    shells: u64,
    commands: u64,
    requests: u64,
    bytes: u64,
}

fn passed(lab: &Lab) -> BTreeMap<String, (Os, Passed)> {
    let of = |(name, host): (&str, &k8swin_lab::LabHost)| {
        let counted = host.counters();
        let (requests, shells) = host.winrm().map_or((0, 0), |winrm| (winrm.requests(), winrm.shells_created()));
        let bytes = counted.bytes_in + counted.bytes_out;
        let passed = Passed { connections: counted.connections, shells, commands: counted.commands, requests, bytes };
        (name.to_owned(), (host.simulated().os(), passed))
    };
    lab.hosts().map(of).collect()
}

/// What a command comes to, and what passed meanwhile.
async fn counted<T>(
    lab: &Lab,
    folder: &Utf8Path,
    command: impl AsyncFnOnce(&Cluster, &Options) -> T,
) -> (T, BTreeMap<String, (Os, Passed)>) {
    let file = lab.inventory();
    let cluster = k8swin_inventory::parse(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
    let (events, _received) = mpsc::unbounded_channel();
    let before = passed(lab);
    let result = command(&cluster, &options(folder, events)).await;
    let mut after = passed(lab);
    for (name, (_, now)) in &mut after {
        let (_, then) = before[name];
        now.connections -= then.connections;
        now.shells -= then.shells;
        now.commands -= then.commands;
        now.requests -= then.requests;
        now.bytes -= then.bytes;
    }
    (result, after)
}

/// One session and one program; so many requests, if it is a Windows host, and bytes at most.
#[track_caller]
fn assert_within(counted: BTreeMap<String, (Os, Passed)>, windows_requests: u64, bytes: u64) {
    for (name, (os, passed)) in counted {
        assert_eq!(passed.commands, 1, "{name} has one program run on it: {passed:?}");
        let (connections, shells, requests) =
            if os == Os::Windows { (WINDOWS_CONNECTIONS, 1, windows_requests) } else { (1, 0, 0) };
        assert_eq!(passed.shells, shells, "{name}: {passed:?}");
        assert!((1..=connections).contains(&passed.connections), "{name}: {passed:?}");
        assert!(passed.requests <= requests, "{name}: {passed:?}");
        assert!(passed.bytes <= bytes, "{name}: {passed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_and_preflight_take_one_session_a_host_few_requests_and_few_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let text = std::fs::read_to_string(inventory("seed.toml")).unwrap();
    let lab = Lab::start(&text, "seed.toml".into(), &folder.join("lab"), LabOptions::default()).await.unwrap();
    let (first, of_first) = counted(&lab, folder, async |cluster, options| up(cluster, options).await).await;
    let first: Summary = first.unwrap();
    assert!(first.hosts.values().all(|host| host.error.is_none()));
    for (name, (_, passed)) in &of_first {
        assert!(passed.commands <= FIRST_COMMANDS, "{name}: {passed:?}");
        assert!(passed.bytes <= FIRST_BYTES, "{name}: {passed:?}");
        assert!(passed.requests <= FIRST_REQUESTS, "{name}: {passed:?}");
    }

    let (second, of_second) = counted(&lab, folder, async |cluster, options| up(cluster, options).await).await;
    let second: Summary = second.unwrap();
    assert!(second.hosts.values().all(|host| host.changed == 0 && host.error.is_none()));
    assert!(second.hosts.values().all(|host| host.sent_bytes == 0 && host.pulled_bytes == 0));
    assert_within(of_second, WINDOWS_REQUESTS, BYTES);

    let (looked, of_preflight) =
        counted(&lab, folder, async |cluster, options| preflight(cluster, options).await).await;
    assert!(looked.unwrap().links.iter().all(|link| link.works()));
    assert_within(of_preflight, PREFLIGHT_WINDOWS_REQUESTS, PREFLIGHT_BYTES);
    lab.shutdown().await.unwrap();
}

/// Programs that are run on a host in the first run: three until its agent runs, and the agent again over each further connection,
/// after its network was changed and after a restart.
const FIRST_COMMANDS: u64 = 7;
/// Bytes to and from a host in the first run, with the lab's stand-ins for programs: 180 kB for Linux, 400 kB for Windows.
const FIRST_BYTES: u64 = 700_000;
/// HTTP requests of a Windows host in the first run: 90 to 100.
const FIRST_REQUESTS: u64 = 150;
/// Connections of a Windows host in a run that changes nothing: one, and another one with a log-in of its own where the host is
/// still being asked whether there is anything to be heard while it is told something.
const WINDOWS_CONNECTIONS: u64 = 2;
/// HTTP requests of a Windows host in the second run: 18 to 20 over one connection.
const WINDOWS_REQUESTS: u64 = 30;
/// Bytes to and from a host in the second run: 73 to 89 kB.
const BYTES: u64 = 160_000;
/// HTTP requests of a Windows host in `preflight`: 8 over one connection, 11 over two.
const PREFLIGHT_WINDOWS_REQUESTS: u64 = 16;
/// Bytes to and from a host in `preflight`: 12 to 35 kB.
const PREFLIGHT_BYTES: u64 = 80_000;
