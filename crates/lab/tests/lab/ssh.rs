//! The lab's SSH server, seen by two real clients: OpenSSH and libssh2.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use k8swin_protocol::bootstrap::{Bootstrap, Verb, sh_command};
use k8swin_protocol::wire::{FromAgent, PROTOCOL, Request, Response, ToAgent, decode, encode};
use k8swin_protocol::{Facts, HostPath, Os, Sha256};

use crate::common::{self, Running};

/// Runs blocking work while the lab's servers go on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// What a client needs to reach one host.
#[derive(Clone)]
struct Target {
    port: u16,
    user: &'static str,
    identity: String,
    known_hosts: String,
}

impl Target {
    fn new(running: &Running, host: &str, user: &'static str) -> Self {
        Self {
            port: running.port(host),
            user,
            identity: running.file("id_ed25519").to_string(),
            known_hosts: running.file("known_hosts").to_string(),
        }
    }

    fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = ["-F", "/dev/null", "-T", "-i", &self.identity].map(str::to_owned).into();
        options.extend(["-p".to_owned(), self.port.to_string()]);
        for option in [
            &format!("UserKnownHostsFile={}", self.known_hosts),
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// Runs OpenSSH. `None` when it is not on this machine.
    fn openssh(&self, more: &[&str], command: &[&str], input: &[u8]) -> Option<Output> {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options()).args(more).arg(format!("{}@127.0.0.1", self.user)).args(command);
        let spawned = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: there is no `ssh` on this machine");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        // A client that ends without reading its input is no failure of the test's.
        let _ = child.stdin.take().unwrap().write_all(input);
        Some(child.wait_with_output().unwrap())
    }

