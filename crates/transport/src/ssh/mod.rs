//! SSH: the way to a host by way of its jump hosts, host keys, log-in, and programs in channels.

mod auth;
mod channel;
mod config;
mod jump;
mod known_hosts;
mod link;
#[cfg(test)]
#[cfg(unix)]
mod password_tests;
mod pattern;
mod private_key;
mod route;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8swin_inventory::cluster::{Host, Ssh};
use k8swin_protocol::Os;
use k8swin_protocol::bootstrap::{self, Bootstrap};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub(crate) use self::route::Surroundings;

use self::config::SshConfig;
use self::known_hosts::Verdict;
use self::link::Link;
use self::route::Hop;
use crate::connect::Options;
use crate::error::{ConnectError, HostKey, Target, TransportError};
use crate::remote::{Bytes, Program, Remote, Running};
use crate::secrets::Secrets;

/// How long a channel may take to open.
const STEP: Duration = Duration::from_secs(30);

/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// The interval in seconds that libssh2 is told; the pace is set where keep-alives are sent.
const KEEP_ALIVE: u32 = 5;

/// A connection to a host.
pub(crate) struct Connection {
    target: Target,
    link: Link,
    user: String,
    /// Drives the channel of the last program.
    driver: Option<JoinHandle<()>>,
}

/// Connects to a host and logs in.
pub(crate) async fn connect(
    host: &Host,
    ssh: &Ssh,
    options: &Options,
    surroundings: &Surroundings,
) -> Result<Connection, ConnectError> {
    let config = match &options.ssh_config {
        Some(path) => SshConfig::read(path, surroundings.home.as_deref()).map_err(|error| ConnectError::Setup {
            target: Target { host: host.name.clone(), endpoint: format!("{}:{}", host.address, host.port()) },
            attempted: "read the SSH configuration".to_owned(),
            answer: error.to_string(),
            hint: "mend that line".to_owned(),
        })?,
        None => SshConfig::default(),
    };
    let (jumps, hop) = route::route(host, ssh, &config, surroundings)?;
    let limit = options.connect_timeout;
    let mut stream = dial(jumps.first().unwrap_or(&hop), limit).await?;
    for (index, jump) in jumps.iter().enumerate() {
        let link = establish(stream, jump, options).await?;
        stream = through(link, jumps.get(index + 1).unwrap_or(&hop), limit).await?;
    }
    let link = establish(stream, &hop, options).await?;
    Ok(Connection { target: hop.target, link, user: hop.login.user, driver: None })
}

/// Opens a TCP connection.
async fn dial(hop: &Hop, limit: Duration) -> Result<TcpStream, ConnectError> {
    let unreachable = |cause: String| ConnectError::Unreachable { target: hop.target.clone(), cause };
    let stream = match tokio::time::timeout(limit, TcpStream::connect((hop.address.as_str(), hop.port))).await {
        Ok(stream) => stream.map_err(|error| unreachable(error.to_string()))?,
        Err(_) => return Err(unreachable(format!("no answer in {} s", limit.as_secs()))),
    };
    // A request is one line: it must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    Ok(stream)
}

/// Opens a connection to the next host by way of this one.
async fn through(link: Link, next: &Hop, limit: Duration) -> Result<TcpStream, ConnectError> {
    let unreachable = |cause: String| ConnectError::Unreachable { target: next.target.clone(), cause };
    let (address, port) = (next.address.clone(), next.port);
    let channel = link
        .blocking(limit, move |session| session.channel_direct_tcpip(&address, port, None))
        .await
        .map_err(unreachable)?
        .map_err(|error| unreachable(format!("the jump host could not connect: {}", error.message())))?;
    let (running, _) = channel::drive(link, channel);
    jump::bridge(running).await.map_err(|error| unreachable(error.to_string()))
}

/// Shakes hands, verifies the host key and logs in.
async fn establish(stream: TcpStream, hop: &Hop, options: &Options) -> Result<Link, ConnectError> {
    expect_ssh(&stream, hop, options.connect_timeout).await?;
    let lost = |cause: String| ConnectError::Unreachable { target: hop.target.clone(), cause };
    let link = Link::new(stream).map_err(|error| lost(error.to_string()))?;
    let (work_hop, secrets) = (hop.clone(), Arc::clone(&options.secrets));
    link.blocking(options.connect_timeout, move |session| open(session, &work_hop, &secrets)).await.map_err(lost)??;
    Ok(link)
}

/// Looks at the first bytes, which an SSH server sends of its own accord (RFC 4253 §4.2).
async fn expect_ssh(stream: &TcpStream, hop: &Hop, limit: Duration) -> Result<(), ConnectError> {
    let target = || hop.target.clone();
    let mut first = [0; 80];
    match tokio::time::timeout(limit, stream.peek(&mut first)).await {
        Ok(Ok(0)) => Err(ConnectError::Unreachable {
            target: target(),
            cause: "it closed the connection at once (sshd's MaxStartups?)".to_owned(),
        }),
        Ok(Ok(length)) => {
            let first = first.get(..length).unwrap_or_default();
            if first.starts_with(&b"SSH-"[..length.min(4)]) {
                return Ok(());
            }
            let answer = format!("its first words are {:?}", String::from_utf8_lossy(first));
            Err(ConnectError::NotTheProtocol { target: target(), protocol: "SSH", answer })
        }
        Ok(Err(error)) => Err(ConnectError::Unreachable { target: target(), cause: error.to_string() }),
        Err(_) => Err(ConnectError::Unreachable {
            target: target(),
            cause: format!("connected, but no word of it in {} s", limit.as_secs()),
        }),
    }
}

