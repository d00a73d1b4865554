//! TLS 1.3 with a raw public key on the depot's side, which the client knows by its digest (RFC 7250).

use std::sync::Arc;

use k8swin_protocol::Sha256;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme};

use super::Trouble;

/// The name that a client must give, and that nobody looks at: the key is what counts.
const NAME: &str = "depot";

/// A depot's key, made for it alone.
pub(super) struct Identity(Arc<ServerConfig>);

impl Identity {
    /// A new one, with the digest of its public half.
    pub(super) fn new() -> Result<(Self, Sha256), Trouble> {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| Trouble::said("no key can be made"))?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.as_ref().to_vec()));
        let key = provider::sign::any_ecdsa_type(&private)?;
        let public = key.public_key().ok_or_else(|| Trouble::said("the key has no public half"))?.to_vec();
        let digest = Sha256::of(&public);
        let certified = CertifiedKey::new(vec![CertificateDer::from(public)], key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified))));
        // Nobody comes back to a session.
        config.send_tls13_tickets = 0;
        Ok((Self(Arc::new(config)), digest))
    }

    /// The depot's side of a connection.
    pub(super) fn accept(&self) -> Result<ServerConnection, Trouble> {
        Ok(ServerConnection::new(Arc::clone(&self.0))?)
    }
}

/// The other side of a connection to the depot with this key.
pub(super) fn connect(key: Sha256) -> Result<ClientConnection, Trouble> {
    let provider = ring_provider();
    let pin = Pin { key, algorithms: provider.signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(NAME).map_err(Trouble::said)?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

fn ring_provider() -> CryptoProvider {
    provider::default_provider()
}

/// Takes one public key, and proof that the other side has its private half.
#[derive(Debug)]
struct Pin {
    key: Sha256,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        public_key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::of(public_key) == self.key {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("something else than this run's depot answers there: its key is another".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _public_key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("a depot speaks TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        public_key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let public_key = SubjectPublicKeyInfoDer::from(public_key.as_ref());
        verify_tls13_signature_with_raw_key(message, &public_key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
