//! Who a connection belongs to: Negotiate with NTLM, bound to the connection as in Windows, and Basic over TLS.
//!
//! Negotiate takes bare NTLM messages, as clients outside Windows send them. Those wrapped in SPNEGO are refused: the
//! decoder that sspi 0.23 uses for them panics on malformed input, which anybody can send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sspi::{
    AuthIdentityBuffers, BufferType, DataRepresentation, EncryptionFlags, Ntlm, SecurityBuffer, SecurityBufferRef,
    ServerRequestFlags, Sspi as _, SspiImpl as _,
};

use super::ntlm::{self, Authenticate};
use super::sealing::{SIGNATURE, Sealed};
use crate::program::Account;

/// The authentication of one connection.
pub(super) struct Authentication {
    over_tls: bool,
    state: State,
}

enum State {
    /// Nobody yet, or somebody who was refused.
    Anonymous,
    /// The challenge is sent.
    Challenged(Box<Ntlm>),
    /// The account: every further request on this connection is the account's.
    Authenticated(Box<Ntlm>),
}

/// The answer to a request's credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request is the account's.
    Accepted,
    /// HTTP 401 with these `WWW-Authenticate` headers.
    Refused(Vec<String>),
}

impl Authentication {
    /// Of a new connection.
    pub(super) fn new(over_tls: bool) -> Self {
        Self { over_tls, state: State::Anonymous }
    }

    /// Judges a request by its `Authorization` header and what the connection has shown before.
    pub(super) fn check(&mut self, authorization: Option<&str>, account: &Account) -> Verdict {
        let (scheme, value) = match authorization.map(str::trim) {
            None if matches!(self.state, State::Authenticated(_)) => return Verdict::Accepted,
            None => return self.refusal(),
            Some(header) => header.split_once(' ').unwrap_or((header, "")),
        };
        if scheme.eq_ignore_ascii_case("Basic") {
            return if self.over_tls && basic_is(value, account) { Verdict::Accepted } else { self.refusal() };
        }
        let Ok(token) = BASE64.decode(value.trim()) else { return self.refusal() };
        if !scheme.eq_ignore_ascii_case("Negotiate") || token.is_empty() {
            return self.refusal();
        }
        self.step(&token, account)
    }

    fn refusal(&self) -> Verdict {
        let mut schemes = vec!["Negotiate".to_owned()];
        if self.over_tls {
            schemes.push("Basic realm=\"WSMAN\"".to_owned());
        }
        Verdict::Refused(schemes)
    }

    /// Takes one message of a handshake. Whatever fails leaves the connection anonymous.
    fn step(&mut self, token: &[u8], account: &Account) -> Verdict {
        let before = std::mem::replace(&mut self.state, State::Anonymous);
        let taken = match before {
            // A client may begin anew at any time.
            _ if ntlm::is_negotiate(token) => challenge(token).map(|(ntlm, challenge)| {
                self.state = State::Challenged(ntlm);
                Verdict::Refused(vec![format!("Negotiate {}", BASE64.encode(challenge))])
            }),
            State::Challenged(ntlm) => log_in(ntlm, token, account).map(|ntlm| {
                self.state = State::Authenticated(ntlm);
                Verdict::Accepted
            }),
            State::Anonymous | State::Authenticated(_) => Err(refused("not the first message of an NTLM handshake")),
        };
        taken.unwrap_or_else(|error| {
            tracing::debug!(%error, "a WinRM client was refused");
            self.refusal()
        })
    }

    /// Opens a sealed request; `None` when nobody is authenticated, or when it was not sealed by the one who is.
    pub(super) fn open(&mut self, sealed: Sealed) -> Option<Vec<u8>> {
        let State::Authenticated(ntlm) = &mut self.state else { return None };
        let Sealed { mut signature, mut data } = sealed;
        let mut buffers =
            [SecurityBufferRef::token_buf(&mut signature), SecurityBufferRef::data_buf(data.as_mut_slice())];
        if let Err(error) = ntlm.decrypt_message(&mut buffers) {
            tracing::debug!(%error, "a sealed WinRM request does not open");
            // The two sides no longer agree on the cipher's state: nothing on this connection can be read any more.
            self.state = State::Anonymous;
            return None;
        }
        Some(data)
    }

