//! Every kind of resource: absent, applied, in sync, applied again without a change, taken back, absent as before.

use k8swin_protocol::facts::{Facts, WindowsFacts};
use k8swin_protocol::resource::{CheckOutcome, FeatureName, ForwardingMode, Protection, WindowsResource};
use k8swin_protocol::wire::{Request, ResourceResult, Response};

use super::machine::{Machine, SECOND, Session, Topic, machine};
use super::samples::*;

pub(crate) fn facts(session: &mut Session) -> WindowsFacts {
    match session.ask(Request::Facts).unwrap() {
        Response::Facts(facts) => match *facts {
            Facts::Windows(facts) => facts,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// What the host's network is, by Linux and by the agent.
pub(crate) fn network_of(machine: &Machine, session: &mut Session) -> String {
    let facts = facts(session);
    let adapters: Vec<_> = facts.common.adapters.iter().map(|found| (&found.name, &found.addresses)).collect();
    format!(
        "{adapters:?}\n{:?}\n{:?}\n{:?}\n{}",
        facts.common.routes,
        facts.forwarding,
        facts.docker,
        machine.run(&["ip", "-4", "route"])
    )
}

/// Applies all, sees that it is in sync and that another time changes nothing.
pub(crate) fn applied(session: &mut Session, resources: &[WindowsResource]) {
    let results = session.apply(resources).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(results.iter().all(|result| *result == ResourceResult::Changed), "{results:?}");
    in_sync(session, resources);
    let results = session.apply(resources).unwrap();
    assert!(results.iter().all(|result| *result == ResourceResult::Unchanged), "{results:?}");
}

pub(crate) fn in_sync(session: &mut Session, resources: &[WindowsResource]) {
    let outcomes = session.check(resources);
    assert_eq!(outcomes, []);
}

pub(crate) fn drifted(session: &mut Session, resources: &[WindowsResource]) -> Vec<CheckOutcome> {
    let outcomes = session.check(resources);
    let drifted = outcomes.iter().filter(|outcome| matches!(outcome, CheckOutcome::Drifted { .. })).count();
    assert_eq!(drifted, resources.len(), "{outcomes:?}");
    outcomes
}

/// The whole way of resources that have nothing to do with each other's tests.
fn whole_way(machine: &Machine, resources: &[WindowsResource], meanwhile: impl FnOnce(&mut Session)) {
    let mut session = machine.session();
    let (network, before) = (network_of(machine, &mut session), drifted(&mut session, resources));
    applied(&mut session, resources);
    meanwhile(&mut session);
    let removed = session.remove().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(removed.iter().all(|result| *result == ResourceResult::Changed), "{removed:?}");
    assert_eq!(drifted(&mut session, resources), before);
    assert_eq!(network_of(machine, &mut session), network);
    session.end();
}

#[test]
fn the_host_is_a_windows_server_2016() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let mut session = machine.session();
    let facts = facts(&mut session);
    assert_eq!((facts.build, facts.ubr), (14393, 2273));
    assert_eq!(
        (facts.product.as_str(), facts.installation_type.as_str()),
        ("Windows Server 2016 Datacenter", "Server")
    );
    assert_eq!(facts.common.hostname, "win01");
    assert!(facts.common.privileged && !facts.hyper_v && !facts.rras_running);
    assert!(facts.common.memory_bytes > 1 << 28);
    assert!(facts.common.disk_free_bytes > 0);
    assert!(facts.pending_reboot.is_empty(), "{:?}", facts.pending_reboot);
    let mut adapters: Vec<_> =
        facts.common.adapters.iter().map(|found| (found.name.as_str(), found.physical)).collect();
    adapters.sort_unstable();
    assert_eq!(adapters, [("Ethernet", true), ("Ethernet 2", true), ("vEthernet (HNS Internal NIC)", false)]);
    let docker = facts.docker.as_ref().unwrap();
    assert_eq!((docker.version.as_str(), docker.running), ("17.06.2-ee-16", true));
    assert!(docker.networks.contains_key("nat"));
    // The same questions in the same boot have the same answers; another boot is another one.
    let again = self::facts(&mut session);
    assert_eq!(facts.common.boot_id, again.common.boot_id);
    assert_eq!(facts.common.adapters, again.common.adapters);
    session.end();
    machine.reboot();
    let mut session = machine.session();
    let again = self::facts(&mut session);
    assert_ne!(facts.common.boot_id, again.common.boot_id);
    assert_eq!(facts.common.machine_id, again.common.machine_id);
    session.end();
}

#[test]
fn folders_and_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(machine) = machine(Topic::Resources) else { return };
    let secret = || file("secret.pem", Protection::Secret);
    let resources = [directory("etc"), directory(r"etc\pki"), file("public.txt", Protection::Public), secret()];
    whole_way(&machine, &resources, |session| {
        // Wine keeps permission bits: nobody else may read a secret, and one who may is found.
        let path = machine.path("etc/secret.pem");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        drifted(session, &[secret()]);
        applied(session, &[secret()]);
        assert_eq!(machine.read("etc/public.txt"), "content\n");
    });
    assert!(!machine.path("etc").exists());
}

#[test]
fn the_pod_network_and_its_address() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let resources = [network(), address(), forwarding(ForwardingMode::PerAdapter)];
    whole_way(&machine, &resources, |session| {
        let facts = facts(session);
        let find = |name: &str| facts.common.adapters.iter().find(|found| found.name == name).unwrap();
        assert_eq!(find("vEthernet (HNSTransparent)").addresses, ["192.168.1.1/24".parse().unwrap()]);
        assert_eq!(find("vEthernet (HNSTransparent)").mac, find("Ethernet 2").mac);
        assert!(find("Ethernet 2").addresses.is_empty());
        assert_eq!(facts.forwarding, ["Ethernet", "vEthernet (HNSTransparent)"]);
        let bridges = machine.run(&["ip", "-4", "address", "show", "type", "bridge"]);
        assert!(bridges.contains("inet 192.168.1.1/24"), "{bridges}");
        let set = "interface ipv4 set address name=vEthernet (HNSTransparent) source=static address=192.168.1.1 \
                   mask=255.255.255.0";
        assert!(machine.netsh_calls().iter().any(|call| call == set), "{:?}", machine.netsh_calls());
    });
    assert!(machine.run(&["ip", "-4", "address", "show", "dev", "eth1"]).contains(&format!("inet {SECOND}")));
}

