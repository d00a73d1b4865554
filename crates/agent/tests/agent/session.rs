//! The wire-level manners of a session: greeting, unreadable lines, events, the lock, staged blobs, what is left behind.

use std::sync::Arc;

use crate::support::*;
use k8swin_agent::platform::PlatformError;
use k8swin_agent::serve;
use k8swin_agent::simulated::{Faults, SimulatedHost, TakenPort};
use k8swin_protocol::resource::*;
use k8swin_protocol::wire::{
    AgentEvent, CHUNK, Chunk, FromAgent, LockAnswer, PROTOCOL, Request, ResourceResult, Response, WireError,
};
use k8swin_protocol::{Facts, Os};

fn file(name: &str, content: Content) -> LinuxResource {
    LinuxResource::File(File { path: path(name), content, protection: Protection::Secret })
}

fn text(name: &str) -> LinuxResource {
    file(name, Content::Text("text\n".into()))
}

fn lock(owner: &str, break_lock: bool) -> Request {
    Request::Lock { owner: owner.into(), run: format!("a run of {owner}"), break_lock }
}

/// The answers without events and greeting.
fn replies(answers: Vec<FromAgent>) -> Vec<Result<Response, String>> {
    let reply = |answer| match answer {
        FromAgent::Reply { response, .. } => Some(Ok(response)),
        FromAgent::Failed { failure, .. } => Some(Err(failure.to_string())),
        FromAgent::Hello(_) | FromAgent::Event { .. } => None,
    };
    answers.into_iter().filter_map(reply).collect()
}

#[test]
fn an_unreadable_line_is_answered_and_the_session_goes_on() {
    let host = linux();
    let input = b"{\"id\":1,\"request\":\"canary\"}\n\n{\"id\":2,\"request\":\"ping\"}\n".as_slice();
    let mut output = Vec::new();
    serve(host.platform(), Vec::new(), input, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 4, "{output}");
    assert!(lines[0].contains(&format!("\"protocol\":{PROTOCOL}")));
    assert!(lines[1].contains("\"id\":0") && lines[2].contains("\"id\":0"), "{output}");
    assert!(lines[3].contains("\"id\":2") && lines[3].contains("done"));
    assert!(output.is_ascii() && !output.contains("canary"));
}

#[test]
fn the_answers_of_an_opening_come_with_the_greeting_in_one_piece() {
    struct Pieces<'a>(&'a mut Vec<String>);
    impl std::io::Write for Pieces<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let host = linux();
    let asked = |id, request| k8swin_protocol::wire::ToAgent { id, request };
    let opening = vec![asked(1, Request::Facts), asked(2, Request::Ping)];
    let input = k8swin_protocol::wire::encode(&asked(3, Request::Ping));
    let mut pieces = Vec::new();
    serve(host.platform(), opening, input.as_bytes(), Pieces(&mut pieces)).unwrap();
    let [first, second] = pieces.as_slice() else { panic!("{pieces:?}") };
    let lines: Vec<_> = first.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("hello"), "{first}");
    assert!(lines[1].contains("\"id\":1") && lines[2].contains("\"id\":2"), "{first}");
    assert!(second.contains("\"id\":3") && second.ends_with('\n'), "{second}");
    // A request that ends the session ends it there, too.
    pieces = Vec::new();
    let opening = vec![asked(1, Request::Bye { clear_staging: false }), asked(2, Request::Ping)];
    serve(host.platform(), opening, input.as_bytes(), Pieces(&mut pieces)).unwrap();
    assert!(pieces.len() == 1 && !pieces[0].contains("\"id\":2"), "{pieces:?}");
}

