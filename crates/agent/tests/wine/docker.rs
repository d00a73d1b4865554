//! What the installation of Docker asks of Windows: a folder on the machine's search path, and a service that is one itself.

use k8swin_protocol::facts::{Facts, ServiceState};
use k8swin_protocol::resource::{SearchPath, ServiceProgram, WindowsResource, WindowsService};
use k8swin_protocol::wire::{Request, ResourceResult, Response};
use k8swin_protocol::{HostPath, Sha256};

use super::machine::{Session, Topic, machine};
use super::resources::{drifted, in_sync};

fn native_service() -> WindowsResource {
    WindowsResource::Service(Box::new(WindowsService {
        name: "native".into(),
        display_name: "A service itself".into(),
        run: ServiceProgram::Native {
            program: HostPath::new(r"C:\k8swin\work\native service.exe").unwrap(),
            arguments: vec!["--run-service".into(), r"two words\".into()],
        },
        depends_on: Vec::new(),
        inputs: Sha256::of(b"native"),
    }))
}

fn state(session: &mut Session) -> (ServiceState, Option<u32>) {
    match session.ask(Request::Facts).unwrap() {
        Response::Facts(facts) => match *facts {
            Facts::Windows(facts) => {
                let service = facts.common.services.iter().find(|service| service.name == "native").unwrap();
                (service.state, service.restarts)
            }
            Facts::Linux(_) => panic!("facts of Linux"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn docker_comes_onto_the_search_path_and_becomes_a_service() {
    let Some(machine) = machine(Topic::Services) else { return };
    machine.compile("native.c", "work/native service.exe", &["-ladvapi32"]);
    let mut session = machine.session();
    let before = machine.search_path();
    assert!(!before.1.is_empty());
    let folder = r"C:\Program Files\Another Docker";
    let search = WindowsResource::SearchPath(SearchPath { folder: HostPath::new(folder).unwrap() });
    let all = [search, native_service()];
    assert_eq!(session.apply(&all).unwrap(), [ResourceResult::Changed, ResourceResult::Changed]);
    in_sync(&mut session, &all);
    assert_eq!(session.apply(&all).unwrap(), [ResourceResult::Unchanged, ResourceResult::Unchanged]);
    assert_eq!(machine.search_path(), (before.0.clone(), format!("{};{folder}", before.1)));
    assert_eq!(machine.read("work/arguments.txt"), "--run-service\ntwo words\\\n");
    assert_eq!(state(&mut session), (ServiceState::Running, None));

    // It starts at boot, without anything of ours between it and Windows.
    session.end();
    std::fs::remove_file(machine.path("work/arguments.txt")).unwrap();
    machine.reboot();
    let mut session = machine.session();
    machine.wait_for("the start at boot", || !machine.read("work/arguments.txt").is_empty());

    assert_eq!(session.remove().unwrap(), [ResourceResult::Changed, ResourceResult::Changed]);
    assert_eq!(machine.search_path(), before);
    drifted(&mut session, &all);
    session.end();
}
