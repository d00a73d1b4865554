//! What is there again after the host restarted.

use k8swin_protocol::resource::LinuxResource;
use k8swin_protocol::wire::{Request, Response};

use crate::host::Host;
use crate::resources::*;
use crate::session::Session;

/// Writes down which routes were there when it was started.
const LATE: &str = "[Unit]\nAfter=k8swin-network.service\n[Service]\nType=oneshot\nStandardOutput=file:/run/demo-late\n\
                    ExecStart=/bin/ip -4 route\n[Install]\nWantedBy=multi-user.target\n";

fn node_resources(host: &Host) -> Vec<LinuxResource> {
    vec![
        text("/etc/cni/net.d/10-k8swin.conf", "{}\n"),
        module("br_netfilter"),
        sysctl("net.ipv4.ip_forward", "1"),
        forward(),
        route("192.168.1.0/24", [10, 5, 6, 216]),
        route("192.168.2.0/24", [10, 5, 6, 217]),
        network_unit(&host.agent),
        service("demo", "/bin/sleep infinity"),
    ]
}

#[test]
fn a_restarted_host_is_as_it_was() {
    let Some(mut host) = Host::boot() else { return };
    let resources = node_resources(&host);
    let before = host.run(&["cat", "/proc/sys/kernel/random/boot_id"]);
    let mut session = Session::open(&host);
    session.apply(&resources).unwrap();
    // What is started after k8swin-network, as the kubelet is, finds the routes in place.
    host.write("/etc/systemd/system/demo-late.service", LATE);
    host.run(&["systemctl", "enable", "demo-late"]);
    let reason = "Containers was installed; see \"what's new\"".to_owned();
    assert_eq!(session.ask(Request::Reboot { reason }), Ok(Response::Done));
    assert_eq!(session.read(), None, "the agent ends with its answer");
    host.comes_back();
    assert_ne!(host.run(&["cat", "/proc/sys/kernel/random/boot_id"]), before);
    let mut session = Session::open(&host);
    assert_eq!(session.drift(&resources), [""; 0]);
    let journal = host.run(&["journalctl", "-b", "-u", "k8swin-network", "-o", "cat"]);
    // Two routes and the rules; the kernel forgot them.
    assert!(journal.contains("the network is in place, 3 changed"), "{journal}");
    let seen = host.run(&["cat", "/run/demo-late"]);
    assert!(seen.contains("192.168.1.0/24") && seen.contains("192.168.2.0/24"), "{seen}");
    assert_eq!(host.run(&["systemctl", "is-active", "systemd-modules-load", "systemd-sysctl"]), "active\nactive\n");
    let log = host.run(&["journalctl", "-o", "cat", "--no-pager"]);
    assert!(log.contains("Containers was installed"), "the reason is in the journal");
    session.reset().unwrap();
    session.bye();
    // After the next boot nothing of it is left either.
    host.power_cut();
    assert_eq!(host.run(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "0\n");
    assert_eq!(host.run(&["ip", "-4", "route", "show", "192.168.0.0/16"]), "");
    assert_eq!(host.run(&["iptables", "-w", "-S", "FORWARD"]), "-P FORWARD ACCEPT\n");
}

#[test]
fn a_power_cut_right_after_an_apply_loses_nothing() {
    let Some(mut host) = Host::boot() else { return };
    let resources = node_resources(&host);
    let mut session = Session::open(&host);
    session.apply(&resources).unwrap();
    host.power_cut();
    let mut session = Session::open(&host);
    assert_eq!(session.drift(&resources), [""; 0]);
    session.bye();
}
