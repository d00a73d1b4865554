//! Every kind of resource, on a fresh host and on one that has something of the kind: applied, it is in sync; applied
//! again, nothing changes; taken back, the host is as found. The same holds when any single call fails, and when the agent
//! is killed before any call.

use std::sync::atomic::Ordering;

use k8swin_agent::Host;
use k8swin_agent::platform::{KubeOperation, KubeOutcome};
use k8swin_agent::simulated::SimulatedHost;
use k8swin_protocol::resource::*;
use k8swin_protocol::wire::{KubeCall, Request, ResourceResult};

use crate::samples::{Sample, log_folder, samples};
use crate::support::*;

/// What the cluster has, beside the host: for the samples with Node objects.
fn nodes(host: &SimulatedHost) -> String {
    by_hand(host, |platform| match platform {
        Host::Windows(_) => String::new(),
        Host::Linux(linux) => {
            let call = KubeCall::Get { path: "/api/v1/nodes".into() };
            let KubeOutcome::Done(list) = linux.kube(&KubeOperation::Call(call)).unwrap() else {
                return String::new();
            };
            let items = list["items"].as_array().unwrap().iter();
            let concerns = items.map(|node| {
                let cordoned = node["spec"]["unschedulable"].as_bool().unwrap_or(false);
                let meta = &node["metadata"];
                format!("{} {} {} {cordoned}\n", meta["name"], meta["labels"], node["spec"]["podCIDR"])
            });
            concerns.collect()
        }
    })
}

fn state(host: &SimulatedHost) -> String {
    host.state_json() + &nodes(host)
}

fn apply_fully(sample: &Sample, host: &SimulatedHost) {
    stage(host, sample.blobs).unwrap();
    let results = apply(host, &sample.resources).unwrap_or_else(|failure| panic!("{}: {failure}", sample.name));
    assert_eq!(results.len(), sample.resources.len(), "{}: {results:?}", sample.name);
    assert!(in_sync(host, &sample.resources), "{}: {:?}", sample.name, check(host, &sample.resources));
}

fn reset_fully(sample: &Sample, host: &SimulatedHost, before: &str, when: &str) {
    reset(host).unwrap_or_else(|failure| panic!("{}, {when}: {failure}", sample.name));
    let after = state(host);
    assert!(after == before, "{}, {when}: not as found:\n{}", sample.name, diff(before, &after));
}

#[test]
fn applied_it_is_in_sync_and_taken_back_the_host_is_as_found() {
    for sample in samples() {
        let host = (sample.host)();
        let before = state(&host);
        let found = check(&host, &sample.resources);
        assert_eq!(state(&host), before, "{}: a check changes nothing", sample.name);
        assert_eq!(!found.differing.is_empty(), sample.name != "Docker's adapter", "{}", sample.name);
        assert_eq!(found.missing_blobs.len(), sample.blobs.len(), "{}", sample.name);

        apply_fully(&sample, &host);
        ask(&host, Request::Bye { clear_staging: true }).unwrap();
        let (applied, steps) = (state(&host), host.steps());
        let results = apply(&host, &sample.resources).unwrap();
        assert!(results.iter().all(|(_, result)| *result == ResourceResult::Unchanged), "{}", sample.name);
        assert_eq!(host.steps(), steps, "{}: a second run does nothing", sample.name);
        assert_eq!(state(&host), applied, "{}", sample.name);
        assert!(!applied.contains("canary"), "{}: a secret is shown", sample.name);

        reset_fully(&sample, &host, &before, "after one run");
    }
}

#[test]
fn trouble_at_any_call_of_an_apply_is_mended_by_the_next_one() {
    for sample in samples() {
        for trouble in [Trouble::Failure, Trouble::Kill] {
            for n in 0.. {
                let host = (sample.host)();
                let before = state(&host);
                let count = trouble_at(&host, n, trouble);
                let troubled = stage(&host, sample.blobs).and_then(|()| apply(&host, &sample.resources).map(drop));
                if count.load(Ordering::SeqCst) <= n {
                    assert!(troubled.is_ok(), "{}: {troubled:?}", sample.name);
                    break;
                }
                assert!(troubled.is_err(), "{}: {trouble:?} at {n} was swallowed", sample.name);
                no_trouble(&host);
                if n % 2 == 0 {
                    apply_fully(&sample, &host);
                }
                reset_fully(&sample, &host, &before, &format!("{trouble:?} at {n}"));
            }
        }
    }
}

#[test]
fn trouble_at_any_call_of_a_reset_is_mended_by_the_next_one() {
    for sample in samples() {
        for trouble in [Trouble::Failure, Trouble::Kill] {
            for n in 0.. {
                let host = (sample.host)();
                let before = state(&host);
                apply_fully(&sample, &host);
                let count = trouble_at(&host, n, trouble);
                let _ = reset(&host);
                if count.load(Ordering::SeqCst) <= n {
                    break;
                }
                no_trouble(&host);
                if n % 2 == 0 {
                    apply_fully(&sample, &host);
                }
                reset_fully(&sample, &host, &before, &format!("{trouble:?} at {n}"));
            }
        }
    }
}

#[test]
fn a_feature_asks_for_a_reboot_once_and_stays() {
    let host = windows();
    let resources = on_windows(
        Phase::WindowsNodes,
        vec![WindowsResource::Feature(WindowsFeature { name: FeatureName::Routing }), log_folder()],
    );
    for _ in 0..2 {
        let results = apply(&host, &resources).unwrap();
        assert!(matches!(results.as_slice(), [(_, ResourceResult::NeedsReboot { .. })]), "{results:?}");
    }
    host.reboot();
    let results = apply(&host, &resources).unwrap();
    assert!(matches!(results.as_slice(), [(_, ResourceResult::Unchanged), (_, ResourceResult::Changed)]));
    reset(&host).unwrap();
    assert!(host.state_json().contains("\"Routing\""));
    assert!(!host.state_json().contains("ledger"));
}
