//! The API server of a control-plane host: HTTPS in front of the simulated cluster's API.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8swin_agent::Host;
use k8swin_agent::platform::Activity;
use k8swin_agent::simulated::SimulatedCluster;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::host::LabHost;
use crate::program::CommandHost as _;
use crate::tls::{ApiTls, ApiTlsCache};

/// The largest body that is read: etcd takes no larger objects either.
const MAX_BODY: usize = 2 << 20;

/// Serves the API until `stop` is cancelled. While the host's kube-apiserver does not run, connections end at once.
pub(crate) async fn serve(
    listener: TcpListener,
    host: Arc<LabHost>,
    cluster: SimulatedCluster,
    stop: CancellationToken,
) {
    let cache = ApiTlsCache::default();
    while let Some(socket) = connection::accept(&listener, &stop).await {
        let faults = host.connection_faults();
        if faults.unreachable || !runs(&host) {
            continue;
        }
        let tls = match cache.current(host.simulated()) {
            Ok(tls) => tls,
            Err(reason) => {
                tracing::warn!(host = host.name(), reason, "the simulated API server has no usable certificate");
                continue;
            }
        };
        let cut = host.power().child_token();
        let stream = connection::with_faults(socket, faults, cut.clone(), None);
        let (host, cluster, stop) = (Arc::clone(&host), cluster.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = cut.cancelled() => {}
                () = connection(stream, &tls, &host, &cluster) => {}
            }
            cut.cancel();
        });
    }
}

async fn connection(stream: DuplexStream, tls: &ApiTls, host: &LabHost, cluster: &SimulatedCluster) {
    let stream = match TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(host = host.name(), %error, "a TLS handshake with the API server failed"),
    };
    let authenticated = tls.authenticates(stream.get_ref().1.peer_certificates());
    let service = service_fn(|request| async move {
        let (status, body) = if !authenticated {
            (StatusCode::UNAUTHORIZED, status_object(401, "Unauthorized", "Unauthorized"))
        } else if !runs(host) {
            (StatusCode::SERVICE_UNAVAILABLE, status_object(503, "ServiceUnavailable", "kube-apiserver has stopped"))
        } else {
            answer(request, cluster).await
        };
        // `/healthz` is the one answer that is no object.
        let (text, kind) = match body {
            Value::String(text) => (text, "text/plain"),
            body => (body.to_string(), "application/json"),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok::<_, Infallible>(response)
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(host = host.name(), %error, "a connection to the API server ended");
    }
}

async fn answer(request: Request<Incoming>, cluster: &SimulatedCluster) -> (StatusCode, Value) {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return bad_request(&format!("cannot read the request: {error}")),
    };
    let object: Option<Value> = if body.is_empty() {
        None
    } else {
        match serde_json::from_slice(&body) {
            Ok(object) => Some(object),
            Err(error) => return bad_request(&format!("the body is not JSON: {error}")),
        }
    };
    if let Some(what) = not_simulated(head.uri.path(), head.uri.query().unwrap_or_default()) {
        let message = format!("k8swin lab: {what}");
        return (StatusCode::METHOD_NOT_ALLOWED, status_object(405, "MethodNotAllowed", &message));
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let (mut code, mut body) = cluster.api(head.method.as_str(), path, object.as_ref());
    if code == 404
        && head.method == Method::GET
        && let Some(found) = discovery(head.uri.path())
    {
        (code, body) = (200, found);
    }
    match StatusCode::from_u16(code) {
        Ok(status) => (status, body),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            status_object(503, "ServiceUnavailable", "no API server of this cluster runs"),
        ),
    }
}

/// What a request asks for beyond objects and lists of them, which would else be answered by the object or the list.
fn not_simulated(path: &str, query: &str) -> Option<String> {
    if query.split('&').any(|part| matches!(part, "watch=true" | "watch=1" | "watch")) {
        return Some("watches are not simulated: list again".to_owned());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let part = match parts.as_slice() {
        ["api", "v1", "watch", ..] => return Some("watches are not simulated: list again".to_owned()),
        ["api", "v1", "namespaces", _, _, _, part, ..] => part,
        ["api", "v1", first, _, part] if *first != "namespaces" => part,
        _ => return None,
    };
    (*part != "status").then(|| format!("`{part}` of an object is not simulated"))
}

/// Kinds of the core group that clients may ask for by name, and whether they live in namespaces.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("configmaps", "ConfigMap", "cm", true),
    ("endpoints", "Endpoints", "ep", true),
    ("namespaces", "Namespace", "ns", false),
    ("nodes", "Node", "no", false),
    ("pods", "Pod", "po", true),
    ("secrets", "Secret", "", true),
    ("serviceaccounts", "ServiceAccount", "sa", true),
    ("services", "Service", "svc", true),
];

/// What there is, for clients that look before they ask, as kubectl does.
fn discovery(path: &str) -> Option<Value> {
    match path.trim_end_matches('/') {
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        "/api/v1" => {
            let resources: Vec<Value> = KINDS
                .iter()
                .map(|(name, kind, short, namespaced)| {
                    json!({
                        "name": name, "kind": kind, "namespaced": namespaced, "singularName": kind.to_lowercase(),
                        "shortNames": if short.is_empty() { Vec::new() } else { vec![*short] },
                        "verbs": ["create", "delete", "get", "list", "patch", "update"],
                    })
                })
                .collect();
            Some(json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": resources,
            }))
        }
        _ => None,
    }
}

fn bad_request(message: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, status_object(400, "BadRequest", message))
}

/// A `Status` object, as clients of the API expect it with every failure.
fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "reason": reason, "code": code,
    })
}

/// Whether the host's kube-apiserver runs.
fn runs(host: &LabHost) -> bool {
    match host.simulated().platform() {
        Host::Linux(mut linux) => linux.unit("kube-apiserver").is_ok_and(|unit| unit.activity == Activity::Active),
        Host::Windows(_) => false,
    }
}