    /// Logs in with libssh2.
    fn session(&self) -> Result<ssh2::Session, ssh2::Error> {
        let mut session = ssh2::Session::new()?;
        session.set_tcp_stream(TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        session.handshake()?;
        session.userauth_pubkey_file(self.user, None, self.identity.as_ref(), None)?;
        Ok(session)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A command's output, error output and exit code by way of libssh2.
fn run(session: &ssh2::Session, command: &str, input: &[u8]) -> (String, String, i32) {
    let mut channel = session.channel_session().unwrap();
    channel.exec(command).unwrap();
    channel.write_all(input).unwrap();
    channel.send_eof().unwrap();
    let (mut output, mut errors) = (String::new(), String::new());
    channel.read_to_string(&mut output).unwrap();
    channel.stderr().read_to_string(&mut errors).unwrap();
    channel.wait_close().unwrap();
    (output, errors, channel.exit_status().unwrap())
}

fn put(content: &[u8]) -> (Vec<u8>, HostPath) {
    let sha256 = Sha256::of(content);
    let path = Os::Linux.agent(sha256);
    let mut input = Bootstrap { verb: Verb::Put, sha256, path: path.clone() }.header().into_bytes();
    input.extend_from_slice(content);
    (input, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_runs_commands() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    blocking(move || {
        let Some(hostname) = target.openssh(&[], &["hostname"], b"") else { return };
        assert_eq!((text(&hostname.stdout).as_str(), hostname.status.code()), ("lin01\n", Some(0)), "{hostname:?}");
        let unknown = target.openssh(&[], &["rm", "-rf", "/"], b"").unwrap();
        assert_eq!(unknown.status.code(), Some(127));
        assert!(text(&unknown.stderr).contains("k8swin lab: `rm` is not simulated"), "{unknown:?}");
        let missing = target.openssh(&[], &["/opt/k8swin/bin/none", "serve"], b"").unwrap();
        assert_eq!(missing.status.code(), Some(127));
        assert!(text(&missing.stderr).contains("not found"), "{missing:?}");
        let shell = target.openssh(&[], &[], b"").unwrap();
        assert_eq!(shell.status.code(), Some(1));
        assert!(text(&shell.stderr).contains("without an interactive shell"), "{shell:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_terminals_and_subsystems_disturb_no_command() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    blocking(move || {
        // Debian's ssh_config sends LANG and LC_* before the command, and wants no answer.
        for _ in 0..5 {
            let more = ["-o", "SetEnv=LANG=C.UTF-8 LC_ALL=C.UTF-8"];
            let Some(hostname) = target.openssh(&more, &["hostname"], b"") else { return };
            assert_eq!((text(&hostname.stdout).as_str(), hostname.status.code()), ("lin01\n", Some(0)), "{hostname:?}");
        }
        let sftp = target.openssh(&["-s"], &["sftp"], b"").unwrap();
        assert_eq!(sftp.status.code(), Some(1), "{sftp:?}");
        assert!(text(&sftp.stderr).contains("sftp and scp are not simulated"), "{sftp:?}");
        // libssh2 waits for the answer to a variable.
        let session = target.session().unwrap();
        let mut channel = session.channel_session().unwrap();
        assert!(channel.setenv("LANG", "C.UTF-8").is_err());
        channel.exec("hostname").unwrap();
        let mut output = String::new();
        channel.read_to_string(&mut output).unwrap();
        assert_eq!(output, "lin01\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_to_the_bootstrap_come_back() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 127) as u8).collect();
    let (input, path) = put(&content);
    let stored = path.clone();
    let over_openssh = blocking(move || {
        let done = target.openssh(&[], &[&sh_command(false)], &input)?;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let shown = target.openssh(&[], &["cat", path.as_str()], b"").unwrap();
        let wrong = target.openssh(&[], &[&sh_command(false)], input.split_last().unwrap().1).unwrap();
        assert_eq!(wrong.status.code(), Some(65), "{wrong:?}");
        Some(shown.stdout)
    })
    .await;
    if let Some(shown) = over_openssh {
        assert!(shown.starts_with(&content));
        assert_eq!(running.lab.host("lin01").unwrap().simulated().read_file(&stored), Some(content));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_so_is_a_changed_host_key() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let other = Target::new(&running, "lin02", "admin");
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("known_hosts");
    let lines = std::fs::read_to_string(&target.known_hosts).unwrap();
    let key = lines.lines().find(|line| line.contains(&other.port.to_string())).unwrap().split_once(' ').unwrap().1;
    std::fs::write(&changed, format!("[127.0.0.1]:{} {key}\n", target.port)).unwrap();
    let changed = changed.to_str().unwrap().to_owned();
    blocking(move || {
        let wrong_user = Target { user: "somebody", ..target.clone() };
        assert!(wrong_user.session().is_err());
        assert!(target.session().is_ok());
        let Some(mismatch) = Target { known_hosts: changed, ..target.clone() }.openssh(&[], &["hostname"], b"") else {
            return;
        };
        assert_eq!(mismatch.status.code(), Some(255));
        assert!(text(&mismatch.stderr).contains("Host key verification failed"), "{mismatch:?}");
        let wrong_key = folder.path().join("other_key").to_str().unwrap().to_owned();
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &wrong_key]).status();
        if made.is_ok_and(|status| status.success()) {
            let refused = Target { identity: wrong_key, ..target }.openssh(&[], &["hostname"], b"").unwrap();
            assert_eq!(refused.status.code(), Some(255));
            assert!(text(&refused.stderr).contains("Permission denied"), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_host_is_a_jump_host_to_the_lab_and_to_nothing_else() {
    let running = common::start().await;
    let jump = Target::new(&running, "lin01", "root");
    let target = Target::new(&running, "lin02", "admin");
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forbidden = u32::from(elsewhere.local_addr().unwrap().port());
    blocking(move || {
        let session = jump.session().unwrap();
        let denied = session.channel_direct_tcpip("127.0.0.1", u16::try_from(forbidden).unwrap(), None);
        assert!(denied.is_err());
        let command = format!("ProxyCommand=ssh {} -W %h:%p root@127.0.0.1", jump.options().join(" "));
        let Some(hostname) = target.openssh(&["-o", &command], &["hostname"], b"") else { return };
        assert_eq!(text(&hostname.stdout), "lin02\n", "{hostname:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_many_channels() {
    let running = common::start().await;
    let target = Target::new(&running, "lin02", "admin");
    blocking(move || {
        let session = target.session().unwrap();
        let mut channels: Vec<ssh2::Channel> = (0..20).map(|_| session.channel_session().unwrap()).collect();
        for (number, channel) in channels.iter_mut().enumerate() {
            channel.exec(&format!("echo {number}")).unwrap();
        }
        for (number, mut channel) in channels.into_iter().enumerate().rev() {
            let mut output = String::new();
            channel.read_to_string(&mut output).unwrap();
            assert_eq!(output, format!("{number}\n"));
        }
        assert_eq!(run(&session, "id -u", b"").0, "1000\n");
        assert_eq!(run(&session, "sudo -n id -u", b"").0, "0\n");
        assert_eq!(run(&session, "sudo -n whoami", b"").0, "root\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_put_on_a_host_and_serves_a_session() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let agent = std::fs::read(running.file("agents/k8swin-agent")).unwrap();
    let state = running.file("hosts/lin01.json");
    blocking(move || {
        let session = target.session().unwrap();
        let (input, path) = put(&agent);
        let before = run(&session, &format!("{path} serve"), b"");
        assert_eq!(before.2, 127, "{before:?}");
        assert_eq!(run(&session, &sh_command(false), &input), (String::new(), String::new(), 0));
        assert!(std::fs::read_to_string(&state).unwrap().contains(path.file_name()), "the state file is up to date");

        let mut requests = Vec::new();
        for (id, request) in [(1, Request::Facts), (2, Request::Bye { clear_staging: true })] {
            requests.extend_from_slice(encode(&ToAgent { id, request }).as_bytes());
        }
        let (output, errors, code) = run(&session, &format!("{path} serve"), &requests);
        assert_eq!((errors.as_str(), code), ("", 0));
        let answers: Vec<FromAgent> = output.lines().map(|line| decode(line.as_bytes()).unwrap()).collect();
        let [FromAgent::Hello(hello), FromAgent::Reply { id: 1, response: Response::Facts(facts) }, bye] =
            answers.as_slice()
        else {
            panic!("{answers:?}");
        };
        assert_eq!(hello.protocol, PROTOCOL);
        assert!(matches!(&**facts, Facts::Linux(linux) if linux.common.hostname == "lin01"));
        assert_eq!(*bye, FromAgent::Reply { id: 2, response: Response::Done });

        let (other, path) = put(b"another program");
        run(&session, &sh_command(false), &other);
        assert_eq!(run(&session, &format!("{path} serve"), b"").2, 126);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_channel_is_the_end_of_its_agent() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let agent = std::fs::read(running.file("agents/k8swin-agent")).unwrap();
    blocking(move || {
        let session = target.session().unwrap();
        let (input, path) = put(&agent);
        run(&session, &sh_command(false), &input);
        let mut channel = session.channel_session().unwrap();
        channel.exec(&format!("{path} serve")).unwrap();
        channel.read_exact(&mut [0]).unwrap();
        channel.close().unwrap();
        channel.wait_close().unwrap();
        assert_eq!(run(&session, "hostname", b"").0, "lin01\n");
    })
    .await;
    // Waits for the agent's thread.
    running.lab.shutdown().await.unwrap();
}

/// A client that trusts every host key: what it is about are signals, which libssh2's binding cannot send.
struct Trusting;

impl russh::client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_program_and_is_told_as_the_reason() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let key = russh::keys::load_secret_key(&target.identity, None).unwrap();
    let key = russh::keys::PrivateKeyWithHashAlg::new(std::sync::Arc::new(key), None);
    let config = std::sync::Arc::new(russh::client::Config::default());
    let mut client = russh::client::connect(config, ("127.0.0.1", target.port), Trusting).await.unwrap();
    assert!(!client.authenticate_password("root", "guess").await.unwrap().success());
    assert!(client.authenticate_publickey("root", key).await.unwrap().success());
    let mut channel = client.channel_open_session().await.unwrap();
    // Waits for its input for ever.
    channel.exec(true, sh_command(false)).await.unwrap();
    channel.signal(russh::Sig::TERM).await.unwrap();
    let mut reason = None;
    while let Some(message) = channel.wait().await {
        match message {
            russh::ChannelMsg::ExitSignal { signal_name, .. } => reason = Some(signal_name),
            russh::ChannelMsg::ExitStatus { exit_status } => panic!("{exit_status}"),
            _ => {}
        }
    }
    assert!(matches!(reason, Some(russh::Sig::TERM)), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reboots_its_host_after_it_has_answered() {
    let running = common::start().await;
    let target = Target::new(&running, "lin02", "admin");
    let agent = std::fs::read(running.file("agents/k8swin-agent")).unwrap();
    let before = running.lab.host("lin02").unwrap().simulated().facts().common().boot_id.clone();
    blocking(move || {
        let session = target.session().unwrap();
        let (input, path) = put(&agent);
        assert_eq!(run(&session, &sh_command(true), &input).2, 0);
        let mut channel = session.channel_session().unwrap();
        channel.exec(&format!("sudo -n {path} serve")).unwrap();
        let request = Request::Reboot { reason: "a test".to_owned() };
        channel.write_all(encode(&ToAgent { id: 9, request }).as_bytes()).unwrap();
        let mut output = String::new();
        // Ends with the agent or with the connection, whichever is first.
        let _ = channel.read_to_string(&mut output);
        let last: FromAgent = decode(output.lines().last().unwrap().as_bytes()).unwrap();
        assert_eq!(last, FromAgent::Reply { id: 9, response: Response::Done });
        // Ends when the connection does.
        while session.channel_session().is_ok() {}
    })
    .await;
    let host = running.lab.host("lin02").unwrap();
    assert_eq!(host.counters().reboots, 1);
    assert_ne!(host.simulated().facts().common().boot_id, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_cuts_connections_and_the_host_comes_back() {
    let running = common::start().await;
    let target = Target::new(&running, "lin01", "root");
    let session = {
        let target = target.clone();
        blocking(move || target.session().unwrap()).await
    };
    let host = running.lab.host("lin01").unwrap();
    host.reboot();
    assert_eq!(host.counters().reboots, 1);
    blocking(move || {
        // Ends when the connection does.
        while session.channel_session().is_ok() {}
        // The server speaks first: as long as it does not, the host is still starting.
        while TcpStream::connect(("127.0.0.1", target.port)).unwrap().read_exact(&mut [0]).is_err() {}
        assert_eq!(run(&target.session().unwrap(), "hostname", b"").0, "lin01\n");
    })
    .await;
}
