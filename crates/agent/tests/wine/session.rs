//! What the agent does on a machine of Wine.

use k8swin_protocol::facts::Facts;
use k8swin_protocol::resource::{
    CheckOutcome, Content, Directory, File, FirewallMatch, FirewallRule, HostResources, Phase, Planned,
    ProgramInvocation, Protection, Route, ServiceAdapter, ServiceAdapterKind, ServiceProgram, WindowsResource,
    WindowsService,
};
use k8swin_protocol::wire::{Request, ResourceResult, Response};
use k8swin_protocol::{HostPath, Sha256};

use super::machine::{Machine, Session, processes};

const NETWORK: &str = "k8swin-network";
const WORK: &str = r"C:\k8swin\work";

fn path(path: &str) -> HostPath {
    HostPath::new(path).unwrap()
}

fn planned(resource: WindowsResource) -> HostResources {
    HostResources::Windows(vec![Planned { phase: Phase::WindowsNodes, resource }])
}

fn apply(session: &mut Session, resource: WindowsResource) -> ResourceResult {
    let request = Request::Apply { cluster: "demo".into(), resources: planned(resource) };
    match session.ask(request) {
        Response::Applied { mut results } => results.pop().unwrap().1,
        other => panic!("{other:?}"),
    }
}

fn check(session: &mut Session, resource: WindowsResource) -> CheckOutcome {
    match session.ask(Request::Check { resources: planned(resource) }) {
        Response::Checked(mut checked) => checked.outcomes.pop().unwrap().1,
        other => panic!("{other:?}"),
    }
}

fn file(name: &str, protection: Protection) -> WindowsResource {
    let path = path(&format!(r"C:\k8swin\etc\{name}"));
    WindowsResource::File(File { path, content: Content::Text("content\n".into()), protection })
}

fn service(name: &str, arguments: &[&str], depends_on: &[&str]) -> WindowsResource {
    WindowsResource::Service(WindowsService {
        name: name.into(),
        display_name: format!("Test {name}"),
        run: ServiceProgram::Supervised(ProgramInvocation {
            program: path(r"C:\k8swin\work\worker.exe"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: [("CONTAINER_NETWORK".to_owned(), "pods".to_owned())].into(),
            working_directory: path(WORK),
            log_directory: path(r"C:\k8swin\log"),
        }),
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        inputs: Sha256::of(name.as_bytes()),
    })
}

fn network_service() -> WindowsResource {
    WindowsResource::Service(WindowsService {
        name: NETWORK.into(),
        display_name: "Test of the network".into(),
        run: ServiceProgram::NetworkReconciler,
        depends_on: Vec::new(),
        inputs: Sha256::of(NETWORK.as_bytes()),
    })
}

#[test]
fn the_agent_works_under_wine() {
    let asked = std::env::var_os("K8SWIN_HOST_TESTS").ok_or_else(|| {
        "building and running the Windows agent takes a minute: K8SWIN_HOST_TESTS=1 asks for it".to_owned()
    });
    let machine = match asked.and_then(|_| Machine::new()) {
        Ok(machine) => machine,
        Err(missing) => {
            use std::io::Write as _;
            writeln!(std::io::stderr(), "skipped: {missing}").unwrap();
            return;
        }
    };
    let mut session = machine.session();
    let facts = facts(&mut session);
    files(&machine, &mut session);
    what_wine_lacks(&facts, &mut session);
    services(&machine, session);
    // Another boot: `Machine` was powered off in between.
    let Facts::Windows(again) = self::facts_of(&mut machine.session()) else { panic!("facts of Linux") };
    assert_ne!(again.common.boot_id, facts.common.boot_id);
    assert_eq!(again.common.machine_id, facts.common.machine_id);
}

fn facts_of(session: &mut Session) -> Facts {
    match session.ask(Request::Facts) {
        Response::Facts(facts) => *facts,
        other => panic!("{other:?}"),
    }
}

fn facts(session: &mut Session) -> k8swin_protocol::facts::WindowsFacts {
    let Facts::Windows(facts) = facts_of(session) else { panic!("facts of Linux") };
    let common = &facts.common;
    assert!(facts.build > 7000);
    assert!(common.privileged);
    assert!(common.user.contains('\\'));
    assert!(common.memory_bytes > 1 << 28);
    assert!(common.disk_free_bytes > 0);
    assert!(!common.machine_id.is_empty());
    assert!(facts.ui_language.contains('-'));
    assert!(!facts.hyper_v);
    assert!(facts.pending_reboot.is_empty(), "{:?}", facts.pending_reboot);
    assert!(facts.forwarding.is_empty(), "{:?}", facts.forwarding);
    // The same questions in the same boot have the same answers.
    let Facts::Windows(again) = facts_of(session) else { panic!("facts of Linux") };
    assert_eq!(common.boot_id, again.common.boot_id);
    assert_eq!(common.adapters, again.common.adapters);
    facts
}

fn files(machine: &Machine, session: &mut Session) {
    use std::os::unix::fs::PermissionsExt as _;
    for (name, protection) in [("public.txt", Protection::Public), ("secret.pem", Protection::Secret)] {
        let file = file(name, protection);
        assert_eq!(apply(session, file.clone()), ResourceResult::Changed);
        assert_eq!(check(session, file), CheckOutcome::InSync);
    }
    let folder = WindowsResource::Directory(Directory {
        path: path(r"C:\k8swin\etc\pki"),
        protection: Protection::Secret,
        purge: false,
    });
    assert_eq!(apply(session, folder.clone()), ResourceResult::Changed);
    assert_eq!(check(session, folder), CheckOutcome::InSync);
    // Wine keeps permission bits: nobody else may read a secret, and one who may is found.
    let secret = machine.path("etc/secret.pem");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o007, 0);
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let drifted = check(session, file("secret.pem", Protection::Secret));
    assert!(matches!(drifted, CheckOutcome::Drifted { .. }), "{drifted:?}");
    assert_eq!(apply(session, file("secret.pem", Protection::Secret)), ResourceResult::Changed);
}

