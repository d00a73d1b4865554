//! TLS of a simulated API server, from the files that the installer put on its host: certificate, key, and the CA of the
//! clients. The handshake is real, so that a wrong certificate fails here as it would on the host.

use std::sync::{Arc, Mutex, PoisonError};

use k8swin_agent::simulated::SimulatedHost;
use k8swin_protocol::{Os, Sha256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

/// TLS for the files that are there now.
#[derive(Clone)]
pub(crate) struct ApiTls {
    /// For the handshake.
    pub(crate) config: Arc<ServerConfig>,
    /// Judges the client's certificate after it.
    clients: Arc<dyn ClientCertVerifier>,
}

impl ApiTls {
    /// Whether the client showed a certificate that the CA issued and that is valid now.
    pub(crate) fn authenticates(&self, certificates: Option<&[CertificateDer<'_>]>) -> bool {
        certificates.and_then(<[_]>::split_first).is_some_and(|(client, intermediates)| {
            self.clients.verify_client_cert(client, intermediates, UnixTime::now()).is_ok()
        })
    }
}

/// The TLS of one host, made anew when its files have changed.
#[derive(Default)]
pub(crate) struct ApiTlsCache(Mutex<Option<(Sha256, ApiTls)>>);

impl ApiTlsCache {
    /// TLS from the host's files.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(crate) fn current(&self, host: &SimulatedHost) -> Result<ApiTls, String> {
        let file = |name: &str| {
            let path = Os::Linux.pki().join(name);
            host.read_file(&path).ok_or_else(|| format!("{path} is not there"))
        };
        let [certificate, key, ca] = [file("apiserver.crt")?, file("apiserver.key")?, file("ca.crt")?];
        let digest = Sha256::of_parts([certificate.as_slice(), &key, &ca]);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, tls)) = cached.as_ref()
            && *of == digest
        {
            return Ok(tls.clone());
        }
        let tls = build(&certificate, &key, &ca)?;
        *cached = Some((digest, tls.clone()));
        Ok(tls)
    }
}

fn build(certificate: &[u8], key: &[u8], ca: &[u8]) -> Result<ApiTls, String> {
    let chain = certificates("apiserver.crt", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("apiserver.key: {error}"))?;
    let mut roots = RootCertStore::empty();
    for root in certificates("ca.crt", ca)? {
        roots.add(root).map_err(|error| format!("ca.crt: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| format!("ca.crt: {error}"))?;
    let asking = Arc::new(AskingVerifier { clients: Arc::clone(&clients), provider: Arc::clone(&provider) });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(asking)
        .with_single_cert(chain, key)
        .map_err(|error| format!("apiserver.crt and apiserver.key: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ApiTls { config: Arc::new(config), clients })
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(format!("{name} holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// Asks for a client certificate and takes any: kube-apiserver does the same (`tls.RequestClientCert`) and answers 401
/// after the handshake, where the client can read why. The client's signature is verified all the same.
#[derive(Debug)]
struct AskingVerifier {
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AskingVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