/// A web server's container answers to another machine, at its own address, by way of the host.
#[test]
fn a_container_is_reached_from_another_machine() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let resources = [network(), address(), forwarding(ForwardingMode::PerAdapter)];
    let mut session = machine.session();
    applied(&mut session, &resources);
    let post = |path: &str, body: &str| {
        let url = format!("http://127.0.0.1:2375/v1.25{path}");
        let kind = "Content-Type: application/json";
        machine.run(&["curl", "--silent", "--show-error", "--fail", "--header", kind, "--data", body, &url])
    };
    post("/images/create?fromImage=microsoft/iis&tag=latest", "");
    let created = post(
        "/containers/create?name=web",
        r#"{"Image":"microsoft/iis","HostConfig":{"NetworkMode":"pods"},"Labels":{"a":"b"}}"#,
    );
    assert!(created.contains("\"Id\""), "{created}");
    post("/containers/web/start", "");
    let get = ["ip", "netns", "exec", "lan", "curl", "--silent", "--max-time", "10", "http://192.168.1.2/"];
    machine
        .wait_for("the container's page", || machine.command("ip").args(&get[1..]).output().unwrap().status.success());
    assert!(machine.run(&get).contains("stand-in for microsoft/iis"));
    // A network that is in use stays.
    let failure = session.remove().unwrap_err();
    assert!(failure.answer.contains("has active endpoints"), "{}", failure.answer);
    let url = "http://127.0.0.1:2375/containers/web?force=1";
    machine.run(&["curl", "--silent", "--fail", "--request", "DELETE", url]);
    session.remove().unwrap();
    session.end();
}

#[test]
fn forwarding_by_routing_and_remote_access() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let role = [feature(FeatureName::Routing)];
    let mut session = machine.session();
    drifted(&mut session, &role);
    let results = session.apply(&role).unwrap();
    assert!(matches!(results.as_slice(), [ResourceResult::NeedsReboot { .. }]), "{results:?}");
    drifted(&mut session, &role);
    assert!(!facts(&mut session).pending_reboot.is_empty());
    session.end();
    machine.reboot();
    let mut session = machine.session();
    in_sync(&mut session, &role);
    assert_eq!(session.apply(&role).unwrap(), [ResourceResult::Unchanged]);
    let facts_now = facts(&mut session);
    assert!(facts_now.pending_reboot.is_empty());
    assert_eq!(facts_now.features, [FeatureName::Routing]);
    session.remove().unwrap();
    // A feature stays.
    in_sync(&mut session, &role);
    session.end();

    let resources = [network(), address(), forwarding(ForwardingMode::Rras)];
    whole_way(&machine, &resources, |session| {
        assert!(facts(session).rras_running);
        assert_eq!(machine.run(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "1\n");
    });
    assert_eq!(machine.run(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "0\n");
}

#[test]
fn a_route_is_there_after_a_boot() {
    let Some(machine) = machine(Topic::Resources) else { return };
    whole_way(&machine, &[route()], |_| {
        let routes = machine.run(&["ip", "-4", "route"]);
        assert!(routes.contains("192.168.2.0/24 via 10.5.6.217 dev eth0"), "{routes}");
    });
    let mut session = machine.session();
    applied(&mut session, &[route()]);
    session.end();
    machine.reboot();
    let mut session = machine.session();
    in_sync(&mut session, &[route()]);
    session.remove().unwrap();
    session.end();
}

#[test]
fn firewall_rules() {
    let Some(machine) = machine(Topic::Resources) else { return };
    whole_way(&machine, &rules(), |_| {
        let stored = machine.run_windows(&["reg", "query", &format!(r"HKLM\{}", k8swin_stand_ins::netsh::RULES)]);
        let kubelet =
            "v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=10250|RA4=10.5.6.215|Name=k8swin kubelet|";
        assert!(stored.contains(kubelet), "{stored}");
    });
}

#[test]
fn the_pause_image() {
    let Some(machine) = machine(Topic::Resources) else { return };
    whole_way(&machine, &[pause_image()], |_| {});
}

#[test]
fn the_adapter_of_dockers_own_network() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let mut session = machine.session();
    in_sync(&mut session, &[service_adapter()]);
    assert_eq!(session.apply(&[service_adapter()]).unwrap(), [ResourceResult::Unchanged]);
    session.end();
}
