//! Turns an inventory into that of its twin: the same cluster, on hosts of a lab or of a sandbox.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use crate::cluster::{Host, System, WinRmTransport};
use crate::diagnostics::{Diagnostics, Place};
use crate::error::InventoryErrors;
use crate::parse::parse_with_places;

/// What the twin of an inventory has in the place of the original. Paths are relative to the twin's file, or absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// What the twin is, for its first line: "the simulated twin".
    pub title: &'static str,
    /// Another Kubernetes version than the original's.
    pub kubernetes: Option<String>,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, TwinHost>,
    /// The folder with the cluster's programs.
    pub artifacts_path: Utf8PathBuf,
    /// The folder with the agents.
    pub agents_path: Utf8PathBuf,
}

/// How the twin of a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinHost {
    /// Its address.
    pub address: Ipv4Addr,
    /// The port of SSH or WinRM.
    pub port: u16,
    /// The account.
    pub user: String,
    /// The private key file (Linux).
    pub identity: Option<Utf8PathBuf>,
    /// The file of known host keys (Linux).
    pub known_hosts: Option<Utf8PathBuf>,
    /// The CA of the WinRM certificate (Windows; left out where the transport is HTTP).
    pub ca: Option<Utf8PathBuf>,
    /// The file with the password.
    pub password_file: Option<Utf8PathBuf>,
    /// Where the API server is reached, as `host:port` (left out for hosts that are no control plane).
    pub api_endpoint: Option<String>,
    /// The Docker in the place of the one that the original installs (Windows).
    pub docker: Option<TwinDocker>,
}

/// A simulated Docker as a zip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinDocker {
    /// The zip.
    pub zip: Utf8PathBuf,
    /// Its digest.
    pub sha256: Sha256,
}

/// Keys that lead to the original host or to its supplies, or hold its secrets: none of them may survive.
const ORIGINAL_CONNECTION: &[&str] = &[
    "api_endpoint",
    "ca",
    "docker",
    "fingerprint",
    "identity",
    "known_hosts",
    "passphrase",
    "password",
    "port",
    "proxy_jump",
    "user",
];

/// The text of the twin's inventory: `original`, with comments and order kept, where each host's `address` is
/// replaced and its `node_address` is the original one, where nothing of the original's connections and secrets is
/// left, and the cluster's programs come from a local folder. The transport stays as the inventory has it.
///
/// # Errors
/// What [`crate::parse`] finds in the original or, if `twin` does not fit it, in the result; and hosts that `twin` lacks.
pub fn twin(original: &str, file: &Utf8Path, twin: &Twin) -> Result<String, InventoryErrors> {
    let (cluster, places) = parse_with_places(original, file)?;
    let mut diagnostics = Diagnostics::new(original, file);
    for (host, place) in cluster.hosts.iter().zip(&places).filter(|(host, _)| !twin.hosts.contains_key(&host.name)) {
        diagnostics.error(place, format!("`{}` has no twin, so it would be reached itself", host.name));
    }
    let mut document = match original.parse::<DocumentMut>() {
        Ok(document) => document,
        Err(error) => {
            let place = Place { key: String::new(), span: error.span().unwrap_or(0..0) };
            diagnostics.error(&place, format!("not valid TOML: {}", error.message()));
            DocumentMut::new()
        }
    };
    diagnostics.finish()?;

    replace_cluster(&mut document, twin);
    for system in ["linux", "windows"] {
        let defaults = document.get_mut("defaults").and_then(Item::as_table_like_mut);
        if let Some(table) = defaults.and_then(|table| table.get_mut(system)).and_then(Item::as_table_like_mut) {
            remove_original_connection(table);
        }
    }
    if let Some(hosts) = document.get_mut("host") {
        for (table, host) in tables(hosts).into_iter().zip(&cluster.hosts) {
            if let Some(twin) = twin.hosts.get(&host.name) {
                replace_connection(table, host, twin);
            }
        }
    }
    let text = format!(
        "# {} of {}: the same cluster, and every host on this machine.\n\n{document}",
        twin.title,
        file.file_name().unwrap_or("an inventory").escape_debug(),
    );
    parse_with_places(&text, file)?;
    Ok(text)
}

/// The tables of `[[host]]`, or of `host = [{ … }]`.
fn tables(hosts: &mut Item) -> Vec<&mut dyn TableLike> {
    match hosts {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(array)) => array
            .iter_mut()
            .filter_map(|value| value.as_inline_table_mut().map(|table| table as &mut dyn TableLike))
            .collect(),
        _ => Vec::new(),
    }
}

fn replace_cluster(document: &mut DocumentMut, twin: &Twin) {
    let Some(cluster) = document.get_mut("cluster").and_then(Item::as_table_like_mut) else { return };
    let mut artifacts = InlineTable::new();
    artifacts.insert("source", "local".into());
    artifacts.insert("path", twin.artifacts_path.as_str().into());
    artifacts.insert("agents", twin.agents_path.as_str().into());
    if let Some(version) = &twin.kubernetes {
        cluster.insert("kubernetes", Item::Value(version.as_str().into()));
    }
    cluster.remove("artifacts");
    cluster.insert("artifacts", Item::Value(Value::InlineTable(artifacts)));
}

fn remove_original_connection(table: &mut dyn TableLike) {
    for key in ORIGINAL_CONNECTION {
        table.remove(key);
    }
}

fn replace_connection(table: &mut dyn TableLike, host: &Host, twin: &TwinHost) {
    remove_original_connection(table);
    let mut set = |key: &str, value: Value| {
        table.insert(key, Item::Value(value));
    };
    set("address", twin.address.to_string().into());
    set("node_address", host.node_address.to_string().into());
    set("port", i64::from(twin.port).into());
    set("user", twin.user.as_str().into());
    let mut set_path = |key: &str, path: &Option<Utf8PathBuf>| {
        if let Some(path) = path {
            set(key, path.as_str().into());
        }
    };
    match &host.system {
        System::Linux(_) => {
            set_path("identity", &twin.identity);
            set_path("known_hosts", &twin.known_hosts);
        }
        System::Windows(windows) => {
            if matches!(windows.winrm.transport, WinRmTransport::Https(_)) {
                set_path("ca", &twin.ca);
            }
            if let (Some(original), Some(simulated)) = (&windows.docker, &twin.docker) {
                let mut docker = InlineTable::new();
                docker.insert("zip", simulated.zip.as_str().into());
                docker.insert("sha256", simulated.sha256.to_string().into());
                docker.insert("version", original.version.as_str().into());
                set("docker", Value::InlineTable(docker));
            }
        }
    }
    if let Some(file) = &twin.password_file {
        let mut password = InlineTable::new();
        password.insert("file", file.as_str().into());
        set("password", Value::InlineTable(password));
    }
    if let Some(endpoint) = twin.api_endpoint.as_ref().filter(|_| host.is_control_plane()) {
        set("api_endpoint", endpoint.as_str().into());
    }
}
