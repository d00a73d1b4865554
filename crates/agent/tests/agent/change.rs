//! Changes of the network by a process of their own, and one agent at work on a host.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::*;
use k8swin_agent::platform::Addressing;
use k8swin_agent::simulated::SimulatedHost;
use k8swin_protocol::resource::*;
use k8swin_protocol::wire::{FromAgent, Request, ResourceResult, Response};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

fn route(destination: &str, via: [u8; 4], from: [u8; 4]) -> Route {
    Route { destination: destination.parse().unwrap(), via: via.into(), from: from.into() }
}

fn network() -> HostResources {
    on_windows(
        Phase::WindowsNodes,
        vec![
            WindowsResource::TransparentNetwork(TransparentNetwork {
                name: "pods".into(),
                subnet: "192.168.1.0/24".parse().unwrap(),
                gateway: [192, 168, 1, 1].into(),
                adapter: "Ethernet 2".into(),
            }),
            WindowsResource::AdapterAddress(AdapterAddress {
                network: "pods".into(),
                address: [192, 168, 1, 1].into(),
                prefix: 24,
            }),
            WindowsResource::Route(route("192.168.0.0/24", [10, 5, 6, 215], [10, 5, 6, 216])),
        ],
    )
}

fn detached(host: &SimulatedHost, run: &str, seconds: u32, resources: &HostResources) -> FromAgent {
    let detach = Request::Detach { run: run.into(), confirm_within_seconds: seconds };
    let apply = Request::Apply { cluster: CLUSTER.into(), resources: resources.clone() };
    talk(host, [detach, apply]).pop().unwrap()
}

