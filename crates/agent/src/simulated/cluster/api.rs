//! Requests of the simulated API and their answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::State;
use super::store::{merge, name_of};

/// What a path names.
struct Target {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    group: String,
    namespace: Option<String>,
    /// `pods`, `nodes`, …
    resource: String,
    name: Option<String>,
    /// `status`, …
    part: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        let group = match parts.next()?.as_str() {
            "api" => format!("/api/{}", parts.next()?),
            "apis" => format!("/apis/{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<String> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            [word, namespace, rest @ ..] if word == "namespaces" && !rest.is_empty() => (Some(namespace.clone()), rest),
            rest => (None, rest),
        };
        let mut rest = rest.iter().cloned();
        let target = Self { group, namespace, resource: rest.next()?, name: rest.next(), part: rest.next() };
        rest.next().is_none().then_some(target)
    }

    fn collection(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.group, self.resource),
            None => format!("{}/{}", self.group, self.resource),
        }
    }

    /// The kind of the objects, from the name of the resource.
    fn kind(&self) -> String {
        let singular = match self.resource.as_str() {
            "endpoints" => "endpoints",
            resource => resource.strip_suffix('s').unwrap_or(resource),
        };
        let known: BTreeMap<_, _> = [
            ("configmap", "ConfigMap"),
            ("daemonset", "DaemonSet"),
            ("replicaset", "ReplicaSet"),
            ("serviceaccount", "ServiceAccount"),
        ]
        .into();
        known.get(singular).map_or_else(|| capitalised(singular), |kind| (*kind).to_owned())
    }
}

