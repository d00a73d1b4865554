//! What an administrator is told when something does not work, and that the next run goes on.

use std::thread;
use std::time::Duration;

use k8swin_protocol::wire::{AgentEvent, FromAgent};

use crate::host::Host;
use crate::resources::*;
use crate::session::{self, Session};

#[test]
fn a_service_that_falls_over_is_told_with_its_own_words() {
    let Some(host) = Host::boot() else { return };
    host.write("/usr/local/bin/falls", "#!/bin/sh\necho \"unknown flag: --colour\" >&2\nexit 3\n");
    host.run(&["chmod", "755", "/usr/local/bin/falls"]);
    let mut session = Session::open(&host);
    let failure = session.apply(&[service("demo", "/usr/local/bin/falls --colour")]).unwrap_err();
    assert_eq!(failure.attempted, "start demo");
    assert!(failure.answer.contains("unknown flag: --colour"), "{}", failure.answer);
    assert!(failure.answer.contains("status=3"), "{}", failure.answer);
    assert_eq!(failure.hint.as_deref(), Some("journalctl -u demo shows all that it wrote"));
    // A program that is not there.
    let failure = session.apply(&[service("demo", "/usr/local/bin/absent")]).unwrap_err();
    assert!(failure.answer.contains("No such file or directory"), "{}", failure.answer);
    assert!(!failure.answer.contains("unknown flag"), "of this start, not of one before: {}", failure.answer);
    // A unit file that systemd cannot read.
    let failure = session.apply(&[service("demo", "relative/path")]).unwrap_err();
    assert!(failure.answer.contains("relative/path"), "{}", failure.answer);
    // A right one starts at once, whatever was before.
    let right = [service("demo", "/bin/sleep infinity")];
    session.apply(&right).unwrap();
    assert_eq!(session.drift(&right), [""; 0]);
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.run(&["systemctl", "show", "demo", "--property=LoadState", "--value"]), "not-found\n");
    assert_eq!(host.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]), "");
}

#[test]
fn a_module_a_setting_and_a_route_that_cannot_be() {
    let Some(host) = Host::boot() else { return };
    let mut session = Session::open(&host);
    let failure = session.apply(&[module("k8swin_no_such_module")]).unwrap_err();
    assert_eq!(failure.attempted, "load the kernel module k8swin_no_such_module");
    assert!(failure.answer.contains("k8swin_no_such_module not found"), "{}", failure.answer);
    let failure = session.apply(&[sysctl("net.ipv4.no_such_setting", "1")]).unwrap_err();
    assert_eq!(failure.answer, "this kernel does not have it");
    let failure = session.apply(&[sysctl("net.ipv4.ip_forward", "perhaps")]).unwrap_err();
    assert_eq!(failure.answer, "Invalid argument");
    let failure = session.apply(&[route("192.168.1.0/24", [172, 16, 0, 1])]).unwrap_err();
    assert!(failure.answer.contains("Nexthop has invalid gateway"), "{}", failure.answer);
    session.reset().unwrap();
    session.bye();
    assert!(!host.path("/var/lib/k8swin").exists());
    assert!(!host.path("/etc/modules-load.d/k8swin-k8swin_no_such_module.conf").exists());
}

#[test]
fn what_an_administrator_did_to_a_service_is_seen() {
    let Some(host) = Host::boot() else { return };
    let before = host.state();
    let resources = [service("demo", "/bin/sleep infinity")];
    let mut session = Session::open(&host);
    session.apply(&resources).unwrap();
    // What a kubeadm that was installed before leaves for the kubelet.
    let drop_in = "/etc/systemd/system/demo.service.d/10-kubeadm.conf";
    host.write(drop_in, "[Service]\nExecStart=\nExecStart=/bin/sleep 77\n");
    host.run(&["systemctl", "daemon-reload"]);
    assert_eq!(session.drift(&resources), [format!("unit:demo: {drop_in} replaces its command")]);
    let failure = session.apply(&resources).unwrap_err();
    assert_eq!(failure.answer, format!("{drop_in} replaces its command, so that another one would run"));
    // One that only adds to the service is the administrator's own business.
    host.write(drop_in, "[Service]\nEnvironment=HTTPS_PROXY=http://10.5.6.1:3128\n");
    host.run(&["systemctl", "daemon-reload"]);
    assert_eq!(session.drift(&resources), [""; 0]);
    host.run(&["rm", "-r", "/etc/systemd/system/demo.service.d"]);
    // Stopped, disabled and removed by hand.
    host.run(&["systemctl", "stop", "demo"]);
    assert_eq!(session.drift(&resources), ["unit:demo: is stopped, expected running"]);
    session.apply(&resources).unwrap();
    host.run(&["systemctl", "disable", "demo"]);
    assert_eq!(session.drift(&resources), ["unit:demo: does not start at boot"]);
    session.apply(&resources).unwrap();
    host.run(&["rm", "/etc/systemd/system/demo.service"]);
    assert_eq!(session.drift(&resources), ["unit:demo: absent"]);
    session.apply(&resources).unwrap();
    assert_eq!(session.drift(&resources), [""; 0]);
    host.run(&["rm", "/etc/systemd/system/demo.service"]);
    host.run(&["systemctl", "daemon-reload"]);
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.state(), before);
}

