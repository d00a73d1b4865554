//! Changes of the network by a process of their own: they outlive the connection, and do not stay unless confirmed.

use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::wire::{AgentEvent, FromAgent, Request, Response};

use crate::host::Host;
use crate::resources::*;
use crate::session::{self, Session};

/// Far more than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const CHANGE: &str = "/var/lib/k8swin/change";

fn detach(session: &mut Session, run: &str, confirm_within_seconds: u32) {
    let request = Request::Detach { run: run.into(), confirm_within_seconds };
    assert_eq!(session.ask(request), Ok(Response::Done));
}

fn routes(host: &Host) -> String {
    host.run(&["ip", "-4", "route", "show", "root", "192.168.0.0/16"])
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_change_outlives_its_connection_and_stays_only_when_it_is_confirmed() {
    let Some(host) = Host::boot() else { return };
    let before = host.state();
    let resources = [route("192.168.1.0/24", [10, 5, 6, 216]), forward()];

    // Nobody confirms: the agent that asked for it is killed right after the change began.
    let mut session = Session::open(&host);
    detach(&mut session, "first", 3);
    session.send(session::apply(&resources));
    while !matches!(session.read(), Some(FromAgent::Event { event: AgentEvent::Detached { .. }, .. })) {}
    session.kill();
    wait_for("the change", || routes(&host).contains("192.168.1.0/24 via 10.5.6.216"));
    wait_for("its end", || routes(&host).is_empty());
    // Told to the run that made it, once.
    let mut session = Session::open(&host);
    detach(&mut session, "first", 60);
    let failure = session.ask(session::apply(&resources)).unwrap_err();
    assert!(failure.answer.contains("nobody confirmed it"), "{failure}");
    assert!(!host.path(CHANGE).exists());
    assert_eq!(session.drift(&resources).len(), 2);

    // With a confirmation over another connection it stays.
    let Ok(Response::ConfirmDue { results, change, .. }) = session.ask(session::apply(&resources)) else {
        panic!("nothing to confirm")
    };
    assert_eq!(results.len(), 2);
    session.kill();
    let mut session = Session::open(&host);
    assert_eq!(session.ask(Request::Confirm { change }), Ok(Response::Done));
    assert_eq!(session.drift(&resources), [""; 0]);
    wait_for("the end of its process", || {
        !host.try_run(&["systemctl", "is-active", "--quiet", "k8swin-change"]).status.success()
    });
    assert!(!host.path(CHANGE).exists());
    // What is in place is not changed again.
    detach(&mut session, "second", 60);
    assert!(matches!(session.ask(session::apply(&resources)), Ok(Response::Applied { .. })));

    // A process that is killed before the confirmation leaves a change that the next agent takes back, and does again.
    session.reset().unwrap();
    detach(&mut session, "third", 600);
    assert!(matches!(session.ask(session::apply(&resources)), Ok(Response::ConfirmDue { .. })));
    host.run(&["systemctl", "kill", "--signal=KILL", "k8swin-change"]);
    wait_for("the end of its process", || {
        !host.try_run(&["systemctl", "is-active", "--quiet", "k8swin-change"]).status.success()
    });
    detach(&mut session, "fourth", 600);
    let Ok(Response::ConfirmDue { change, .. }) = session.ask(session::apply(&resources)) else {
        panic!("it was not done again")
    };
    session.kill();
    let mut session = Session::open(&host);
    assert_eq!(session.ask(Request::Confirm { change }), Ok(Response::Done));
    assert_eq!(session.drift(&resources), [""; 0]);
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.state(), before);
}
