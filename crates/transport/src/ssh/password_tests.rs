//! Password log-in and `sudo`, with the lab's SSH server: a real sshd would want a real account for them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes as Chunk;
use camino::Utf8PathBuf;
use k8swin_inventory::cluster::{LinuxHost, SecretSource, System, UnknownHostKey};
use k8swin_lab::program::{Account, CommandHost, CommandLine, ConnectionFaults, Output, RunningProgram};
use k8swin_protocol::{SecretBytes, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::connect::{Agent, AgentBinary, connect_as};
use crate::session::{AgentFate, Session};

const PASSWORD: &str = "canary-Pa55word";

/// A host that has the agent, for those who may use sudo.
struct AgentHost {
    account: Account,
    sudo_refuses: bool,
}

impl CommandHost for AgentHost {
    fn name(&self) -> &str {
        "lin01"
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
        let refuses = self.sudo_refuses;
        tokio::spawn(async move {
            let code = if !command.command.starts_with("sudo -n ") || refuses {
                let words = Chunk::from_static(b"sudo: a password is required\n");
                writer.send(Output::Stderr(words)).await.unwrap();
                1
            } else {
                let hello = Chunk::from_static(b"{\"hello\":{\"protocol\":2,\"version\":\"0\"}}\n");
                writer.send(Output::Stdout(hello)).await.unwrap();
                while let Some(chunk) = input.recv().await {
                    let _ = writer.send(Output::Stdout(chunk)).await;
                }
                0
            };
            let _ = writer.send(Output::Exit(code)).await;
        });
        RunningProgram { stdin, output, terminate: CancellationToken::new() }
    }

    fn power(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

struct Server {
    folder: tempfile::TempDir,
    port: u16,
    _stop: DropGuard,
}

impl Server {
    async fn start(sudo_refuses: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let password = Some(SecretBytes::new(PASSWORD));
        let account = Account { user: "admin".into(), password, authorized_keys: Vec::new() };
        let key = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]).into();
        let server = k8swin_lab::ssh::Server { key, forwards: Arc::default() };
        let stop = CancellationToken::new();
        let host = Arc::new(AgentHost { account, sudo_refuses });
        tokio::spawn(k8swin_lab::ssh::serve(listener, server, host, stop.clone()));
        Self { folder: tempfile::tempdir().unwrap(), port, _stop: stop.drop_guard() }
    }

    async fn connect(&self, password: &str) -> Result<Session, ConnectError> {
        let ssh = Ssh {
            user: Some("admin".into()),
            port: Some(self.port),
            identity: None,
            passphrase: None,
            password: Some(SecretSource::Literal(SecretBytes::new(password))),
            known_hosts: Some(Utf8PathBuf::from_path_buf(self.folder.path().join("known_hosts")).unwrap()),
            unknown_host_key: UnknownHostKey::AcceptNew,
            proxy_jump: None,
        };
        let host = Host {
            name: "lin01".into(),
            address: "127.0.0.1".into(),
            node_address: Ipv4Addr::LOCALHOST,
            api_endpoint: None,
            pod_cidr: "192.168.0.0/24".parse().unwrap(),
            ignore: Vec::new(),
            system: System::Linux(LinuxHost { control_plane: true, worker: true, ssh }),
        };
        let options = Options {
            connect_timeout: Duration::from_secs(20),
            attempts: 3,
            secrets: Arc::new(Secrets::without_prompt()),
            ssh_config: None,
            on_retry: Arc::new(|_, cause| panic!("{cause}")),
            cancel: CancellationToken::new(),
        };
        let agent = AgentBinary { sha256: Sha256::of(b"agent"), bytes: b"agent".as_slice().into() };
        let path = Os::Linux.agent(agent.sha256);
        let agent = Agent { binary: &agent, path: &path, opening: None };
        connect_as(&host, agent, &options, &Surroundings::default()).await
    }
}

#[tokio::test]
async fn a_password_opens_the_session_and_sudo_starts_the_agent() {
    let server = Server::start(false).await;
    let mut session = server.connect(PASSWORD).await.unwrap();
    assert!(!session.put_agent());
    // More than the windows hold, and nothing is received before all is sent.
    let line = "x".repeat(300_000);
    for _ in 0..12 {
        session.send(Zeroizing::new(format!("{line}\n").into_bytes())).await.unwrap();
    }
    for _ in 0..12 {
        assert!(session.receive().await.unwrap().as_slice() == line.as_bytes());
    }
    session.close(AgentFate::Keep).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_nowhere_shown() {
    let server = Server::start(false).await;
    let error = server.connect("canary-wrong").await.err().unwrap();
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error}");
    assert!(!format!("{error:?} {:?}", error.failure()).contains("canary"), "{error}");
}

#[tokio::test]
async fn a_sudo_that_wants_a_password_is_told_with_the_remedy() {
    let server = Server::start(true).await;
    let error = server.connect(PASSWORD).await.err().unwrap();
    assert!(matches!(error, ConnectError::Sudo { .. }), "{error}");
    let failure = error.failure();
    assert!(failure.answer.contains("a password is required"), "{failure}");
    assert!(failure.hint.unwrap().contains("admin ALL=(ALL) NOPASSWD: ALL"));
}
