//! Sessions with the lab's WinRM server on 127.0.0.1, in front of a host that knows the bootstrap script and an echo.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes as Chunk;
use camino::Utf8PathBuf;
use k8swin_inventory::cluster::{AdapterSelector, ForwardingMode, SecretSource, System, WindowsHost};
use k8swin_lab::program::{Account, CommandHost, CommandLine, ConnectionFaults, Output, RunningProgram};
use k8swin_lab::winrm::{Counters, Limits, Security, Server};
use k8swin_protocol::Sha256;
use k8swin_protocol::bootstrap::{POWERSHELL_PROGRAM, powershell_arguments};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::connect::{AgentBinary, connect};
use crate::secrets::Secrets;
use crate::session::{AgentFate, Session};

const PASSWORD: &str = "canary-Pa55word";

/// The path and the bytes of a file, if it is there.
type File = Option<(String, Vec<u8>)>;

/// A host with room for one file.
struct OneFileHost {
    account: Account,
    file: Arc<Mutex<File>>,
    power: CancellationToken,
}

impl CommandHost for OneFileHost {
    fn name(&self) -> &str {
        "win01"
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn connection_faults(&self) -> ConnectionFaults {
        ConnectionFaults::default()
    }

    fn start(&self, command: CommandLine) -> RunningProgram {
        let (stdin, mut input) = mpsc::channel::<Chunk>(8);
        let (writer, output) = mpsc::channel(8);
        let terminate = CancellationToken::new();
        let (file, ended) = (Arc::clone(&self.file), terminate.clone());
        tokio::spawn(async move {
            let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
            let is_there = file.lock().unwrap().as_ref().is_some_and(|(path, _)| *path == command.command);
            let program = async {
                if command.command == POWERSHELL_PROGRAM && command.arguments == powershell_arguments() {
                    bootstrap(&mut input, &file).await
                } else if is_there && arguments == ["serve"] {
                    let hello = "{\"hello\":{\"protocol\":2,\"version\":\"0.1.0\"}}\r\n";
                    writer.send(Output::Stdout(Chunk::from(hello))).await.unwrap();
                    while let Some(chunk) = input.recv().await {
                        let _ = writer.send(Output::Stdout(chunk)).await;
                    }
                    0
                } else {
                    let words = format!("'{}' is not recognized as an internal or external command", command.command);
                    writer.send(Output::Stderr(Chunk::from(words))).await.unwrap();
                    1
                }
            };
            let code = tokio::select! {
                () = ended.cancelled() => -1,
                code = program => code,
            };
            let _ = writer.send(Output::Exit(code)).await;
        });
        RunningProgram { stdin, output, terminate }
    }

    fn power(&self) -> CancellationToken {
        self.power.clone()
    }
}

/// What the script does, on a host with room for one file.
async fn bootstrap(input: &mut mpsc::Receiver<Chunk>, file: &Mutex<File>) -> i32 {
    let mut text = String::new();
    while let Some(chunk) = input.recv().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if text.ends_with("\n.\n") || text.starts_with("remove") && text.ends_with('\n') {
            break;
        }
    }
    let mut lines = text.lines();
    let header = Bootstrap::parse_header(lines.next().unwrap()).unwrap();
    if header.verb == Verb::Remove {
        *file.lock().unwrap() = None;
        return 0;
    }
    let bytes: Vec<u8> =
        lines.take_while(|line| *line != ".").flat_map(|line| STANDARD.decode(line).unwrap()).collect();
    if Sha256::of(&bytes) != header.sha256 {
        return 65;
    }
    *file.lock().unwrap() = Some((header.path.to_string(), bytes));
    0
}

/// An authority, and TLS with a certificate of its for 127.0.0.1.
struct Pki {
    folder: tempfile::TempDir,
    tls: Arc<rustls::ServerConfig>,
    fingerprint: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, tls: Arc::new(tls), fingerprint: Sha256::of(certificate.der()).to_string() }
    }

    fn ca(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.folder.path().join("ca.pem")).unwrap()
    }
}

