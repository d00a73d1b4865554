//! Bringing hosts the programs that they lack: each is sent once, to the depot on the leading control plane, from where the others
//! take it, while further hosts are still being checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use camino::Utf8PathBuf;
use k8swin_protocol::depot::{OpenDepot, Pull, Store};
use k8swin_protocol::resource::ResourceId;
use k8swin_protocol::wire::{AgentEvent, Failure, Request, Response, WireBytes};
use k8swin_protocol::{SecretBytes, Sha256};
use tokio::sync::watch;

use crate::blob::BlobSource;
use crate::depot::{Depot, Duty, Opened, Shared, Step, Wanted, shared};
use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::member::{Context, Member};
use crate::session::SessionError;

/// How often a host tries another depot after the one that it took from has died.
const PATIENCE: u32 = 3;

/// Bytes of the token, which is written as twice as many digits.
const TOKEN: usize = 32;

/// What bringing programs to each host needs.
pub(crate) struct Shipping<'s> {
    depot: Shared,
    token: SecretBytes,
    keeper: &'s str,
    /// What goes through the depot.
    through: BTreeSet<Sha256>,
    files: &'s BTreeMap<Sha256, Utf8PathBuf>,
}

impl<'s> Shipping<'s> {
    /// For the hosts that take part.
    pub(crate) fn new<'a: 's>(fleet: &Fleet<'a>, files: &'s BTreeMap<Sha256, Utf8PathBuf>) -> Self {
        let keeper = fleet.leader();
        let taking_part: Vec<_> = fleet.members.iter().filter(|member| member.takes_part()).collect();
        let takers = taking_part.iter().filter(|member| member.host.name != keeper).count();
        let planned = taking_part.iter().filter_map(|member| member.resources.as_ref());
        Self {
            depot: watch::channel(Depot::new(takers)).0,
            token: token(),
            keeper,
            // Keys are not among the files: they never go through the depot.
            through: shared(planned, |sha256| files.contains_key(&sha256)),
            files,
        }
    }

    /// A host begins its part.
    pub(crate) fn begin<'p>(&'p self, member: &Member<'_>) -> Part<'p> {
        Part { shipping: self, keeps: member.host.name == self.keeper, asking: true }
    }
}

/// Brings a host that has been checked what it lacks. Whether it had a part in that at all.
pub(crate) async fn ship<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    mut part: Part<'_>,
) -> Result<bool, SessionError> {
    let shipping = part.shipping;
    let lacking = missing(member, |sha256| shipping.through.contains(&sha256));
    part.ask(&lacking);
    let mut own = Vec::new();
    if part.keeps {
        own = missing(member, |sha256| shipping.files.contains_key(&sha256) && !shipping.through.contains(&sha256));
    }
    let lacks = !lacking.is_empty() || !own.is_empty();
    if lacks {
        context.tell_stage(member, Stage::Ship, 0);
    }
    if part.keeps {
        let kept = keep(member, context, shipping, lacking, own.into()).await?;
        Ok(lacks || kept)
    } else {
        take(member, context, shipping, lacking).await?;
        Ok(lacks)
    }
}

/// A host's part in the stage: however it ends, nobody waits for it any more.
pub(crate) struct Part<'s> {
    shipping: &'s Shipping<'s>,
    keeps: bool,
    asking: bool,
}

impl Part<'_> {
    fn ask(&mut self, wanted: &[Wanted]) {
        self.shipping.depot.send_modify(|depot| {
            depot.ask(wanted);
            if !self.keeps {
                depot.asked();
            }
        });
        self.asking = false;
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.shipping.depot.send_modify(|depot| {
            if self.keeps {
                depot.close(format!("{} keeps no depot any more", self.shipping.keeper));
                return;
            }
            if self.asking {
                depot.asked();
            }
            depot.took();
        });
    }
}

/// What a host lacks of those blobs.
fn missing(member: &Member<'_>, those: impl Fn(Sha256) -> bool) -> Vec<Wanted> {
    let (Some(resources), Some(checked)) = (&member.resources, &member.checked) else { return Vec::new() };
    let mut wanted: BTreeMap<Sha256, Wanted> = BTreeMap::new();
    for (resource, blob) in resources.blobs() {
        if those(blob.sha256) && checked.missing_blobs.contains(&blob.sha256) {
            wanted.entry(blob.sha256).or_insert_with(|| Wanted { blob, what: resource.to_string() });
        }
    }
    wanted.into_values().collect()
}

/// Blobs are on a host from now on.
fn arrived(member: &mut Member<'_>, blobs: &[Wanted]) {
    if let Some(checked) = &mut member.checked {
        checked.missing_blobs.retain(|missing| !blobs.iter().any(|wanted| wanted.blob.sha256 == *missing));
    }
}

