//! TLS 1.3 with a raw public key on the depot's side, which the client knows by its digest (RFC 7250).

use std::sync::Arc;

use k8swin_protocol::Sha256;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme};

use super::Trouble;

/// The name that a client must give, and that nobody looks at: the key is what counts.
const NAME: &str = "depot";

/// Bytes of a public key of Ed25519.
const KEY: usize = 32;

/// A depot's key, made for it alone.
pub(super) struct Identity(Arc<ServerConfig>);

impl Identity {
    /// A new one, with the digest of its public half.
    pub(super) fn new() -> Result<(Self, Sha256), Trouble> {
        let pair =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Trouble::said("no key can be made"))?;
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pair.as_ref()))?;
        let public = key.public_key().ok_or_else(|| Trouble::said("the key has no public half"))?.to_vec();
        let digest = Sha256::of(&public);
        let certified = CertifiedKey::new(vec![CertificateDer::from(public)], key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
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
    let pin = Pin { key };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pin))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(NAME).map_err(Trouble::said)?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// The one cipher suite, key exchange and kind of signature that both ends use. All that rustls and ring have would make the
/// agent a third of a megabyte larger.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![X25519],
        // The one signature that there is to verify is verified below.
        signature_verification_algorithms: WebPkiSupportedAlgorithms { all: &[], mapping: &[] },
        secure_random: &Ring,
        key_provider: &Ring,
    }
}

/// What rustls asks of ring besides.
#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(buffer).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        match &key {
            PrivateKeyDer::Pkcs8(key) => any_eddsa_type(key),
            _ => Err(rustls::Error::General("a depot's key is PKCS#8".to_owned())),
        }
    }
}

/// Takes one public key, and proof that the other side has its private half.
#[derive(Debug)]
struct Pin {
    key: Sha256,
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
        let wrong = || rustls::Error::General("the depot does not have its private key".to_owned());
        // The public key was compared byte by byte: it is one of the depot's making, whose bytes are at its end (RFC 8410, 4).
        let key = public_key.len().checked_sub(KEY).and_then(|start| public_key.get(start..)).ok_or_else(wrong)?;
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(wrong());
        }
        let public_key = UnparsedPublicKey::new(&ED25519, key);
        public_key.verify(message, signature.signature()).map_err(|_| wrong())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
