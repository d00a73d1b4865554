//! Keys and certificates of a lab. Ed25519 and P-256 only: a thousand of them take a moment.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8swin_protocol::SecretBytes;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::LabError;

/// A new SSH key.
pub(crate) fn ssh_key() -> Result<PrivateKey, LabError> {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
        .map_err(|error| LabError::Keys { what: "an SSH key", reason: error.to_string() })
}

/// A private key as OpenSSH writes it.
pub(crate) fn private_text(key: &PrivateKey) -> Result<SecretBytes, LabError> {
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|error| LabError::Keys { what: "the text of an SSH key", reason: error.to_string() })?;
    Ok(SecretBytes::new(text.as_bytes()))
}

/// The public half of a key as one line: `ssh-ed25519 AAAA…`.
pub(crate) fn public_text(key: &PrivateKey) -> Result<String, LabError> {
    key.public_key()
        .to_openssh()
        .map_err(|error| LabError::Keys { what: "the text of an SSH key", reason: error.to_string() })
}

/// A password that Windows' complexity rules accept.
#[must_use]
pub fn password() -> String {
    let mut text: String = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
    text.push_str("-aA1");
    text
}

/// The authority that issues the certificates of the WinRM servers. Its key never leaves memory.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new() -> Result<Self, LabError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "k8swin lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().map_err(certificate_error)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(certificate_error)
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// TLS for the server of one host, which is reached by that address.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn server(&self, name: &str, address: Ipv4Addr) -> Result<Arc<ServerConfig>, LabError> {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), name.to_owned()]).map_err(certificate_error)?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let key = KeyPair::generate().map_err(certificate_error)?;
        let certificate = params.signed_by(&key, &self.0).map_err(certificate_error)?;
        let tls_error = |error: rustls::Error| LabError::Keys { what: "a TLS server", reason: error.to_string() };
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(tls_error)?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .map_err(tls_error)?;
        Ok(Arc::new(config))
    }
}

fn certificate_error(error: rcgen::Error) -> LabError {
    LabError::Keys { what: "a certificate", reason: error.to_string() }
}
