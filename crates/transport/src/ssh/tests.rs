//! Sessions with a real `sshd` on 127.0.0.1, and a shell script in the agent's place. Skipped, aloud, where there is none.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{LinuxHost, SecretSource, System, UnknownHostKey};
use k8swin_protocol::{HostPath, SecretBytes, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::connect::{Agent, AgentBinary, connect_as};
use crate::session::{AgentFate, Session};

const SSHD: &str = "/usr/sbin/sshd";

/// A greeting after some noise, then an echo.
const AGENT: &str = "#!/bin/sh
echo 'Welcome to the host'
echo '{\"hello\":{\"protocol\":2,\"version\":\"0.1.0\"}}'
exec cat
# ";

/// A folder with keys and a server, which serves until the value is dropped.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    user: String,
    _stop: DropGuard,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn new_key(path: &Utf8Path, kind: &str, passphrase: &str) {
    run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-f", path.as_str()]);
}

impl Server {
    /// Starts a server; none where there is no sshd.
    async fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            println!("skipped: there is no {SSHD}");
            return None;
        }
        // sshd insists on this folder when it is root, and its service makes it, which does not run everywhere.
        if let Err(error) = std::fs::create_dir_all("/run/sshd")
            && error.kind() != std::io::ErrorKind::PermissionDenied
        {
            println!("skipped: /run/sshd cannot be made: {error}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Utf8PathBuf::from_path_buf(folder.path().join(name)).unwrap();
        for (name, kind) in
            [("host_ed25519", "ed25519"), ("host_ecdsa", "ecdsa"), ("id", "ed25519"), ("other", "ed25519")]
        {
            new_key(&at(name), kind, "");
        }
        new_key(&at("locked"), "ed25519", "open sesame");
        let authorized: String =
            ["id.pub", "locked.pub"].map(|name| std::fs::read_to_string(at(name)).unwrap()).concat();
        std::fs::write(at("authorized_keys"), authorized).unwrap();
        // For those who run tests as somebody else than root: it becomes nobody else, but is there.
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::write(at("bin/sudo"), "#!/bin/sh\nshift\nexec \"$@\"\n").unwrap();
        std::fs::set_permissions(at("bin/sudo"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "HostKey {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAllowTcpForwarding yes\nPrintMotd no\nMaxAuthTries 20\n\
             RekeyLimit 1M\nSetEnv PATH={}:/usr/bin:/bin\n",
            at("host_ed25519"),
            at("host_ecdsa"),
            at("authorized_keys"),
            at("bin")
        );
        std::fs::write(at("sshd_config"), config).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, at("sshd_config"), at("log"), stop.clone()));
        Some(Self { folder, port, user: run("id", &["-un"]), _stop: stop.drop_guard() })
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.folder.path().join(name)).unwrap()
    }

    fn host_key(&self, name: &str) -> String {
        let public = std::fs::read_to_string(self.at(&format!("{name}.pub"))).unwrap();
        public.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn fingerprint(&self, name: &str) -> String {
        run("ssh-keygen", &["-lf", self.at(name).as_str()]).split(' ').nth(1).unwrap().to_owned()
    }

    /// A file of known hosts that knows the server, or says another key for it.
    fn know(&self, key: &str) {
        std::fs::write(self.at("known_hosts"), format!("[127.0.0.1]:{} {}\n", self.port, self.host_key(key))).unwrap();
    }

    fn ssh(&self) -> Ssh {
        Ssh {
            user: Some(self.user.clone()),
            port: Some(self.port),
            identity: Some(self.at("id")),
            passphrase: None,
            password: None,
            known_hosts: Some(self.at("known_hosts")),
            unknown_host_key: UnknownHostKey::Refuse,
            proxy_jump: None,
        }
    }

    fn agent_path(&self) -> HostPath {
        HostPath::new(self.at("opt/bin/agent")).unwrap()
    }

    async fn connect(&self, ssh: Ssh) -> Result<Session, ConnectError> {
        self.connect_with(ssh, &agent(0), &options(), Surroundings::default()).await
    }

    async fn connect_with(
        &self,
        ssh: Ssh,
        agent: &AgentBinary,
        options: &Options,
        surroundings: Surroundings,
    ) -> Result<Session, ConnectError> {
        let host = Host {
            name: "lin01".into(),
            address: "127.0.0.1".into(),
            node_address: Ipv4Addr::LOCALHOST,
            api_endpoint: None,
            pod_cidr: "192.168.0.0/24".parse().unwrap(),
            ignore: Vec::new(),
            system: System::Linux(LinuxHost { control_plane: true, worker: true, ssh }),
        };
        let path = self.agent_path();
        let agent = Agent { binary: agent, path: &path, opening: None };
        connect_as(&host, agent, options, &surroundings).await
    }
}

