//! What the engine remembers: `C:\ProgramData\docker\stand-in.json`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Refused, Texts};

/// All that the engine has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Its networks.
    pub networks: Vec<Network>,
    /// Its images.
    pub images: Vec<Image>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// How many identities were given out.
    pub identities: u64,
    /// How many switches were made.
    pub switches: u64,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `nat`, `transparent`.
    pub driver: String,
    /// Its range.
    pub subnet: Option<Ipv4Net>,
    /// Its gateway.
    pub gateway: Option<Ipv4Addr>,
    /// What `--opt` gave.
    pub options: Texts,
    /// Its labels.
    pub labels: Texts,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// The host's adapter on it, as Linux calls it.
    pub switch: Option<String>,
    /// The adapter that it took over, as Linux calls it.
    pub uplink: Option<String>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its identity.
    pub id: String,
    /// Its names, each with a tag.
    pub tags: Vec<String>,
    /// The one that it was built from, by identity.
    #[serde(default)]
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Texts,
    /// When it was made or pulled, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it was created with.
    pub config: Value,
    /// Its image, by identity.
    pub image: String,
    /// Its network, by name.
    pub network: Option<String>,
    /// Its address, while it runs.
    pub address: Option<Ipv4Addr>,
    /// What it does.
    pub activity: Activity,
    /// How it ended last.
    pub exit_code: i32,
    /// When it was created, started and ended last, in milliseconds since 1970.
    pub created_ms: i64,
    /// See above.
    pub started_ms: Option<i64>,
    /// See above.
    pub finished_ms: Option<i64>,
    /// What it wrote: the time and the line.
    pub log: Vec<(i64, String)>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It was not started yet.
    Created,
    /// It runs.
    Running,
    /// It has ended.
    Exited,
}

impl State {
    /// An identity that was never given out.
    pub(super) fn identity(&mut self, what: &str) -> String {
        self.identities += 1;
        let digest = Sha256::digest(format!("{what} {}", self.identities));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A network by its identity, the beginning of it, or its name.
    pub(super) fn network(&self, name: &str) -> Result<&Network, Refused> {
        let found = self.networks.iter().find(|found| found.name == name || is(&found.id, name));
        found.ok_or_else(|| Refused::new(404, format!("network {name} not found")))
    }

    /// An image by its identity or one of its names.
    pub(super) fn image(&self, name: &str) -> Result<&Image, Refused> {
        let id = name.strip_prefix("sha256:").unwrap_or(name);
        let tag = with_tag(name);
        let found = self.images.iter().find(|found| found.tags.contains(&tag) || is(&found.id, id));
        found.ok_or_else(|| Refused::no("image", name))
    }

    /// A container by its identity, the beginning of it, or its name.
    pub(super) fn container(&mut self, name: &str) -> Result<&mut Container, Refused> {
        let plain = name.trim_start_matches('/');
        let found = self.containers.iter_mut().find(|found| found.name == plain || is(&found.id, plain));
        found.ok_or_else(|| Refused::no("container", name))
    }
}

fn is(id: &str, name: &str) -> bool {
    name.len() >= 8 && id.starts_with(name)
}

/// The name of an image with its tag: `latest` where it has none.
pub(super) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}