#[test]
fn a_lost_connection_ends_the_session_and_frees_the_lock() {
    struct Cut(usize);
    impl std::io::Write for Cut {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let host = linux();
    let before = host.state_json();
    let resources = on_linux(Phase::Files, vec![text("/etc/1"), text("/etc/2"), text("/etc/3")]);
    let mut input = Vec::new();
    for (id, request) in
        [lock("me", false), Request::Apply { cluster: CLUSTER.into(), resources }].into_iter().enumerate()
    {
        let message = k8swin_protocol::wire::ToAgent { id: id as u64, request };
        input.extend_from_slice(k8swin_protocol::wire::encode(&message).as_bytes());
    }
    // Greeting, the lock's answer, two events.
    let error = serve(host.platform(), Vec::new(), input.as_slice(), Cut(4)).unwrap_err();
    assert!(matches!(error, k8swin_agent::ServeError::Output(_)), "{error}");
    assert!(host.read_file(&path("/etc/1")).is_some());
    assert!(host.read_file(&path("/etc/3")).is_none(), "work stops when nobody listens");
    assert!(matches!(replies(talk(&host, [lock("you", false)])).as_slice(), [Ok(Response::Lock(LockAnswer::Granted))]));
    reset(&host).unwrap();
    assert_eq!(host.state_json(), before);
}

#[test]
fn reading_stops_at_a_line_that_is_too_long() {
    let host = linux();
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let mut output = Vec::new();
    let error = serve(host.platform(), Vec::new(), endless, &mut output).unwrap_err();
    assert!(matches!(error, k8swin_agent::ServeError::Input(WireError::TooLong)));
    assert!(String::from_utf8(output).unwrap().contains("\"id\":0"));
}

#[test]
fn events_come_in_order_and_an_apply_stops_at_the_first_failure() {
    let host = linux();
    let resources = on_linux(
        Phase::Files,
        vec![text("/etc/1"), LinuxResource::KernelModule(KernelModule { name: "nonsense".into() }), text("/etc/2")],
    );
    let answers = talk(&host, [Request::Apply { cluster: CLUSTER.into(), resources }]);
    let words: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            FromAgent::Hello(_) => "hello".to_owned(),
            FromAgent::Event { event: AgentEvent::Started { resource, difference }, .. } => {
                format!("{resource} {difference}")
            }
            FromAgent::Event { event: AgentEvent::Ended { resource, result }, .. } => match result {
                ResourceResult::Failed(failure) => format!("{resource} failed: {failure}"),
                result => format!("{resource} {result:?}"),
            },
            FromAgent::Reply { response: Response::Applied { results }, .. } => format!("{} results", results.len()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            "hello",
            "file:/etc/1 absent",
            "file:/etc/1 Changed",
            "kernel-module:nonsense not loaded",
            "kernel-module:nonsense failed: load the kernel module nonsense: modprobe: FATAL: Module nonsense not found \
             in directory /lib/modules/6.1.0-18-amd64",
            "2 results",
        ]
    );
}

#[test]
fn looking_leaves_no_trace_and_a_plan_for_another_system_is_refused() {
    let host = windows();
    let before = host.state_json();
    let foreign = on_linux(Phase::Files, vec![text("/etc/1")]);
    let own = on_windows(Phase::Files, Vec::new());
    let answers = replies(talk(
        &host,
        [
            Request::Facts,
            Request::Check { resources: own },
            Request::Check { resources: foreign },
            Request::ReadPki,
            Request::Kube(k8swin_protocol::wire::KubeCall::Get { path: "/healthz".into() }),
            Request::Bye { clear_staging: true },
        ],
    ));
    assert!(matches!(answers[0], Ok(Response::Facts(_))));
    assert!(matches!(answers[1], Ok(Response::Checked(_))));
    assert_eq!(answers[2], Err("read the plan: it is for a Linux host, and this host runs Windows".into()));
    assert_eq!(answers[3], Ok(Response::Pki { files: [].into() }));
    assert!(answers[4].is_err());
    assert_eq!(answers[5], Ok(Response::Done));
    assert_eq!(host.state_json(), before);
    assert_eq!(host.steps(), 0);
}

#[test]
fn facts_tell_what_is_owned_and_by_which_cluster() {
    let host = linux();
    let resources = on_linux(Phase::Files, vec![text("/etc/1")]);
    apply(&host, &resources).unwrap();
    let facts = host.facts();
    assert_eq!(facts.common().cluster.as_deref(), Some(CLUSTER));
    assert_eq!(facts.common().owned.len(), 1);
    let failure = ask(&host, Request::Apply { cluster: "other".into(), resources }).unwrap_err();
    assert!(failure.to_string().contains("belongs to the cluster demo"), "{failure}");
    reset(&host).unwrap();
    assert_eq!(host.facts().common().cluster, None);
}