async fn accept(listener: TcpListener, config: Utf8PathBuf, log: Utf8PathBuf, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let stream = accepted.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut server = Command::new(SSHD)
            .args(["-i", "-e", "-f", config.as_str()])
            .stdin(OwnedFd::from(stream.try_clone().unwrap()))
            .stdout(OwnedFd::from(stream))
            .stderr(log)
            .spawn()
            .unwrap();
        std::thread::spawn(move || server.wait());
    }
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

/// The stand-in, with that many bytes behind its end.
fn agent(padding: usize) -> AgentBinary {
    let noise: Vec<u8> = (0..padding).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
    let bytes = [AGENT.as_bytes(), &noise].concat();
    AgentBinary { sha256: Sha256::of(&bytes), bytes: bytes.into() }
}

async fn echoes(session: &mut Session, text: &str) {
    session.send(Zeroizing::new(format!("{text}\n").into_bytes())).await.unwrap();
    assert_eq!(session.receive().await.unwrap().as_slice(), text.as_bytes());
}

#[tokio::test]
async fn the_agent_is_put_once_and_removed_at_the_end() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    // The whole file arrives, across several changes of the session's keys (RekeyLimit).
    let agent = agent(3 << 20);
    let options = options();
    let connect = || server.connect_with(server.ssh(), &agent, &options, Surroundings::default());
    let mut session = connect().await.unwrap();
    assert!(session.put_agent());
    echoes(&mut session, "one").await;
    session.close(AgentFate::Keep).await.unwrap();
    assert_eq!(Sha256::of(&std::fs::read(server.agent_path().as_str()).unwrap()), agent.sha256);
    let mut session = connect().await.unwrap();
    assert!(!session.put_agent());
    echoes(&mut session, "two").await;
    session.close(AgentFate::Remove).await.unwrap();
    assert!(!server.at("opt").exists());
}

