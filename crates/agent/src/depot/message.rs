//! The little of HTTP/1.1 that the depot and its clients speak: `GET`, a bearer token, one range, an answer of known length.
//!
//! Ranges count the bytes of the unpacked blob (their unit is `unpacked`, RFC 9110, 14.1), since that is what a host knows of
//! what it has. Heads are read with httparse; what is beyond these few fields is ignored.

use std::io::{self, Read, Write};

use k8swin_protocol::{SecretBytes, Sha256};

use super::Trouble;

/// The longest head that is read.
const LONGEST_HEAD: usize = 4096;

/// The most fields of a head.
const MOST_FIELDS: usize = 16;

/// The unit of ranges.
const UNIT: &str = "unpacked";

/// What a client asks for.
pub(super) struct Asked {
    pub(super) token: SecretBytes,
    pub(super) sha256: Sha256,
    /// The first byte of the unpacked blob that it wants.
    pub(super) from: u64,
}

/// What the depot answers before the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What was asked for, from a record on.
    Found {
        /// The first byte of the unpacked blob that comes: what was asked for, or somewhat before it.
        from: u64,
        /// The size of the unpacked blob.
        size: u64,
        /// Packed bytes to come.
        length: u64,
    },
    /// The token is another.
    Unauthorized,
    /// There is no such blob.
    NotFound,
    /// The question is none.
    BadRequest,
}

pub(super) fn write_question(stream: &mut impl Write, asked: &Asked) -> io::Result<()> {
    let before = format!("GET /{} HTTP/1.1\r\nHost: depot\r\nAuthorization: Bearer ", asked.sha256);
    let after = format!("\r\nRange: {UNIT}={}-\r\nConnection: close\r\n\r\n", asked.from);
    let head = SecretBytes::new([before.as_bytes(), asked.token.expose(), after.as_bytes()].concat());
    stream.write_all(head.expose())?;
    stream.flush()
}

/// Reads a question; `None` when it is none that a client of ours asks.
pub(super) fn read_question(stream: &mut impl Read) -> io::Result<Option<Asked>> {
    let Some(head) = read_head(stream)? else { return Ok(None) };
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head.expose()).is_ok_and(|status| status.is_complete()) || request.method != Some("GET") {
        return Ok(None);
    }
    let sha256 = request.path.and_then(|path| path.strip_prefix('/')?.parse().ok());
    let token = field(request.headers, "authorization").and_then(|value| value.strip_prefix(b"Bearer "));
    let from = match field(request.headers, "range") {
        Some(range) => first_of(range),
        None => Some(0),
    };
    Ok(match (sha256, token, from) {
        (Some(sha256), Some(token), Some(from)) => Some(Asked { token: SecretBytes::new(token), sha256, from }),
        _ => None,
    })
}

pub(super) fn write_answer(stream: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let head = match answer {
        Answer::Found { from, size, length } => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: {UNIT} {from}-{}/{size}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n",
            size.saturating_sub(1)
        ),
        refused => {
            let status = match refused {
                Answer::Unauthorized => "401 Unauthorized",
                Answer::NotFound => "404 Not Found",
                Answer::Found { .. } | Answer::BadRequest => "400 Bad Request",
            };
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    };
    stream.write_all(head.as_bytes())?;
    stream.flush()
}

pub(super) fn read_answer(stream: &mut impl Read) -> Result<Answer, Trouble> {
    let head = read_head(stream)?.ok_or_else(|| Trouble::said("the answer has no end of its head"))?;
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let complete = response.parse(head.expose()).is_ok_and(|status| status.is_complete());
    match response.code.filter(|_| complete) {
        Some(206) => {
            let range = field(response.headers, "content-range").and_then(content_range);
            let length = field(response.headers, "content-length").and_then(number);
            match (range, length) {
                (Some((from, size)), Some(length)) => Ok(Answer::Found { from, size, length }),
                _ => Err(Trouble::said("the answer does not tell its range")),
            }
        }
        Some(401) => Ok(Answer::Unauthorized),
        Some(404) => Ok(Answer::NotFound),
        Some(400) => Ok(Answer::BadRequest),
        _ => Err(Trouble::said("the answer is not one of a depot")),
    }
}

/// Everything up to the empty line; `None` when it does not come. Byte by byte: what follows is not ours to take, and TLS keeps
/// a buffer.
fn read_head(stream: &mut impl Read) -> io::Result<Option<SecretBytes>> {
    let mut head = Vec::with_capacity(512);
    let mut byte = [0];
    while head.len() < LONGEST_HEAD {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&byte);
        if head.ends_with(b"\r\n\r\n") {
            return Ok(Some(SecretBytes::new(head)));
        }
    }
    Ok(None)
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The first byte of `unpacked=123-`.
fn first_of(range: &[u8]) -> Option<u64> {
    let range = std::str::from_utf8(range).ok()?;
    range.strip_prefix(UNIT)?.strip_prefix('=')?.strip_suffix('-')?.parse().ok()
}

/// The first byte and the size of `unpacked 100-199/200`.
fn content_range(range: &[u8]) -> Option<(u64, u64)> {
    let range = std::str::from_utf8(range).ok()?.strip_prefix(UNIT)?.strip_prefix(' ')?;
    let (bytes, size) = range.split_once('/')?;
    let (first, _) = bytes.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn questions_come_back(token in "[0-9a-f]{1,64}", content: Vec<u8>, from: u64) {
            let asked = Asked { token: SecretBytes::new(token.clone()), sha256: Sha256::of(&content), from };
            let mut line = Vec::new();
            write_question(&mut line, &asked).unwrap();
            let read = read_question(&mut line.as_slice()).unwrap().unwrap();
            prop_assert_eq!((read.token.expose(), read.sha256, read.from), (token.as_bytes(), asked.sha256, from));
        }

        #[test]
        fn answers_come_back_and_take_nothing_of_what_follows(from: u64, size: u64, length: u64) {
            for answer in [Answer::Found { from, size, length }, Answer::Unauthorized, Answer::NotFound, Answer::BadRequest] {
                let mut line = Vec::new();
                write_answer(&mut line, &answer).unwrap();
                line.extend_from_slice(b"rest");
                let mut rest = line.as_slice();
                prop_assert_eq!(read_answer(&mut rest).unwrap(), answer);
                prop_assert_eq!(rest, b"rest");
            }
        }

        #[test]
        fn garbage_is_neither_a_question_nor_an_answer(bytes: Vec<u8>) {
            prop_assert!(read_question(&mut bytes.as_slice()).unwrap().is_none());
            prop_assert!(read_answer(&mut bytes.as_slice()).is_err());
        }
    }
}
