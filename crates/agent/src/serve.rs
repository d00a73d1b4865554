//! The agent's loop: requests in, events and answers out, one line each.

mod apply;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;

use k8swin_protocol::depot::{Pull, Store};
use k8swin_protocol::resource::{LinuxResource, Phase, ResourceId, WindowsResource};
use k8swin_protocol::wire::{
    self, AgentEvent, Failure, FromAgent, Hello, PROTOCOL, Request, ResourceResult, Response, ToAgent, WireBytes,
    WireError,
};
use k8swin_protocol::{Facts, HostPath, Sha256, raw};

use self::apply::Detach;
use crate::agents;
use crate::blobs::{self, Staging};
use crate::depot::{self, Depot};
use crate::engine::{Engine, Watcher};
use crate::lock::Lock;
use crate::platform::{FileKind, Host, Platform, PlatformError, Result};
use crate::resources::{Removal, Resource};

/// The session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The other side cannot be read.
    #[error(transparent)]
    Input(#[from] WireError),
    /// The other side takes no more answers.
    #[error("cannot write to the other side: {0}")]
    Output(io::Error),
}

/// Greets, then carries out requests in order until `Bye`, a reboot or the end of the input: first those of the `opening`,
/// whose answers are written together with the greeting. A lock that the session holds is released in every case.
///
/// # Errors
/// When the other side cannot be read from or written to.
pub fn serve(
    host: Host,
    opening: Vec<ToAgent>,
    input: impl BufRead,
    output: impl Write,
) -> std::result::Result<(), ServeError> {
    match host {
        Host::Linux(mut platform) => Session::<LinuxResource, _>::new(platform.as_mut(), output).run(opening, input),
        Host::Windows(mut platform) => {
            Session::<WindowsResource, _>::new(platform.as_mut(), output).run(opening, input)
        }
    }
}

/// Gathers facts, with what the ledger knows.
///
/// # Errors
/// When the platform cannot tell, or the ledger cannot be read.
pub(crate) fn facts(host: &mut Host) -> Result<Facts> {
    match host {
        Host::Linux(platform) => gather::<LinuxResource>(platform.as_mut()),
        Host::Windows(platform) => gather::<WindowsResource>(platform.as_mut()),
    }
}

fn gather<R: Resource>(host: &mut R::Platform) -> Result<Facts> {
    let mut facts = host.facts()?;
    let engine = Engine::<R>::new(host)?;
    let common = match &mut facts {
        Facts::Linux(facts) => &mut facts.common,
        Facts::Windows(facts) => &mut facts.common,
    };
    common.owned = engine.owned().into_iter().collect();
    common.cluster = engine.cluster().or(common.cluster.take());
    let services = engine.services();
    common.services = services.iter().map(|name| host.service_status(name)).collect::<Result<_>>()?;
    Ok(facts)
}

/// What happens after a request.
enum Next {
    Reply(Response),
    ReplyAndEnd(Response),
}

struct Session<'a, R: Resource, W> {
    host: &'a mut R::Platform,
    output: Output<W>,
    lock: Lock,
    detach: Option<Detach>,
    staging: Staging,
    depot: Depot,
}

impl<'a, R: Resource, W: Write> Session<'a, R, W> {
    fn new(host: &'a mut R::Platform, output: W) -> Self {
        let lock = Lock::new(host);
        Self {
            host,
            output: Output { writer: output, held: None, failed: None },
            lock,
            detach: None,
            staging: Staging::default(),
            depot: Depot::default(),
        }
    }

    fn run(mut self, opening: Vec<ToAgent>, mut input: impl BufRead) -> std::result::Result<(), ServeError> {
        let ended = self.converse(opening, &mut input);
        // The other side is gone: there is nobody to tell that the lock stays until it is stale.
        let _ = self.lock.release(self.host);
        ended
    }

    fn converse(&mut self, opening: Vec<ToAgent>, input: &mut impl BufRead) -> std::result::Result<(), ServeError> {
        let hello = Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() };
        self.output.hold();
        self.output.send(&FromAgent::Hello(hello))?;
        for message in opening {
            if self.answer(message)?.is_break() {
                return self.output.release();
            }
        }
        self.output.release()?;
        loop {
            let line = match wire::read_line(input) {
                Ok(None) => return Ok(()),
                Ok(Some(line)) => line,
                Err(error @ WireError::TooLong) => {
                    self.output.send(&unreadable(&error))?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            };
            let message = match wire::decode(&line) {
                Ok(message) => raw::complete(message, input),
                Err(error) => {
                    self.output.send(&unreadable(&error))?;
                    continue;
                }
            };
            match message {
                Ok(message) => {
                    if self.answer(message)?.is_break() {
                        return Ok(());
                    }
                }
                // The input has ended, for the other side perhaps not: it comes back over another connection.
                Err(error @ WireError::Io(_)) => return Err(error.into()),
                // What comes next is no line.
                Err(error) => {
                    self.output.send(&unreadable(&error))?;
                    return Err(error.into());
                }
            }
        }
    }

