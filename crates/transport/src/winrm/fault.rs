//! What winrm-rs' errors mean.

use std::error::Error;
use std::io;

use winrm_rs::{SoapError, WinrmError};

use crate::error::{ConnectError, Target};

/// The words of winrm-rs 2 for a refused log-in and a refused pin; it has no variants for them. Tests against a real server
/// hold them.
const REJECTED: &str = "NTLM authentication rejected";
const PIN_REFUSED: &str = "pinned certificate check";

/// Why a host did not open a shell.
pub(super) fn connect_error(error: &WinrmError, target: Target, user: &str) -> ConnectError {
    match error {
        WinrmError::Http(http) => match rustls_error(http) {
            Some(rustls::Error::InvalidCertificate(reason)) => ConnectError::CertificateNotTrusted {
                target,
                cause: rustls::Error::InvalidCertificate(reason.clone()).to_string(),
                fingerprint: None,
            },
            Some(other) => {
                ConnectError::NotTheProtocol { target, protocol: "WinRM over HTTPS", answer: other.to_string() }
            }
            None => ConnectError::Unreachable { target, cause: text(error) },
        },
        WinrmError::Timeout(_) => ConnectError::Unreachable { target, cause: text(error) },
        WinrmError::AuthFailed(answer) if answer.contains(PIN_REFUSED) => ConnectError::CertificateNotTrusted {
            target,
            cause: "its fingerprint is not the one in the inventory".to_owned(),
            fingerprint: None,
        },
        WinrmError::AuthFailed(answer) if answer.contains(REJECTED) => {
            credentials(target, user, "the user name or the password is wrong, or the account is locked".to_owned())
        }
        WinrmError::Soap(SoapError::Fault { code, reason }) => match code.rsplit([':', '/']).next() {
            Some("QuotaLimit") => ConnectError::Quota { target, answer: reason.trim().to_owned() },
            Some("AccessDenied") => credentials(target, user, reason.trim().to_owned()),
            _ => ConnectError::NotTheProtocol { target, protocol: "WinRM", answer: text(error) },
        },
        _ => ConnectError::NotTheProtocol { target, protocol: "WinRM", answer: text(error) },
    }
}

fn credentials(target: Target, user: &str, answer: String) -> ConnectError {
    // Facts F.2.
    let hint = "check `user` (`DOMAIN\\name` for a domain account) and `password`; a local account other than \
                Administrator must be an administrator and needs LocalAccountTokenFilterPolicy = 1 on the host"
        .to_owned();
    ConnectError::Credentials { target, user: user.to_owned(), answer, hint }
}

/// Whether the host refused a request for its size, before it looked at it.
pub(super) fn is_too_large(error: &WinrmError) -> bool {
    match error {
        WinrmError::Soap(SoapError::Fault { code, .. }) => code.rsplit([':', '/']).next() == Some("EncodingLimit"),
        WinrmError::Ntlm(_) | WinrmError::AuthFailed(_) => error.to_string().contains("HTTP 413"),
        _ => false,
    }
}

/// An error with its causes, which reqwest keeps to itself.
pub(super) fn text(error: &WinrmError) -> String {
    let WinrmError::Http(http) = error else { return error.to_string() };
    let mut causes = vec![http.to_string()];
    let mut next = http.source();
    while let Some(cause) = next {
        let text = without_manual(&cause.to_string());
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    // "error sending request for url (…): client error (Connect)" says less than what comes after it.
    let telling = causes
        .iter()
        .position(|cause| !cause.starts_with("error sending request") && !cause.starts_with("client error"));
    causes.split_off(telling.unwrap_or(0)).join(": ")
}

/// An error of rustls without the page of its manual, which is for its users and not for ours.
fn without_manual(text: &str) -> String {
    text.split_once(": https://docs.rs/rustls").map_or(text, |(message, _)| message).to_owned()
}

/// The TLS error among the causes. Those wrapped in an I/O error are not among its sources.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { host: "win01".into(), endpoint: "127.0.0.1:5986".into() }
    }

    fn fault(code: &str) -> WinrmError {
        WinrmError::Soap(SoapError::Fault { code: code.into(), reason: "This user is allowed 30 shells. ".into() })
    }

    #[test]
    fn messages_do_not_lead_to_the_manual_of_rustls() {
        let closed = "peer closed connection without sending TLS close_notify";
        let manual = "https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        assert_eq!(without_manual(&format!("{closed}: {manual}")), closed);
        assert_eq!(without_manual(closed), closed);
    }

    #[test]
    fn causes_are_told_apart() {
        let error = |error| connect_error(&error, target(), "Administrator");
        assert!(matches!(error(fault("w:QuotaLimit")), ConnectError::Quota { .. }));
        assert!(matches!(error(fault("w:AccessDenied")), ConnectError::Credentials { .. }));
        assert!(matches!(error(fault("w:SchemaValidationError")), ConnectError::NotTheProtocol { .. }));
        assert!(error(WinrmError::Timeout(40)).is_transient());
        let not_winrm = WinrmError::AuthFailed("expected 401 for NTLM negotiate, got 404 Not Found".into());
        assert!(matches!(error(not_winrm), ConnectError::NotTheProtocol { .. }));
    }

    #[test]
    fn a_request_that_is_too_large_is_recognised() {
        assert!(is_too_large(&fault("w:EncodingLimit")));
        assert!(is_too_large(&WinrmError::AuthFailed("HTTP 413 Payload Too Large: ".into())));
        assert!(!is_too_large(&fault("w:QuotaLimit")));
    }
}
