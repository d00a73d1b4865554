//! Control planes that are switched off, one after the other: the cluster goes on without each of them, and takes it back.

use std::thread;
use std::time::{Duration, Instant};

use k8swin_inventory::{Cluster, Host};

use crate::error::Error;
use crate::hosts::Hosts;
use crate::interrupt::Interrupt;
use crate::k8swin::{K8swin, Outcome};
use crate::parts::Parts;
use crate::run::{up, verify};

/// How long the others may take to answer: etcd's members elect a new leader within seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// What asks the API of a control plane on its own host. `/healthz` alone would not ask etcd for data.
const ASK: [&str; 6] = [
    "/opt/k8swin/bin/kubectl",
    "--kubeconfig=/etc/kubernetes/admin.conf",
    "--request-timeout=5s",
    "get",
    "--raw",
    NODES,
];
const NODES: &str = "/api/v1/nodes";

/// The control planes that are switched off: the last one, and the first, which has the lock and the keys. Fewer than three
/// have no majority without one of them.
fn switched_off(cluster: &Cluster) -> Vec<&Host> {
    let all: Vec<_> = cluster.control_planes().collect();
    if all.len() < 3 {
        return Vec::new();
    }
    all.last().into_iter().chain(all.first()).copied().collect()
}

/// Switches control planes off and on again, if the cluster has enough of them.
pub(crate) fn outages(
    cluster: &Cluster,
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    for host in switched_off(cluster) {
        let name = &host.name;
        parts.part(format!("switch {name} off"), || {
            hosts.power_off(name);
            let begun = Instant::now();
            for other in cluster.control_planes().filter(|other| other.name != *name) {
                wait_for_api(hosts, &other.name, interrupt)?;
            }
            Ok(((), format!("the API answers through each of the others after {:.1} s", begun.elapsed().as_secs_f64())))
        })?;
        parts.part(format!("up without {name}"), || {
            let outcome = k8swin.run("up", hosts, interrupt)?.failed_on(name)?;
            Ok(((), told(&outcome)?))
        })?;
        parts.part(format!("switch {name} on"), || {
            interrupt.check()?;
            hosts.power_on(name)?;
            Ok(((), "up".to_owned()))
        })?;
        up(k8swin, hosts, parts, interrupt, &format!("up with {name} again"))?;
        verify(k8swin, hosts, parts, interrupt, &format!("verify with {name} again"))?;
    }
    Ok(())
}

fn told(outcome: &Outcome) -> Result<String, Error> {
    let (changed, unchanged) = (outcome.count("changed")?, outcome.count("unchanged")?);
    Ok(format!("exit code {}, changed {changed}, unchanged {unchanged} on the others", outcome.code))
}

fn wait_for_api(hosts: &Hosts, name: &str, interrupt: &Interrupt) -> Result<(), Error> {
    let Some(host) = hosts.linux().iter().find(|host| host.hostname() == name) else { return Ok(()) };
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupt.check()?;
        let answer = host.try_run(&ASK)?;
        if answer.status.success() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
            return Err(Error::Cluster(format!("the API of {name} does not answer: {said}")));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inventory: &str) -> Vec<String> {
        let cluster = k8swin_inventory::parse(inventory, "inventory.toml".into()).unwrap();
        switched_off(&cluster).into_iter().map(|host| host.name.clone()).collect()
    }

    #[test]
    fn only_a_cluster_that_bears_it_loses_control_planes() {
        assert_eq!(names(include_str!("../../../inventories/sandbox-ha.toml")), ["control03", "control01"]);
        assert_eq!(names(include_str!("../../../inventories/sandbox-linux.toml")), [""; 0]);
    }
}