#[test]
fn a_change_that_is_confirmed_stays_and_leaves_no_trace_of_its_making() {
    let (host, attached) = (windows(), windows());
    let FromAgent::Reply { response: Response::ConfirmDue { results, change, .. }, .. } =
        detached(&host, "run", 60, &network())
    else {
        panic!("nothing to confirm")
    };
    assert!(results.iter().all(|(_, result)| *result == ResourceResult::Changed), "{results:?}");
    assert_eq!(ask(&host, Request::Confirm { change: change.clone() }), Ok(Response::Done));
    // A repeated one, after a lost connection, does no harm.
    assert_eq!(ask(&host, Request::Confirm { change }), Ok(Response::Done));
    apply(&attached, &network()).unwrap();
    assert_eq!(host.state_json(), attached.state_json());
    let FromAgent::Reply { response: Response::Applied { results }, .. } = detached(&host, "run", 60, &network())
    else {
        panic!("a change without a difference")
    };
    assert!(results.iter().all(|(_, result)| *result == ResourceResult::Unchanged), "{results:?}");
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back_to_what_was_there_right_before() {
    let host = windows();
    apply(&host, &network()).unwrap();
    // Ours, and drifted: not the host's state before k8swin is restored, but the one before this change.
    by_hand(&host, |platform| match platform {
        k8swin_agent::Host::Windows(windows) => windows.set_addressing("vEthernet (HNSTransparent)", &Addressing::Dhcp),
        k8swin_agent::Host::Linux(_) => panic!("a Windows host"),
    })
    .unwrap();
    let before = host.state_json();
    let due = detached(&host, "run", 1, &network());
    assert!(matches!(due, FromAgent::Reply { response: Response::ConfirmDue { .. }, .. }), "{due:?}");
    // The gateway's address is there until the change is taken back.
    while host.facts().common().adapters.iter().any(|adapter| adapter.addresses.iter().any(|net| net.addr() == GATEWAY))
    {
        thread::sleep(Duration::from_millis(20));
    }
    let FromAgent::Failed { failure, .. } = detached(&host, "run", 60, &network()) else {
        panic!("the run that made it must be told")
    };
    assert!(failure.answer.contains("nobody confirmed it"), "{failure}");
    assert_eq!(host.state_json(), before, "{}", diff(&before, &host.state_json()));
    // It is told once; the next run does it again.
    let again = detached(&host, "another run", 60, &network());
    let FromAgent::Reply { response: Response::ConfirmDue { change, .. }, .. } = again else { panic!("{again:?}") };
    assert_eq!(ask(&host, Request::Confirm { change }), Ok(Response::Done));
    assert!(in_sync(&host, &network()));
}

#[test]
fn a_change_that_is_being_taken_back_is_not_to_be_confirmed_any_more() {
    let host = windows();
    let due = detached(&host, "run", 1, &network());
    assert!(matches!(due, FromAgent::Reply { response: Response::ConfirmDue { .. }, .. }), "{due:?}");
    let (begun, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    host.before_mutation({
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        Arc::new(move |what: &str| {
            // What the process notes of its change is written before.
            if !what.contains("progress.json") && !begun.swap(true, Ordering::SeqCst) {
                wait_for(&go_on);
            }
            Ok(())
        })
    });
    wait_for(&begun);
    let second = {
        let host = host.clone();
        thread::spawn(move || detached(&host, "run", 60, &network()))
    };
    // Long enough for an answer that does not wait for the end.
    thread::sleep(Duration::from_millis(200));
    go_on.store(true, Ordering::SeqCst);
    let FromAgent::Failed { failure, .. } = second.join().unwrap() else { panic!("the run that made it must be told") };
    assert!(failure.answer.contains("nobody confirmed it"), "{failure}");
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_change_that_fails_is_taken_back_as_a_whole() {
    let host = windows();
    let before = host.state_json();
    host.before_mutation(Arc::new(|what: &str| match what {
        what if what.starts_with("add the route") => Err(k8swin_agent::PlatformError::new(what, "injected")),
        _ => Ok(()),
    }));
    let FromAgent::Reply { response: Response::Applied { results }, .. } = detached(&host, "run", 60, &network())
    else {
        panic!("a failed change is not to be confirmed")
    };
    let Some((_, ResourceResult::Failed(failure))) = results.last() else { panic!("{results:?}") };
    assert!(failure.answer.contains("injected") && failure.answer.contains("as it was"), "{failure}");
    assert_eq!(results.len(), 1, "what was taken back was not changed");
    reset(&host).unwrap();
    assert_eq!(host.state_json(), before);
}

#[test]
fn an_agent_that_is_still_at_work_is_waited_for() {
    let host = linux();
    let (reached, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let gate = (Arc::clone(&reached), Arc::clone(&open));
    host.before_mutation(Arc::new(move |what: &str| {
        if what == "write /etc/old" {
            gate.0.store(true, Ordering::SeqCst);
            while !gate.1.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }));
    let text = |name: &str| {
        let content = Content::Text("text\n".into());
        on_linux(
            Phase::Files,
            vec![LinuxResource::File(File { path: path(name), content, protection: Protection::Public })],
        )
    };
    let (old, old_file, new, new_file) = (host.clone(), text("/etc/old"), host.clone(), text("/etc/new"));
    let old = thread::spawn(move || apply(&old, &old_file).unwrap());
    while !reached.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    let new = thread::spawn(move || apply(&new, &new_file).unwrap());
    thread::sleep(Duration::from_millis(200));
    assert!(host.read_file(&path("/etc/new")).is_none(), "two agents changed the host at once");
    // Looking needs no lock.
    assert!(!in_sync(&host, &text("/etc/new")));
    open.store(true, Ordering::SeqCst);
    old.join().unwrap();
    new.join().unwrap();
    assert!(in_sync(&host, &text("/etc/new")) && in_sync(&host, &text("/etc/old")));
}

#[test]
fn features_share_one_restart_and_nothing_else_is_applied_before_it() {
    let host = windows();
    let feature = |name| WindowsResource::Feature(WindowsFeature { name });
    let rule = FirewallRule { name: "k8swin ping".into(), allow: FirewallMatch::IcmpEcho, remote: Vec::new() };
    let resources = on_windows(
        Phase::WindowsNodes,
        vec![feature(FeatureName::Routing), WindowsResource::FirewallRule(rule), feature(FeatureName::Containers)],
    );
    let results = apply(&host, &resources).unwrap();
    let results: Vec<_> = results.iter().map(|(resource, result)| (resource.as_str(), result.clone())).collect();
    let reason = "the feature Routing was installed".to_owned();
    assert_eq!(
        results,
        [
            ("feature:Routing", ResourceResult::NeedsReboot { reason }),
            ("feature:Containers", ResourceResult::Unchanged),
        ]
    );
}

#[test]
fn old_agents_go_when_nothing_refers_to_them() {
    let host = linux();
    let old = path("/opt/k8swin/bin/k8swin-agent-0123456789abcdef");
    put_by_hand(&host, old.as_str(), "an older agent", 0o755);
    assert_eq!(ask(&host, Request::RemoveOldAgents), Ok(Response::Done));
    assert!(host.read_file(&old).is_none());
    assert!(host.read_file(&host.os().agent(k8swin_protocol::Sha256::of(AGENT))).is_some());
}
