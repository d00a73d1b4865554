//! A session with the agent of a simulated host, over in-memory pipes, and hosts to have it with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8swin_agent::platform::{Permissions, PlatformError};
use k8swin_agent::simulated::{HostSpec, MutationHook, SimulatedCluster, SimulatedHost};
use k8swin_agent::{Host, serve};
use k8swin_protocol::depot::Store;
use k8swin_protocol::resource::{
    AdapterSelector, Blob, CheckOutcome, HostResources, LinuxResource, Phase, Planned, Protection, ResourceId,
    WindowsResource,
};
use k8swin_protocol::wire::{
    self, CHUNK, Checked, Chunk, Failure, FromAgent, Request, ResourceResult, Response, ToAgent, WireBytes,
};
use k8swin_protocol::{HostPath, Os, SecretBytes, Sha256};

pub(crate) const AGENT: &[u8] = b"the agent";
pub(crate) const CLUSTER: &str = "demo";

pub(crate) fn path(path: &str) -> HostPath {
    HostPath::new(path).unwrap()
}

pub(crate) fn blob(bytes: &[u8]) -> Blob {
    Blob { sha256: Sha256::of(bytes), size: bytes.len() as u64 }
}

/// A host with its agent.
pub(crate) fn host(spec: HostSpec, cluster: &SimulatedCluster) -> SimulatedHost {
    let host = SimulatedHost::new(spec, cluster.clone());
    host.write_file(&host.os().agent(Sha256::of(AGENT)), AGENT, Protection::Executable).unwrap();
    host
}

pub(crate) fn linux() -> SimulatedHost {
    host(HostSpec::linux("lin01", [10, 5, 6, 215].into()), &SimulatedCluster::new("v1.5.8"))
}

pub(crate) fn windows() -> SimulatedHost {
    host(windows_spec(), &SimulatedCluster::new("v1.5.8"))
}

pub(crate) fn windows_spec() -> HostSpec {
    HostSpec::windows("win01", [10, 5, 6, 216].into(), AdapterSelector::Name("Ethernet 2".into()))
}

/// Does something as the host's administrator would.
pub(crate) fn by_hand<T>(host: &SimulatedHost, act: impl FnOnce(&mut Host) -> T) -> T {
    act(&mut host.platform())
}

pub(crate) fn put_by_hand(host: &SimulatedHost, file: &str, text: &str, mode: u32) {
    by_hand(host, |platform| {
        let permissions = Permissions::Unix { mode, uid: 0, gid: 0 };
        match platform {
            Host::Linux(linux) => linux.write_file(&path(file), text.as_bytes(), &permissions),
            Host::Windows(windows) => {
                windows.write_file(&path(file), text.as_bytes(), &Permissions::secret_file(Os::Windows))
            }
        }
    })
    .unwrap();
}

/// What a session answers to these requests.
pub(crate) fn talk(host: &SimulatedHost, requests: impl IntoIterator<Item = Request>) -> Vec<FromAgent> {
    let mut input = Vec::new();
    for (id, request) in (1..).zip(requests) {
        input.extend_from_slice(wire::encode(&ToAgent { id, request }).as_bytes());
    }
    let mut output = Vec::new();
    serve(host.platform(), Vec::new(), input.as_slice(), &mut output).unwrap();
    let mut lines = output.as_slice();
    let mut answers = Vec::new();
    while let Some(line) = wire::read_line(&mut lines).unwrap() {
        answers.push(wire::decode(&line).unwrap());
    }
    answers
}

/// The answer to one request.
pub(crate) fn ask(host: &SimulatedHost, request: Request) -> Result<Response, Failure> {
    match talk(host, [request]).pop().unwrap() {
        FromAgent::Reply { response, .. } => Ok(response),
        FromAgent::Failed { failure, .. } => Err(failure),
        other => panic!("no answer: {other:?}"),
    }
}

