//! The cluster's API as the admin's own machine sees it: over TLS, with the administrator's certificate.
//!
//! All other questions go by way of a control-plane host's agent, which works through bastions too; this one proves that
//! the kubeconfig that we hand out works from here.

use std::time::Duration;

use k8swin_inventory::{Cluster, Host};
use reqwest::{Certificate, Client, Identity};

/// The address of a control plane's API server as this machine reaches it.
pub(crate) fn endpoint(cluster: &Cluster, host: &Host) -> String {
    host.api_endpoint.clone().unwrap_or_else(|| format!("{}:{}", host.address, cluster.api_port))
}

/// Asks `/version` of a control plane's API server and gives its `gitVersion`.
///
/// # Errors
/// What went wrong, for people.
pub(crate) async fn version(endpoint: &str, ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<String, String> {
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