/// Waits for something to be true of the depot. Signs of life are given meanwhile.
async fn until<'a, T>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shared: &Shared,
    mut look: impl FnMut(&Depot) -> Option<T>,
) -> Result<T, SessionError> {
    let mut changes = shared.subscribe();
    loop {
        if let Some(found) = look(&changes.borrow_and_update()) {
            return Ok(found);
        }
        member.wait(context, async { drop(changes.changed().await) }).await?;
    }
}

/// The part of the host that keeps the depot: sends there what others want, once, and sees to what it lacks itself (`lacking`
/// from the depot, `own` alone) while they take it. Whether there was a depot.
async fn keep<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    mut lacking: Vec<Wanted>,
    mut own: VecDeque<Wanted>,
) -> Result<bool, SessionError> {
    let shared = &shipping.depot;
    let mut opened_in = None;
    loop {
        let own_done = lacking.is_empty() && own.is_empty();
        let duty = until(member, context, shared, |depot| match depot.duty(own_done) {
            Duty::Wait => None,
            duty => Some(duty),
        })
        .await?;
        let done = match duty {
            Duty::Close => break,
            Duty::Wait => Ok(()),
            // Its own files come from its own depot as well, over loopback: there is one way to take files.
            Duty::Own if !lacking.is_empty() => take(member, context, shipping, std::mem::take(&mut lacking)).await,
            Duty::Own => match own.pop_front() {
                Some(wanted) => supply(member, context, shipping, &wanted).await,
                None => Ok(()),
            },
            Duty::Look => {
                let before = member.connections();
                member.persist(context, async |member| member.session()?.ask(Request::Ping).await.map(drop)).await?;
                if member.connections() == before && opened_in == Some(before) {
                    shared.send_modify(Depot::found_alive);
                    Ok(())
                } else {
                    reopen(member, context, shipping, &mut opened_in).await
                }
            }
            Duty::Stock(wanted) => stock(member, context, shipping, &mut opened_in, &wanted).await,
        };
        match done {
            Ok(()) => {}
            // The host cannot keep a depot, but it can do everything else.
            Err(SessionError::Refused(failure)) => {
                shared.send_modify(|depot| depot.close(failure.to_string()));
                context.teller.tell(Event::Note {
                    host: Some(member.host.name.clone()),
                    text: format!(
                        "it keeps no depot ({failure}): every host gets its programs over its own connection"
                    ),
                });
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if opened_in.is_none() {
        return Ok(false);
    }
    // One that is not told closes with its session.
    let close = async |member: &mut Member<'a>| member.session()?.ask(Request::CloseDepot).await.map(drop);
    match member.persist(context, close).await {
        Err(SessionError::Refused(failure)) => {
            tracing::debug!(host = %member.host.name, %failure, "the depot is not cleared");
        }
        closed => closed?,
    }
    Ok(true)
}

/// Opens the depot if it is not open in this connection.
async fn reopen<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    opened_in: &mut Option<u64>,
) -> Result<(), SessionError> {
    if *opened_in == Some(member.connections()) {
        return Ok(());
    }
    let hosts = &context.cluster.hosts;
    let wanted = OpenDepot {
        address: member.host.node_address,
        peers: hosts.iter().flat_map(|host| [Some(host.node_address), host.address.parse().ok()]).flatten().collect(),
        token: WireBytes(shipping.token.clone()),
    };
    let open = async |member: &mut Member<'a>| member.session()?.ask(Request::OpenDepot(wanted.clone())).await;
    let Response::DepotOpen(depot) = member.persist(context, open).await? else {
        return Err(SessionError::Nonsense { request: "open a depot" });
    };
    *opened_in = Some(member.connections());
    shipping.depot.send_modify(|shared| shared.opened(depot));
    Ok(())
}

/// Sends a program to the host that alone needs it.
async fn supply<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    wanted: &Wanted,
) -> Result<(), SessionError> {
    let Some(path) = shipping.files.get(&wanted.blob.sha256) else { return Ok(()) };
    let _permit = member.wait(context, context.limits.uploads.acquire()).await?;
    let source = BlobSource::File(path.clone());
    let sending =
        async |member: &mut Member<'a>| send(member, context, wanted, &wanted.what, &source, Store::Staging).await;
    member.persist(context, sending).await?;
    arrived(member, std::slice::from_ref(wanted));
    Ok(())
}

/// Sends a file to the depot.
async fn stock<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    opened_in: &mut Option<u64>,
    wanted: &Wanted,
) -> Result<(), SessionError> {
    let Some(path) = shipping.files.get(&wanted.blob.sha256) else {
        return Err(SessionError::Nonsense { request: "find a program" });
    };
    let _permit = member.wait(context, context.limits.uploads.acquire()).await?;
    context.tell_stage(member, Stage::Ship, 0);
    loop {
        reopen(member, context, shipping, opened_in).await?;
        let before = member.connections();
        let source = BlobSource::File(path.clone());
        let what = format!("{} (for all)", wanted.what);
        member
            .persist(context, async |member| send(member, context, wanted, &what, &source, Store::Depot).await)
            .await?;
        // A connection that was lost on the way took the depot with it; the piece that it had is in the new one, too.
        if member.connections() == before {
            break;
        }
    }
    shipping.depot.send_modify(|depot| depot.stocked(wanted.blob.sha256));
    Ok(())
}

