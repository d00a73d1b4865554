//! Docker, through its own program with argument vectors. Its answers are JSON or bare identities, never text for people.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8swin_protocol::facts::{Adapter, Docker, DockerNetwork};
use k8swin_protocol::resource::{PauseImage, TransparentNetwork};
use serde::de::DeserializeOwned;

use super::super::{DockerNetworkState, Image, PlatformError, Result};
use super::docker_answer::{
    BASE_LABEL, INTERFACE_OPTION, InspectedImage, InspectedNetwork, InspectedVersion, dockerfile, pick_adapter,
};
use super::{network, services};

/// Docker's service.
const SERVICE: &str = "docker";

/// Where Docker's zip is unpacked (facts D.2); the search path of a session may be older than that.
const USUAL: &str = r"C:\Program Files\Docker\docker.exe";

fn run(attempted: &str, arguments: &[&str], input: &str) -> Result<String> {
    let program = if PathBuf::from(USUAL).is_file() { USUAL } else { "docker.exe" };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PlatformError::new(attempted, "there is no program docker.exe")
            .with_hint(r"unpack Docker to C:\Program Files\Docker and register its service"),
        _ => PlatformError::new(attempted, format!("{program}: {error}")),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let answer = if said.is_empty() { format!("docker ended with {}", output.status) } else { said };
    Err(PlatformError::new(attempted, answer).with_hint("look whether the service docker runs"))
}

fn parse<T: DeserializeOwned>(attempted: &str, answer: &str) -> Result<T> {
    serde_json::from_str(answer)
        .map_err(|error| PlatformError::new(attempted, format!("an answer of docker that is not known: {error}")))
}

/// Docker 1.12 has no format for its list of networks, so all are inspected by their identities.
fn networks(attempted: &str) -> Result<Vec<InspectedNetwork>> {
    let identities = run(attempted, &["network", "ls", "--no-trunc", "--quiet"], "")?;
    let identities: Vec<_> = identities.split_whitespace().collect();
    if identities.is_empty() {
        return Ok(Vec::new());
    }
    parse(attempted, &run(attempted, &[&["network", "inspect"], identities.as_slice()].concat(), "")?)
}

/// Docker, if its service is there.
pub(super) fn facts() -> Result<Option<Docker>> {
    let Some(running) = services::running(SERVICE)? else { return Ok(None) };
    let mut docker =
        Docker { version: String::new(), running, cgroup_driver: String::new(), networks: BTreeMap::new() };
    // A service that runs and does not answer is told by its empty version: facts go on without it.
    if running
        && let Ok(version) = run("ask Docker for its version", &["version", "--format", "{{.Server.Version}}"], "")
    {
        version.trim().clone_into(&mut docker.version);
        for found in networks("list Docker's networks")? {
            let (name, state) = found.into_state();
            docker.networks.insert(name, DockerNetwork { driver: state.driver, subnet: state.subnet });
        }
    }
    Ok(Some(docker))
}

pub(super) fn network(name: &str) -> Result<Option<DockerNetworkState>> {
    let found = networks(&format!("look for the Docker network {name}"))?;
    Ok(found.into_iter().map(InspectedNetwork::into_state).find(|found| found.0 == name).map(|found| found.1))
}

pub(super) fn create_transparent_network(wanted: &TransparentNetwork) -> Result<()> {
    let (gateway, subnet) = (wanted.gateway.to_string(), wanted.subnet.to_string());
    let option = format!("{INTERFACE_OPTION}={}", wanted.adapter);
    let mut arguments = vec!["network", "create", "--driver", "transparent"];
    arguments.extend(["--gateway", &gateway, "--subnet", &subnet, "--opt", &option, &wanted.name]);
    run(&format!("create the transparent network {}", wanted.name), &arguments, "").map(drop)
}

pub(super) fn remove_network(name: &str) -> Result<()> {
    run(&format!("remove the Docker network {name}"), &["network", "rm", name], "").map(drop)
}

/// The host's own adapter on a transparent network.
pub(super) fn host_adapter(name: &str) -> Result<Option<String>> {
    let Some(state) = self::network(name)? else { return Ok(None) };
    let adapters: Vec<Adapter> = network::found()?.into_iter().map(|found| found.adapter).collect();
    pick_adapter(&adapters, state.adapter.as_deref())
        .map_err(|answer| PlatformError::new(format!("find the host's adapter on the network {name}"), answer))
}

fn image_id(attempted: &str, tag: &str) -> Result<Option<String>> {
    let answer = run(attempted, &["images", "--quiet", "--no-trunc", tag], "")?;
    Ok(answer.split_whitespace().next().map(str::to_owned))
}

pub(super) fn image(tag: &str) -> Result<Option<Image>> {
    let attempted = format!("look for the image {tag}");
    let Some(id) = image_id(&attempted, tag)? else { return Ok(None) };
    let answer = run(&attempted, &["inspect", "--type", "image", &id], "")?;
    let inspected: Vec<InspectedImage> = parse(&attempted, &answer)?;
    Ok(inspected.into_iter().next().map(InspectedImage::into_image))
}

/// The version of Windows that each image was made for, by its tag.
pub(super) fn image_versions() -> Result<BTreeMap<String, String>> {
    let attempted = "look at the images";
    let identities = run(attempted, &["images", "--quiet", "--no-trunc"], "")?;
    let mut identities: Vec<_> = identities.split_whitespace().collect();
    identities.sort_unstable();
    identities.dedup();
    if identities.is_empty() {
        return Ok(BTreeMap::new());
    }
    let answer = run(attempted, &[&["inspect", "--type", "image"], identities.as_slice()].concat(), "")?;
    let inspected: Vec<InspectedVersion> = parse(attempted, &answer)?;
    Ok(inspected.into_iter().flat_map(InspectedVersion::by_tag).collect())
}

pub(super) fn build_pause_image(image: &PauseImage) -> Result<()> {
    let label = format!("{BASE_LABEL}={}", image.base);
    let arguments = ["build", "--label", &label, "--tag", &image.tag, "-"];
    run(&format!("build the image {}", image.tag), &arguments, &dockerfile(&image.base)).map(drop)
}

pub(super) fn tag_image(id: &str, tag: &str) -> Result<()> {
    run(&format!("tag the image {tag}"), &["tag", id, tag], "").map(drop)
}

pub(super) fn remove_image(tag: &str) -> Result<()> {
    let attempted = format!("remove the image {tag}");
    // Pods outlive a kubelet that is stopped, and Docker keeps the images of containers.
    let filter = format!("ancestor={tag}");
    let left = run(&attempted, &["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter], "")?;
    let left: Vec<_> = left.split_whitespace().collect();
    if !left.is_empty() {
        run(&attempted, &[&["rm", "--force"], left.as_slice()].concat(), "")?;
    }
    run(&attempted, &["rmi", tag], "").map(drop)
}
