//! Programs of Wine's own that say that they worked and do nothing, and what is not there at all: each is an error, never a
//! host that seems to be in place.

use k8swin_protocol::resource::{FeatureName, ForwardingMode, ServiceAdapter, ServiceAdapterKind, WindowsResource};

use super::machine::{Machine, Session, Topic, machine};
use super::resources::{applied, drifted, facts};
use super::samples::*;

const OVERRIDES: &str = r"HKCU\Software\Wine\DllOverrides";

/// What the agent says of a step that seems to have worked.
const SILENT: &str = "every step succeeded, but it still differs";

/// Lets Wine's own program of a name run instead of the stand-in.
fn with_wines_own<T>(machine: &Machine, program: &str, act: impl FnOnce(&Machine) -> T) -> T {
    let choose = |which: &str| machine.run_windows(&["reg", "add", OVERRIDES, "/f", "/v", program, "/d", which]);
    choose("builtin");
    let done = act(machine);
    choose("native");
    done
}

fn is_silent(session: &mut Session, resource: WindowsResource) {
    let failure = session.fails(resource.clone());
    assert!(failure.answer.starts_with(SILENT), "{failure:?}");
    drifted(session, &[resource]);
    session.remove().unwrap();
}

#[test]
fn wines_own_netsh_is_found_out() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let mut session = machine.session();
    applied(&mut session, &[network()]);
    session.end();
    with_wines_own(&machine, "netsh.exe", |machine| {
        let calls = machine.netsh_calls().len();
        let mut session = machine.session();
        let failure = session.fails(address());
        assert!(failure.answer.starts_with(SILENT), "{failure:?}");
        let failure = session.fails(forwarding(ForwardingMode::PerAdapter));
        assert!(failure.answer.starts_with(SILENT), "{failure:?}");
        let failure = session.fails(forwarding(ForwardingMode::Rras));
        assert!(failure.answer.starts_with(SILENT), "{failure:?}");
        session.end();
        assert_eq!(machine.netsh_calls().len(), calls, "the stand-in ran");
    });
    let mut session = machine.session();
    session.remove().unwrap();
    session.end();
    with_wines_own(&machine, "netsh.exe", |machine| {
        let mut session = machine.session();
        is_silent(&mut session, route());
        for rule in rules() {
            is_silent(&mut session, rule);
        }
        session.end();
    });
}

#[test]
fn what_is_not_there_is_said() {
    let Some(machine) = machine(Topic::Resources) else { return };
    let without = |file: &str, resource: WindowsResource, answer: &str| {
        let away = format!("{file}.away");
        let file = machine.path("..").join(file);
        let away = machine.path("..").join(away);
        std::fs::rename(&file, &away).unwrap();
        let mut session = machine.session();
        let failure = session.fails(resource);
        assert!(failure.answer.contains(answer), "{failure:?}");
        session.end();
        std::fs::rename(&away, &file).unwrap();
    };
    let feature = || feature(FeatureName::Containers);
    without("windows/system32/dismapi.dll", feature(), "this system has no dismapi.dll");
    without("Program Files/Docker/docker.exe", network(), "there is no program docker.exe");
    let switch = || {
        let (kind, switch) = (ServiceAdapterKind::InternalSwitch, "KubeProxySwitch".into());
        WindowsResource::ServiceAdapter(ServiceAdapter { kind, switch })
    };
    let mut session = machine.session();
    assert_eq!(session.fails(switch()).answer, "the Hyper-V role is not installed");
    // A service of that name makes it look as if the role were there: Wine's WMI, which is really asked then, knows no Hyper-V.
    session.apply(&[service("vmms", &["hyper-v"], &[])]).unwrap();
    assert!(facts(&mut session).hyper_v);
    assert_eq!(session.fails(switch()).answer, r"Hyper-V's WMI classes: there is no ROOT\virtualization\v2");
    session.remove().unwrap();
    session.end();
}