    /// Seals an answer; `None` when the connection has no security context.
    pub(super) fn seal(&mut self, mut data: Vec<u8>) -> Option<Sealed> {
        let State::Authenticated(ntlm) = &mut self.state else { return None };
        let mut signature = [0; SIGNATURE];
        let mut buffers =
            [SecurityBufferRef::token_buf(&mut signature), SecurityBufferRef::data_buf(data.as_mut_slice())];
        // sspi puts the plain text into its debugging spans: nobody listens here.
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), || {
            ntlm.encrypt_message(EncryptionFlags::empty(), &mut buffers)
        })
        .ok()?;
        Some(Sealed { signature, data })
    }
}

/// Answers a NEGOTIATE message.
fn challenge(token: &[u8]) -> sspi::Result<(Box<Ntlm>, Vec<u8>)> {
    let mut ntlm = Box::new(Ntlm::new());
    let challenge = accept(&mut ntlm, &mut None, token)?;
    Ok((ntlm, challenge))
}

/// Checks an AUTHENTICATE message against the account.
fn log_in(mut ntlm: Box<Ntlm>, token: &[u8], account: &Account) -> sspi::Result<Box<Ntlm>> {
    if !Authenticate::parse(token).is_some_and(|said| said.integrity && is_user(&said.user, account)) {
        return Err(refused("not the account, or no message integrity code"));
    }
    let password = account.password.as_ref().and_then(|password| std::str::from_utf8(password.expose()).ok());
    let password = password.ok_or_else(|| refused("the account has no password"))?;
    let mut credentials = Some(AuthIdentityBuffers::from_utf8(ntlm::account_name(&account.user), "", password));
    accept(&mut ntlm, &mut credentials, token)?;
    // Only this verifies the integrity code, and with it the password.
    ntlm.complete_auth_token(&mut [])?;
    Ok(ntlm)
}

fn accept(ntlm: &mut Ntlm, credentials: &mut Option<AuthIdentityBuffers>, token: &[u8]) -> sspi::Result<Vec<u8>> {
    let mut input = [SecurityBuffer::new(token.to_vec(), BufferType::Token)];
    let mut output = [SecurityBuffer::new(Vec::new(), BufferType::Token)];
    let builder = ntlm
        .accept_security_context()
        .with_credentials_handle(credentials)
        .with_context_requirements(ServerRequestFlags::empty())
        .with_target_data_representation(DataRepresentation::Native)
        .with_input(&mut input)
        .with_output(&mut output);
    ntlm.accept_security_context_impl(builder)?.resolve_to_result()?;
    let [output] = output;
    Ok(output.buffer)
}

fn refused(why: &str) -> sspi::Error {
    sspi::Error::new(sspi::ErrorKind::LogonDenied, why.to_owned())
}

/// Windows compares account names without case.
fn is_user(said: &str, account: &Account) -> bool {
    said.to_lowercase() == ntlm::account_name(&account.user).to_lowercase()
}

