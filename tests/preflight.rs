//! Preflight against labs: every check fires where its fault is and is silent otherwise, a run needs few requests, leaves
//! nothing behind, and its remedies make the hosts fit.

mod cases;
mod remedies;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_agent::Host;
use k8swin_agent::platform::SystemRoute;
use k8swin_inventory::{Check, Cluster};
use k8swin_lab::{Lab, LabOptions};
use k8swin_orchestrator::report::{Finding, Preflight, Severity};
use k8swin_orchestrator::{Options, preflight, up};
use k8swin_protocol::resource::Protection;
use k8swin_protocol::{Os, Sha256};
use k8swin_transport::Secrets;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::Lab as Process;

/// HTTP requests of a Windows host whose agent is there: two for the log-in, the shell, the agent with what it is asked at
/// its start, the answers to that, the connections to try, what became of them, the end of the shell.
const REQUESTS: u64 = 8;

/// A lab in this process, with agents on its hosts as an earlier run leaves them.
struct Here {
    lab: Lab,
    cluster: Cluster,
    options: Options,
    _events: mpsc::UnboundedReceiver<k8swin_orchestrator::event::Event>,
    folder: TempDir,
}

impl Here {
    async fn start(inventory: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let lab =
            Lab::start(inventory, "inventory.toml".into(), &path.join("lab"), LabOptions::default()).await.unwrap();
        for (_, host) in lab.hosts() {
            let simulated = host.simulated();
            let name = if simulated.os() == Os::Windows { "k8swin-agent.exe" } else { "k8swin-agent" };
            let bytes = std::fs::read(lab.directory().join("agents").join(name)).unwrap();
            let place = simulated.os().agent(Sha256::of(&bytes));
            simulated.write_file(&place, &bytes, Protection::Executable).unwrap();
        }
        let file = lab.inventory();
        let cluster = k8swin_inventory::parse(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
        let (events, received) = mpsc::unbounded_channel();
        Self { lab, cluster, options: options(&path, events), _events: received, folder }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    /// What goes wrong from now on: a line for each host.
    fn faults(&self, lines: &[(&str, &str)]) {
        let hosts: BTreeSet<_> = lines.iter().map(|(host, _)| host).collect();
        let table = |host: &&&str| {
            let lines = lines.iter().filter(|(of, _)| of == *host).map(|(_, line)| format!("{line}\n"));
            format!("[hosts.{host}]\n{}", lines.collect::<String>())
        };
        std::fs::write(self.lab.directory().join("faults.toml"), hosts.iter().map(table).collect::<String>()).unwrap();
    }

    async fn preflight(&self) -> Preflight {
        preflight(&self.cluster, &self.options).await.unwrap()
    }
}

/// How a run in this process goes about its work, with its files in a folder.
pub(crate) fn options(folder: &Utf8Path, events: mpsc::UnboundedSender<k8swin_orchestrator::event::Event>) -> Options {
    Options {
        state_dir: folder.join("state"),
        cache_dir: folder.join("cache"),
        parallel: 32,
        uploads: 64,
        max_unavailable: None,
        owner: "test".into(),
        break_lock: false,
        ignore: Vec::new(),
        cancel: CancellationToken::new(),
        events,
        secrets: Arc::new(Secrets::without_prompt()),
        ssh_config: None,
        attempts: 3,
        confirm_within: Duration::from_secs(60),
        restart_within: Duration::from_secs(60),
        ready_within: Duration::from_secs(60),
    }
}

/// What is not as it should be: host and check. How full the disk is that the tests run on is not theirs to judge.
fn bad(findings: &[Finding]) -> BTreeSet<(String, Check)> {
    let bad = findings.iter().filter(|finding| finding.severity > Severity::Ok && finding.check != Check::LocalDisk);
    bad.map(|finding| (finding.host.clone(), finding.check)).collect()
}

fn inventory(linux: usize, windows: usize) -> String {
    let mut text = String::from(
        "[cluster]\nname = \"many\"\nkubernetes = \"1.5.8\"\npod_cidr = \"192.168.0.0/16\"\nservice_cidr = \"172.30.0.0/16\"\n\
         [defaults.windows]\npassword = { env = \"NOT_NEEDED\" }\npod_adapter = \"Ethernet 2\"\nforwarding = \"per-adapter\"\n",
    );
    for number in 0..linux + windows {
        let os = if number < linux { "linux" } else { "windows" };
        let roles = if number == 0 { "roles = [\"control-plane\", \"worker\"]\n" } else { "" };
        text.push_str(&format!(
            "[[host]]\nname = \"host{number}\"\nos = \"{os}\"\naddress = \"10.0.0.{}\"\n{roles}",
            number + 11
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn one_channel_and_eight_requests_are_enough_for_each_of_a_hundred_hosts() {
    let here = Here::start(&inventory(50, 50)).await;
    let preflight = here.preflight().await;
    assert_eq!(preflight.links.len(), 100 * 99 + 99, "every pair, and each worker the API server as well");
    assert!(preflight.links.iter().all(|link| link.works()));
    for (name, host) in here.lab.hosts() {
        match host.winrm() {
            None => assert_eq!(host.counters().commands, 1, "channels of {name}"),
            Some(winrm) => assert_eq!(winrm.requests(), REQUESTS, "requests of {name}"),
        }
        // An agent that was only asked is told to end, and not waited for.
        let patience = Instant::now() + Duration::from_secs(20);
        while host.simulated().listens() {
            assert!(Instant::now() < patience, "{name} still listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    here.lab.shutdown().await.unwrap();
}

#[test]
fn preflight_leaves_the_hosts_as_they_were_also_when_it_is_red() {
    let lab = Process::of("seed.toml");
    let before = lab.states();
    lab.json(&["preflight"]).exits(0);
    lab.faults("[hosts.lin01]\nblocked_ports = [6443]\n");
    lab.json(&["preflight"]).exits(3);
    lab.faults("");
    lab.json(&["preflight"]).exits(0);
    assert_eq!(lab.states(), before);
}

/// Things that somebody else put on the hosts of `ha.toml`.
const FOREIGN: &str = r#"
[hosts.worker01]
leftovers = [{ kind = "unit", name = "k3s", says = "/etc/systemd/system/k3s.service" }]
[hosts.win01]
leftovers = [{ kind = "service", name = "flanneld", says = 'C:\flannel\flanneld.exe' }]
[hosts.win02]
routes = [{ destination = "10.64.0.0/10", via = "10.20.0.254", adapter = "Ethernet" }]
[hosts.control02]
cni_configurations = ["05-calico.conflist"]
"#;

#[test]
fn a_finished_cluster_is_green_and_a_machine_in_the_place_of_another_is_not() {
    let lab = Process::of("ha.toml");
    lab.json(&["up"]).exits(0);
    let document = lab.json(&["preflight"]).exits(0).document();
    let findings = document["findings"].as_array().unwrap();
    let bad: Vec<_> = findings.iter().filter(|finding| finding["severity"] != "ok").collect();
    assert!(bad.is_empty(), "{bad:#?}");

    // What is not ours is named with its owner, and what is ours is not, beside it.
    lab.faults(FOREIGN);
    let document = lab.json(&["preflight"]).exits(3).document();
    for (host, check, owner) in [
        ("worker01", "leftovers", "the unit k3s.service, of k3s (/etc/systemd/system/k3s.service)"),
        ("win01", "leftovers", r"the service `flanneld`, of flannel (C:\flannel\flanneld.exe)"),
        ("win02", "route-overlap", "win02"),
        ("control02", "cni-configuration", "05-calico.conflist"),
    ] {
        let of_check = |finding: &&Value| finding["check"] == check && finding["severity"] == "error";
        let details = document["findings"].as_array().unwrap().iter().filter(of_check);
        let mut details = details.filter(|finding| finding["host"] == host || finding["host"] == "ha");
        let detail =
            details.next().unwrap_or_else(|| panic!("{check} of {host}: {document:#}"))["detail"].as_str().unwrap();
        assert!(detail.contains(owner), "{detail}");
    }
    let bad = document["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "ok").count();
    assert_eq!(bad, 4, "{document:#}");
    lab.faults("");

    lab.faults("[hosts.win02]\nmachine_id = \"another\"\n");
    let run = lab.json(&["up"]).exits(3);
    assert!(run.stdout.contains("known-identity"), "{}", run.stdout);
    lab.json(&["up", "--ignore", "win02:known-identity"]).exits(0);
    // Now it is the known one.
    lab.json(&["preflight"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_up_made_and_is_no_longer_so_is_told_and_up_mends_it() {
    let here = Here::start(&inventory(2, 1)).await;
    up(&here.cluster, &here.options).await.unwrap();
    let before = bad(&here.preflight().await.findings);
    for (name, check) in [("host1", Check::Services), ("host2", Check::Services), ("host1", Check::Routes)] {
        let mut platform = here.lab.host(name).unwrap().simulated().platform();
        match (&mut platform, check) {
            (Host::Linux(linux), Check::Services) => linux.stop_unit("kubelet").unwrap(),
            (Host::Windows(windows), _) => windows.stop_service("kube-proxy").unwrap(),
            (Host::Linux(linux), _) => {
                let pods = here.cluster.hosts[0].pod_cidr;
                let route = linux.routes().unwrap().into_iter().find(|route| route.destination == pods).unwrap();
                let (via, adapter) = (route.via.unwrap(), route.adapter);
                linux.remove_route(&SystemRoute { destination: pods, via, adapter: adapter.to_string() }).unwrap();
            }
        }
        let after = bad(&here.preflight().await.findings);
        let new: Vec<_> = after.difference(&before).collect();
        assert_eq!(new, [&(name.to_owned(), check)]);
        let summary = up(&here.cluster, &here.options).await.unwrap();
        assert_eq!(summary.hosts.values().map(|host| host.changed).sum::<usize>(), 1, "{check} of {name}");
        assert_eq!(bad(&here.preflight().await.findings), before);
    }
    here.lab.shutdown().await.unwrap();
}

#[test]
fn what_is_ignored_does_not_fail_and_names_are_checked() {
    let lab = Process::of("seed.toml");
    lab.faults("[hosts.lin01]\nno_systemd = true\n[hosts.win01]\npending_reboot = true\n");
    lab.json(&["preflight", "--ignore", "systemd"]).exits(3);
    let document = lab.json(&["preflight", "--ignore", "systemd,win01:pending-reboot"]).exits(0).document();
    assert_eq!(document["result"], "ok");
    let ignored = document["findings"].as_array().unwrap().iter().filter(|finding| finding["ignored"] == true);
    assert_eq!(ignored.count(), 2);

    let run = lab.json(&["preflight", "--ignore", "sistemd"]).exits(2);
    assert!(run.stderr.contains("did you mean `systemd`?"), "{}", run.stderr);
    let run = lab.json(&["preflight", "--ignore", "lin02:systemd"]).exits(2);
    assert!(run.stderr.contains("lin02") && run.stderr.contains("win02"), "{}", run.stderr);

    let text = std::fs::read_to_string(lab.path("inventory.toml")).unwrap();
    let text = text.replacen("pod_cidr =", "ignore = [\"systemd\", \"pending-reboot\"]\npod_cidr =", 1);
    std::fs::write(lab.path("inventory.toml"), text).unwrap();
    lab.json(&["preflight"]).exits(0);
}

#[test]
fn the_list_of_checks_needs_no_hosts() {
    let run =
        crate::support::Run::new(crate::support::k8swin().args(["preflight", "--list"]).output().unwrap()).exits(0);
    assert!(run.stdout.contains("windows-build") && run.stdout.contains("Set-WinSystemLocale"), "{}", run.stdout);
    let run = crate::support::k8swin().args(["preflight", "--list", "-o", "json"]).output().unwrap();
    let document = crate::support::Run::new(run).exits(0).document();
    assert_eq!(document["checks"].as_array().unwrap().len(), Check::ALL.len());
}
