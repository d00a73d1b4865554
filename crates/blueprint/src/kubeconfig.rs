//! kubeconfigs: with the files' paths for what runs on a host, with the bytes themselves for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8swin_inventory::Cluster;
use k8swin_protocol::{Os, SecretBytes};
use serde::Serialize;

use crate::pki::{Pki, PkiError};
use crate::render::{RenderError, Template, render};
use crate::{BlueprintError, paths};

#[derive(Serialize)]
struct Values<'a> {
    cluster: &'a str,
    server: &'a str,
    user: &'a str,
    context: String,
    suffix: &'static str,
    authority: String,
    certificate: String,
    key: String,
}

/// A kubeconfig that names certificate and key by their paths on the host, so that it holds no secret itself.
pub(crate) fn of_component(
    cluster: &Cluster,
    os: Os,
    server: &str,
    user: &str,
    certificate: &str,
) -> Result<String, RenderError> {
    let path = |name: &str| paths::pki(os, name).to_string();
    let values = Values {
        cluster: &cluster.name,
        server,
        user,
        context: format!("{user}@{}", cluster.name),
        suffix: "",
        authority: path("ca.crt"),
        certificate: path(&format!("{certificate}.crt")),
        key: path(&format!("{certificate}.key")),
    };
    render(Template::Kubeconfig, &values)
}

/// The administrator's kubeconfig for this machine, with embedded certificates. Its server is the first control plane:
/// its `api_endpoint`, or else its address and the cluster's API port.
///
/// # Errors
/// When `pki` has no administrator's certificate: [`Pki::complete`] adds it.
pub fn admin_kubeconfig(cluster: &Cluster, pki: &Pki) -> Result<SecretBytes, BlueprintError> {
    let host = cluster.first_control_plane();
    let endpoint = host.api_endpoint.clone().unwrap_or_else(|| format!("{}:{}", host.address, cluster.api_port));
    of_administrator(cluster, pki, &format!("https://{endpoint}"))
}

/// The administrator's kubeconfig with embedded certificates, for any way to an API server.
pub(crate) fn of_administrator(cluster: &Cluster, pki: &Pki, server: &str) -> Result<SecretBytes, BlueprintError> {
    let embedded = |name: &str| -> Result<String, PkiError> { Ok(BASE64.encode(pki.file(name)?.expose())) };
    let user = "kubernetes-admin";
    let values = Values {
        cluster: &cluster.name,
        server,
        user,
        context: format!("{user}@{}", cluster.name),
        suffix: "-data",
        authority: embedded("ca.crt")?,
        certificate: embedded("admin.crt")?,
        key: embedded("admin.key")?,
    };
    Ok(SecretBytes::new(render(Template::Kubeconfig, &values)?))
}
