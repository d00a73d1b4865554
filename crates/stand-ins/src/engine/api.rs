//! The engine's interface: which request does what.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::http::Request;
use super::state::{Activity, Container, State, with_tag};
use super::{Refused, Texts, World, containers, images, json, networks};

/// The engine.
pub struct Engine<W> {
    /// What it has.
    pub state: State,
    world: W,
    host: String,
    events: Vec<Value>,
    executions: BTreeMap<String, Execution>,
}

/// A command to be run in a container.
struct Execution {
    container: String,
    words: Vec<String>,
    exit_code: Option<i32>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// JSON, or nothing, with a code of HTTP.
    Json(u16, Option<Value>),
    /// `OK`, as text.
    Pong,
    /// Several JSON values after one another.
    Progress(Vec<Value>),
    /// What a container wrote, from a line on; `follow` goes on until it ends.
    Log {
        /// The container.
        container: String,
        /// Whether to wait for more.
        follow: bool,
        /// Whether the times are wanted.
        timestamps: bool,
        /// The number of lines from the end; all where there is none.
        tail: Option<usize>,
    },
    /// The same in both directions, over the raw connection.
    Attach(String),
    /// What a command wrote, over the raw connection.
    Output(String),
    /// When a container has ended.
    Wait(String),
    /// What happens from now on.
    Events(usize),
}

type Answer = Result<Reply, Refused>;