struct Running {
    port: u16,
    counters: Arc<Counters>,
    file: Arc<Mutex<File>>,
    power: CancellationToken,
    _stop: DropGuard,
}

async fn serve(security: Security, limits: Limits) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (file, power, stop) = (Arc::default(), CancellationToken::new(), CancellationToken::new());
    let host = OneFileHost {
        account: Account {
            user: "Administrator".into(),
            password: Some(SecretBytes::new(PASSWORD)),
            authorized_keys: Vec::new(),
        },
        file: Arc::clone(&file),
        power: power.clone(),
    };
    let server = Server::new(security, Arc::new(host), limits);
    let counters = server.counters();
    tokio::spawn(server.serve(listener, stop.clone()));
    Running { port, counters, file, power, _stop: stop.drop_guard() }
}

async fn serve_http() -> Running {
    serve(Security::Http, Limits::default()).await
}

fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(20),
        attempts: 1,
        secrets: Arc::new(Secrets::without_prompt()),
        ssh_config: None,
        on_retry: Arc::new(|_, _| {}),
        cancel: CancellationToken::new(),
    }
}

fn host(port: u16, transport: WinRmTransport, password: &str) -> Host {
    Host {
        name: "win01".into(),
        address: "127.0.0.1".into(),
        node_address: Ipv4Addr::LOCALHOST,
        api_endpoint: None,
        pod_cidr: "192.168.1.0/24".parse().unwrap(),
        ignore: Vec::new(),
        system: System::Windows(WindowsHost {
            winrm: WinRm {
                user: "Administrator".into(),
                password: SecretSource::Literal(SecretBytes::new(password)),
                port,
                transport,
            },
            pod_adapter: AdapterSelector::Name("Ethernet 2".into()),
            forwarding: ForwardingMode::PerAdapter,
            pause_base_image: "microsoft/windowsservercore".into(),
            docker: None,
        }),
    }
}

fn agent(length: u32) -> AgentBinary {
    let bytes: Vec<u8> = (0..length).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    AgentBinary { sha256: Sha256::of(&bytes), bytes: bytes.into() }
}

async fn connect_to(port: u16, transport: WinRmTransport) -> Result<Session, ConnectError> {
    connect(&host(port, transport, PASSWORD), &agent(10), None, &options()).await
}

async fn echoes(session: &mut Session, text: &str) {
    session.send(Zeroizing::new(format!("{text}\n").into_bytes())).await.unwrap();
    assert!(session.receive().await.unwrap().as_slice() == text.as_bytes());
}

/// The whole life of a session with an agent of 3 MB.
async fn full_life(server: &Running, transport: WinRmTransport) {
    let (host, agent) = (host(server.port, transport, PASSWORD), agent(750_000));
    let mut session = connect(&host, &agent, None, &options()).await.unwrap();
    assert!(session.put_agent());
    assert_eq!(server.counters.shells_created(), 1);
    let expected = Os::Windows.agent(agent.sha256).to_string();
    {
        let file = server.file.lock().unwrap();
        let (path, bytes) = file.as_ref().unwrap();
        assert!(*path == expected && bytes.as_slice() == &*agent.bytes);
    }
    echoes(&mut session, "one").await;
    echoes(&mut session, &"x".repeat(1 << 20)).await;
    session.close(AgentFate::Keep).await.unwrap();
    assert_eq!(server.counters.shells_open(), 0);
    // The second session sends nothing of it.
    let mut session = connect(&host, &agent, None, &options()).await.unwrap();
    assert!(!session.put_agent());
    echoes(&mut session, "two").await;
    session.close(AgentFate::Remove).await.unwrap();
    assert!(server.file.lock().unwrap().is_none());
    assert_eq!((server.counters.shells_created(), server.counters.shells_open()), (2, 0));
}