    /// Carries out a request and answers it; whether the session goes on.
    fn answer(&mut self, message: ToAgent) -> std::result::Result<ControlFlow<()>, ServeError> {
        let ToAgent { id, request } = message;
        let (answer, next) = match self.carry_out(id, request) {
            Ok(Next::Reply(response)) => (FromAgent::Reply { id, response }, ControlFlow::Continue(())),
            Ok(Next::ReplyAndEnd(response)) => (FromAgent::Reply { id, response }, ControlFlow::Break(())),
            Err(error) => (FromAgent::Failed { id, failure: error.into() }, ControlFlow::Continue(())),
        };
        self.output.send(&answer)?;
        Ok(next)
    }

    fn carry_out(&mut self, id: u64, request: Request) -> Result<Next> {
        // Whoever lost the lock may still take it again or leave.
        if !matches!(request, Request::Lock { .. } | Request::Unlock | Request::Bye { .. }) {
            self.lock.refresh(self.host)?;
        }
        let response = match request {
            Request::Facts => Response::Facts(Box::new(gather::<R>(self.host)?)),
            Request::Listen(wanted) => Response::Listening { ports: self.host.listen(&wanted)? },
            Request::Connect(wanted) => Response::Connected { outcomes: self.host.connect(&wanted)? },
            Request::Check { resources } => {
                let resources = R::unpack(resources)?;
                Response::Checked(Engine::<R>::new(self.host)?.check_all(&resources)?)
            }
            Request::Put(chunk) => {
                let _held = self.lock_host("take a piece of a file")?;
                let received = match chunk.store {
                    Store::Staging => self.staging.put(self.host, &chunk)?,
                    Store::Depot => self.depot.stock(self.host, &chunk)?,
                };
                Response::Staged { received }
            }
            Request::PutRaw { .. } => {
                return Err(PlatformError::new("take a piece of a file", "its bytes are missing"));
            }
            Request::TryBytes { arrived } => Response::Arrived { sha256: Sha256::of(&arrived) },
            Request::OpenDepot(wanted) => Response::DepotOpen(self.depot.open(self.host, &wanted)?),
            Request::CloseDepot => {
                self.depot.close(self.host)?;
                Response::Done
            }
            Request::Pull(wanted) => self.pull(id, &wanted)?,
            Request::Detach { run, confirm_within_seconds } => {
                self.detach = Some(Detach { run, confirm_within_seconds });
                Response::Done
            }
            Request::Apply { cluster, resources } => self.apply(id, &cluster, &R::unpack(resources)?)?,
            Request::Confirm { change } => self.confirm(&change)?,
            Request::RemoveOldAgents => {
                agents::remove_old::<R>(self.host)?;
                Response::Done
            }
            Request::Prune { keep } => {
                let _held = self.lock_host("remove what is no longer planned")?;
                let owned = Engine::<R>::new(self.host)?.owned();
                let keep: BTreeSet<_> = keep.into_iter().collect();
                let gone = owned.into_iter().rev().filter(|id| !keep.contains(id)).collect();
                self.take_back(id, gone, Removal::Prune)?
            }
            Request::Remove { phase } => {
                let _held = self.lock_host("remove resources")?;
                let owned = self.owned_of(phase)?;
                self.take_back(id, owned, Removal::Reset)?
            }
            Request::ReadPki => {
                let mut files = BTreeMap::new();
                let pki = self.host.os().pki();
                read_files(self.host, &pki, "", &mut files)?;
                Response::Pki { files }
            }
            Request::Kube(call) => Response::Kube(R::kube(self.host, call)?),
            Request::ReachKubelets { nodes } => Response::Kubelets { failures: R::reach_kubelets(self.host, &nodes)? },
            Request::Lock { owner, run, break_lock } => {
                Response::Lock(self.lock.acquire(self.host, owner, run, break_lock)?)
            }
            Request::Unlock => {
                self.lock.release(self.host)?;
                Response::Done
            }
            Request::KeepLock => {
                self.lock.keep_for_run();
                Response::Done
            }
            Request::Reboot { reason } => {
                self.lock.keep_for_run();
                self.host.reboot(&reason)?;
                return Ok(Next::ReplyAndEnd(Response::Done));
            }
            Request::Ping => Response::Done,
            Request::Bye { clear_staging } => {
                // The session ends whatever happens: a failure to clean up is told to nobody who could act on it, and
                // the next run cleans up again.
                let _ = self.lock.release(self.host);
                if clear_staging {
                    let _ = blobs::clean(self.host);
                }
                return Ok(Next::ReplyAndEnd(Response::Done));
            }
        };
        Ok(Next::Reply(response))
    }

