//! What happens to hosts in the middle of `up`: one restarts, one's sshd is killed, one's WinRM service restarts. The run
//! recovers, or says which host it lost; the same command afterwards finishes the work.

use std::fs;
use std::path::Path;

use k8swin_inventory::Cluster;
use k8swin_protocol::Os;

use crate::error::Error;
use crate::hosts::Hosts;

/// What happens to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It restarts without a warning.
    Reboot,
    /// All processes of its SSH server are killed.
    KillSshd,
    /// Its WinRM service restarts: all connections and shells end.
    RestartWinRm,
}

/// A trouble with its host and its moment: when the run's log has a line that begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// What happens.
    pub(crate) trouble: Trouble,
    /// To whom.
    pub(crate) host: String,
    stage: &'static str,
}

/// The troubles that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    left: Vec<Planned>,
    /// Those that were.
    pub(crate) happened: Vec<Planned>,
}

impl Troubles {
    /// One of each kind, as far as the cluster has hosts: on workers, so that the control plane goes on.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let workers = |os| {
            let hosts = cluster.hosts.iter().filter(move |host| host.os() == os && host.is_worker());
            hosts.filter(|host| !host.is_control_plane()).map(|host| host.name.clone())
        };
        let mut left = Vec::new();
        if let Some(host) = workers(Os::Linux).next() {
            left.push(Planned { trouble: Trouble::KillSshd, host, stage: "binaries" });
        }
        let mut windows = workers(Os::Windows);
        if let Some(host) = windows.next() {
            left.push(Planned { trouble: Trouble::Reboot, host, stage: "Windows nodes" });
        }
        if let Some(host) = windows.next() {
            left.push(Planned { trouble: Trouble::RestartWinRm, host, stage: "Windows nodes" });
        }
        Self { left, happened: Vec::new() }
    }

    /// Whether the cluster has no host that one could happen to.
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Lets happen what the log of the run says that it is time for.
    pub(crate) fn look(&mut self, log: &Path, hosts: &mut Hosts) -> Result<(), Error> {
        let Some(first) = self.left.iter().position(|planned| is_time(planned, log)) else { return Ok(()) };
        let planned = self.left.remove(first);
        match planned.trouble {
            Trouble::Reboot => hosts.reboot(&planned.host)?,
            Trouble::KillSshd => hosts.kill_sshd(&planned.host)?,
            Trouble::RestartWinRm => hosts.restart_winrm(&planned.host),
        }
        self.happened.push(planned);
        Ok(())
    }

    /// An error where the run ended before all of it could happen.
    pub(crate) fn all_happened(&self) -> Result<(), Error> {
        let Some(planned) = self.left.first() else { return Ok(()) };
        let problem = format!("it ended before {:?} could happen to {}", planned.trouble, planned.host);
        Err(Error::K8swin { command: "up".to_owned(), problem })
    }
}

/// Whether the host is at work in that stage: a run tells it in lines of host, stage and text.
fn is_time(planned: &Planned, log: &Path) -> bool {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().any(|line| is_of(line, planned))
}

fn is_of(line: &str, planned: &Planned) -> bool {
    let rest = line.strip_prefix(planned.host.as_str()).filter(|rest| rest.starts_with(' '));
    rest.is_some_and(|rest| rest.trim_start().starts_with(planned.stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_hit_workers_and_one_kind_each() {
        let text = include_str!("../../../inventories/sandbox.toml");
        let cluster = k8swin_inventory::parse(text, "sandbox.toml".into()).unwrap();
        let troubles = Troubles::of(&cluster);
        let planned: Vec<_> = troubles.left.iter().map(|planned| (planned.trouble, planned.host.as_str())).collect();
        assert_eq!(
            planned,
            [(Trouble::KillSshd, "lin02"), (Trouble::Reboot, "win01"), (Trouble::RestartWinRm, "win02")]
        );
        assert!(troubles.all_happened().unwrap_err().to_string().contains("KillSshd could happen to lin02"));
        assert!(Troubles::default().all_happened().is_ok());
    }

    #[test]
    fn the_moment_is_when_the_host_is_at_work_in_the_stage() {
        let planned = Planned { trouble: Trouble::Reboot, host: "win01".into(), stage: "Windows nodes" };
        assert!(is_of("win01  Windows nodes        changed dir:C:\\k8swin\\bin", &planned));
        for line in
            ["win01  binaries             sent it", "win011  Windows nodes  changed it", "==> Windows nodes", ""]
        {
            assert!(!is_of(line, &planned), "{line}");
        }
    }
}
