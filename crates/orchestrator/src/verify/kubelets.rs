//! Whether every API server reaches every kubelet, as `kubectl logs` and `exec` need it.

use std::collections::BTreeMap;
use std::time::Instant;

use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::wire::{Request, Response};

use super::nodes::{logs, state};
use super::settle::{SETTLES_WITHIN, until_settled};
use crate::event::Stage;
use crate::fleet::Fleet;
use crate::member::{Context, Member};
use crate::preflight::catalogue::{KUBELET_REFUSES, OPEN_KUBELET, START_KUBELET};
use crate::report::{Finding, NodeStatus, Severity};
use crate::session::SessionError;

/// Lets each API server reach each kubelet of the hosts that take part and whose nodes are Ready: what keeps the others is
/// told by their nodes.
pub(super) async fn reach(fleet: &mut Fleet<'_>, nodes: &[NodeStatus]) -> Vec<Finding> {
    let ready = |name: &str| nodes.iter().any(|node| node.name == name && node.ready);
    let members = fleet.members.iter().filter(|member| member.takes_part());
    let names: Vec<String> = members.map(|member| member.host.name.clone()).filter(|name| ready(name)).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let deadline = Instant::now() + SETTLES_WITHIN.min(fleet.options.ready_within);
    let answers = fleet
        .part_of_some(
            Stage::Verify,
            |member| member.host.is_control_plane(),
            async |member, context| ask(member, context, &names, deadline).await,
        )
        .await;
    judge(fleet.cluster, &names, &answers)
}

/// Asks the API server of a control plane for each kubelet, and again for those that failed: why each is not reached.
async fn ask<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    names: &[String],
    deadline: Instant,
) -> Result<Vec<Option<String>>, SessionError> {
    let ask = async |member: &mut Member<'a>, nodes| {
        let request = Request::ReachKubelets { nodes };
        let ask = async |member: &mut Member<'a>| member.session()?.ask(request.clone()).await;
        match member.persist(context, ask).await? {
            Response::Kubelets { failures } => Ok(failures),
            _ => Err(SessionError::Nonsense { request: "reach the kubelets" }),
        }
    };
    until_settled(member, context, deadline, names, None, ask, |_, failure| failure.is_none()).await
}

/// Judges what each API server got from each kubelet.
pub(super) fn judge(cluster: &Cluster, nodes: &[String], answers: &[(&str, Vec<Option<String>>)]) -> Vec<Finding> {
    let of = |index: usize, name: &String| {
        // Those that failed alike, in one sentence.
        let mut failed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, failures) in answers {
            if let Some(failure) = failures.get(index).and_then(Option::as_deref) {
                failed.entry(failure).or_default().push(from);
            }
        }
        let Some(first) = failed.keys().next() else {
            let from: Vec<_> = answers.iter().map(|(from, _)| *from).collect();
            let detail = format!("answers the API server of {}", from.join(", "));
            return Finding::new(name, Check::Kubelet, Severity::Ok, detail, None);
        };
        let said = failed.iter().map(|(failure, from)| {
            format!("the API server of {} does not reach its kubelet: {failure}", from.join(", "))
        });
        let remedy = match first.to_lowercase() {
            said if ["timeout", "timed out", "no answer", "no route", "unreachable"]
                .iter()
                .any(|it| said.contains(it)) =>
            {
                OPEN_KUBELET
            }
            said if said.contains("refused") => START_KUBELET,
            _ => KUBELET_REFUSES,
        };
        let os = cluster.host(name).map_or(k8swin_protocol::Os::Linux, k8swin_inventory::Host::os);
        let fix = remedy.with(&[("logs", logs(os, "kubelet")), ("state", state(os, "kubelet"))]);
        Finding::new(name, Check::Kubelet, Severity::Error, said.collect::<Vec<_>>().join("; "), Some(fix))
    };
    nodes.iter().enumerate().map(|(index, name)| of(index, name)).collect()
}