fn ok(value: Value) -> Reply {
    Reply::Json(200, Some(value))
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Refused> {
    serde_json::from_slice(&request.body).map_err(|error| Refused::bad(format!("the body: {error}")))
}

impl<W: World> Engine<W> {
    /// An engine with what it remembers. Containers that ran have ended.
    pub fn new(mut state: State, world: W, host: String) -> Self {
        containers::all_ended(&mut state, world.now_ms());
        Self { state, world, host, events: Vec::new(), executions: BTreeMap::new() }
    }

    /// Makes the adapters of its networks, which are gone after a boot.
    ///
    /// # Errors
    /// When Linux refuses it.
    pub fn boot(&mut self) -> Result<(), Refused> {
        networks::boot(&mut self.state, &mut self.world)?;
        self.world.keep(&self.state).map_err(Refused::host)
    }

    /// Ends all containers that run, as the engine does when it is stopped.
    pub fn stop(&mut self) {
        let running: Vec<_> =
            self.state.containers.iter().filter(|found| found.activity == Activity::Running).collect();
        let running: Vec<_> = running.into_iter().map(|container| container.id.clone()).collect();
        for id in running {
            // Whatever is left on Linux goes with the namespace.
            let _ = containers::stop(&id, &mut self.state, &mut self.world);
        }
        let _ = self.world.keep(&self.state);
    }

    /// The events since there were that many.
    #[must_use]
    pub fn events_since(&self, count: usize) -> &[Value] {
        self.events.get(count..).unwrap_or_default()
    }

    /// What a container wrote, and whether it runs; none where it is gone.
    pub fn log(&mut self, container: &str) -> Option<(&[(i64, String)], bool)> {
        let container = self.state.container(container).ok()?;
        Some((&container.log, container.activity == Activity::Running))
    }

    /// How a container ended, if it has.
    pub fn ended(&mut self, container: &str) -> Option<i32> {
        match self.state.container(container) {
            Ok(container) if container.activity == Activity::Running => None,
            Ok(container) => Some(container.exit_code),
            Err(_) => Some(0),
        }
    }

    /// Runs a command that was prepared; its output.
    pub fn execute(&mut self, id: &str) -> String {
        let Some(execution) = self.executions.get_mut(id) else { return String::new() };
        let Ok(container) = self.state.container(&execution.container) else { return String::new() };
        let words: Vec<_> = execution.words.iter().map(String::as_str).collect();
        let (output, code) = containers::execute(container, &words);
        execution.exit_code = Some(code);
        output
    }

    /// Carries out a request.
    pub fn handle(&mut self, request: &Request) -> Reply {
        let before = self.state.clone();
        let answer = self.route(request);
        if self.state != before
            && let Err(error) = self.world.keep(&self.state)
        {
            return Reply::Json(500, Some(json!({"message": error})));
        }
        answer.unwrap_or_else(|refused| match refused.code {
            304 => Reply::Json(304, None),
            code => Reply::Json(code, Some(json!({"message": refused.message}))),
        })
    }

    fn route(&mut self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => Ok(Reply::Pong),
            ("GET", ["version"]) => Ok(ok(json::version())),
            ("GET", ["info"]) => Ok(ok(json::info(&self.state, &self.host, self.world.now_ms()))),
            ("POST", ["auth"]) => Ok(ok(json!({"Status": "Login Succeeded"}))),
            ("GET", ["events"]) => Ok(Reply::Events(self.events.len())),
            ("GET", ["networks"]) => Ok(ok(self.state.networks.iter().map(json::network).collect())),
            ("POST", ["networks", "create"]) => {
                let id = networks::create(body(request)?, &mut self.state, &mut self.world)?;
                Ok(Reply::Json(201, Some(json!({"Id": id, "Warning": ""}))))
            }
            ("GET", ["networks", name]) => Ok(ok(json::network(self.state.network(name)?))),
            ("DELETE", ["networks", name]) => {
                networks::remove(name, &mut self.state, &mut self.world)?;
                Ok(Reply::Json(204, None))
            }
            (method, ["images", rest @ ..]) => self.images(method, rest, request),
            ("POST", ["build"]) => self.build(request),
            (method, ["containers", rest @ ..]) => self.containers(method, rest, request),
            ("POST", ["exec", id, "start"]) if self.executions.contains_key(*id) => Ok(Reply::Output((*id).to_owned())),
            ("POST", ["exec", _, "resize"]) => Ok(Reply::Json(200, None)),
            ("GET", ["exec", id, "json"]) => {
                let execution = self.executions.get(*id).ok_or_else(|| Refused::no("exec instance", id))?;
                let running = execution.exit_code.is_none();
                Ok(ok(json!({
                    "ID": id, "Running": running, "ExitCode": execution.exit_code, "ContainerID": execution.container,
                    "Pid": 4343, "OpenStdin": false, "OpenStdout": true, "OpenStderr": true, "CanRemove": false,
                })))
            }
            (method, path) => {
                Err(Refused::new(404, format!("the stand-in for Docker does not know {method} /{}", path.join("/"))))
            }
        }
    }

    fn images(&mut self, method: &str, path: &[&str], request: &Request) -> Answer {
        let now = self.world.now_ms();
        match (method, path) {
            ("GET", ["json"]) => {
                let filters = filters(request)?;
                let named = request
                    .query
                    .get("filter")
                    .cloned()
                    .or_else(|| filters.get("reference").and_then(|names| names.first().cloned()));
                let named = named.map(|name| with_tag(&name));
                let found = self
                    .state
                    .images
                    .iter()
                    .filter(|image| named.as_ref().is_none_or(|name| image.tags.contains(name)));
                Ok(ok(found.map(json::image_in_list).collect()))
            }
            ("POST", ["create"]) => {
                let name = request.query.get("fromImage").ok_or_else(|| Refused::bad("fromImage is missing"))?;
                let tag = request.query.get("tag").filter(|tag| !tag.is_empty());
                let name = tag.map_or_else(|| name.clone(), |tag| format!("{name}:{tag}"));
                images::pull(&name, now, &mut self.state)?;
                Ok(Reply::Progress(vec![
                    json!({"status": format!("Pulling from {name}")}),
                    json!({"status": format!("Status: Image is up to date for {}", with_tag(&name))}),
                ]))
            }
            ("GET", [name @ .., "json"]) => Ok(ok(json::image(self.state.image(&name.join("/"))?))),
            ("GET", [name @ .., "history"]) => {
                let image = self.state.image(&name.join("/"))?;
                Ok(ok(json!([{"Id": format!("sha256:{}", image.id), "Created": image.created_ms / 1000, "Size": 1}])))
            }
            ("POST", [name @ .., "tag"]) => {
                let repository = request.query.get("repo").ok_or_else(|| Refused::bad("repo is missing"))?;
                let tag = request.query.get("tag").filter(|tag| !tag.is_empty());
                let tag = tag.map_or_else(|| repository.clone(), |tag| format!("{repository}:{tag}"));
                images::tag(&name.join("/"), &tag, &mut self.state)?;
                Ok(Reply::Json(201, None))
            }
            ("DELETE", name) => {
                let removed = images::remove(&name.join("/"), &mut self.state)?;
                let removed = removed
                    .into_iter()
                    .map(|(whole, name)| if whole { json!({"Deleted": name}) } else { json!({"Untagged": name}) });
                Ok(ok(removed.collect()))
            }
            _ => Err(Refused::new(
                404,
                format!("the stand-in for Docker does not know {method} /images/{}", path.join("/")),
            )),
        }
    }

    fn build(&mut self, request: &Request) -> Answer {
        let labels: Texts = match request.query.get("labels") {
            Some(text) => serde_json::from_str(text).map_err(|error| Refused::bad(format!("labels: {error}")))?,
            None => Texts::new(),
        };
        let (tag, now) = (request.query.get("t").map(String::as_str), self.world.now_ms());
        let id = images::build(&request.body, tag, labels, now, &mut self.state)?;
        let short = id.get(..12).unwrap_or_default();
        Ok(Reply::Progress(vec![json!({"stream": format!("Successfully built {short}\n")})]))
    }

    fn containers(&mut self, method: &str, path: &[&str], request: &Request) -> Answer {
        match (method, path) {
            ("GET", ["json"]) => self.list(request),
            ("POST", ["create"]) => {
                let name = request.query.get("name").map(String::as_str);
                let id = containers::create(name, body(request)?, &mut self.state, &mut self.world)?;
                self.happened("create", &id);
                Ok(Reply::Json(201, Some(json!({"Id": id, "Warnings": []}))))
            }
            ("GET", [name, "json"]) => {
                let container = self.state.container(name)?.clone();
                Ok(ok(json::container(&container, &self.state)))
            }
            ("POST", [name, "start"]) => {
                containers::start(name, &mut self.state, &mut self.world)?;
                self.happened("start", name);
                Ok(Reply::Json(204, None))
            }
            ("POST", [name, "stop" | "kill"]) => {
                containers::stop(name, &mut self.state, &mut self.world)?;
                self.happened("die", name);
                Ok(Reply::Json(204, None))
            }
            ("POST", [_, "resize" | "rename" | "update"]) => Ok(ok(json!({"Warnings": []}))),
            ("POST", [name, "wait"]) => Ok(Reply::Wait(self.state.container(name)?.id.clone())),
            ("DELETE", [name]) => {
                let id = self.state.container(name)?.id.clone();
                containers::remove(name, request.flag("force"), &mut self.state, &mut self.world)?;
                self.happened("destroy", &id);
                Ok(Reply::Json(204, None))
            }
            ("GET", [name, "logs"]) => Ok(Reply::Log {
                container: self.state.container(name)?.id.clone(),
                follow: request.flag("follow"),
                timestamps: request.flag("timestamps"),
                tail: request.query.get("tail").and_then(|tail| tail.parse().ok()),
            }),
            ("POST", [name, "attach"]) => Ok(Reply::Attach(self.state.container(name)?.id.clone())),
            ("POST", [name, "exec"]) => {
                let container = self.state.container(name)?;
                if container.activity != Activity::Running {
                    return Err(Refused::new(409, format!("Container {} is not running", container.id)));
                }
                let container = container.id.clone();
                let wanted: Value = body(request)?;
                let words = wanted.get("Cmd").and_then(Value::as_array).cloned().unwrap_or_default();
                let words = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let id = self.state.identity("exec");
                self.executions.insert(id.clone(), Execution { container, words, exit_code: None });
                Ok(Reply::Json(201, Some(json!({"Id": id}))))
            }
            _ => {
                let path = path.join("/");
                Err(Refused::new(404, format!("the stand-in for Docker does not know {method} /containers/{path}")))
            }
        }
    }

    fn list(&self, request: &Request) -> Answer {
        let filters = filters(request)?;
        if let Some(unknown) =
            filters.keys().find(|name| !["ancestor", "label", "status", "id", "name"].contains(&name.as_str()))
        {
            return Err(Refused::bad(format!("Invalid filter '{unknown}'")));
        }
        let all = request.flag("all") || filters.contains_key("status");
        let matches = |container: &&Container| {
            (all || container.activity == Activity::Running)
                && filters.iter().all(|(filter, values)| self.passes(container, filter, values))
        };
        let mut found: Vec<_> = self.state.containers.iter().filter(matches).collect();
        // The newest first.
        found.reverse();
        Ok(ok(found.into_iter().map(|container| json::container_in_list(container, &self.state)).collect()))
    }

    /// Whether a container passes a filter.
    fn passes(&self, container: &Container, filter: &str, values: &[String]) -> bool {
        match filter {
            "ancestor" => {
                values.iter().any(|name| self.state.image(name).is_ok_and(|image| image.id == container.image))
            }
            _ => passes(container, filter, values),
        }
    }

    fn happened(&mut self, action: &str, container: &str) {
        let now = self.world.now_ms();
        let (id, image) = match self.state.container(container) {
            Ok(container) => (container.id.clone(), container.config.get("Image").cloned()),
            Err(_) => (container.to_owned(), None),
        };
        self.events.push(json!({
            "status": action, "id": id, "from": image, "Type": "container", "Action": action,
            "Actor": {"ID": id, "Attributes": {}}, "time": now / 1000, "timeNano": now * 1_000_000,
        }));
    }
}