#[tokio::test]
async fn long_lines_cross_in_both_directions_at_once() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let mut session = server.connect(server.ssh()).await.unwrap();
    // Nothing is received before all is sent: queues and windows fill up, and nothing stops for good.
    let line = |index: usize| format!("{index} {}", "x".repeat(400_000 + index));
    for index in 0..12 {
        session.send(Zeroizing::new(format!("{}\n", line(index)).into_bytes())).await.unwrap();
    }
    for index in 0..12 {
        assert!(session.receive().await.unwrap().as_slice() == line(index).as_bytes(), "line {index}");
    }
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_with_its_fingerprint_and_the_line_to_add() {
    let Some(server) = Server::start().await else { return };
    let error = server.connect(server.ssh()).await.err().unwrap();
    assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{error}");
    assert!(!error.is_transient());
    let failure = error.failure();
    assert!(failure.answer.contains(&server.fingerprint("host_ed25519")), "{failure}");
    let line = format!("[127.0.0.1]:{} {}", server.port, server.host_key("host_ed25519"));
    let hint = failure.hint.unwrap();
    assert!(hint.contains(&line) && hint.contains("accept-new"), "{hint}");
    assert!(!server.at("known_hosts").exists());
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_both_fingerprints_and_its_place() {
    let Some(server) = Server::start().await else { return };
    server.know("other");
    let ssh = Ssh { unknown_host_key: UnknownHostKey::AcceptNew, ..server.ssh() };
    let error = server.connect(ssh).await.err().unwrap();
    assert!(matches!(error, ConnectError::HostKeyChanged { .. }), "{error}");
    let text = error.failure().to_string();
    assert!(text.contains(&server.fingerprint("other")), "{text}");
    assert!(text.contains(&server.fingerprint("host_ed25519")), "{text}");
    assert!(text.contains("known_hosts:1"), "{text}");
}

#[tokio::test]
async fn a_new_host_key_is_written_down_when_that_is_chosen() {
    let Some(server) = Server::start().await else { return };
    let ssh = Ssh { unknown_host_key: UnknownHostKey::AcceptNew, ..server.ssh() };
    server.connect(ssh).await.unwrap().close(AgentFate::Keep).await.unwrap();
    let line = format!("[127.0.0.1]:{} {}\n", server.port, server.host_key("host_ed25519"));
    assert_eq!(std::fs::read_to_string(server.at("known_hosts")).unwrap(), line);
    // Now it is known.
    server.connect(server.ssh()).await.unwrap().close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_host_with_several_keys_shows_the_known_one() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ecdsa");
    run("ssh-keygen", &["-q", "-H", "-f", server.at("known_hosts").as_str()]);
    server.connect(server.ssh()).await.unwrap().close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_tried_again() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let ssh = Ssh { identity: Some(server.at("other")), ..server.ssh() };
    let options = Options { attempts: 5, on_retry: Arc::new(|_, cause| panic!("{cause}")), ..options() };
    let error = server.connect_with(ssh, &agent(0), &options, Surroundings::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
    assert!(error.to_string().contains(server.at("other").as_str()), "{error}");
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_opened_with_it() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let with = |passphrase: Option<&str>| Ssh {
        identity: Some(server.at("locked")),
        passphrase: passphrase.map(|text| SecretSource::Literal(SecretBytes::new(text))),
        ..server.ssh()
    };
    server.connect(with(Some("open sesame"))).await.unwrap().close(AgentFate::Keep).await.unwrap();
    let error = server.connect(with(Some("hunter2"))).await.err().unwrap();
    assert!(error.to_string().contains("passphrase does not open it"), "{error}");
    assert!(!error.failure().to_string().contains("hunter2"));
    let error = server.connect(with(None)).await.err().unwrap();
    assert!(error.to_string().contains("has a passphrase"), "{error}");
}

#[tokio::test]
async fn keys_of_the_ssh_agent_are_offered() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let socket = server.at("agent.sock");
    let mut ssh_agent =
        Command::new("ssh-agent").args(["-D", "-a", socket.as_str()]).stdout(Stdio::null()).spawn().unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for key in ["other", "id"] {
        let added = Command::new("ssh-add")
            .args(["-q", server.at(key).as_str()])
            .env("SSH_AUTH_SOCK", socket.as_str())
            .status()
            .unwrap();
        assert!(added.success());
    }
    let surroundings = Surroundings { agent_socket: Some(socket), ..Surroundings::default() };
    let ssh = Ssh { identity: None, ..server.ssh() };
    let connected = server.connect_with(ssh, &agent(0), &options(), surroundings).await;
    ssh_agent.kill().unwrap();
    ssh_agent.wait().unwrap();
    connected.unwrap().close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn the_configuration_names_user_port_and_key() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let text = format!(
        "Host 127.0.0.1\n  User {}\n  Port {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n",
        server.user,
        server.port,
        server.at("id"),
        server.at("known_hosts")
    );
    std::fs::write(server.at("config"), text).unwrap();
    let ssh = Ssh { user: None, port: None, identity: None, known_hosts: None, ..server.ssh() };
    let options = Options { ssh_config: Some(server.at("config")), ..options() };
    let session = server.connect_with(ssh, &agent(0), &options, Surroundings::default()).await.unwrap();
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn jump_hosts_lead_to_the_host() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let here = format!("{}@127.0.0.1:{}", server.user, server.port);
    let ssh = Ssh { proxy_jump: Some(format!("{here},{here}")), ..server.ssh() };
    let agent = agent(1 << 20);
    let mut session = server.connect_with(ssh, &agent, &options(), Surroundings::default()).await.unwrap();
    assert!(session.put_agent());
    echoes(&mut session, &"far-away".repeat(50_000)).await;
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_jump_host_that_cannot_connect_is_told_from_the_host() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let jump = format!("{}@127.0.0.1:{}", server.user, server.port);
    let ssh = Ssh { proxy_jump: Some(jump), port: Some(closed), ..server.ssh() };
    let error = server.connect(ssh).await.err().unwrap();
    assert!(error.to_string().contains("the jump host could not connect"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn no_answer_is_tried_again_and_announced() {
    let Some(server) = Server::start().await else { return };
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let options = Options {
        attempts: 2,
        on_retry: Arc::new(move |host, cause| teller.lock().unwrap().push(format!("{host}: {cause}"))),
        ..options()
    };
    let ssh = Ssh { port: Some(closed), ..server.ssh() };
    let error = server.connect_with(ssh, &agent(0), &options, Surroundings::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("lin01: ") && told[0].contains("refused"), "{told:?}");
}

#[tokio::test]
async fn another_protocol_is_recognised() {
    let Some(server) = Server::start().await else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example.com ESMTP\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let error = server.connect(Ssh { port: Some(port), ..server.ssh() }).await.err().unwrap();
    assert!(matches!(error, ConnectError::NotTheProtocol { .. }), "{error}");
    assert!(error.to_string().contains("ESMTP"), "{error}");
}

#[tokio::test]
async fn a_cut_connection_is_noticed_and_named() {
    let Some(server) = Server::start().await else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, target) = (CancellationToken::new(), server.port);
    let proxy_cut = cut.clone();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
        tokio::select! {
            () = proxy_cut.cancelled() => {}
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        }
    });
    let ssh = Ssh { port: Some(port), unknown_host_key: UnknownHostKey::AcceptNew, ..server.ssh() };
    let mut session = server.connect(ssh).await.unwrap();
    echoes(&mut session, "still there").await;
    cut.cancel();
    let error = session.receive().await.unwrap_err();
    assert!(matches!(error, TransportError::Lost { .. }), "{error}");
    assert!(error.failure().attempted.contains("lin01"), "{error}");
    // What comes later gets the same answer.
    assert_eq!(session.receive().await.unwrap_err(), error);
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_ends_tells_its_last_words() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let bytes = "#!/bin/sh\necho '{\"hello\":{\"protocol\":2,\"version\":\"0\"}}'\nread -r line\necho \"$line\"\necho 'no room' >&2\nexit 7\n";
    let agent = AgentBinary { sha256: Sha256::of(bytes.as_bytes()), bytes: bytes.as_bytes().into() };
    let mut session = server.connect_with(server.ssh(), &agent, &options(), Surroundings::default()).await.unwrap();
    echoes(&mut session, "a line before the end").await;
    let error = session.receive().await.unwrap_err();
    assert!(matches!(error, TransportError::AgentEnded { .. }), "{error}");
    assert!(error.to_string().contains("exit code 7: no room"), "{error}");
    session.close(AgentFate::Remove).await.unwrap();
    assert!(!server.at("opt").exists());
}

#[tokio::test]
async fn an_agent_that_hangs_does_not_hold_up_the_end() {
    let Some(server) = Server::start().await else { return };
    server.know("host_ed25519");
    let pid_file = server.at("pid");
    let text = format!(
        "#!/bin/sh\necho $$ > {pid_file}\necho '{{\"hello\":{{\"protocol\":2,\"version\":\"0\"}}}}'\nexec sleep 600 <&-\n"
    );
    let agent = AgentBinary { sha256: Sha256::of(text.as_bytes()), bytes: text.as_bytes().into() };
    let session = server.connect_with(server.ssh(), &agent, &options(), Surroundings::default()).await.unwrap();
    session.close(AgentFate::Remove).await.unwrap();
    assert!(!server.at("opt").exists());
    // SSH has no word that ends a program without a terminal: this one is left to its own devices.
    run("kill", &[std::fs::read_to_string(pid_file).unwrap().trim()]);
}
