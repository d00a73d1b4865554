//! Services of the agent's own service host: started, crashed, restarted, logged, stopped with their whole tree.

use k8swin_protocol::Sha256;
use k8swin_protocol::resource::{CheckOutcome, WindowsResource, WindowsService};
use k8swin_protocol::wire::ResourceResult;

use super::machine::{Topic, machine, processes};
use super::resources::{applied, drifted, in_sync};
use super::samples::{network_service, service};

#[test]
fn services_live_as_they_should() {
    let Some(machine) = machine(Topic::Services) else { return };
    let mut session = machine.session();
    // Another test of this machine may have had the program run.
    let _ = std::fs::remove_file(machine.path("work/starts.txt"));
    let token = format!("token-{}", std::process::id());
    let worker = service("worker", &[&token], &["docker", "k8swin-network"]);
    let both = [network_service(), worker.clone()];
    let before = drifted(&mut session, &both);
    applied(&mut session, &both);
    assert!(machine.read("log/k8swin-network.log").contains("the network is in place, 0 changed"));
    let starts = || machine.read("work/starts.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    machine.wait_for("the first start", || starts() == ["pods"]);

    machine.write("work/crash", "");
    machine.wait_for("the start after a crash", || starts().len() == 2);
    assert!(machine.read("log/worker.log").contains("ended with the code 7"));
    machine.wait_for("the end of the crashed tree", || processes(&token) == 2);

    machine.write("work/flood", "");
    machine.wait_for("a rotated log", || machine.path("log/worker.1.log").is_file());

    // Other inputs start it anew.
    let WindowsResource::Service(with) = worker.clone() else { unreachable!() };
    let changed = WindowsResource::Service(Box::new(WindowsService { inputs: Sha256::of(b"others"), ..*with }));
    assert_eq!(session.apply(std::slice::from_ref(&changed)).unwrap(), [ResourceResult::Changed]);
    machine.wait_for("the start with other inputs", || starts().len() == 3);

    // A service that another one depends on is changed. (Wine does not say what depends on it, so the worker runs on.)
    let WindowsResource::Service(network) = network_service() else { unreachable!() };
    let network = WindowsResource::Service(Box::new(WindowsService { inputs: Sha256::of(b"others"), ..*network }));
    assert_eq!(session.apply(std::slice::from_ref(&network)).unwrap(), [ResourceResult::Changed]);
    in_sync(&mut session, std::slice::from_ref(&changed));

    // A program that fails at once is a failed start, with what it said.
    let failure = session.fails(service("failing", &["fail"], &[]));
    assert!(failure.answer.contains("no such flag"), "{failure:?}");

    // A boot starts it, without anybody attending.
    session.end();
    machine.power_off();
    machine.wait_for("the end of all", || processes(&token) == 0);
    machine.reboot();
    let mut session = machine.session();
    machine.wait_for("the start at boot", || starts().len() == 4);
    in_sync(&mut session, &[network, changed]);

    let removed = session.remove().unwrap();
    assert!(removed.iter().all(|result| *result == ResourceResult::Changed), "{removed:?}");
    machine.wait_for("the end of the whole tree", || processes(&token) == 0);
    assert_eq!(session.check(&both), before);
    assert!(
        before
            .iter()
            .all(|outcome| { matches!(outcome, CheckOutcome::Drifted { difference, .. } if difference == "absent") })
    );
    session.end();
}