#[test]
fn facts_follow_the_faults() {
    let host = windows();
    host.set_faults(Faults {
        windows_build: Some(10586),
        one_adapter: true,
        ui_language: Some("de-DE".into()),
        pending_reboot: true,
        no_docker: true,
        port_taken: vec![TakenPort { port: 10250, program: "java.exe".into() }],
        clock_skew_seconds: 3600,
        ..Faults::default()
    });
    let Facts::Windows(facts) = host.facts() else { panic!() };
    assert_eq!((facts.build, facts.ui_language.as_str(), facts.docker), (10586, "de-DE", None));
    assert!(facts.common.adapters.iter().all(|adapter| adapter.name != "Ethernet 2"));
    assert!(facts.common.listeners.iter().any(|listener| listener.program == "java.exe"));
    assert!(!facts.pending_reboot.is_empty());
    let healthy = windows().facts();
    assert!(facts.common.clock_ms - healthy.common().clock_ms > 3_590_000);
    assert_eq!(healthy.common().adapters.len(), 3);
}

#[test]
fn a_full_disk_says_so() {
    let host = linux();
    host.set_faults(Faults { disk_full: true, ..Faults::default() });
    let failure = apply(&host, &on_linux(Phase::Files, vec![text("/etc/1")])).unwrap_err();
    assert_eq!(failure.answer, "No space left on device");
    assert!(failure.hint.is_some());
}

fn session_with_lock<T>(host: &SimulatedHost, inside: impl FnOnce(&mut Held<'_>) -> T) -> T {
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
    let (answers, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let input = std::io::BufReader::new(Lines { receiver, rest: Vec::new() });
            serve(host.platform(), Vec::new(), input, Answers(answers)).unwrap();
        });
        let mut held = Held { host, sender, answered };
        held.answered.recv().unwrap();
        assert!(held.ask(lock("holder", false)).contains("granted"));
        inside(&mut held)
    })
}

struct Held<'a> {
    host: &'a SimulatedHost,
    sender: std::sync::mpsc::Sender<Vec<u8>>,
    answered: std::sync::mpsc::Receiver<String>,
}

impl Held<'_> {
    fn ask(&mut self, request: Request) -> String {
        let message = k8swin_protocol::wire::ToAgent { id: 7, request };
        self.sender.send(k8swin_protocol::wire::encode(&message).as_bytes().to_vec()).unwrap();
        self.answered.recv().unwrap()
    }
}

struct Lines {
    receiver: std::sync::mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
}

impl std::io::Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.receiver.recv().unwrap_or_default();
        }
        let taken = self.rest.len().min(into.len());
        into[..taken].copy_from_slice(&self.rest[..taken]);
        self.rest.drain(..taken);
        Ok(taken)
    }
}

struct Answers(std::sync::mpsc::Sender<String>);

impl std::io::Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_lock_keeps_two_sessions_apart() {
    let host = linux();
    let before = host.state_json();
    session_with_lock(&host, |held| {
        let [Ok(Response::Lock(LockAnswer::Held { owner, silent_seconds: 0 })), Ok(Response::Done), Ok(Response::Done)] =
            &replies(talk(held.host, [lock("other", false), Request::Unlock, Request::Bye { clear_staging: true }]))[..]
        else {
            panic!("the lock is held")
        };
        assert_eq!(owner, "holder");
        // Neither `Unlock` nor `Bye` of another session took it.
        assert!(matches!(
            replies(talk(held.host, [lock("other", false)])).as_slice(),
            [Ok(Response::Lock(LockAnswer::Held { .. }))]
        ));
        assert!(held.ask(Request::Ping).contains("done"));
    });
    assert_eq!(host.state_json(), before, "the lock went with its session");
}

#[test]
fn a_lock_outlives_its_session_only_for_its_own_run() {
    let host = linux();
    let before = host.state_json();
    for leave in [Request::KeepLock, Request::Reboot { reason: "a feature".into() }] {
        talk(&host, [lock("one", false), leave, Request::Bye { clear_staging: true }]);
        assert!(matches!(
            replies(talk(&host, [lock("other", false)])).as_slice(),
            [Ok(Response::Lock(LockAnswer::Held { .. }))]
        ));
        let other_run = Request::Lock { owner: "one".into(), run: "another run".into(), break_lock: false };
        assert!(matches!(replies(talk(&host, [other_run])).as_slice(), [Ok(Response::Lock(LockAnswer::Held { .. }))]));
        let back = replies(talk(&host, [lock("one", false), Request::Ping, Request::Bye { clear_staging: true }]));
        assert_eq!(back[0], Ok(Response::Lock(LockAnswer::Granted)));
        assert!(!host.state_json().contains("lock.json"), "it went with the session that gave it back");
    }
    assert_ne!(host.state_json(), before, "it has booted again");
}

