//! kubectl on a control-plane host: its arguments, and what its answers mean.

use std::fs;
use std::thread;
use std::time::Duration;

use k8swin_protocol::Os;
use k8swin_protocol::wire::KubeCall;
use serde_json::{Value, json};

use super::program::{Finished, Outcome, Run};
use super::{KubeOperation, KubeOutcome, Result};

/// kubectl writes caches into its home folder, which goes after each call.
const HOME: &str = "/run/k8swin-kubectl";

/// An API server that answers at all answers sooner.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The API server may wait longer for a kubelet that it cannot reach.
const READ_WITHIN: &str = "--request-timeout=15s";

/// kubectl waits until the object is gone, which a pod on a node that is down never is.
const DELETED_WITHIN: &str = "--timeout=20s";

/// At most so many kubectls at once: each takes a few tens of MB.
const AT_ONCE: usize = 8;

/// Asks all at once, as far as that is wise.
pub(super) fn ask_all(operations: &[KubeOperation]) -> Result<Vec<KubeOutcome>> {
    let mut outcomes = Vec::with_capacity(operations.len());
    let share = operations.len().div_ceil(AT_ONCE).max(1);
    let shares = thread::scope(|scope| {
        let ask_share = |share: &[KubeOperation]| share.iter().map(ask_once).collect::<Result<Vec<_>>>();
        let at_work: Vec<_> = operations.chunks(share).map(|share| scope.spawn(move || ask_share(share))).collect();
        at_work.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    // There is nothing to remove where kubectl wrote nothing.
    let _ = fs::remove_dir_all(HOME);
    for share in shares {
        match share {
            Ok(answers) => outcomes.extend(answers?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(outcomes)
}

pub(super) fn ask(operation: &KubeOperation) -> Result<KubeOutcome> {
    let outcome = ask_once(operation);
    // There is nothing to remove where kubectl wrote nothing.
    let _ = fs::remove_dir_all(HOME);
    outcome
}

fn ask_once(operation: &KubeOperation) -> Result<KubeOutcome> {
    let (kubectl, kubeconfig) = (Os::Linux.bin().join("kubectl"), Os::Linux.etc().join("admin.conf"));
    for needed in [&kubectl, &kubeconfig] {
        if !std::path::Path::new(needed.as_str()).is_file() {
            return Ok(KubeOutcome::Unreachable(format!("there is no {needed}")));
        }
    }
    let (mut arguments, input) = arguments(operation);
    arguments.insert(0, format!("--kubeconfig={kubeconfig}"));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let environment = [("HOME", HOME)];
    let run = Run {
        input: input.as_bytes(),
        environment: &environment,
        time_limit: TIME_LIMIT,
        ..Run::new("ask the Kubernetes API", kubectl.as_str(), &arguments)
    };
    Ok(match run.outcome()? {
        Outcome::Finished(finished) => outcome(&finished),
        Outcome::TimedOut => KubeOutcome::Unreachable(format!("no answer within {} s", run.limit())),
    })
}

/// The arguments and the standard input of a call.
fn arguments(operation: &KubeOperation) -> (Vec<String>, String) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match operation {
        KubeOperation::Call(KubeCall::Get { path }) => (words(&["get", "--raw", path, READ_WITHIN]), String::new()),
        KubeOperation::Call(KubeCall::Create { object }) => {
            (words(&["create", "--validate=false", "-o", "json", "-f", "-"]), object.to_string())
        }
        KubeOperation::Call(KubeCall::Delete { kind, namespace, selector }) => {
            (words(&["delete", kind, "--selector", selector, "--namespace", namespace, DELETED_WITHIN]), String::new())
        }
        KubeOperation::PatchNode { name, patch } => {
            (words(&["patch", "node", name, "--type=merge", "-o", "json", "-p", &patch.to_string()]), String::new())
        }
        KubeOperation::DeleteNode { name } => (words(&["delete", "node", name]), String::new()),
    }
}

/// What kubectl's end means. Errors of the API begin with `Error from server (REASON):`.
fn outcome(finished: &Finished) -> KubeOutcome {
    if finished.code == Some(0) {
        // `delete` answers with words, `/healthz` with `ok`.
        let text = finished.stdout.trim();
        let body = serde_json::from_str(text).unwrap_or_else(|_| match text {
            "ok" => Value::from("ok"),
            _ => json!({"kind": "Status", "status": "Success", "message": text}),
        });
        return KubeOutcome::Done(body);
    }
    let said = finished.said();
    let unreachable = [
        "The connection to the server",
        "Unable to connect to the server",
        "Error from server (ServiceUnavailable)",
        "Error from server (InternalError)",
        "Error from server (Timeout)",
        "etcdserver:",
        "etcd cluster is unavailable",
    ];
    if said.contains("Error from server (NotFound)") {
        KubeOutcome::NotFound
    } else if unreachable.iter().any(|words| said.contains(words)) {
        KubeOutcome::Unreachable(said)
    } else {
        KubeOutcome::Refused(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(code: i32, stdout: &str, stderr: &str) -> KubeOutcome {
        outcome(&Finished { code: Some(code), stdout: stdout.into(), stderr: stderr.into() })
    }

    #[test]
    fn answers_of_kubectl_are_understood() {
        assert_eq!(finished(0, "{\"kind\":\"Node\"}\n", ""), KubeOutcome::Done(json!({"kind": "Node"})));
        assert_eq!(finished(0, "ok", ""), KubeOutcome::Done("ok".into()));
        assert_eq!(finished(1, "", "Error from server (NotFound): nodes \"x\" not found\n"), KubeOutcome::NotFound);
        let refused =
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?";
        assert_eq!(finished(1, "", refused), KubeOutcome::Unreachable(refused.into()));
        let exists = "Error from server (AlreadyExists): nodes \"x\" already exists";
        assert_eq!(finished(1, "", exists), KubeOutcome::Refused(exists.into()));
    }

    #[test]
    fn a_deletion_ends_before_we_lose_patience() {
        let delete = KubeCall::Delete { kind: "pod".into(), namespace: "default".into(), selector: "app=x".into() };
        let (arguments, _) = arguments(&KubeOperation::Call(delete));
        let limit = arguments.iter().find_map(|word| word.strip_prefix("--timeout=")?.strip_suffix('s')).unwrap();
        assert!(Duration::from_secs(limit.parse().unwrap()) < TIME_LIMIT);
    }

    #[test]
    fn objects_go_by_standard_input() {
        let object = json!({"kind": "Pod"});
        let (arguments, input) = arguments(&KubeOperation::Call(KubeCall::Create { object }));
        assert_eq!(arguments.last().map(String::as_str), Some("-"));
        assert_eq!(input, "{\"kind\":\"Pod\"}");
    }
}
