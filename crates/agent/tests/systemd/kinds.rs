//! Every kind of resource: check, apply, apply again, and take back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use k8swin_protocol::Facts;
use k8swin_protocol::resource::{LinuxResource, ResourceId};
use k8swin_protocol::wire::{Request, ResourceResult, Response};

use crate::host::Host;
use crate::resources::*;
use crate::session::Session;

/// Stands in for kubectl, with the Node object in a file: no API server runs on the host.
pub(crate) const KUBECTL: &str = r#"#!/bin/sh
set -eu
object=/var/tmp/node.json
[ "$1" = --kubeconfig=/etc/kubernetes/admin.conf ] || exit 9
shift
case "$1 $2" in
'get --raw') [ -f $object ] && cat $object || { echo 'Error from server (NotFound): nodes "lin01" not found' >&2; exit 1; } ;;
'create --validate=false') cat > $object.new; [ -s $object.new ] || exit 1; mv $object.new $object; cat $object ;;
'delete node') rm $object; echo 'node "lin01" deleted' ;;
*) echo "unknown: $*" >&2; exit 9 ;;
esac
"#;

/// Stands in for containerd, of which facts ask two things.
const CONTAINERD: &str = r#"#!/bin/sh
case "$*" in
--version) echo 'containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1' ;;
'config dump') printf '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n  SystemdCgroup = true\n' ;;
*) exit 9 ;;
esac
"#;

/// Checks, applies, applies again and takes back; afterwards the host must be as before.
fn round_trip(host: &Host, resources: &[LinuxResource], blobs: &[&[u8]]) {
    let before = host.state();
    let mut session = Session::open(host);
    assert_eq!(session.drift(resources).len(), resources.len(), "all of it differs before");
    for blob in blobs {
        session.stage(blob).unwrap();
    }
    let ids: Vec<ResourceId> = resources.iter().map(LinuxResource::id).collect();
    let expected = |result: ResourceResult| ids.iter().map(|id| (id.clone(), result.clone())).collect::<Vec<_>>();
    assert_eq!(session.apply(resources).unwrap(), expected(ResourceResult::Changed));
    assert_eq!(session.drift(resources), [""; 0]);
    assert_eq!(session.apply(resources).unwrap(), expected(ResourceResult::Unchanged));
    // Another agent finds the same: nothing of it was in the memory of this one.
    session.bye();
    let mut session = Session::open(host);
    assert_eq!(session.drift(resources), [""; 0]);
    session.reset().unwrap();
    session.bye();
    let after = host.state();
    assert!(before == after, "what was there is not back:\n{}", difference(&before, &after));
}

fn difference(before: &str, after: &str) -> String {
    let gone =
        before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("- {line}\n"));
    let come =
        after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}

#[test]
fn facts_are_those_of_the_host() {
    let Some(host) = Host::boot() else { return };
    host.run(&[
        "sh",
        "-c",
        "mkdir -p /etc/systemd/system; printf '[Socket]\\nListenStream=7777\\n' > /etc/systemd/system/demo.socket",
    ]);
    host.write("/etc/systemd/system/demo.service", "[Service]\nExecStart=/bin/true\n");
    host.run(&["systemctl", "start", "demo.socket"]);
    for path in ["/opt/cni/bin/bridge", "/usr/lib/cni/loopback", "/usr/lib/cni/dhcp", "/etc/cni/net.d/10-mine.conf"] {
        host.write(path, "stands in for it\n");
    }
    host.write("/usr/local/bin/containerd", CONTAINERD);
    host.run(&["chmod", "755", "/usr/local/bin/containerd"]);
    let mut session = Session::open(&host);
    let Ok(Response::Facts(facts)) = session.ask(Request::Facts) else { panic!("no facts") };
    session.bye();
    let Facts::Linux(facts) = *facts else { panic!("not a Linux host") };
    let common = &facts.common;
    assert_eq!((common.hostname.as_str(), common.user.as_str(), common.privileged), ("lin01", "root", true));
    assert_eq!(common.machine_id, crate::host::MACHINE_ID);
    assert_eq!(common.boot_id, host.run(&["cat", "/proc/sys/kernel/random/boot_id"]).trim());
    let adapter = common.adapter_with(crate::host::ADDRESS.into()).expect("an adapter has the host's address");
    assert_eq!((adapter.name.as_str(), adapter.up, adapter.addresses.len()), ("eth0", true, 1));
    assert_eq!(adapter.addresses[0], "10.5.6.215/24".parse().unwrap());
    assert_eq!(adapter.mac, host.run(&["cat", "/sys/class/net/eth0/address"]).trim().replace(':', "-"));
    let routes: Vec<_> = common.routes.iter().map(|route| (route.destination.to_string(), route.via)).collect();
    assert_eq!(routes, [("10.5.6.0/24".to_owned(), None)]);
    let listeners: Vec<_> =
        common.listeners.iter().map(|listener| (listener.port, listener.program.as_str())).collect();
    assert_eq!(listeners, [(22, "sshd"), (7777, "systemd")]);
    assert_eq!((facts.distribution.as_str(), facts.systemd, facts.docker), ("debian", true, None));
    let containerd = facts.containerd.expect("containerd is there");
    assert_eq!((containerd.version.as_str(), containerd.running), ("1.6.20~ds1", false));
    assert_eq!(containerd.cgroup_driver, "systemd");
    assert_eq!(facts.cni_plugins, ["bridge", "loopback"]);
    assert_eq!(facts.cni_configurations, ["10-mine.conf"]);
    let clock = host.run(&["timedatectl", "show", "--property=NTPSynchronized", "--value"]);
    assert_eq!(facts.clock_synchronised, Some(clock.trim() == "yes"));
    assert_eq!(facts.swap_bytes > 0, host.run(&["cat", "/proc/swaps"]).lines().count() > 1);
    let release = host.run(&["cat", "/etc/os-release"]);
    assert!(release.contains(&format!("VERSION_ID=\"{}\"", facts.distribution_version)), "{release}");
    assert_eq!(facts.kernel, host.run(&["uname", "-r"]).trim());
    assert_eq!(facts.sysctls["net.ipv4.ip_forward"], "0");
    let has = |name: &str| facts.programs.iter().any(|program| program == name);
    assert!(has("ip") && has("iptables") && has("systemctl") && !has("conntrack"), "{:?}", facts.programs);
    assert!(common.disk_free_bytes > 0 && common.memory_bytes > 0);
    assert_eq!((&common.cluster, common.owned.len()), (&None, 0));
}

