//! The service `k8swin-network`: what something else takes away from the network is put back.

use std::thread;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::resources::*;
use crate::session::Session;

/// Far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often the service has put something back since the host was booted.
fn repairs(host: &Host) -> usize {
    let journal = host.run(&["journalctl", "-b", "-u", "k8swin-network", "-o", "cat"]);
    journal.lines().filter(|line| line.starts_with("the network is in place")).count()
}

#[test]
fn what_something_else_takes_away_is_put_back() {
    let Some(host) = Host::boot() else { return };
    let resources = [
        forward(),
        route("192.168.1.0/24", [10, 5, 6, 216]),
        route("192.168.2.0/24", [10, 5, 6, 217]),
        network_unit(&host.agent),
    ];
    let mut session = Session::open(&host);
    session.apply(&resources).unwrap();
    let process = host.run(&["systemctl", "show", "k8swin-network", "--property=MainPID", "--value"]);
    let troubles: [&[&[&str]]; 5] = [
        &[&["ip", "route", "delete", "192.168.1.0/24"]],
        &[&["ip", "route", "replace", "192.168.2.0/24", "via", "10.5.6.9"]],
        &[&["networkctl", "reconfigure", "eth0"]],
        &[&["ip", "link", "set", "eth0", "down"], &["sleep", "5"], &["ip", "link", "set", "eth0", "up"]],
        &[&["iptables", "-w", "-F", "FORWARD"]],
    ];
    for trouble in troubles {
        let before = repairs(&host);
        for words in trouble {
            host.run(words);
        }
        let begun = Instant::now();
        while repairs(&host) == before || !session.drift(&resources).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{trouble:?}: {:?}", session.drift(&resources));
            thread::sleep(Duration::from_millis(200));
        }
        println!("{:?}: in place again after {:.1} s", trouble[0].join(" "), begun.elapsed().as_secs_f32());
    }
    assert_eq!(host.run(&["systemctl", "show", "k8swin-network", "--property=MainPID", "--value"]), process);
    // A route that is no longer planned is taken back for good, also while the service looks on.
    session.prune(&[resources[0].id(), resources[1].id(), resources[3].id()]).unwrap();
    let before = repairs(&host);
    host.run(&["ip", "route", "delete", "192.168.1.0/24"]);
    while repairs(&host) == before {
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(host.run(&["ip", "-4", "route", "show", "192.168.2.0/24"]), "");
    session.reset().unwrap();
    session.bye();
}

#[test]
fn a_network_that_cannot_be_put_in_place_is_said_and_tried_again() {
    let Some(host) = Host::boot() else { return };
    let resources = [route("192.168.1.0/24", [10, 5, 6, 216]), network_unit(&host.agent)];
    let mut session = Session::open(&host);
    session.apply(&resources).unwrap();
    // Another address by hand: no adapter carries the one by which the route leaves.
    host.run(&["ip", "address", "add", "10.5.6.99/24", "dev", "eth0"]);
    host.run(&["ip", "address", "delete", "10.5.6.215/24", "dev", "eth0"]);
    let said = "add the route to 192.168.1.0/24: no adapter carries 10.5.6.215, by which it leaves";
    let begun = Instant::now();
    let journal = || host.run(&["journalctl", "-b", "-u", "k8swin-network", "-o", "cat"]);
    while !journal().contains(said) {
        assert!(begun.elapsed() < PATIENCE, "{}", journal());
        thread::sleep(Duration::from_millis(200));
    }
    let before = repairs(&host);
    host.run(&["ip", "address", "add", "10.5.6.215/24", "dev", "eth0"]);
    while repairs(&host) == before {
        assert!(begun.elapsed() < PATIENCE, "{}", journal());
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(session.drift(&resources), [""; 0]);
    assert_eq!(journal().matches(said).count(), 1, "once, however often it was tried:\n{}", journal());
    session.reset().unwrap();
    session.bye();
}
