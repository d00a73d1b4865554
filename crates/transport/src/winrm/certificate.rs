//! A look at a server's certificate, for its fingerprint in an error. Nothing is sent to the server but the hello.

use std::sync::{Arc, Mutex, PoisonError};

use k8swin_protocol::Sha256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The SHA-256 fingerprint of the certificate that the server shows, as the inventory writes it.
pub(super) async fn fingerprint(address: &str, port: u16) -> Option<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let look = Arc::new(Look {
        schemes: provider.signature_verification_algorithms.supported_schemes(),
        seen: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&look) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(address.to_owned()).ok()?;
    let stream = TcpStream::connect((address, port)).await.ok()?;
    // Always fails: no certificate is accepted here.
    let _ = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let seen = look.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.as_ref().map(|certificate| Sha256::of(certificate).to_string())
}

/// Keeps the certificate and ends the handshake.
#[derive(Debug)]
struct Look {
    schemes: Vec<SignatureScheme>,
    seen: Mutex<Option<Vec<u8>>>,
}

fn only_looking() -> rustls::Error {
    rustls::Error::General("the certificate was only looked at".to_owned())
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Err(only_looking())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_looking())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_looking())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
