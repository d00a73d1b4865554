//! The engine's containers. They run no program: a started one runs until it is stopped.

use serde_json::Value;

use super::networks::free_address;
use super::state::{Activity, Container, State};
use super::{Refused, World};

/// How a container ends that was stopped or killed.
const STOPPED: i32 = 1067;

/// Creates a container; returns its identity.
pub(super) fn create(
    name: Option<&str>,
    config: Value,
    state: &mut State,
    world: &mut dyn World,
) -> Result<String, Refused> {
    let wanted = config.get("Image").and_then(Value::as_str).unwrap_or_default();
    let image = state.image(wanted).map_err(|_| Refused::no("image", wanted))?.id.clone();
    let id = state.identity("container");
    let name = name.map_or_else(|| id.chars().take(12).collect(), str::to_owned);
    if let Ok(other) = state.container(&name) {
        let message =
            format!("Conflict. The container name \"/{name}\" is already in use by container \"{}\"", other.id);
        return Err(Refused::new(409, message));
    }
    let mode = config.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
    let network = match mode {
        "" | "default" | "nat" => Some("nat".to_owned()),
        "none" => None,
        // What shares another one's network has its address, which only that one answers at.
        mode if mode.starts_with("container:") => None,
        name => Some(state.network(name)?.name.clone()),
    };
    state.containers.push(Container {
        id: id.clone(),
        name,
        config,
        image,
        network,
        address: None,
        activity: Activity::Created,
        exit_code: 0,
        created_ms: world.now_ms(),
        started_ms: None,
        finished_ms: None,
        log: Vec::new(),
    });
    Ok(id)
}

/// Starts a container: its address comes, and what its image shows to the network.
pub(super) fn start(name: &str, state: &mut State, world: &mut dyn World) -> Result<(), Refused> {
    let container = state.container(name)?.clone();
    if container.activity == Activity::Running {
        return Err(Refused::new(304, String::new()));
    }
    let address = match &container.network {
        None => None,
        Some(network) => {
            let network = state.network(network)?;
            Some(free_address(network, state).ok_or_else(|| Refused::host("no address is left"))?)
        }
    };
    if let Some(address) = address {
        // The loopback adapter: what the host has is not the containers'. Linux answers for it on every adapter.
        world.desk().ip(&["address", "replace", &format!("{address}/32"), "dev", "lo"]).map_err(Refused::host)?;
        world.start(&container.id, &image_name(&container, state), address);
    }
    let now = world.now_ms();
    let container = state.container(name)?;
    container.address = address;
    container.activity = Activity::Running;
    container.started_ms = Some(now);
    container.finished_ms = None;
    let at = address.map_or_else(|| "no address".to_owned(), |address| address.to_string());
    container.log.push((now, format!("stand-in container {} runs with {at}", container.name)));
    Ok(())
}

fn image_name(container: &Container, state: &State) -> String {
    let image = state.images.iter().find(|image| image.id == container.image);
    image.and_then(|image| image.tags.first().cloned()).unwrap_or_default()
}

/// Ends a container, if it runs.
pub(super) fn stop(name: &str, state: &mut State, world: &mut dyn World) -> Result<(), Refused> {
    let container = state.container(name)?.clone();
    if container.activity != Activity::Running {
        return Err(Refused::new(304, String::new()));
    }
    world.stop(&container.id);
    if let Some(address) = container.address {
        world.desk().ip(&["address", "del", &format!("{address}/32"), "dev", "lo"]).map_err(Refused::host)?;
    }
    let now = world.now_ms();
    let container = state.container(name)?;
    container.address = None;
    container.activity = Activity::Exited;
    container.exit_code = STOPPED;
    container.finished_ms = Some(now);
    container.log.push((now, format!("stand-in container {} ended", container.name)));
    Ok(())
}

/// Removes a container; one that runs only by force.
pub(super) fn remove(name: &str, force: bool, state: &mut State, world: &mut dyn World) -> Result<(), Refused> {
    let container = state.container(name)?.clone();
    if container.activity == Activity::Running {
        if !force {
            let message = format!("You cannot remove a running container {}. Stop the container", container.id);
            return Err(Refused::new(409, message));
        }
        stop(name, state, world)?;
    }
    state.containers.retain(|found| found.id != container.id);
    Ok(())
}

/// After the engine's own start, what ran runs no more.
pub(super) fn all_ended(state: &mut State, now_ms: i64) {
    for container in state.containers.iter_mut().filter(|container| container.activity == Activity::Running) {
        container.activity = Activity::Exited;
        container.address = None;
        container.exit_code = STOPPED;
        container.finished_ms = Some(now_ms);
    }
}

/// What a command answers that is run in a container: its output and exit code. A container of the stand-in has three
/// programs.
pub(super) fn execute(container: &Container, words: &[&str]) -> (String, i32) {
    match words {
        ["cmd" | "cmd.exe", "/c" | "/C" | "/S" | "/s", rest @ ..] => execute(container, rest),
        ["hostname"] => {
            let host = container.config.get("Hostname").and_then(Value::as_str).filter(|name| !name.is_empty());
            (format!("{}\r\n", host.unwrap_or(container.name.as_str())), 0)
        }
        ["ipconfig"] => {
            let address = container.address.map_or_else(String::new, |address| address.to_string());
            (format!("Windows IP Configuration\r\n\r\n   IPv4 Address. . . . : {address}\r\n"), 0)
        }
        ["echo", rest @ ..] => (format!("{}\r\n", rest.join(" ")), 0),
        words => (format!("a container of the stand-in for Docker has no program {}\r\n", words.join(" ")), 1),
    }
}

/// A piece of output in the form of the engine's streams: 1 is standard output, 2 standard error.
#[must_use]
pub fn frame(stream: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[stream, 0, 0, 0][..], &length, text.as_bytes()].concat()
}
