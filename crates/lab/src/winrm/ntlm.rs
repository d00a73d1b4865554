//! What the server reads itself in a client's last NTLM message (MS-NLMP 2.2.1.3): who logs in, and whether the message
//! is bound to the password by a message integrity code.

const SIGNATURE: &[u8] = b"NTLMSSP\0";
const NEGOTIATE: u32 = 1;
const AUTHENTICATE: u32 = 3;

/// NTLMSSP_NEGOTIATE_UNICODE: strings are UTF-16.
const UNICODE: u32 = 0x0000_0001;
/// NTLMSSP_NEGOTIATE_TARGET_INFO: the message has room for an integrity code.
const TARGET_INFO: u32 = 0x0080_0000;
/// MsvAvFlags (MS-NLMP 2.2.2.1), and its value "the message has an integrity code".
const AV_FLAGS: u16 = 6;
const AV_FLAGS_INTEGRITY: u32 = 2;
/// What precedes the target information in an NTLMv2 response: proof and fixed fields (MS-NLMP 2.2.2.7, 2.2.2.8).
const RESPONSE_HEADER: usize = 16 + 28;

/// Whether a token is the first message of a handshake.
pub(super) fn is_negotiate(token: &[u8]) -> bool {
    is_message(token, NEGOTIATE)
}

fn is_message(token: &[u8], kind: u32) -> bool {
    token.strip_prefix(SIGNATURE).and_then(|rest| u32_at(rest, 0)) == Some(kind)
}

/// What a client's AUTHENTICATE message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authenticate {
    /// The account, without its domain.
    pub(super) user: String,
    /// Whether the message carries an integrity code in the form that sspi verifies. The server demands it: sspi 0.23
    /// verifies the password by this code alone, and lets a message without one pass. Windows clients send it whenever
    /// the challenge has a time stamp, as sspi's has (MS-NLMP 3.1.5.1.2).
    pub(super) integrity: bool,
}

impl Authenticate {
    /// Reads the message; `None` when it is not an AUTHENTICATE message in UTF-16.
    pub(super) fn parse(token: &[u8]) -> Option<Self> {
        if !is_message(token, AUTHENTICATE) {
            return None;
        }
        let flags = u32_at(token, 60)?;
        if flags & UNICODE == 0 {
            return None;
        }
        let response = field(token, 20)?;
        let user = field(token, 36)?;
        let units: Vec<u16> = user.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let user = String::from_utf16(&units).ok()?;
        let integrity =
            flags & TARGET_INFO != 0 && av_flags(response.get(RESPONSE_HEADER..)?) == Some(AV_FLAGS_INTEGRITY);
        Some(Self { user: account_name(&user).to_owned(), integrity })
    }
}

/// `DOMAIN\user` and `user@domain` without the domain: a machine outside any domain logs its own accounts in,
/// whatever the domain says.
pub(super) fn account_name(user: &str) -> &str {
    match user.rsplit_once('\\') {
        Some((_, account)) => account,
        None => user.split_once('@').map_or(user, |(account, _)| account),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// A field that is described at `at` by length, room and offset.
fn field(message: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16_at(message, at)?);
    let offset = usize::try_from(u32_at(message, at + 4)?).ok()?;
    message.get(offset..)?.get(..length)
}

/// The value of MsvAvFlags in a list of attribute-value pairs.
fn av_flags(mut pairs: &[u8]) -> Option<u32> {
    loop {
        let id = u16_at(pairs, 0)?;
        let length = usize::from(u16_at(pairs, 2)?);
        let value = pairs.get(4..)?.get(..length)?;
        match id {
            0 => return None,
            AV_FLAGS => return u32_at(value, 0),
            _ => pairs = pairs.get(4 + length..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(user: &str, flags: u32, pairs: &[u8]) -> Vec<u8> {
        let user: Vec<u8> = user.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let response = [&[0; RESPONSE_HEADER], pairs].concat();
        let mut message = SIGNATURE.to_vec();
        message.extend(3u32.to_le_bytes());
        message.resize(88, 0);
        let mut describe = |at: usize, bytes: &[u8], offset: usize| {
            message[at..at + 2].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
            message[at + 4..at + 8].copy_from_slice(&(offset as u32).to_le_bytes());
        };
        describe(20, &response, 88);
        describe(36, &user, 88 + response.len());
        message[60..64].copy_from_slice(&flags.to_le_bytes());
        message.extend(response);
        message.extend(user);
        message
    }

    const WITH_CODE: &[u8] = &[7, 0, 2, 0, 9, 9, 6, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    const WITHOUT_CODE: &[u8] = &[7, 0, 2, 0, 9, 9, 0, 0, 0, 0];
    /// The code together with "the target's name comes from an untrusted source", which sspi reads as no code at all.
    const OTHER_FLAGS: &[u8] = &[6, 0, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn the_user_and_the_integrity_code_are_seen() {
        let seen = |user: &str, flags, pairs| Authenticate::parse(&message(user, flags, pairs)).unwrap();
        let good = seen("Administrator", UNICODE | TARGET_INFO, WITH_CODE);
        assert_eq!(good, Authenticate { user: "Administrator".into(), integrity: true });
        assert!(!seen("a", UNICODE | TARGET_INFO, WITHOUT_CODE).integrity);
        assert!(!seen("a", UNICODE | TARGET_INFO, OTHER_FLAGS).integrity);
        assert!(!seen("a", UNICODE, WITH_CODE).integrity);
        assert!(Authenticate::parse(&message("a", TARGET_INFO, WITH_CODE)).is_none());
    }

    #[test]
    fn domains_are_left_out() {
        for user in ["ada", r".\ada", r"WIN01\ada", "ada@example.com"] {
            assert_eq!(account_name(user), "ada");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(rest: Vec<u8>) {
            let _ = Authenticate::parse(&[SIGNATURE, &[3, 0, 0, 0], rest.as_slice()].concat());
        }
    }
}