/// Sends a blob over the host's own session.
pub(crate) async fn send<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    wanted: &Wanted,
    what: &str,
    source: &BlobSource,
    store: Store,
) -> Result<(), SessionError> {
    let (host, total) = (member.host.name.clone(), wanted.blob.size);
    let mut sent_bytes = 0;
    let result = member
        .session()?
        .put(wanted.blob, source, store, &mut sent_bytes, &mut |done| {
            context.teller.tell(Event::Sent { host: host.clone(), what: what.to_owned(), done, total });
        })
        .await;
    member.summary.sent_bytes += sent_bytes;
    result
}

/// Takes from the depot what a host lacks. What it cannot have from there is left to be sent over its own session.
async fn take<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    mut lacking: Vec<Wanted>,
) -> Result<(), SessionError> {
    let shared = &shipping.depot;
    let mut patience = PATIENCE;
    while !lacking.is_empty() {
        let step = until(member, context, shared, |depot| match depot.step(&lacking) {
            Step::Wait => None,
            step => Some(step),
        })
        .await?;
        let (open, batch) = match step {
            Step::Pull(open, batch) => (open, batch),
            Step::Stream(_) | Step::Wait => return Ok(()),
        };
        let trouble = pull(member, context, shipping, open, &batch).await?;
        let Some(trouble) = trouble else {
            lacking.retain(|wanted| !batch.contains(wanted));
            arrived(member, &batch);
            continue;
        };
        shared.send_modify(|depot| depot.suspect(open.generation));
        patience -= 1;
        // The keeper itself cannot wait for itself to look.
        let again = if member.host.name == shipping.keeper {
            false
        } else {
            until(member, context, shared, |depot| depot.verdict(open.generation)).await?
        };
        if !again || patience == 0 {
            context.teller.tell(Event::Note {
                host: Some(member.host.name.clone()),
                text: format!(
                    "cannot take programs from the depot on {} ({trouble}): they are sent over its own connection",
                    shipping.keeper
                ),
            });
            member.summary.streamed = Some(trouble);
            return Ok(());
        }
    }
    Ok(())
}

/// One request to the host to take these from the depot; what was wrong with the depot.
async fn pull<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    shipping: &Shipping<'_>,
    open: Opened,
    batch: &[Wanted],
) -> Result<Option<String>, SessionError> {
    let Some(address) = context.cluster.hosts.iter().find(|host| host.name == shipping.keeper) else {
        return Err(SessionError::Nonsense { request: "find the depot" });
    };
    let _permit = member.wait(context, context.limits.uploads.acquire()).await?;
    let wanted = Pull {
        address: address.node_address,
        depot: open.depot,
        token: WireBytes(shipping.token.clone()),
        blobs: batch.iter().map(|wanted| wanted.blob).collect(),
    };
    let host = member.host.name.clone();
    let answer = member
        .persist(context, async |member| {
            let on_event = &mut |event| {
                let AgentEvent::Pulled { sha256, there } = event else { return };
                if let Some(Wanted { blob, what }) = batch.iter().find(|wanted| wanted.blob.sha256 == sha256) {
                    let (host, what) = (host.clone(), format!("{what} from the depot"));
                    context.teller.tell(Event::Sent { host, what, done: there, total: blob.size });
                }
            };
            member.session()?.request(Request::Pull(wanted.clone()), on_event).await
        })
        .await?;
    let Response::Pulled(pulled) = answer else { return Err(SessionError::Nonsense { request: "take files" }) };
    member.summary.pulled_bytes += pulled.received;
    Ok(pulled.trouble)
}

/// That nothing with this digest is on this machine.
pub(crate) fn nowhere(resource: &ResourceId, sha256: Sha256) -> SessionError {
    SessionError::Refused(Failure {
        attempted: format!("send {resource}"),
        answer: format!("nothing with the digest {sha256} is on this machine"),
        hint: Some("this is a defect of k8swin; please report it".to_owned()),
    })
}

fn token() -> SecretBytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes: [u8; TOKEN] = rand::random();
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    SecretBytes::new(digits.filter_map(|digit| DIGITS.get(usize::from(digit)).copied()).collect::<Vec<_>>())
}