#[test]
fn a_masked_service_is_left_alone() {
    let Some(host) = Host::boot() else { return };
    let resources = [service("demo", "/bin/sleep infinity")];
    host.run(&["systemctl", "mask", "demo"]);
    let before = host.state();
    let mut session = Session::open(&host);
    assert_eq!(session.drift(&resources), ["unit:demo: is masked, so that it cannot be started"]);
    let failure = session.apply(&resources).unwrap_err();
    assert_eq!(
        (failure.attempted.as_str(), failure.answer.as_str()),
        ("start demo", "the service is masked: an administrator forbade to start it")
    );
    let hint = "systemctl unmask demo on the host allows it again; then run this again";
    assert_eq!(failure.hint.as_deref(), Some(hint));
    assert_eq!(host.state(), before);
    host.run(&["systemctl", "unmask", "demo"]);
    session.apply(&resources).unwrap();
    assert_eq!(session.drift(&resources), [""; 0]);
    // Masked while it is ours: what the administrator wants now stays, also after a reset.
    host.run(&["systemctl", "stop", "demo"]);
    host.run(&["systemctl", "disable", "demo"]);
    host.run(&["rm", "/etc/systemd/system/demo.service"]);
    host.run(&["systemctl", "mask", "demo"]);
    assert_eq!(session.apply(&resources).unwrap_err().hint.as_deref(), Some(hint));
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.state(), before);
}

#[test]
fn a_full_disk_is_said_and_leaves_no_halves() {
    let Some(host) = Host::boot() else { return };
    host.run(&["mkdir", "-p", "/srv/small", "/var/lib/k8swin"]);
    host.run(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", "/srv/small"]);
    let large = vec![7; 400_000];
    let mut session = Session::open(&host);
    session.stage(&large).unwrap();
    let failure = session.apply(&[secret("/srv/small/program", &large)]).unwrap_err();
    assert_eq!(
        (failure.attempted.as_str(), failure.answer.as_str()),
        ("write /srv/small/program", "No space left on device")
    );
    assert_eq!(failure.hint.as_deref(), Some("free some space on the host, then run this again"));
    assert_eq!(host.run(&["ls", "-A", "/srv/small"]), "");
    session.reset().unwrap();
    session.bye();
    // Where the agent's own folder is full, nothing is changed at all.
    host.run(&["mkdir", "-p", "/var/lib/k8swin"]);
    host.run(&["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/var/lib/k8swin"]);
    host.run(&["sh", "-c", "head -c 4096 /dev/zero > /var/lib/k8swin/full"]);
    let before = host.state();
    let mut session = Session::open(&host);
    let failure = session.apply(&[text("/etc/demo", "x\n")]).unwrap_err();
    assert_eq!(failure.answer, "No space left on device");
    assert_eq!(failure.attempted, "write /var/lib/k8swin/ledger.json");
    session.bye();
    assert_eq!(host.state(), before);
}

#[test]
fn an_agent_that_is_killed_anywhere_is_no_harm() {
    let Some(host) = Host::boot() else { return };
    let before = host.state();
    let program = vec![7; 30_000_000];
    let resources = [
        directory("/etc/kubernetes", false),
        secret("/etc/kubernetes/program", &program),
        sysctl("net.ipv4.ip_forward", "1"),
        route("192.168.1.0/24", [10, 5, 6, 216]),
        forward(),
        network_unit(&host.agent),
        service("demo", "/bin/sleep infinity"),
    ];
    let mut session = Session::open(&host);
    session.stage(&program).unwrap();
    let mut kills = 0;
    for (number, resource) in resources.iter().enumerate() {
        session.send(session::apply(&resources));
        // Killed in the midst of the work on this one, unless an agent before was quick enough to end it.
        let begun = loop {
            match session.read() {
                Some(FromAgent::Event { event: AgentEvent::Started { resource: started, .. }, .. }) => {
                    if started == resource.id() {
                        break true;
                    }
                }
                Some(FromAgent::Event { .. }) => {}
                Some(FromAgent::Reply { .. }) => break false,
                other => panic!("{other:?} instead of the start of {}", resource.id()),
            }
        };
        if begun {
            thread::sleep(Duration::from_millis(15 * number as u64 % 45));
            kills += 1;
        }
        session.kill();
        session = Session::open(&host);
    }
    assert!(kills > 1, "no agent was killed at work");
    session.apply(&resources).unwrap();
    assert_eq!(session.drift(&resources), [""; 0]);
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.state(), before);
}
