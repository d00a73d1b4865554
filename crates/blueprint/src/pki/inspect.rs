//! Reads certificates back: whether one is still what the cluster needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use k8swin_protocol::SecretBytes;
use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};

use super::specification::{ServerName, Specification};

/// What is left of a certificate's life when it is renewed.
const RENEWED_BEFORE_END: SignedDuration = SignedDuration::from_hours(30 * 24);

/// PEM text as text. The error names no content: it may be a key.
pub(super) fn text(bytes: &SecretBytes) -> Result<&str, String> {
    std::str::from_utf8(bytes.expose()).map_err(|_| "it is not text".to_owned())
}

/// The first certificate of a PEM file.
pub(super) fn pem(bytes: &SecretBytes) -> Result<Pem, String> {
    let (_, pem) = parse_x509_pem(bytes.expose()).map_err(|error| error.to_string())?;
    if pem.label == "CERTIFICATE" { Ok(pem) } else { Err(format!("it is a `{}`", pem.label)) }
}

/// The end of each certificate among a cluster's files, by the file's name; what is no certificate has none.
#[must_use]
pub fn certificate_ends(files: &BTreeMap<String, SecretBytes>) -> BTreeMap<String, Timestamp> {
    let end = |bytes: &SecretBytes| {
        let pem = pem(bytes).ok()?;
        let certificate = pem.parse_x509().ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    };
    files
        .iter()
        .filter(|(name, _)| name.ends_with(".crt"))
        .filter_map(|(name, bytes)| Some((name.clone(), end(bytes)?)))
        .collect()
}

/// The private key of a PEM file.
pub(super) fn key(bytes: &SecretBytes) -> Result<KeyPair, String> {
    KeyPair::from_pem(text(bytes)?).map_err(|error| error.to_string())
}

/// Whether the private key belongs to the certificate.
pub(super) fn belong_together(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    certificate.public_key().subject_public_key.data.as_ref() == key.der_bytes()
}

/// Whether this certificate and key fulfil the specification for more than 30 days from now, and this CA signed it.
pub(super) fn fulfils(
    certificate: &SecretBytes,
    private_key: &SecretBytes,
    specification: &Specification,
    authority: &X509Certificate<'_>,
    now: Timestamp,
) -> bool {
    let (Ok(pem), Ok(key)) = (pem(certificate), key(private_key)) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let validity = certificate.validity();
    let now = now.as_second();
    let subject = certificate.subject();
    let common_name: Vec<_> = subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let organization: Vec<_> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
    let purpose = certificate.extended_key_usage().ok().flatten().map(|extension| extension.value);
    belong_together(&certificate, &key)
        && validity.not_before.timestamp() <= now
        && validity.not_after.timestamp().saturating_sub(now) > RENEWED_BEFORE_END.as_secs()
        && common_name == [specification.common_name.as_str()]
        && organization == specification.organization.as_slice()
        && names(&certificate).as_ref() == Some(&specification.names)
        && purpose.is_some_and(|usage| {
            usage.server_auth == specification.purpose.server && usage.client_auth == specification.purpose.client
        })
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

/// All names of a certificate; none when there is one that we would never write.
fn names(certificate: &X509Certificate<'_>) -> Option<BTreeSet<ServerName>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else { return Some(BTreeSet::new()) };
    extension
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(text) => Some(ServerName::Dns((*text).to_owned())),
            GeneralName::IPAddress(bytes) => {
                Some(ServerName::Address(Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?)))
            }
            _ => None,
        })
        .collect()
}