impl State {
    /// Answers a request.
    pub(super) fn answer(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        if !self.has_api_server() {
            return (0, Value::Null);
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let quorum = self.has_quorum();
        match path.trim_end_matches('/') {
            "/version" => return (200, version(&self.version)),
            "/healthz" if quorum => return (200, Value::from("ok")),
            "/healthz" => return status(500, "InternalError", "[-]etcd failed: reason withheld"),
            _ if !quorum => return status(503, "ServiceUnavailable", "etcdserver: request timed out"),
            _ => {}
        }
        let Some(target) = Target::parse(path) else {
            return status(404, "NotFound", "the server could not find the requested resource");
        };
        match (method, target.name.clone()) {
            ("GET", None) => self.list(&target, query),
            ("GET", Some(name)) => match self.store.get(&target.collection(), &name) {
                Some(object) => (200, object.clone()),
                None => not_found(&target, &name),
            },
            ("POST", None) => self.create(&target, body),
            ("PATCH", Some(name)) => self.change(&target, &name, |object| {
                merge(object, body.unwrap_or(&Value::Null));
            }),
            ("PUT", Some(name)) => self.change(&target, &name, |object| {
                if let Some(body) = body {
                    body.clone_into(object);
                }
            }),
            ("DELETE", Some(name)) => match self.store.remove(&target.collection(), &name) {
                Some(object) => (200, object),
                None => not_found(&target, &name),
            },
            ("DELETE", None) => {
                let (code, list) = self.list(&target, query);
                for object in list["items"].as_array().into_iter().flatten() {
                    self.store.remove(&target.collection(), name_of(object));
                }
                (code, list)
            }
            _ => status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
        }
    }

    fn list(&self, target: &Target, query: &str) -> (u16, Value) {
        let mut collections = vec![target.collection()];
        if target.namespace.is_none() {
            collections.extend(self.store.collections_of(&target.group, &target.resource));
        }
        let selector = selector(query);
        let items: Vec<_> = collections
            .iter()
            .flat_map(|collection| self.store.objects(collection))
            .filter(|object| selector.iter().all(|(label, value)| has_label(object, label, value)))
            .cloned()
            .collect();
        let version = target.group.trim_start_matches("/apis/").trim_start_matches("/api/");
        let list = json!({
            "apiVersion": version,
            "kind": format!("{}List", target.kind()),
            "metadata": {"resourceVersion": self.store.revision().to_string()},
            "items": items,
        });
        (200, list)
    }

    fn create(&mut self, target: &Target, body: Option<&Value>) -> (u16, Value) {
        let Some(mut object) = body.filter(|body| body.is_object()).cloned() else {
            return status(400, "BadRequest", "the body of the request is not an object");
        };
        let name = match name_of(&object) {
            "" => match object.pointer("/metadata/generateName").and_then(Value::as_str) {
                Some(prefix) => format!("{prefix}{:05x}", self.store.revision()),
                None => {
                    return status(422, "Invalid", "metadata.name: Required value: name or generateName is required");
                }
            },
            name => name.to_owned(),
        };
        if let Some(namespace) = &target.namespace {
            if self.store.get("/api/v1/namespaces", namespace).is_none() {
                return status(404, "NotFound", &format!("namespaces \"{namespace}\" not found"));
            }
            merge(&mut object, &json!({"metadata": {"namespace": namespace}}));
        }
        merge(&mut object, &json!({"metadata": {"name": name}}));
        if target.resource == "pods" {
            merge(&mut object, &json!({"status": {"phase": "Pending"}}));
        }
        if target.resource == "services" {
            self.give_address(&mut object);
        }
        if target.resource == "namespaces" {
            merge(&mut object, &json!({"status": {"phase": "Active"}}));
        }
        let collection = target.collection();
        if !self.store.insert_new(&collection, object) {
            let message = format!("{} \"{name}\" already exists", target.resource);
            return status(409, "AlreadyExists", &message);
        }
        (201, self.store.get(&collection, &name).cloned().unwrap_or_default())
    }

    fn change(&mut self, target: &Target, name: &str, change: impl FnOnce(&mut Value)) -> (u16, Value) {
        let collection = target.collection();
        let Some(before) = self.store.get(&collection, name).cloned() else { return not_found(target, name) };
        let mut after = before.clone();
        change(&mut after);
        if target.part.as_deref() == Some("status") {
            let status = after.get("status").cloned().unwrap_or_default();
            after = before.clone();
            merge(&mut after, &json!({"status": status}));
        }
        let pod_cidr = |node: &Value| node.pointer("/spec/podCIDR").and_then(Value::as_str).map(str::to_owned);
        if target.resource == "nodes"
            && let Some(fixed) = pod_cidr(&before).filter(|cidr| !cidr.is_empty())
            && pod_cidr(&after).as_ref() != Some(&fixed)
        {
            let message = format!("Node \"{name}\" is invalid: spec.podCIDR: Forbidden: it cannot be changed once set");
            return status(422, "Invalid", &message);
        }
        match self.store.replace(&collection, name, after) {
            Some(object) => (200, object),
            None => not_found(target, name),
        }
    }

    /// A service without an address gets the next free one of the range.
    fn give_address(&self, service: &mut Value) {
        if service.pointer("/spec/clusterIP").is_some() {
            return;
        }
        let range = self.hosts.values().find_map(|host| host.api_server.clone()).unwrap_or_default();
        let Ok(range) = range.parse::<ipnet::Ipv4Net>() else { return };
        let services = self.store.collections_of("/api/v1", "services");
        let taken: Vec<String> = services
            .iter()
            .flat_map(|collection| self.store.objects(collection))
            .filter_map(|service| Some(service.pointer("/spec/clusterIP")?.as_str()?.to_owned()))
            .collect();
        if let Some(free) = range.hosts().map(|address| address.to_string()).find(|address| !taken.contains(address)) {
            merge(service, &json!({"spec": {"clusterIP": free, "type": "ClusterIP"}}));
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn version(version: &str) -> Value {
    let mut numbers = version.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": version,
        "platform": "linux/amd64",
    })
}

/// The equality terms of a `labelSelector`.
fn selector(query: &str) -> Vec<(String, String)> {
    let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let decoded = selector.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    let terms = decoded.split(',').filter_map(|term| term.split_once('='));
    terms.map(|(label, value)| (label.to_owned(), value.trim_start_matches('=').to_owned())).collect()
}

fn has_label(object: &Value, label: &str, value: &str) -> bool {
    object.pointer("/metadata/labels").and_then(|labels| labels.get(label)).and_then(Value::as_str) == Some(value)
}

fn not_found(target: &Target, name: &str) -> (u16, Value) {
    status(404, "NotFound", &format!("{} \"{name}\" not found", target.resource))
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    });
    (code, body)
}