#[test]
fn a_silent_holder_loses_the_lock_and_is_told() {
    let host = linux();
    session_with_lock(&host, |held| {
        host.set_faults(Faults { clock_skew_seconds: 31, ..Faults::default() });
        let answers = replies(talk(held.host, [lock("other", false)]));
        assert!(matches!(answers.as_slice(), [Ok(Response::Lock(LockAnswer::Granted))]), "{answers:?}");
        let resources = on_linux(Phase::Files, vec![text("/etc/1")]);
        let answer = held.ask(Request::Apply { cluster: CLUSTER.into(), resources: resources.clone() });
        assert!(answer.contains("keep the cluster's lock"), "{answer}");
        let again = held.ask(Request::Apply { cluster: CLUSTER.into(), resources });
        assert!(again.contains("keep the cluster's lock"), "{again}");
        assert!(held.host.read_file(&path("/etc/1")).is_none());
        assert!(held.ask(lock("holder", false)).contains("granted"));
    });
}

#[test]
fn a_lock_can_be_broken() {
    let host = linux();
    session_with_lock(&host, |held| {
        let answers = replies(talk(held.host, [lock("other", true)]));
        assert!(matches!(answers.as_slice(), [Ok(Response::Lock(LockAnswer::Granted))]));
    });
}

#[test]
fn blobs_arrive_in_pieces_and_resume() {
    // Two pieces and a part.
    const SIZE: u64 = 2 * CHUNK as u64 + 100_000;
    let host = linux();
    let bytes: Vec<u8> = (0..SIZE).map(|number| (number / 7 % 251) as u8).collect();
    let pieces = pieces(&bytes);
    assert_eq!(pieces.len(), 3);
    let received = |answers: Vec<Result<Response, String>>| -> Vec<u64> {
        let received = |answer| match answer {
            Ok(Response::Staged { received }) => received,
            other => panic!("{other:?}"),
        };
        answers.into_iter().map(received).collect()
    };
    let piece = CHUNK as u64;
    let out_of_order = vec![pieces[1].clone(), pieces[0].clone(), pieces[0].clone(), pieces[2].clone()];
    assert_eq!(received(replies(talk(&host, out_of_order))), [0, piece, piece, piece]);

    // The connection was lost; the next one goes on.
    let resources = on_linux(Phase::Files, vec![file("/etc/blob", Content::Blob(blob(&bytes)))]);
    assert_eq!(check(&host, &resources).missing_blobs, [blob(&bytes).sha256]);
    assert_eq!(received(replies(talk(&host, pieces[1..].to_vec()))), [2 * piece, SIZE]);
    assert!(check(&host, &resources).missing_blobs.is_empty());
    assert_eq!(received(replies(talk(&host, [pieces[0].clone()]))), [SIZE]);
    apply(&host, &resources).unwrap();
    assert_eq!(host.read_file(&path("/etc/blob")), Some(bytes.clone()));

    // What is owned elsewhere is not sent again, also when the staging folder is empty.
    ask(&host, Request::Bye { clear_staging: true }).unwrap();
    let more = on_linux(
        Phase::Files,
        vec![file("/etc/blob", Content::Blob(blob(&bytes))), file("/etc/copy", Content::Blob(blob(&bytes)))],
    );
    assert!(check(&host, &more).missing_blobs.is_empty());
    apply(&host, &more).unwrap();
    assert_eq!(host.read_file(&path("/etc/copy")), Some(bytes));
}

