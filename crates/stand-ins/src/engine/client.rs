//! The stand-in for `docker.exe`: the forms of its command line that the agent uses, and no others.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use super::PORT;
use super::http::encode;

/// Asks the engine. Returns the code of HTTP and the body.
///
/// # Errors
/// When nobody answers.
pub fn ask(method: &str, path: &str, kind: &str, body: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let failed = |error: io::Error| {
        format!("error during connect: {error}. Is the docker daemon running (the stand-in for it)?")
    };
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).map_err(failed)?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(failed)?;
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    input.read_line(&mut line).map_err(failed)?;
    let code = line.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    while !line.trim().is_empty() {
        line.clear();
        input.read_line(&mut line).map_err(failed)?;
    }
    let mut answer = Vec::new();
    input.read_to_end(&mut answer).map_err(failed)?;
    Ok((code, answer))
}

/// Where a request of the command line goes: the engine, or a test.
type Ask<'a> = &'a mut dyn FnMut(&str, &str, &str, &[u8]) -> Result<(u16, Vec<u8>), String>;

/// Does what `docker ARGUMENT…` does, with `input` on its standard input. Returns what it prints.
///
/// # Errors
/// What it says on standard error.
pub fn docker(arguments: &[&str], input: &mut dyn FnMut() -> Vec<u8>, ask: Ask<'_>) -> Result<String, String> {
    let mut json = |method: &str, path: &str, body: &Value| {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        read(ask(method, path, "application/json", text.as_bytes())?)
    };
    match arguments {
        ["version", "--format", "{{.Server.Version}}"] => {
            let version = json("GET", "/version", &Value::Null)?;
            Ok(format!("{}\n", version.get("Version").and_then(Value::as_str).unwrap_or_default()))
        }
        ["network", "ls", "--no-trunc", "--quiet"] => {
            Ok(lines(&json("GET", "/networks", &Value::Null)?, |network| network.get("Id")))
        }
        ["network", "inspect", names @ ..] if !names.is_empty() => {
            let found: Result<Vec<_>, _> =
                names.iter().map(|name| json("GET", &format!("/networks/{}", encode(name)), &Value::Null)).collect();
            Ok(format!("{}\n", Value::Array(found?)))
        }
        ["network", "create", rest @ ..] => {
            let created = json("POST", "/networks/create", &network(rest)?)?;
            Ok(format!("{}\n", created.get("Id").and_then(Value::as_str).unwrap_or_default()))
        }
        ["network", "rm", name] => {
            json("DELETE", &format!("/networks/{}", encode(name)), &Value::Null)?;
            Ok(format!("{name}\n"))
        }
        ["images", "--quiet", "--no-trunc", name] => {
            let filters = json!({"reference": [name]}).to_string();
            let found = json("GET", &format!("/images/json?filters={}", encode(&filters)), &Value::Null)?;
            Ok(lines(&found, |image| image.get("Id")))
        }
        ["inspect", "--type", "image", name] => {
            let found = json("GET", &format!("/images/{}/json", encode(name)), &Value::Null)?;
            Ok(format!("{}\n", Value::Array(vec![found])))
        }
        ["build", rest @ ..] => {
            let path = build(rest)?;
            let context = context(&String::from_utf8_lossy(&input()))?;
            read(ask("POST", &path, "application/x-tar", &context)?)?;
            Ok(String::new())
        }
        ["tag", name, tag] => {
            let path = format!("/images/{}/tag?repo={}", encode(name), encode(tag));
            json("POST", &path, &Value::Null).map(|_| String::new())
        }
        ["ps", "--all", "--quiet", "--no-trunc", "--filter", filter] => {
            let (name, value) = filter.split_once('=').ok_or_else(|| format!("invalid filter: {filter}"))?;
            let filters = json!({name: [value]}).to_string();
            let path = format!("/containers/json?all=1&filters={}", encode(&filters));
            Ok(lines(&json("GET", &path, &Value::Null)?, |container| container.get("Id")))
        }
        ["rm", "--force", names @ ..] if !names.is_empty() => {
            for name in names {
                json("DELETE", &format!("/containers/{}?force=1", encode(name)), &Value::Null)?;
            }
            Ok(names.iter().map(|name| format!("{name}\n")).collect())
        }
        ["rmi", name] => {
            json("DELETE", &format!("/images/{}", encode(name)), &Value::Null)?;
            Ok(format!("Untagged: {name}\n"))
        }
        other => Err(format!("the stand-in for docker does not know: {}", other.join(" "))),
    }
}

fn read((code, answer): (u16, Vec<u8>)) -> Result<Value, String> {
    // Progress is several values; the last one tells.
    let values = serde_json::Deserializer::from_slice(&answer).into_iter::<Value>();
    let last = values.last().transpose().map_err(|error| format!("an answer of the engine: {error}"))?;
    let value = last.unwrap_or(Value::Null);
    match (code, value.get("message").and_then(Value::as_str)) {
        (200..300, _) => Ok(value),
        (code, message) => {
            Err(format!("Error response from daemon: {}", message.map_or(code.to_string(), str::to_owned)))
        }
    }
}

fn lines(list: &Value, of: impl Fn(&Value) -> Option<&Value>) -> String {
    let found = list.as_array().into_iter().flatten().filter_map(of).filter_map(Value::as_str);
    found.map(|line| format!("{line}\n")).collect()
}

fn network(arguments: &[&str]) -> Result<Value, String> {
    let (mut driver, mut subnet, mut gateway, mut options) =
        (Value::Null, Value::Null, Value::Null, serde_json::Map::new());
    let mut rest = arguments;
    loop {
        match rest {
            [name] if !name.starts_with('-') => {
                return Ok(json!({
                    "Name": name, "Driver": driver, "CheckDuplicate": true, "Options": options,
                    "IPAM": {"Config": [{"Subnet": subnet, "Gateway": gateway}]},
                }));
            }
            ["--driver", value, others @ ..] => (driver, rest) = (json!(value), others),
            ["--subnet", value, others @ ..] => (subnet, rest) = (json!(value), others),
            ["--gateway", value, others @ ..] => (gateway, rest) = (json!(value), others),
            ["--opt", value, others @ ..] => {
                let (name, value) = value.split_once('=').ok_or_else(|| format!("--opt {value}"))?;
                options.insert(name.to_owned(), json!(value));
                rest = others;
            }
            other => return Err(format!("the stand-in for docker does not know: network create {}", other.join(" "))),
        }
    }
}

fn build(arguments: &[&str]) -> Result<String, String> {
    let (mut labels, mut tag) = (serde_json::Map::new(), String::new());
    let mut rest = arguments;
    loop {
        match rest {
            ["-"] => {
                let labels = Value::Object(labels).to_string();
                return Ok(format!("/build?t={}&labels={}", encode(&tag), encode(&labels)));
            }
            ["--label", value, others @ ..] => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                labels.insert(name.to_owned(), json!(value));
                rest = others;
            }
            ["--tag", value, others @ ..] => (tag, rest) = ((*value).to_owned(), others),
            other => return Err(format!("the stand-in for docker does not know: build {}", other.join(" "))),
        }
    }
}

/// What the real command line makes of a Dockerfile on its standard input: a tar file with it.
pub(super) fn context(dockerfile: &str) -> Result<Vec<u8>, String> {
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    let added = archive.append_data(&mut header, "Dockerfile", dockerfile.as_bytes());
    added.and_then(|()| archive.into_inner()).map_err(|error| format!("the build context: {error}"))
}