/// The part of [`establish`] that blocks.
fn open(session: &mut ssh2::Session, hop: &Hop, secrets: &Secrets) -> Result<(), ConnectError> {
    let setup = |error: std::io::Error| ConnectError::Setup {
        target: hop.target.clone(),
        attempted: "look up the SSH host key".to_owned(),
        answer: error.to_string(),
        hint: "`known_hosts` in the inventory names the file".to_owned(),
    };
    let failed = |error: ssh2::Error| handshake_failed(hop, &error);
    let name = known_hosts::name_of(&hop.address, hop.port);
    let entries = known_hosts::entries_about(&name, &hop.known_hosts).map_err(setup)?;
    session.method_pref(ssh2::MethodType::HostKey, &known_hosts::preferences(&entries)).map_err(failed)?;
    session.handshake().map_err(failed)?;
    let offered = match session.host_key() {
        Some((blob, _)) => {
            Box::new(HostKey { kind: known_hosts::kind_of(blob).unwrap_or("unknown").to_owned(), blob: blob.to_vec() })
        }
        None => {
            let answer = "it has no host key".to_owned();
            return Err(ConnectError::NotTheProtocol { target: hop.target.clone(), protocol: "SSH", answer });
        }
    };
    match known_hosts::judge(&entries, &offered) {
        Verdict::Known => {}
        Verdict::Unknown => accept_or_refuse(hop, &name, offered)?,
        Verdict::Changed { known, place } => {
            return Err(ConnectError::HostKeyChanged {
                target: hop.target.clone(),
                offered,
                known: Box::new(known),
                place,
            });
        }
        Verdict::Revoked { place } => {
            return Err(ConnectError::HostKeyRevoked { target: hop.target.clone(), offered, place });
        }
    }
    auth::log_in(session, hop, secrets)?;
    session.set_keepalive(true, KEEP_ALIVE);
    Ok(())
}

/// What to do with a key that is not known yet.
fn accept_or_refuse(hop: &Hop, name: &str, offered: Box<HostKey>) -> Result<(), ConnectError> {
    let Some(path) = hop.known_hosts.first() else {
        return Err(ConnectError::Setup {
            target: hop.target.clone(),
            attempted: "verify the SSH host key".to_owned(),
            answer: format!("{offered} is not known, and there is no file of known host keys"),
            hint: "name one with `known_hosts` in the inventory".to_owned(),
        });
    };
    if !hop.accept_new {
        return Err(ConnectError::HostKeyUnknown {
            target: hop.target.clone(),
            line: known_hosts::line(name, &offered),
            offered,
            known_hosts: path.clone(),
        });
    }
    tracing::info!(host = %hop.target, key = %offered, file = %path, "a new SSH host key is taken and written down");
    known_hosts::append(path, name, &offered).map_err(|error| ConnectError::Setup {
        target: hop.target.clone(),
        attempted: format!("write the new SSH host key to {path}"),
        answer: error.to_string(),
        hint: "is the file writable?".to_owned(),
    })
}

/// libssh2's numbers for a handshake that found no common ground, as opposed to one that was cut short.
const NO_COMMON_GROUND: [i32; 4] = [-5, -8, -14, -33];

fn handshake_failed(hop: &Hop, error: &ssh2::Error) -> ConnectError {
    let (target, answer) = (hop.target.clone(), error.message().to_owned());
    match error.code() {
        ssh2::ErrorCode::Session(code) if NO_COMMON_GROUND.contains(&code) => {
            ConnectError::NotTheProtocol { target, protocol: "SSH", answer }
        }
        _ => ConnectError::Unreachable { target, cause: answer },
    }
}

impl Remote for Connection {
    fn target(&self) -> &Target {
        &self.target
    }

    fn os(&self) -> Os {
        Os::Linux
    }

    fn sudo_user(&self) -> Option<&str> {
        Some(self.user.as_str()).filter(|user| *user != "root")
    }

    fn bootstrap_input(&self, bootstrap: &Bootstrap, agent: &[u8]) -> Bytes {
        Zeroizing::new([bootstrap.header().as_bytes(), agent].concat())
    }

    async fn start(&mut self, program: &Program) -> Result<Running, TransportError> {
        const DOING: &str = "starting a program";
        if let Some(driver) = self.driver.take() {
            // Its end is told before its last step; a failed one shows in what comes now.
            let _ = driver.await;
        }
        let sudo = self.sudo_user().is_some();
        let command = match program {
            // Agents lie where `Os::agent` says; that and an opening are words that no shell changes.
            Program::Agent { path, opening } => {
                let words = [if sudo { "sudo -n " } else { "" }, path.as_str(), " serve"];
                words.concat() + &opening.as_ref().map(|word| format!(" {word}")).unwrap_or_default()
            }
            Program::Bootstrap => bootstrap::sh_command(sudo),
        };
        let opened = self.link.blocking(STEP, move |session| {
            let mut channel = session.channel_session()?;
            channel.exec(&command)?;
            Ok::<_, ssh2::Error>(channel)
        });
        let lost = |cause: String| TransportError::lost(&self.target, DOING, cause);
        let channel = opened.await.map_err(lost)?.map_err(|error| lost(error.message().to_owned()))?;
        let (running, driver) = channel::drive(self.link.clone(), channel);
        self.driver = Some(driver);
        Ok(running)
    }

    async fn close(mut self) -> Result<(), TransportError> {
        if let Some(driver) = self.driver.take() {
            let _ = driver.await;
        }
        // The other side may be gone, in which case there is nobody to take leave of.
        let _ = self.link.blocking(FAREWELL, |session| session.disconnect(None, "done", None)).await;
        Ok(())
    }
}