#[test]
fn damaged_blobs_are_refused_and_forgotten() {
    let host = linux();
    let Request::Put(good) = pieces(b"the blob").remove(0) else { panic!() };
    let mut wrong_digest = good.clone();
    wrong_digest.sha256 = blob(b"another").sha256;
    let mut too_long = good.clone();
    too_long.size = 3;
    let mut no_frame = good.clone();
    no_frame.zstd = k8swin_protocol::wire::WireBytes(k8swin_protocol::SecretBytes::new("nonsense"));
    let mut bomb = good.clone();
    bomb.size = u64::MAX;
    bomb.zstd = k8swin_protocol::wire::WireBytes(k8swin_protocol::SecretBytes::new(compress(&vec![0; 1 << 20])));
    for bad in [wrong_digest, too_long, no_frame, bomb] {
        assert!(ask(&host, Request::Put(bad)).is_err());
    }
    assert_eq!(ask(&host, Request::Put(good)).unwrap(), Response::Staged { received: 8 });

    // What an earlier session left counts as well as what this one brings: a wrong beginning is found at the end.
    let (whole, other) = (vec![1; CHUNK + 1], vec![2; CHUNK + 1]);
    let sent = pieces(&whole);
    let (Some(Request::Put(beginning)), Some(Request::Put(wrong))) = (sent.first(), pieces(&other).first().cloned())
    else {
        panic!()
    };
    let wrong = Chunk { sha256: beginning.sha256, ..wrong };
    assert_eq!(ask(&host, Request::Put(wrong)).unwrap(), Response::Staged { received: CHUNK as u64 });
    let failure = ask(&host, sent[1].clone()).unwrap_err();
    assert!(failure.answer.contains("the digest"), "{failure}");
    let received = replies(talk(&host, sent));
    assert_eq!(received.last().unwrap(), &Ok(Response::Staged { received: CHUNK as u64 + 1 }));

    let empty = pieces(b" ").remove(0);
    let Request::Put(mut empty) = empty else { panic!() };
    (empty.sha256, empty.size) = (blob(b"").sha256, 0);
    empty.zstd = k8swin_protocol::wire::WireBytes(k8swin_protocol::SecretBytes::new(compress(b"")));
    assert_eq!(ask(&host, Request::Put(empty)).unwrap(), Response::Staged { received: 0 });
    let resources = on_linux(Phase::Files, vec![file("/etc/empty", Content::Blob(blob(b"")))]);
    assert!(check(&host, &resources).missing_blobs.is_empty());
    apply(&host, &resources).unwrap();
    assert_eq!(host.read_file(&path("/etc/empty")), Some(Vec::new()));
}

#[test]
fn the_pki_is_read_back_with_its_folders() {
    let host = linux();
    host.write_file(&path("/etc/kubernetes/pki/ca.key"), b"secret", Protection::Secret).unwrap();
    host.write_file(&path("/etc/kubernetes/pki/etcd/ca.crt"), b"public", Protection::Public).unwrap();
    let Response::Pki { files } = ask(&host, Request::ReadPki).unwrap() else { panic!() };
    assert_eq!(files.keys().collect::<Vec<_>>(), ["ca.key", "etcd/ca.crt"]);
    assert_eq!(files["ca.key"].0.expose(), b"secret");
}

#[test]
fn a_reboot_begins_when_the_session_has_ended() {
    let host = windows();
    let rebooted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = Arc::clone(&rebooted);
    host.on_reboot(Arc::new(move || flag.store(true, std::sync::atomic::Ordering::SeqCst)));
    let before = host.facts().common().boot_id.clone();
    let answers = replies(talk(&host, [Request::Reboot { reason: "a feature".into() }, Request::Ping]));
    assert_eq!(answers, [Ok(Response::Done)], "the connection ends");
    assert!(rebooted.load(std::sync::atomic::Ordering::SeqCst));
    assert_ne!(host.facts().common().boot_id, before);
}

#[test]
fn a_ledger_that_cannot_be_read_stops_everything() {
    let host = linux();
    host.write_file(&Os::Linux.state().join("ledger.json"), b"{", Protection::Secret).unwrap();
    let failure = apply(&host, &on_linux(Phase::Files, vec![text("/etc/1")])).unwrap_err();
    assert!(failure.to_string().contains("not a ledger"), "{failure}");
    assert_eq!(host.steps(), 0);
}

#[test]
fn changes_are_told_and_counted() {
    let host = linux();
    let changes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&changes);
    host.on_change(Arc::new(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    host.before_mutation(Arc::new(|what| match what {
        "write /etc/2" => Err(PlatformError::new(what, "injected")),
        _ => Ok(()),
    }));
    let failure = apply(&host, &on_linux(Phase::Files, vec![text("/etc/1"), text("/etc/2")])).unwrap_err();
    assert_eq!(failure.answer, "injected");
    assert_eq!(host.steps(), 4, "the state folder, two ledgers, one file");
    assert_eq!(changes.load(std::sync::atomic::Ordering::SeqCst), 4);
}
