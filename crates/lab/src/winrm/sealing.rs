//! The framing of encrypted messages over plain HTTP: `multipart/encrypted` (MS-WSMV 2.2.9.1).

/// Bytes of an NTLM message signature (MS-NLMP 2.2.2.9.1).
pub(super) const SIGNATURE: usize = 16;

const PROTOCOL: &str = "application/HTTP-SPNEGO-session-encrypted";
const BOUNDARY: &str = "--Encrypted Boundary";
const OCTETS: &[u8] = b"application/octet-stream\r\n";

/// A sealed message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Its signature.
    pub(super) signature: [u8; SIGNATURE],
    /// The encrypted bytes: as many as of plain text, since the cipher is a stream.
    pub(super) data: Vec<u8>,
}

/// A body that is not framed as MS-WSMV says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("no opening boundary")]
    Opening,
    #[error("no part of type application/octet-stream")]
    Octets,
    #[error("the first part is not of type {PROTOCOL}")]
    Protocol,
    #[error("no length of the original content")]
    Length,
    #[error("the signature is not {SIGNATURE} bytes long")]
    Signature,
    #[error("no closing boundary after the data")]
    Closing,
    #[error("the data has {found} bytes, and its header says {said}")]
    Size { found: usize, said: usize },
}

/// Whether a request's content type says that its body is sealed.
pub(super) fn is_sealed(content_type: &str) -> bool {
    content_type
        .trim_start()
        .get(.."multipart/encrypted".len())
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/encrypted"))
}

/// The content type of a sealed answer.
pub(super) fn content_type() -> String {
    format!("multipart/encrypted;protocol=\"{PROTOCOL}\";boundary=\"Encrypted Boundary\"")
}

/// Frames a sealed message.
pub(super) fn frame(sealed: &Sealed) -> Vec<u8> {
    let mut body = format!(
        "{BOUNDARY}\r\n\tContent-Type: {PROTOCOL}\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={}\r\n\
         {BOUNDARY}\r\n\tContent-Type: application/octet-stream\r\n",
        sealed.data.len()
    )
    .into_bytes();
    body.extend_from_slice(&[SIGNATURE as u8, 0, 0, 0]);
    body.extend_from_slice(&sealed.signature);
    body.extend_from_slice(&sealed.data);
    // No line break before the closing boundary: the data ends where the boundary begins.
    body.extend_from_slice(format!("{BOUNDARY}--\r\n").as_bytes());
    body
}

/// Reads a framed message. Tabs, spaces and the last line break are as the client likes.
pub(super) fn parse(body: &[u8]) -> Result<Sealed, Malformed> {
    let body = body.strip_prefix(BOUNDARY.as_bytes()).ok_or(Malformed::Opening)?;
    let octets = find(body, OCTETS).ok_or(Malformed::Octets)?;
    let (header, rest) = body.split_at(octets);
    let header = String::from_utf8_lossy(header);
    if !header.contains(PROTOCOL) {
        return Err(Malformed::Protocol);
    }
    let said = original_length(&header).ok_or(Malformed::Length)?;
    let payload = rest.get(OCTETS.len()..).unwrap_or_default();
    let (length, payload) = payload.split_first_chunk::<4>().ok_or(Malformed::Signature)?;
    let (signature, data) = match payload.split_first_chunk::<SIGNATURE>() {
        Some(split) if u32::from_le_bytes(*length) == SIGNATURE as u32 => split,
        _ => return Err(Malformed::Signature),
    };
    let data = data.strip_suffix(b"\r\n").unwrap_or(data);
    let data = data.strip_suffix(format!("{BOUNDARY}--").as_bytes()).ok_or(Malformed::Closing)?;
    if data.len() != said {
        return Err(Malformed::Size { found: data.len(), said });
    }
    Ok(Sealed { signature: *signature, data: data.to_vec() })
}

fn original_length(header: &str) -> Option<usize> {
    let after = header.split_once("Length=")?.1;
    let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
    after.get(..digits)?.parse().ok()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(data: &[u8]) -> Sealed {
        Sealed { signature: [7; SIGNATURE], data: data.to_vec() }
    }

    #[test]
    fn the_frame_is_the_one_of_windows() {
        let body = frame(&sealed(b"xyz"));
        assert_eq!(
            body,
            b"--Encrypted Boundary\r\n\
              \tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\
              \tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=3\r\n\
              --Encrypted Boundary\r\n\
              \tContent-Type: application/octet-stream\r\n\
              \x10\0\0\0\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07xyz--Encrypted Boundary--\r\n"
        );
    }

    #[test]
    fn what_is_not_framed_so_is_refused() {
        let text = |body: &str| parse(body.as_bytes());
        let good = String::from_utf8(frame(&sealed(b"xyz"))).unwrap();
        assert_eq!(text(&good[1..]), Err(Malformed::Opening));
        assert_eq!(text(&good.replace("octet-stream", "pdf")), Err(Malformed::Octets));
        assert_eq!(text(&good.replace("SPNEGO", "Kerberos")), Err(Malformed::Protocol));
        assert_eq!(text(&good.replace("Length=3", "Length=")), Err(Malformed::Length));
        assert_eq!(text(&good.replace("Length=3", "Length=4")), Err(Malformed::Size { found: 3, said: 4 }));
        assert_eq!(text(&good.replace('\x10', "\x11")), Err(Malformed::Signature));
        assert_eq!(text(good.trim_end_matches("-\r\n")), Err(Malformed::Closing));
    }

    #[test]
    fn a_content_type_is_compared_without_case() {
        assert!(is_sealed(&content_type().to_uppercase()));
        assert!(!is_sealed("application/soap+xml;charset=UTF-8"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_framed_is_read_back(data: Vec<u8>) {
            proptest::prop_assert_eq!(parse(&frame(&sealed(&data))), Ok(sealed(&data)));
        }

        #[test]
        fn no_input_panics(body: Vec<u8>) {
            let _ = parse(&[BOUNDARY.as_bytes(), OCTETS, body.as_slice()].concat());
        }
    }
}