pub(crate) fn check(host: &SimulatedHost, resources: &HostResources) -> Checked {
    match ask(host, Request::Check { resources: resources.clone() }).unwrap() {
        Response::Checked(checked) => checked,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn in_sync(host: &SimulatedHost, resources: &HostResources) -> bool {
    check(host, resources).differing.is_empty()
}

/// The difference that a check shows for the only resource.
pub(crate) fn difference(host: &SimulatedHost, resources: &HostResources) -> String {
    match check(host, resources).differing.pop() {
        Some((_, CheckOutcome::Drifted { difference, .. })) => difference,
        other => format!("{other:?}"),
    }
}

pub(crate) fn apply(
    host: &SimulatedHost,
    resources: &HostResources,
) -> Result<Vec<(ResourceId, ResourceResult)>, Failure> {
    results(ask(host, Request::Apply { cluster: CLUSTER.into(), resources: resources.clone() })?)
}

pub(crate) fn prune(host: &SimulatedHost, keep: &HostResources) -> Result<Vec<(ResourceId, ResourceResult)>, Failure> {
    results(ask(host, Request::Prune { keep: keep.ids().map(|(_, id)| id).collect() })?)
}

/// Takes everything back, in the order of `reset`, and ends the session as it should.
pub(crate) fn reset(host: &SimulatedHost) -> Result<(), Failure> {
    for phase in Phase::ALL.into_iter().rev() {
        results(ask(host, Request::Remove { phase })?)?;
    }
    ask(host, Request::Bye { clear_staging: true }).map(drop)
}

fn results(response: Response) -> Result<Vec<(ResourceId, ResourceResult)>, Failure> {
    let Response::Applied { results } = response else { panic!("{response:?}") };
    match results.last() {
        Some((_, ResourceResult::Failed(failure))) => Err(failure.clone()),
        _ => Ok(results),
    }
}

/// Sends blobs as the orchestrator does.
pub(crate) fn stage(host: &SimulatedHost, blobs: &[&[u8]]) -> Result<(), Failure> {
    for bytes in blobs {
        for request in pieces(bytes) {
            ask(host, request)?;
        }
    }
    Ok(())
}

pub(crate) fn pieces(bytes: &[u8]) -> Vec<Request> {
    let blob = blob(bytes);
    let pieces = bytes.chunks(CHUNK).enumerate();
    pieces
        .map(|(number, piece)| {
            let zstd = WireBytes(SecretBytes::new(compress(piece)));
            Request::Put(Chunk {
                sha256: blob.sha256,
                size: blob.size,
                offset: (number * CHUNK) as u64,
                zstd,
                store: Store::Staging,
            })
        })
        .collect()
}

pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(crate) fn on_linux(phase: Phase, resources: Vec<LinuxResource>) -> HostResources {
    HostResources::Linux(resources.into_iter().map(|resource| Planned { phase, resource }).collect())
}

pub(crate) fn on_windows(phase: Phase, resources: Vec<WindowsResource>) -> HostResources {
    HostResources::Windows(resources.into_iter().map(|resource| Planned { phase, resource }).collect())
}

/// How a mutation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// One call fails.
    Failure,
    /// From one call on nothing happens any more: the agent was killed before it.
    Kill,
}

/// Makes trouble at the `n`th mutation from now. The counter tells how many were tried.
pub(crate) fn trouble_at(host: &SimulatedHost, n: u64, trouble: Trouble) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let hook: MutationHook = Arc::new(move |what: &str| {
        let now = counter.fetch_add(1, Ordering::SeqCst);
        let hit = match trouble {
            Trouble::Failure => now == n,
            Trouble::Kill => now >= n,
        };
        if hit { Err(PlatformError::new(what, "injected")) } else { Ok(()) }
    });
    host.before_mutation(hook);
    count
}

pub(crate) fn no_trouble(host: &SimulatedHost) {
    host.before_mutation(Arc::new(|_| Ok(())));
}

/// The lines in which two states differ, for messages.
pub(crate) fn diff(before: &str, after: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}
