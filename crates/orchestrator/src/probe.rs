//! Evidence for preflight: the hosts listen for each other and connect to each other, and this machine looks at itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use k8swin_artifacts::ArtifactError;
use k8swin_inventory::Cluster;
use k8swin_protocol::probe::{Connect, Listen};
use k8swin_protocol::wire::{Request, Response};

use crate::Options;
use crate::event::Stage;
use crate::fleet::Fleet;
use crate::member::Member;
use crate::preflight::links::{self, Link, Open};
use crate::preflight::local::{ThisMachine, Trouble};
use crate::session::SessionError;

/// How long one connection between hosts may take. They are near each other.
const TIMEOUT_MS: u32 = 2_000;

/// How long agents listen at most, whatever becomes of this run: until the slowest host has got its agent.
const LISTENING_SECONDS: u32 = 600;

/// Bytes of the token, which is written as twice as many digits.
const TOKEN: usize = 16;

/// What the listening agents answer, so that who connects knows that it is them.
pub(crate) struct Token(String);

/// Connects all hosts; their agents listen for each other from their start.
pub(crate) async fn connect(fleet: &mut Fleet<'_>) -> Token {
    let token = token();
    for member in &mut fleet.members {
        let (address, ports) = (member.host.node_address, links::listened(fleet.cluster, member.host));
        member.will_listen(Some(Listen { address, ports, token: token.clone(), seconds: LISTENING_SECONDS }));
    }
    fleet.connect().await;
    Token(token)
}

/// Lets the hosts connect to each other, all pairs at once, and gives what became of it. A host that fails in it takes no
/// further part, as in every stage.
pub(crate) async fn links(fleet: &mut Fleet<'_>, token: &Token) -> Vec<Link> {
    let cluster = fleet.cluster;
    let takes_part = |member: &&Member<'_>| member.takes_part();
    if fleet.members.iter().filter(takes_part).count() < 2 {
        return Vec::new();
    }
    // Each host connects to all others: what is known of these is looked up once.
    let open = fleet.members.iter().filter(takes_part).filter_map(|member| {
        let common = member.facts.as_ref()?.common();
        Some((member.host.name.as_str().into(), Open::new(member.listening.clone(), common, cluster)))
    });
    let open: BTreeMap<Arc<str>, Open> = open.collect();
    let found = fleet
        .part_of(Stage::Preflight, async |member, context| {
            let wanted = links::targets(cluster, member.host, &open, &token.0);
            if wanted.is_empty() {
                return Ok(Vec::new());
            }
            let targets = wanted.iter().map(|(.., target)| target.clone()).collect();
            let request = Request::Connect(Connect { targets, timeout_ms: TIMEOUT_MS });
            let ask = async |member: &mut Member<'_>| member.session()?.ask(request.clone()).await;
            match member.persist(context, ask).await? {
                Response::Connected { outcomes } => Ok(links::links(member.host, wanted, outcomes)),
                _ => Err(SessionError::Nonsense { request: "connect" }),
            }
        })
        .await;
    found.into_iter().flat_map(|(_, links)| links).collect()
}

/// Ends the listening on all hosts, also for later connections, for a run that goes on with them: the ports belong to the cluster's programs.
pub(crate) async fn end(fleet: &mut Fleet<'_>) {
    for member in &mut fleet.members {
        member.will_listen(None);
    }
    fleet
        .part_of(Stage::Preflight, async |member, context| {
            let address = member.host.node_address;
            let nothing = Listen { address, ports: Vec::new(), token: String::new(), seconds: 0 };
            let ask = async |member: &mut Member<'_>| member.session()?.ask(Request::Listen(nothing.clone())).await;
            member.persist(context, ask).await.map(drop)
        })
        .await;
}

/// Looks at this machine. Nothing is downloaded or built.
pub(crate) async fn this_machine(cluster: &Cluster, options: &Options) -> ThisMachine {
    let needed = k8swin_blueprint::programs_for(cluster)
        .into_iter()
        .map(|(os, program)| (os, program.file_name(os).to_owned()))
        .collect();
    let look = k8swin_artifacts::look(cluster, &needed, &options.cache_dir).await;
    ThisMachine {
        disk_free_bytes: look.disk_free_bytes,
        programs: look.programs.map_err(trouble),
        digests: look.digests.map_err(trouble),
        go: look.go,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` has")]
fn trouble(error: ArtifactError) -> Trouble {
    Trouble { detail: error.to_string(), hint: error.hint() }
}

fn token() -> String {
    let bytes: [u8; TOKEN] = rand::random();
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
