//! From a host of the inventory to a session: the way that its operating system takes, retries, and the agent.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use k8swin_inventory::cluster::{Host, System};
use k8swin_protocol::{HostPath, Sha256};
use tokio_util::sync::CancellationToken;

use crate::bootstrap;
use crate::error::{ConnectError, Target};
use crate::remote::Remote as _;
use crate::secrets::Secrets;
use crate::session::{Connection, Session};
use crate::ssh::{self, Surroundings};
use crate::winrm;

/// The wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long a host may take to come to the end of a step, such as the start of a program, when it was asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The host agent as a program file for one operating system.
#[derive(Clone)]
pub struct AgentBinary {
    /// Its digest.
    pub sha256: Sha256,
    /// The file.
    pub bytes: Arc<[u8]>,
}

/// Is told of another attempt: the host's name, and why it is needed.
pub type OnRetry = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How to connect. The same for all hosts.
#[derive(Clone)]
pub struct Options {
    /// How long a host may take to answer, and then to log us in.
    pub connect_timeout: Duration,
    /// How often to try in all, at least once. Only what may pass is tried again: no answer, never a wrong key or password.
    pub attempts: u32,
    /// Where passwords and passphrases come from.
    pub secrets: Arc<Secrets>,
    /// `~/.ssh/config`; without it no such file is read. A file that is not there is an empty one.
    pub ssh_config: Option<Utf8PathBuf>,
    /// Told the host and the cause before another attempt.
    pub on_retry: OnRetry,
    /// Stops it. An agent that it has put on the host is taken away again, which the host may need seconds for.
    pub cancel: CancellationToken,
}

/// Connects to `host` and starts the agent there; puts it there first if it is not. An `opening`
/// ([`ToAgent::opening`](k8swin_protocol::wire::ToAgent::opening)) is asked at its start: its answers are the first that
/// the session receives.
///
/// Dropping the future at any time leaves no connection behind: a WinRM shell that was opened is deleted. An agent that it
/// has put on the host stays then; [`Options::cancel`] takes it away.
///
/// # Errors
/// [`ConnectError`] tells the causes apart.
pub async fn connect(
    host: &Host,
    agent: &AgentBinary,
    opening: Option<&str>,
    options: &Options,
) -> Result<Session, ConnectError> {
    let agent = Agent { binary: agent, path: &host.os().agent(agent.sha256), opening };
    connect_as(host, agent, options, &Surroundings::of_this_machine()).await
}

/// The agent of a host.
#[derive(Clone, Copy)]
pub(crate) struct Agent<'a> {
    pub(crate) binary: &'a AgentBinary,
    /// Where it lies there.
    pub(crate) path: &'a HostPath,
    /// What it is asked at its start.
    pub(crate) opening: Option<&'a str>,
}

/// As [`connect`], with everything that it finds around it as a parameter.
pub(crate) async fn connect_as(
    host: &Host,
    agent: Agent<'_>,
    options: &Options,
    surroundings: &Surroundings,
) -> Result<Session, ConnectError> {
    let mut attempt = 1;
    loop {
        let error = match once(host, agent, options, surroundings).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        if options.cancel.is_cancelled() {
            return Err(cancelled(host));
        }
        if !error.is_transient() || attempt >= options.attempts {
            return Err(error);
        }
        (options.on_retry)(&host.name, &error.failure().to_string());
        let wait = tokio::time::sleep(wait_after(attempt, rand::random_range(0.5..1.5)));
        if options.cancel.run_until_cancelled(wait).await.is_none() {
            return Err(cancelled(host));
        }
        attempt += 1;
    }
}

async fn once(
    host: &Host,
    agent: Agent<'_>,
    options: &Options,
    surroundings: &Surroundings,
) -> Result<Session, ConnectError> {
    let connecting = async {
        Ok(match &host.system {
            System::Linux(linux) => Connection::Ssh(ssh::connect(host, &linux.ssh, options, surroundings).await?),
            System::Windows(windows) => Connection::WinRm(winrm::connect(host, &windows.winrm, options).await?),
        })
    };
    let connected = options.cancel.run_until_cancelled(connecting).await;
    let mut connection = connected.unwrap_or_else(|| Err(cancelled(host)))?;
    let mut put_agent = false;
    let out_of_patience = async {
        options.cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let established = tokio::select! {
        biased;
        established = bootstrap::establish(&mut connection, agent, &options.cancel, &mut put_agent) => established,
        // Given up in the midst of a step, the connection is of no more use.
        () = out_of_patience => return Err(cancelled(host)),
    };
    match established {
        Ok(greeted) => Ok(Session::new(connection, greeted, agent.binary.sha256, agent.path.clone())),
        Err(error) => {
            // Whoever tries again needs it.
            if put_agent && !error.is_transient() {
                let removed = bootstrap::remove(&mut connection, agent.binary.sha256, agent.path).await;
                if let Err(error) = removed {
                    tracing::debug!(host = %host.name, error = %error.failure(), "the agent stays");
                }
            }
            // The first error is the one to tell; a connection that cannot even be closed is gone anyway.
            let _ = connection.close().await;
            Err(error)
        }
    }
}

fn cancelled(host: &Host) -> ConnectError {
    let target = Target { host: host.name.clone(), endpoint: format!("{}:{}", host.address, host.port()) };
    ConnectError::Cancelled { target }
}

/// The wait after the attempt of that number, which is at least 1; `jitter` keeps many hosts from trying at the same time.
fn wait_after(attempt: u32, jitter: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    doubled.min(LONGEST_WAIT).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u128> =
            [1, 2, 3, 6, 40].map(|attempt| wait_after(attempt, 1.0).as_millis()).into_iter().collect();
        assert_eq!(waits, [500, 1000, 2000, 10_000, 10_000]);
        assert_eq!(wait_after(1, 1.4), Duration::from_millis(700));
    }
}
