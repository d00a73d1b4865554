//! Any call that changes something may fail: another run of the same plan then ends as if nothing had been, and what is taken
//! back afterwards leaves the host as it was.

use k8swin_protocol::resource::{ForwardingMode, Protection, WindowsResource};

use super::machine::{Machine, Topic, machine};
use super::resources::{drifted, in_sync};
use super::samples::*;

/// Lets the n-th changing call fail, for each n until there are no more. Returns how many there were: fewer where folders that
/// it needs are there already.
fn fail_each_call(machine: &Machine, resources: &[WindowsResource]) -> u32 {
    let mut session = machine.session_with_faults();
    let before = drifted(&mut session, resources);
    for n in 1.. {
        machine.write("work/faults", &n.to_string());
        let troubled = session.apply(resources);
        // The file is there as long as there were fewer calls.
        let passed = machine.path("work/faults").exists();
        let _ = std::fs::remove_file(machine.path("work/faults"));
        assert_eq!(troubled.is_ok(), passed, "call {n}: {troubled:?}");
        if let Err(failure) = &troubled {
            assert!(failure.answer.starts_with("injected"), "call {n}: {failure:?}");
        }
        session.apply(resources).unwrap_or_else(|failure| panic!("after a failure of call {n}: {failure}"));
        in_sync(&mut session, resources);
        session.remove().unwrap_or_else(|failure| panic!("after a failure of call {n}: {failure}"));
        assert_eq!(drifted(&mut session, resources), before, "after a failure of call {n}");
        if passed {
            session.end();
            return n - 1;
        }
    }
    unreachable!()
}

#[test]
fn folders_files_and_rules() {
    let Some(machine) = machine(Topic::Faults) else { return };
    let files = [directory("etc"), file("secret.pem", Protection::Secret)];
    assert!(fail_each_call(&machine, &files) >= 2);
    assert!(fail_each_call(&machine, &rules()[..1]) >= 2);
}

#[test]
fn the_network() {
    let Some(machine) = machine(Topic::Faults) else { return };
    assert!(fail_each_call(&machine, &[route()]) >= 2);
    let pods = [network(), address(), forwarding(ForwardingMode::PerAdapter)];
    assert!(fail_each_call(&machine, &pods) >= 2);
    assert!(fail_each_call(&machine, &[pause_image()]) >= 2);
}

#[test]
fn a_service() {
    let Some(machine) = machine(Topic::Faults) else { return };
    assert!(fail_each_call(&machine, &[service("mended", &["mended"], &["docker"])]) >= 2);
}
