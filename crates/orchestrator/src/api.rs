//! The cluster's API as the admin's own machine sees it: over TLS, with the administrator's certificate.
//!
//! All other questions go by way of a control-plane host's agent, which works through bastions too; this one proves that
//! the kubeconfig that we hand out works from here.

use std::collections::BTreeMap;
use std::time::Duration;

use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::SecretBytes;
use reqwest::{Certificate, Client, Identity};

use crate::report::{Finding, Severity};
use crate::verify::finding;

/// Whether the administrator's certificate opens each API server from this machine. `pki` has the cluster's files by name.
pub(crate) async fn from_here(cluster: &Cluster, pki: &BTreeMap<String, SecretBytes>) -> Vec<Finding> {
    let [Some(ca), Some(certificate), Some(key)] =
        ["ca.crt", "admin.crt", "admin.key"].map(|name| pki.get(name).map(SecretBytes::expose))
    else {
        return Vec::new();
    };
    let asked = cluster.control_planes().map(async |host| {
        let endpoint = endpoint(cluster, host);
        judge(cluster, host, &endpoint, version(&endpoint, ca, certificate, key).await)
    });
    futures_util::future::join_all(asked).await
}

fn judge(cluster: &Cluster, host: &Host, endpoint: &str, answer: Result<String, String>) -> Finding {
    let (severity, detail, remedy) = match answer {
        Ok(version) => (Severity::Ok, format!("https://{endpoint} answers this machine: {version}"), None),
        Err(cause) => (
            Severity::Warning,
            format!("https://{endpoint} does not answer this machine: {cause}"),
            Some(format!(
                "open TCP {} from here, or give the address that leads there as `api_endpoint`",
                cluster.api_port
            )),
        ),
    };
    finding(&host.name, Check::ApiFromHere, severity, detail, remedy)
}

/// The address of a control plane's API server as this machine reaches it.
fn endpoint(cluster: &Cluster, host: &Host) -> String {
    host.api_endpoint.clone().unwrap_or_else(|| format!("{}:{}", host.address, cluster.api_port))
}

/// Asks `/version` of a control plane's API server and gives its `gitVersion`.
///
/// # Errors
/// What went wrong, for people.
async fn version(endpoint: &str, ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<String, String> {
    let mut identity = certificate.to_vec();
    identity.extend_from_slice(key);
    let client = client(ca, &identity).map_err(|error| chain(&error))?;
    let answer = client
        .get(format!("https://{endpoint}/version"))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| chain(&error))?;
    let version: serde_json::Value = answer.json().await.map_err(|error| chain(&error))?;
    version
        .get("gitVersion")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| "the answer names no gitVersion".to_owned())
}

fn client(ca: &[u8], identity: &[u8]) -> reqwest::Result<Client> {
    // Another part of the program may have chosen the provider already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .tls_certs_only([Certificate::from_pem(ca)?])
        .identity(Identity::from_pem(identity)?)
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
