//! Makes keys and certificates: ECDSA P-256 for TLS, which Go 1.7 can read, and RSA for service accounts.
//!
//! Go 1.7 knows no Ed25519, and the controller-manager of 1.5 refuses a service-account key in PKCS#8 (facts B.2).

use std::time::Duration;

use jiff::Timestamp;
use k8swin_protocol::SecretBytes;
use openssl::rsa::Rsa;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};

use super::PkiError;
use super::specification::{Authority, ServerName, Specification};

const HOUR: u64 = 3600;
const YEAR: u64 = 365 * 24 * HOUR;

/// How long a CA is valid. It is never renewed: all that trusts it would have to be changed at once.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * YEAR);

/// How long other certificates are valid.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(YEAR);

/// Clocks of hosts may be behind this machine's.
const BACKDATED: Duration = Duration::from_secs(HOUR);

/// A certificate and its private key, both PEM.
pub(super) struct Issued {
    /// The certificate.
    pub(super) certificate: SecretBytes,
    /// The key.
    pub(super) key: SecretBytes,
}

/// A CA that can sign.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// When it ends, in seconds since 1970: no certificate of its outlives it.
    ends: i64,
}

impl Signer {
    /// Takes a CA that has been read and checked.
    pub(super) fn new(name: &str, certificate: &str, key: &str, ends: i64) -> Result<Self, PkiError> {
        let fault = |error: rcgen::Error| PkiError::Issue { name: name.to_owned(), reason: error.to_string() };
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key).map_err(fault)?).map_err(fault)?;
        Ok(Self { issuer, ends })
    }

    /// Makes a key and signs a certificate for it.
    pub(super) fn issue(&self, specification: &Specification, now: Timestamp) -> Result<Issued, PkiError> {
        let fault = |reason: String| PkiError::Issue { name: specification.stem.clone(), reason };
        let mut parameters = parameters(now, CERTIFICATE_LIFE, Some(self.ends)).map_err(fault)?;
        parameters.distinguished_name = subject(&specification.common_name, specification.organization);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        if specification.purpose.server {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if specification.purpose.client {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        for name in &specification.names {
            parameters.subject_alt_names.push(match name {
                ServerName::Address(address) => SanType::IpAddress((*address).into()),
                ServerName::Dns(text) => SanType::DnsName(
                    text.as_str().try_into().map_err(|error: rcgen::Error| fault(format!("`{text}`: {error}")))?,
                ),
            });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| fault(error.to_string()))?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(|error| fault(error.to_string()))?;
        Ok(issued(&certificate, &key))
    }
}

/// Makes a CA.
pub(super) fn authority(authority: Authority, now: Timestamp) -> Result<Issued, PkiError> {
    let fault = |reason: String| PkiError::Issue { name: authority.stem().to_owned(), reason };
    let mut parameters = parameters(now, AUTHORITY_LIFE, None).map_err(fault)?;
    parameters.distinguished_name = subject(authority.common_name(), None);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| fault(error.to_string()))?;
    let certificate = parameters.self_signed(&key).map_err(|error| fault(error.to_string()))?;
    Ok(issued(&certificate, &key))
}

/// Makes the service-account keys: private as PKCS#1 PEM, public as PKIX PEM.
pub(super) fn service_account() -> Result<(SecretBytes, SecretBytes), PkiError> {
    let fault =
        |error: openssl::error::ErrorStack| PkiError::Issue { name: "sa.key".into(), reason: error.to_string() };
    let key = Rsa::generate(2048).map_err(fault)?;
    let private = key.private_key_to_pem().map_err(fault)?;
    let public = key.public_key_to_pem().map_err(fault)?;
    Ok((SecretBytes::new(private), SecretBytes::new(public)))
}

fn issued(certificate: &rcgen::Certificate, key: &KeyPair) -> Issued {
    Issued { certificate: SecretBytes::new(certificate.pem()), key: SecretBytes::new(key.serialize_pem()) }
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn parameters(now: Timestamp, life: Duration, latest: Option<i64>) -> Result<CertificateParams, String> {
    let outside = || format!("a certificate cannot begin at {now}: set this machine's clock");
    let seconds = u64::try_from(now.as_second()).map_err(|_| outside())?;
    let begin = seconds.saturating_sub(BACKDATED.as_secs());
    let latest = latest.map_or(u64::MAX, |end| u64::try_from(end).unwrap_or(0));
    let end = seconds.saturating_add(life.as_secs()).min(latest);
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |seconds| epoch.checked_add(Duration::from_secs(seconds).try_into().ok()?);
    let mut parameters = CertificateParams::default();
    parameters.not_before = at(begin).ok_or_else(outside)?;
    parameters.not_after = at(end).ok_or_else(outside)?;
    parameters.serial_number = Some(serial()?);
    Ok(parameters)
}

/// 126 random bits, positive and never zero.
fn serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
    let [first, ..] = &mut bytes;
    *first = *first & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