    /// Takes blobs from another host's depot. The lock is kept alive meanwhile, and the work ends when nobody listens any more.
    fn pull(&mut self, id: u64, wanted: &Pull) -> Result<Response> {
        let _held = self.lock_host("take files from the depot")?;
        let Self { host, output, lock, .. } = self;
        let pulled = depot::pull(&mut **host, wanted, &mut |host, sha256, there| {
            lock.refresh(host)?;
            output.event(id, AgentEvent::Pulled { sha256, there });
            if output.failed.is_some() {
                return Err(PlatformError::new("take files from the depot", "nobody waits for them any more"));
            }
            Ok(())
        })?;
        Ok(Response::Pulled(pulled))
    }

    fn owned_of(&mut self, phase: Phase) -> Result<Vec<ResourceId>> {
        Ok(Engine::<R>::new(self.host)?.owned_of(phase))
    }

    fn take_back(&mut self, id: u64, gone: Vec<ResourceId>, removal: Removal) -> Result<Response> {
        let mut engine = Engine::<R>::new(self.host)?;
        let mut results = Vec::new();
        for resource in gone {
            let mut watch = Watch { id, resource: &resource, output: &mut self.output, lock: &mut self.lock };
            let why = match removal {
                Removal::Prune => "no longer planned",
                Removal::Reset => "to be removed",
            };
            Watcher::<R::Platform>::started(&mut watch, why);
            let result = match watch.alive(engine.host()).and_then(|()| engine.take_back(&resource, removal)) {
                Ok(()) => ResourceResult::Changed,
                Err(error) => ResourceResult::Failed(error.into()),
            };
            if !self.output.ended(id, resource, result, &mut results) {
                return Ok(Response::Applied { results });
            }
        }
        engine.tidy()?;
        Ok(Response::Applied { results })
    }
}

fn unreadable(error: &WireError) -> FromAgent {
    let hint = Some("use an agent and an orchestrator of one version".to_owned());
    let failure = Failure { attempted: "read a request".into(), answer: error.to_string(), hint };
    FromAgent::Failed { id: 0, failure }
}

/// The files below a folder, with their paths relative to it, whose parts are separated by `/` on every host.
fn read_files(
    host: &mut (impl Platform + ?Sized),
    folder: &HostPath,
    prefix: &str,
    files: &mut BTreeMap<String, WireBytes>,
) -> Result<()> {
    if host.stat(folder)?.is_none() {
        return Ok(());
    }
    for name in host.list_directory(folder)? {
        let path = folder.join(&name);
        match host.stat(&path)?.map(|stat| stat.kind) {
            Some(FileKind::File) => {
                files.insert(format!("{prefix}{name}"), WireBytes(host.read_file(&path)?));
            }
            Some(FileKind::Directory) => read_files(host, &path, &format!("{prefix}{name}/"), files)?,
            Some(FileKind::Other) | None => {}
        }
    }
    Ok(())
}

/// The other side. Once it fails, it takes nothing more, and work on the host stops at the next resource.
struct Output<W> {
    writer: W,
    /// What is to be written in one go, while something is held.
    held: Option<Vec<u8>>,
    failed: Option<io::Error>,
}

impl<W: Write> Output<W> {
    fn send(&mut self, message: &FromAgent) -> std::result::Result<(), ServeError> {
        if let Some(error) = self.failed.take() {
            return Err(ServeError::Output(error));
        }
        let line = wire::encode(message);
        if let Some(held) = &mut self.held {
            held.extend_from_slice(line.as_bytes());
            return Ok(());
        }
        self.write(line.as_bytes())
    }

    /// From now on messages wait for [`Self::release`].
    fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Writes what waits.
    fn release(&mut self) -> std::result::Result<(), ServeError> {
        let held = self.held.take().unwrap_or_default();
        self.write(&held)
    }

    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), ServeError> {
        self.writer.write_all(bytes).and_then(|()| self.writer.flush()).map_err(ServeError::Output)
    }

    fn event(&mut self, id: u64, event: AgentEvent) {
        if self.failed.is_none()
            && let Err(ServeError::Output(error)) = self.send(&FromAgent::Event { id, event })
        {
            self.failed = Some(error);
        }
    }

    /// Tells how work on a resource ended; whether the next one may begin.
    fn ended(
        &mut self,
        id: u64,
        resource: ResourceId,
        result: ResourceResult,
        results: &mut Vec<(ResourceId, ResourceResult)>,
    ) -> bool {
        let go_on = !matches!(result, ResourceResult::Failed(_));
        self.event(id, AgentEvent::Ended { resource: resource.clone(), result: result.clone() });
        results.push((resource, result));
        go_on && self.failed.is_none()
    }
}

/// The orchestrator watches, and the lock is kept alive for it.
struct Watch<'a, W> {
    id: u64,
    resource: &'a ResourceId,
    output: &'a mut Output<W>,
    lock: &'a mut Lock,
}

impl<P: Platform + ?Sized, W: Write> Watcher<P> for Watch<'_, W> {
    fn started(&mut self, difference: &str) {
        let event = AgentEvent::Started { resource: self.resource.clone(), difference: difference.to_owned() };
        self.output.event(self.id, event);
    }

    fn alive(&mut self, host: &mut P) -> Result<()> {
        self.lock.refresh(host)
    }
}
