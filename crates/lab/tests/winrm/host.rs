//! A host with a handful of programs, and a server in front of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use k8swin_lab::program::{Account, CommandHost, CommandLine, ConnectionFaults, Output, RunningProgram, SharedHost};
use k8swin_lab::winrm::{Counters, Limits, Security, Server};
use k8swin_protocol::SecretBytes;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use winrm_rs::{WinrmClient, WinrmConfig, WinrmCredentials};

/// STATUS_CONTROL_C_EXIT.
const INTERRUPTED: i32 = 0xC000_013A_u32.cast_signed();

/// The hexadecimal SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A host that starts a few programs.
pub(crate) struct TestHost {
    account: Account,
    faults: Mutex<ConnectionFaults>,
    power: Mutex<CancellationToken>,
    running: Arc<AtomicUsize>,
}

impl TestHost {
    fn new() -> Self {
        Self {
            account: Account {
                user: "Administrator".into(),
                password: Some(SecretBytes::new("Päss wörd")),
                authorized_keys: Vec::new(),
            },
            faults: Mutex::default(),
            power: Mutex::default(),
            running: Arc::default(),
        }
    }

    /// Programs that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub(crate) fn set_faults(&self, change: impl FnOnce(&mut ConnectionFaults)) {
        change(&mut self.faults.lock().unwrap());
    }

    pub(crate) fn cut_power(&self) {
        self.power.lock().unwrap().cancel();
    }

    pub(crate) fn restore_power(&self) {
        *self.power.lock().unwrap() = CancellationToken::new();
    }
}

impl CommandHost for TestHost {
    fn name(&self) -> &str {
        "win01"
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn connection_faults(&self) -> ConnectionFaults {
        *self.faults.lock().unwrap()
    }

    fn start(&self, command: CommandLine) -> RunningProgram {
        let (stdin, input) = mpsc::channel(4);
        let (output, receiver) = mpsc::channel(4);
        let terminate = CancellationToken::new();
        let (ended, running) = (terminate.clone(), Arc::clone(&self.running));
        running.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let code = tokio::select! {
                () = ended.cancelled() => INTERRUPTED,
                code = run(command, input, &output) => code,
            };
            running.fetch_sub(1, Ordering::SeqCst);
            let _ = output.send(Output::Exit(code)).await;
        });
        RunningProgram { stdin, output: receiver, terminate }
    }

    fn power(&self) -> CancellationToken {
        self.power.lock().unwrap().clone()
    }
}

async fn run(command: CommandLine, mut input: mpsc::Receiver<Bytes>, output: &mpsc::Sender<Output>) -> i32 {
    let print = async |bytes: Bytes| {
        let _ = output.send(Output::Stdout(bytes)).await;
    };
    match command.command.as_str() {
        "hostname" => print("win01\r\n".into()).await,
        "arguments" => {
            print(format!("{:?}", command.arguments).into()).await;
            let _ = output.send(Output::Stderr("on stderr".into())).await;
        }
        "cat" => {
            while let Some(bytes) = input.recv().await {
                print(bytes).await;
            }
        }
        "sha256" => {
            let mut hash = Sha256::new();
            while let Some(bytes) = input.recv().await {
                hash.update(&bytes);
            }
            print(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()).await;
        }
        "print" => {
            print(vec![b'x'; command.arguments[0].parse().unwrap()].into()).await;
            return -1;
        }
        "sleep" => std::future::pending().await,
        other => {
            let message = format!("'{other}' is not recognized as an internal or external command");
            let _ = output.send(Output::Stderr(message.into())).await;
            return 1;
        }
    }
    0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) host: Arc<TestHost>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    /// The SHA-256 of its certificate.
    pub(crate) fingerprint: String,
    scheme: Scheme,
    address: SocketAddr,
    certificate: rcgen::Certificate,
    folder: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start(scheme: Scheme, limits: Limits) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer_key = rcgen::KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&issuer_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, issuer_key);
        let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "win01");
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();

        let security = match scheme {
            Scheme::Http => Security::Http,
            Scheme::Https => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                let config =
                    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                        .with_safe_default_protocol_versions()
                        .unwrap()
                        .with_no_client_auth()
                        .with_single_cert(vec![certificate.der().clone()], key)
                        .unwrap();
                Security::Https(Arc::new(config))
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let host = Arc::new(TestHost::new());
        let server = Server::new(security, Arc::clone(&host) as SharedHost, limits);
        let (counters, stop) = (server.counters(), CancellationToken::new());
        tokio::spawn(server.serve(listener, stop.clone()));
        let fingerprint = sha256(certificate.der());
        Self { host, counters, stop, fingerprint, scheme, address, certificate: authority, folder }
    }

    /// A client with the right credentials.
    pub(crate) fn client(&self) -> WinrmClient {
        self.client_with(client_config(self), "Administrator", "Päss wörd")
    }

    pub(crate) fn client_with(&self, config: WinrmConfig, user: &str, password: &str) -> WinrmClient {
        let tls = config.use_tls;
        let builder = WinrmClient::builder(config).credentials(WinrmCredentials::new(user, password, ""));
        let ca = self.folder.path().join("ca.pem");
        if tls { builder.add_root_certificates_pem(ca) } else { builder }.build().unwrap()
    }

    /// A connection without TLS.
    pub(crate) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection with TLS.
    pub(crate) async fn tls(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, self.plain().await).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How the client reaches a server.
pub(crate) fn client_config(server: &Running) -> WinrmConfig {
    WinrmConfig { port: Some(server.address.port()), use_tls: server.scheme == Scheme::Https, ..WinrmConfig::default() }
}