#[tokio::test]
async fn https_with_an_authority() {
    let pki = Pki::new();
    let server = serve(Security::Https(Arc::clone(&pki.tls)), Limits::default()).await;
    full_life(&server, WinRmTransport::Https(ServerTrust::Ca(pki.ca()))).await;
}

#[tokio::test]
async fn https_with_a_pinned_certificate() {
    let pki = Pki::new();
    let server = serve(Security::Https(Arc::clone(&pki.tls)), Limits::default()).await;
    full_life(&server, WinRmTransport::Https(ServerTrust::Pinned(pki.fingerprint.clone()))).await;
}

#[tokio::test]
async fn http_with_sealed_messages() {
    // The server refuses whatever is not sealed.
    let server = serve_http().await;
    full_life(&server, WinRmTransport::Http).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_shown_with_its_fingerprint() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = serve(Security::Https(Arc::clone(&pki.tls)), Limits::default()).await;
    for trust in [ServerTrust::Ca(other.ca()), ServerTrust::Pinned(other.fingerprint.clone())] {
        let error = connect_to(server.port, WinRmTransport::Https(trust)).await.err().unwrap();
        assert!(matches!(error, ConnectError::CertificateNotTrusted { .. }), "{error}");
        assert!(!error.is_transient());
        let failure = error.failure();
        assert!(failure.answer.contains(&pki.fingerprint), "{failure}");
        assert!(failure.hint.unwrap().contains(&format!("fingerprint = \"{}\"", pki.fingerprint)));
    }
    assert_eq!(server.counters.shells_created(), 0);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_tried_again() {
    let server = serve_http().await;
    let options = Options { attempts: 5, on_retry: Arc::new(|_, cause| panic!("{cause}")), ..options() };
    let wrong = host(server.port, WinRmTransport::Http, "canary-wrong");
    let error = connect(&wrong, &agent(10), None, &options).await.err().unwrap();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
    assert!(!format!("{error:?} {}", error.failure()).contains("canary"), "{error}");
}

#[tokio::test]
async fn too_many_shells_are_a_quota() {
    let server = serve(Security::Http, Limits { shells_per_user: 1, ..Limits::default() }).await;
    let first = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    let error = connect_to(server.port, WinRmTransport::Http).await.err().unwrap();
    assert!(matches!(error, ConnectError::Quota { .. }), "{error}");
    assert!(!error.is_transient());
    first.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_host_with_smaller_envelopes_gets_smaller_pieces() {
    let server = serve(Security::Http, Limits { envelope: 150 << 10, ..Limits::default() }).await;
    full_life(&server, WinRmTransport::Http).await;
}

#[tokio::test]
async fn a_host_that_takes_larger_envelopes_gets_larger_pieces() {
    let server = serve(Security::Http, Limits { envelope: 2 << 20, ..Limits::default() }).await;
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    let text = "x".repeat(1_400_000);
    let mut requests = Vec::new();
    for envelope in [500, 2048] {
        session.set_envelope_kib(envelope);
        let before = server.counters.requests();
        echoes(&mut session, &text).await;
        requests.push(server.counters.requests() - before);
    }
    // Four envelopes or one, and perhaps a question in between whether there is anything to be heard.
    assert!(requests[0] >= requests[1] + 3, "{requests:?}");
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_question_and_its_answer_are_two_requests_and_the_end_is_one() {
    let server = serve_http().await;
    // So that it is there.
    connect_to(server.port, WinRmTransport::Http).await.unwrap().close(AgentFate::Keep).await.unwrap();
    let before = server.counters.requests();
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    // Two for the log-in, the shell, the program, its greeting.
    assert_eq!(server.counters.requests() - before, 5);
    for number in 1..=20 {
        echoes(&mut session, "one").await;
        assert_eq!(server.counters.requests() - before, 5 + 2 * number);
    }
    session.leave().await.unwrap();
    assert_eq!(server.counters.requests() - before, 5 + 2 * 20 + 1);
    assert_eq!(server.counters.shells_open(), 0);
}

#[tokio::test]
async fn silence_beyond_the_time_out_is_no_error() {
    let limits = Limits { timeout: Duration::from_millis(20), ..Limits::default() };
    let server = serve(Security::Http, limits).await;
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    let before = server.counters.requests();
    // Several long polls come back empty.
    let several = async {
        while server.counters.requests() < before + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = several => {}
        line = session.receive() => panic!("{line:?}"),
    }
    echoes(&mut session, "still there").await;
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Log(Arc::clone(&log));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Of this thread, on which this test's tasks run.
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = serve_http().await;
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    echoes(&mut session, "canary-line").await;
    session.close(AgentFate::Keep).await.unwrap();
    let log = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    assert!(log.contains("winrm_rs"), "the log is empty");
    // `canary-` is in base64 somewhere in the middle of a text: the part that does not depend on its neighbours.
    for secret in ["canary", PASSWORD, "Y2FuYXJ5", STANDARD.encode("canary-line\n").as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_lost_connection_is_noticed_and_named() {
    let server = serve_http().await;
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    echoes(&mut session, "still there").await;
    server.power.cancel();
    let error = session.receive().await.unwrap_err();
    assert!(matches!(error, TransportError::Lost { .. }), "{error}");
    assert!(error.failure().attempted.contains("win01"), "{error}");
    assert_eq!(session.receive().await.unwrap_err(), error);
    // The shell cannot be deleted any more, which is no reason to wait.
    assert!(session.close(AgentFate::Keep).await.is_err());
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_no_shell() {
    let server = serve_http().await;
    let mut session = connect_to(server.port, WinRmTransport::Http).await.unwrap();
    echoes(&mut session, "one").await;
    assert_eq!(server.counters.shells_open(), 1);
    drop(session);
    while server.counters.shells_open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_attempt_that_is_given_up_leaves_no_shell() {
    let server = serve_http().await;
    let (host, agent, options) = (host(server.port, WinRmTransport::Http, PASSWORD), agent(2_000_000), options());
    // What Ctrl-C does: the future is dropped, here while the agent's 8 MB are on their way.
    let shell_is_there = async {
        while server.counters.shells_open() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = shell_is_there => {}
        connected = connect(&host, &agent, None, &options) => panic!("connected already: {}", connected.is_ok()),
    }
    while server.counters.shells_open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_takes_away_what_it_has_put_there() {
    let server = serve_http().await;
    let (host, agent, options) = (host(server.port, WinRmTransport::Http, PASSWORD), agent(10), options());
    // As soon as the file is there, which is before the agent has greeted.
    let file_is_there = async {
        while server.file.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        options.cancel.cancel();
    };
    let (connected, ()) = tokio::join!(connect(&host, &agent, None, &options), file_is_there);
    let error = connected.err().unwrap();
    assert!(matches!(error, ConnectError::Cancelled { .. }) && !error.is_transient(), "{error}");
    assert!(server.file.lock().unwrap().is_none());
    assert_eq!(server.counters.shells_open(), 0);
}

#[tokio::test]
async fn something_else_on_the_port_is_recognised() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            let mut request = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let error = connect_to(port, WinRmTransport::Http).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotTheProtocol { .. }), "{error}");
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let error = connect_to(port, WinRmTransport::Http).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_missing_password_is_named() {
    let mut host = host(1, WinRmTransport::Http, "");
    if let System::Windows(windows) = &mut host.system {
        windows.winrm.password = SecretSource::Env("K8SWIN_NO_SUCH_VARIABLE".into());
    }
    let error = connect(&host, &agent(10), None, &options()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Secret { .. }), "{error}");
    assert!(error.failure().hint.unwrap().contains("export K8SWIN_NO_SUCH_VARIABLE"));
}
