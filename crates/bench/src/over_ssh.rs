//! k8swin's agent on all hosts of an inventory at once, over SSH: it checks the benchmark's ten resources, or applies them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use k8swin_inventory::Host;
use k8swin_protocol::Sha256;
use k8swin_protocol::resource::{HostResources, Phase, Planned};
use k8swin_protocol::wire::{self, Failure, FromAgent, Request, ResourceResult, Response, ToAgent};
use k8swin_transport::{AgentBinary, AgentFate, Options, Secrets, connect};
use tokio_util::sync::CancellationToken;

use crate::tasks;

/// Connects to all hosts of an inventory at once and has the agent, which is put there first where it is missing, check that
/// the resources are in place, or apply them. Gives the seconds it took.
pub(crate) fn run(inventory: &Utf8Path, agent: &Utf8Path, apply: bool) -> Result<f64, String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(inventory).map_err(|error| format!("cannot read {inventory}: {error}"))?;
    let cluster = k8swin_inventory::parse(&text, inventory).map_err(|errors| errors.to_string())?;
    let bytes: Arc<[u8]> = std::fs::read(agent).map_err(|error| format!("cannot read {agent}: {error}"))?.into();
    let agent = AgentBinary { sha256: Sha256::of(&bytes), bytes };
    let planned = |resource| Planned { phase: Phase::Files, resource };
    let resources = HostResources::Linux(tasks::resources()?.into_iter().map(planned).collect());
    let request = match apply {
        true => Request::Apply { cluster: "bench".to_owned(), resources },
        false => Request::Check { resources },
    };
    let line = wire::encode(&ToAgent { id: 1, request });
    let options = Options {
        connect_timeout: Duration::from_secs(20),
        attempts: 3,
        secrets: Arc::new(Secrets::without_prompt()),
        ssh_config: None,
        on_retry: Arc::new(|_, _| {}),
        cancel: CancellationToken::new(),
    };
    let started = Instant::now();
    let conversations = runtime.block_on(async {
        let (agent, options, line) = (&agent, &options, &line);
        let conversations = cluster.hosts.iter().map(|host| converse(host, agent, options, line));
        futures_util::future::join_all(conversations).await
    });
    conversations.into_iter().collect::<Result<(), _>>()?;
    Ok(started.elapsed().as_secs_f64())
}

async fn converse(host: &Host, agent: &AgentBinary, options: &Options, line: &str) -> Result<(), String> {
    let told = |failure: Failure| format!("{}: {failure}", host.name);
    let mut session = connect(host, agent, None, options).await.map_err(|error| told(error.failure()))?;
    session.send(line.as_bytes().to_vec().into()).await.map_err(|error| told(error.failure()))?;
    let response = loop {
        let answer = session.receive().await.map_err(|error| told(error.failure()))?;
        match wire::decode(&answer) {
            Ok(FromAgent::Event { .. }) => {}
            Ok(FromAgent::Reply { response, .. }) => break response,
            Ok(FromAgent::Failed { failure, .. }) => return Err(told(failure)),
            _ => return Err(format!("{}: the agent said something else", host.name)),
        }
    };
    judge(response).map_err(|why| format!("{}: {why}", host.name))?;
    session.close(AgentFate::Keep).await.map_err(|error| told(error.failure()))
}

/// Whether all is in place.
fn judge(response: Response) -> Result<(), String> {
    match response {
        Response::Checked(checked) => match checked.differing.first() {
            Some((resource, outcome)) => Err(format!("{resource} is not as it should be: {outcome:?}")),
            None => Ok(()),
        },
        Response::Applied { results } => match results.last() {
            Some((_, ResourceResult::Failed(failure))) => Err(failure.to_string()),
            _ => Ok(()),
        },
        _ => Err("the agent answered something else".to_owned()),
    }
}
