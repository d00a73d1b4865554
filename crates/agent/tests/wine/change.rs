//! Changes of the network by the service `k8swin-change`: it outlives the connection, and what it did does not stay unless
//! somebody confirms it.

use k8swin_protocol::resource::WindowsResource;
use k8swin_protocol::wire::{Request, Response};

use super::machine::{LOADER, Machine, Session, Topic, machine};
use super::resources::{drifted, in_sync, network_of};
use super::samples::{address, network, route};

const SERVICE: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\k8swin-change";

/// Has the resources applied detached; the name of the change that is to be confirmed.
fn due(session: &mut Session, run: &str, confirm_within_seconds: u32, resources: &[WindowsResource]) -> String {
    let detach = Request::Detach { run: run.into(), confirm_within_seconds };
    assert_eq!(session.ask(detach), Ok(Response::Done));
    match session.ask_to_apply(resources) {
        Ok(Response::ConfirmDue { change, results, .. }) => {
            assert_eq!(results.len(), resources.len(), "{results:?}");
            change
        }
        other => panic!("nothing to confirm: {other:?}"),
    }
}

fn service_exists(machine: &Machine) -> bool {
    machine.command(LOADER).args(["reg", "query", SERVICE]).output().unwrap().status.success()
}

/// The process of the change notes this when it is through.
fn wait_until_taken_back(machine: &Machine) {
    machine.wait_for("the change taken back", || machine.read("state/change/progress.json").contains("taken-back"));
}

#[test]
fn a_change_outlives_its_connection_and_stays_only_when_it_is_confirmed() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let resources = [network(), address(), route()];
    let mut session = machine.session();
    let before = network_of(&machine, &mut session);

    // Nobody confirms: the connection is lost for good.
    due(&mut session, "first", 5, &resources);
    in_sync(&mut session, &resources);
    assert!(service_exists(&machine));
    session.lose();
    wait_until_taken_back(&machine);
    // Told to the run that made it, once; then the host is as it was.
    let mut session = machine.session();
    let detach = Request::Detach { run: "first".into(), confirm_within_seconds: 60 };
    assert_eq!(session.ask(detach), Ok(Response::Done));
    let failure = session.ask_to_apply(&resources).unwrap_err();
    assert!(failure.answer.contains("nobody confirmed it"), "{failure:?}");
    drifted(&mut session, &resources);
    assert_eq!(network_of(&machine, &mut session), before);

    // With a confirmation over another connection it stays, and the service goes.
    let change = due(&mut session, "second", 600, &resources);
    session.lose();
    let mut session = machine.session();
    assert_eq!(session.ask(Request::Confirm { change }), Ok(Response::Done));
    in_sync(&mut session, &resources);
    machine.wait_for("the end of the service", || !service_exists(&machine));
    assert!(!machine.path("state/change").exists());

    // A boot in the middle: the service starts again and takes the change back.
    session.remove().unwrap();
    assert_eq!(network_of(&machine, &mut session), before);
    due(&mut session, "third", 600, &resources);
    session.lose();
    machine.reboot();
    wait_until_taken_back(&machine);
    let mut session = machine.session();
    let change = due(&mut session, "fourth", 600, &resources);
    assert_eq!(session.ask(Request::Confirm { change }), Ok(Response::Done));
    in_sync(&mut session, &resources);
    session.remove().unwrap();
    assert_eq!(network_of(&machine, &mut session), before);
    session.end();
}
