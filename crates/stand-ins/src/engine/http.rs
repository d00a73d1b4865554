//! As much of HTTP as the engine's interface needs.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};

use serde_json::Value;

/// The largest body: a build context of ours is a few hundred bytes.
const LARGEST: usize = 64 << 20;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the version of the interface.
    pub path: String,
    /// What follows the path.
    pub query: BTreeMap<String, String>,
    /// The headers, with their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Whether a switch of the query is on.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.query.get(name).map(String::as_str), Some("1" | "true" | "True"))
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads a request; none at the end of the connection.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(invalid("not a request")) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: decode(without_version(path), false),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name, true), decode(value, true)))
            .collect(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(invalid("the connection ended within a request"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if request.headers.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        request.body = read_chunks(input)?;
    } else if let Some(length) = request.headers.get("content-length") {
        let length = length.parse().ok().filter(|length| *length <= LARGEST).ok_or_else(|| invalid("a length"))?;
        request.body = vec![0; length];
        input.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_chunks(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk"))?;
        if body.len() as u64 + size > LARGEST as u64 {
            return Err(invalid("a body that is too large"));
        }
        input.by_ref().take(size).read_to_end(&mut body)?;
        let mut end = String::new();
        input.read_line(&mut end)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// `/v1.25/containers/json` and `/containers/json` are one.
fn without_version(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/v1.") else { return path };
    rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or(path)
}

fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, code.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = others.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) if plus => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = others;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text as it may stand in a query.
pub(super) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn reason(code: u16) -> &'static str {
    match code {
        101 => "UPGRADED",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        409 => "Conflict",
        _ => "Error",
    }
}

/// Writes an answer's first line and headers.
///
/// # Errors
/// When the connection takes no more.
pub fn write_head(output: &mut impl Write, code: u16, headers: &[(&str, &str)]) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {code} {}\r\nApi-Version: {}\r\n", reason(code), super::API_VERSION);
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    output.write_all((text + "\r\n").as_bytes())
}

/// Writes an answer with a body of JSON, or without one.
///
/// # Errors
/// When the connection takes no more.
pub fn write_json(output: &mut impl Write, code: u16, body: Option<&Value>) -> io::Result<()> {
    let body = body.map(|body| format!("{body}\n")).unwrap_or_default();
    let length = body.len().to_string();
    let kind = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    // These have no body, and no length either.
    let headers = if matches!(code, 204 | 304) { &[][..] } else { &kind };
    write_head(output, code, headers)?;
    output.write_all(body.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Request {
        read_request(&mut text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn requests_are_read() {
        let request = read("GET /v1.25/containers/json?all=1&filters=%7B%22a%22%3A1%7D HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/containers/json"));
        assert_eq!(request.query["filters"], r#"{"a":1}"#);
        assert!(request.flag("all"));
        let request =
            read("POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(request.body, b"abcde");
        let request = read("POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc");
        assert_eq!(request.body, b"ab");
        assert_eq!(read_request(&mut &b""[..]).unwrap(), None);
        assert!(read_request(&mut &b"nonsense\r\n\r\n"[..]).is_err());
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let text = "k8swin/pause:1 {\"a\":[\"ü=1&b\"]}";
        assert_eq!(decode(&encode(text), true), text);
        assert_eq!(decode("100%", true), "100%");
    }
}