/// Wine's `netsh` says that it worked and does nothing: what it was asked for is looked up, and found missing.
fn what_wine_lacks(facts: &k8swin_protocol::facts::WindowsFacts, session: &mut Session) {
    let mut fails = |resource: WindowsResource| match apply(session, resource) {
        ResourceResult::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let rule = fails(WindowsResource::FirewallRule(FirewallRule {
        name: "k8swin test".into(),
        allow: FirewallMatch::TcpPort(10250),
        remote: Vec::new(),
    }));
    assert_eq!(rule.attempted, "put the firewall rule k8swin test");
    assert_eq!(rule.answer, "every step succeeded, but it still differs: absent");
    let addresses = facts.common.adapters.iter().flat_map(|adapter| &adapter.addresses);
    if let Some(address) = addresses.into_iter().find(|address| address.prefix_len() < 31) {
        let (destination, via) =
            ("203.0.113.0/24".parse().unwrap(), address.hosts().find(|via| *via != address.addr()));
        let route = WindowsResource::Route(Route { destination, via: via.unwrap(), from: address.addr() });
        assert_eq!(fails(route).answer, "every step succeeded, but it still differs: absent");
    }
    let error = fails(switch());
    assert_eq!(error.answer, "the Hyper-V role is not installed");
    assert!(error.hint.is_some());
    remove(session);
}

/// A service of that name makes it look as if the role were there: Wine's WMI, which is really asked then, knows no Hyper-V.
fn hyper_v_without_its_classes(session: &mut Session) {
    assert_eq!(apply(session, service("vmms", &["hyper-v"], &[])), ResourceResult::Changed);
    let ResourceResult::Failed(error) = apply(session, switch()) else { panic!("a switch without Hyper-V") };
    assert_eq!(error.answer, r"Hyper-V's WMI classes: there is no ROOT\virtualization\v2");
    let Facts::Windows(facts) = facts_of(session) else { panic!("facts of Linux") };
    assert!(facts.hyper_v);
}

fn switch() -> WindowsResource {
    let kind = ServiceAdapterKind::InternalSwitch;
    WindowsResource::ServiceAdapter(ServiceAdapter { kind, switch: "KubeProxySwitch".into() })
}

fn remove(session: &mut Session) {
    let removed = session.ask(Request::Remove { phase: Phase::WindowsNodes });
    let Response::Applied { results } = removed else { panic!("{removed:?}") };
    assert!(results.iter().all(|(_, result)| *result == ResourceResult::Changed), "{results:?}");
}

fn services(machine: &Machine, mut session: Session) {
    let token = format!("token-{}", std::process::id());
    let worker = service("worker", &[&token], &[NETWORK]);
    assert_eq!(apply(&mut session, network_service()), ResourceResult::Changed);
    assert!(machine.read("log/k8swin-network.log").contains("the network is in place, 0 changed"));
    assert_eq!(apply(&mut session, worker.clone()), ResourceResult::Changed);
    assert_eq!(apply(&mut session, worker.clone()), ResourceResult::Unchanged);
    let starts = || machine.read("work/starts.txt").lines().map(str::to_owned).collect::<Vec<_>>();
    machine.wait_for("the first start", || starts() == ["pods"]);

    machine.write("work/crash", "");
    machine.wait_for("the start after a crash", || starts().len() == 2);
    assert!(machine.read("log/worker.log").contains("ended with the code 7"));
    machine.wait_for("the end of the crashed tree", || processes(&token) == 2);

    machine.write("work/flood", "");
    machine.wait_for("a rotated log", || machine.path("log/worker.1.log").is_file());

    // A service that another one depends on is changed. (Wine does not say what depends on it, so the worker runs on.)
    let WindowsResource::Service(network) = network_service() else { unreachable!() };
    let network = WindowsResource::Service(WindowsService { inputs: Sha256::of(b"others"), ..network });
    assert_eq!(apply(&mut session, network), ResourceResult::Changed);
    assert_eq!(check(&mut session, worker.clone()), CheckOutcome::InSync);

    // A program that fails at once is a failed start, with what it said.
    let ResourceResult::Failed(failure) = apply(&mut session, service("failing", &["fail"], &[])) else {
        panic!("a failing program counts as started")
    };
    assert!(failure.answer.contains("no such flag"), "{failure:?}");

    // A boot starts it, without anybody attending.
    session.end();
    machine.power_off();
    machine.wait_for("the end of all", || processes(&token) == 0);
    let mut session = machine.session();
    machine.wait_for("the start at boot", || starts().len() == 3);

    remove(&mut session);
    machine.wait_for("the end of the whole tree", || processes(&token) == 0);
    let gone = check(&mut session, worker);
    assert!(matches!(gone, CheckOutcome::Drifted { ref difference, .. } if difference == "absent"), "{gone:?}");
    assert!(!machine.path("etc/secret.pem").exists());
    hyper_v_without_its_classes(&mut session);
    session.end();
}