#[test]
fn every_kind_is_applied_once_and_taken_back() {
    let Some(host) = Host::boot() else { return };
    host.write("/opt/k8swin/bin/kubectl", KUBECTL);
    host.write("/etc/kubernetes/admin.conf", "stands in for a kubeconfig\n");
    host.run(&["chmod", "755", "/opt/k8swin/bin/kubectl"]);
    let (key, program) = (b"-----BEGIN PRIVATE KEY----- canary".as_slice(), vec![7; 500_000]);
    let resources = [
        directory("/etc/kubernetes/pki", false),
        directory("/var/lib/demo", true),
        text("/etc/cni/net.d/10-k8swin.conf", "{}\n"),
        secret("/etc/kubernetes/pki/sa.key", key),
        secret("/opt/k8swin/bin/program", &program),
        sysctl("net.ipv4.ip_forward", "1"),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
        module("br_netfilter"),
        forward(),
        route("192.168.1.0/24", [10, 5, 6, 218]),
        network_unit(&host.agent),
        service("demo", "/bin/sleep infinity"),
        node(),
    ];
    round_trip(&host, &resources, &[key, &program]);
}

#[test]
fn what_the_administrator_had_comes_back() {
    let Some(host) = Host::boot() else { return };
    host.write("/etc/demo/settings", "of the administrator\n");
    fs::set_permissions(host.path("/etc/demo/settings"), fs::Permissions::from_mode(0o640)).unwrap();
    host.run(&["chown", "1:2", "/etc/demo/settings"]);
    // A kernel setting by hand, at once and at boot.
    host.write("/etc/sysctl.d/10-mine.conf", "net.ipv4.conf.all.rp_filter = 1\n");
    host.run(&["sysctl", "-w", "net.ipv4.conf.all.rp_filter=1"]);
    // A service that starts at boot and was stopped by hand, one that runs and is not enabled, one of which none is known.
    for (name, command) in [("demo-stopped", "enable"), ("demo-running", "start")] {
        let unit = "[Service]\nExecStart=/bin/sleep 1234567\n[Install]\nWantedBy=multi-user.target\n";
        host.write(&format!("/etc/systemd/system/{name}.service"), unit);
        host.run(&["systemctl", "daemon-reload"]);
        host.run(&["systemctl", command, name]);
    }
    host.run(&["ip", "route", "add", "192.168.1.0/24", "via", "10.5.6.9"]);
    let rule = ["-s", "192.168.0.0/16", "-m", "comment", "--comment", "k8swin", "-j", "ACCEPT"];
    host.run(&[&["iptables", "-w", "-A", "FORWARD"], rule.as_slice()].concat());

    let resources = [
        text("/etc/demo/settings", "of the cluster\n"),
        directory("/etc/demo", true),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
        service("demo-stopped", "/bin/sleep infinity"),
        service("demo-running", "/bin/sleep infinity"),
        service("demo-new", "/bin/sleep infinity"),
        route("192.168.1.0/24", [10, 5, 6, 218]),
        forward(),
    ];
    round_trip(&host, &resources, &[]);
    let state = |name: &str, verb: &str| String::from_utf8(host.try_run(&["systemctl", verb, name]).stdout).unwrap();
    assert_eq!(
        (state("demo-stopped", "is-enabled"), state("demo-stopped", "is-active")),
        ("enabled\n".into(), "inactive\n".into())
    );
    assert_eq!(
        (state("demo-running", "is-enabled"), state("demo-running", "is-active")),
        ("disabled\n".into(), "active\n".into())
    );
    assert_eq!(host.run(&["pgrep", "-fc", "sleep 1234567"]), "1\n", "it runs as the administrator wrote it");
}