/// Labels have all to be there; of the other kinds one has.
fn passes(container: &Container, filter: &str, values: &[String]) -> bool {
    match filter {
        "label" => {
            let labels = json::labels(container);
            values.iter().all(|value| {
                let (name, wanted) =
                    value.split_once('=').map_or((value.as_str(), None), |(name, text)| (name, Some(text)));
                let found = labels.get(name).and_then(Value::as_str);
                found.is_some_and(|found| wanted.is_none_or(|wanted| wanted == found))
            })
        }
        "status" => values.iter().any(|value| {
            container.activity
                == match value.as_str() {
                    "created" => Activity::Created,
                    "running" => Activity::Running,
                    _ => Activity::Exited,
                }
        }),
        "id" => values.iter().any(|value| container.id.starts_with(value.as_str())),
        _ => values.iter().any(|value| container.name.contains(value.trim_start_matches('/'))),
    }
}

/// The filters of a list: `{"label":["a=b"]}`, or as later clients write them, `{"label":{"a=b":true}}`.
fn filters(request: &Request) -> Result<BTreeMap<String, Vec<String>>, Refused> {
    let Some(text) = request.query.get("filters").filter(|text| !text.is_empty()) else { return Ok(BTreeMap::new()) };
    let filters: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| Refused::bad(format!("filters: {error}")))?;
    Ok(filters
        .into_iter()
        .map(|(name, values)| {
            let values = match values {
                Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Value::Object(values) => values.into_iter().map(|(name, _)| name).collect(),
                _ => Vec::new(),
            };
            (name, values)
        })
        .collect())
}