fn basic_is(value: &str, account: &Account) -> bool {
    let Ok(decoded) = BASE64.decode(value.trim()) else { return false };
    let Some(colon) = decoded.iter().position(|byte| *byte == b':') else { return false };
    let (user, password) = decoded.split_at(colon);
    let user = std::str::from_utf8(user).map(ntlm::account_name);
    let right = account.password.as_ref().map(|password| password.expose());
    user.is_ok_and(|user| is_user(user, account)) && password.get(1..) == right
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::SecretBytes;

    use super::*;

    fn account() -> Account {
        Account {
            user: "Administrator".into(),
            password: Some(SecretBytes::new("Päss:wörd")),
            authorized_keys: Vec::new(),
        }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64.encode(text))
    }

    #[test]
    fn basic_is_for_tls_only() {
        let right = basic("administrator:Päss:wörd");
        let mut tls = Authentication::new(true);
        assert_eq!(tls.check(Some(&right), &account()), Verdict::Accepted);
        let offered = vec!["Negotiate".to_owned(), "Basic realm=\"WSMAN\"".to_owned()];
        assert_eq!(tls.check(Some(&basic("Administrator:wrong")), &account()), Verdict::Refused(offered.clone()));
        assert_eq!(tls.check(None, &account()), Verdict::Refused(offered));
        let mut plain = Authentication::new(false);
        assert_eq!(plain.check(Some(&right), &account()), Verdict::Refused(vec!["Negotiate".into()]));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut authentication = Authentication::new(false);
        let refused = Verdict::Refused(vec!["Negotiate".into()]);
        let first = BASE64.encode(b"NTLMSSP\0\x01\0\0\0\xff\xff");
        let last = BASE64.encode(b"NTLMSSP\0\x03\0\0\0");
        for header in [
            "",
            "Negotiate",
            "Negotiate !",
            "Negotiate YAA=",
            &format!("Negotiate {first}"),
            &format!("Negotiate {last}"),
        ] {
            assert_eq!(authentication.check(Some(header), &account()), refused, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_panics(first: Vec<u8>, last: Vec<u8>, target_info: bool) {
            let message = |number: u8, rest: &[u8]| {
                BASE64.encode([b"NTLMSSP\0".as_slice(), &[number, 0, 0, 0], rest].concat())
            };
            // With the flags that sspi demands, or it reads no further.
            let first = [&[0x05, 0x82, 0x88, 0xe2], first.as_slice()].concat();
            let mut last = last;
            last.resize(last.len().max(80), 0);
            if let Some(flags) = last.get_mut(48..52) {
                flags.copy_from_slice(if target_info { &[0x05, 0x82, 0x88, 0xe2] } else { &[0x05, 0x82, 0x08, 0xe2] });
            }
            let mut authentication = Authentication::new(false);
            authentication.check(Some(&format!("Negotiate {}", message(1, &first))), &account());
            let verdict = authentication.check(Some(&format!("Negotiate {}", message(3, &last))), &account());
            proptest::prop_assert_ne!(verdict, Verdict::Accepted);
        }
    }

    /// A handshake of sspi's client side, whose last message is changed by `forge`: whether the connection is then the
    /// account's.
    fn logs_in(user: &str, password: &str, forge: impl Fn(&mut Vec<u8>)) -> bool {
        let mut server = Authentication::new(false);
        let mut client = Ntlm::new();
        let mut identity = Some(AuthIdentityBuffers::from_utf8(user, "", password));
        let mut say = |token: Vec<u8>| {
            let mut input = [SecurityBuffer::new(token, BufferType::Token)];
            let mut output = [SecurityBuffer::new(Vec::new(), BufferType::Token)];
            let mut builder = client
                .initialize_security_context()
                .with_credentials_handle(&mut identity)
                .with_context_requirements(
                    sspi::ClientRequestFlags::CONFIDENTIALITY | sspi::ClientRequestFlags::INTEGRITY,
                )
                .with_target_data_representation(DataRepresentation::Native)
                .with_target_name("http/win01")
                .with_input(&mut input)
                .with_output(&mut output);
            client.initialize_security_context_impl(&mut builder).unwrap().resolve_to_result().unwrap();
            std::mem::take(&mut output[0].buffer)
        };
        let header = |token: &[u8]| format!("Negotiate {}", BASE64.encode(token));
        let Verdict::Refused(challenge) = server.check(Some(&header(&say(Vec::new()))), &account()) else {
            panic!("no challenge")
        };
        let mut last = say(BASE64.decode(challenge[0].strip_prefix("Negotiate ").unwrap()).unwrap());
        forge(&mut last);
        let verdict = server.check(Some(&header(&last)), &account());
        assert_eq!(server.check(None, &account()), verdict);
        verdict == Verdict::Accepted
    }

    #[test]
    fn only_the_account_with_its_password_logs_in() {
        assert!(logs_in("administrator", "Päss:wörd", |_| {}));
        assert!(!logs_in("Administrator", "wrong", |_| {}));
        assert!(!logs_in("Guest", "Päss:wörd", |_| {}));
    }

    /// sspi alone would let this client in with any password.
    #[test]
    fn a_client_that_leaves_out_the_integrity_code_does_not_log_in() {
        const WITH_CODE: [u8; 8] = [6, 0, 4, 0, 2, 0, 0, 0];
        for flags in [0, 4, 6] {
            let forge = |message: &mut Vec<u8>| {
                let at = message.windows(8).position(|window| window == WITH_CODE).unwrap();
                message[at + 4] = flags;
            };
            assert!(!logs_in("Administrator", "wrong", forge));
        }
    }
}
