//! What happens to a finished cluster behind k8swin's back: services that stop, a route that is deleted, a port that another
//! program takes, a clock that goes wrong. `preflight` tells each by its name and changes nothing; once the program is gone
//! and the clock is right, `up` mends the rest, and `preflight` is green.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use k8swin_inventory::Cluster;
use k8swin_sandbox::LinuxHost;

use crate::error::Error;
use crate::hosts::Hosts;
use crate::interrupt::Interrupt;
use crate::k8swin::K8swin;
use crate::parts::Parts;
use crate::run::{preflight, up};

/// kube-proxy's port for its health: nobody but an administrator asks it.
const PORT: &str = "10249";

/// The unit of the program that takes it.
const STRANGER: &str = "stranger.service";

/// How far the clock goes wrong: more than preflight lets pass.
const AHEAD: Duration = Duration::from_secs(600);

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host with a check that tells what is wrong with it.
type Wrong = (String, &'static str);

/// Does all of it, and looks.
pub(crate) fn damages(
    cluster: &Cluster,
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    preflight(k8swin, hosts, parts, interrupt, "preflight of the cluster")?;
    parts.part("preflight of damage", || {
        let wrong = damage(cluster, hosts)?;
        let told = k8swin.run("preflight", hosts, interrupt)?.refused()?;
        put_right(hosts)?;
        let expected: BTreeSet<_> = wrong.iter().map(|(host, check)| (host.clone(), (*check).to_owned())).collect();
        if told != expected {
            let problem = format!("it found {told:?}, and wrong was {expected:?}");
            return Err(Error::K8swin { command: "preflight".to_owned(), problem });
        }
        let told: Vec<_> = told.iter().map(|(host, check)| format!("{host} {check}")).collect();
        Ok(((), format!("red: {}", told.join(", "))))
    })?;
    up(k8swin, hosts, parts, interrupt, "up after damage")?;
    preflight(k8swin, hosts, parts, interrupt, "preflight after damage")
}

/// Spoils the cluster; what is wrong afterwards.
fn damage(cluster: &Cluster, hosts: &Hosts) -> Result<Vec<Wrong>, Error> {
    let mut wrong = Vec::new();
    if let Some(host) = hosts.linux().last() {
        let name = host.hostname();
        // It would bring the route back within seconds.
        host.run(&["systemctl", "stop", "k8swin-network.service", "kube-proxy.service"])?;
        wrong.push((name.to_owned(), "services"));
        if let Some(other) = cluster.hosts.iter().find(|other| other.name != name) {
            host.run(&["ip", "route", "delete", &other.pod_cidr.to_string()])?;
            wrong.push((name.to_owned(), "routes"));
        }
        take_port(host)?;
        wrong.push((name.to_owned(), "ports"));
    }
    if let Some(host) = hosts.windows().next() {
        host.run(&["net.exe", "stop", "kubelet"])?;
        wrong.push((host.hostname().to_owned(), "services"));
    }
    if let Some(host) = hosts.windows().last() {
        host.set_clock_ahead(AHEAD);
        wrong.push((host.hostname().to_owned(), "clock"));
    }
    Ok(wrong)
}

/// What `up` cannot mend: the other program, and the clock.
fn put_right(hosts: &Hosts) -> Result<(), Error> {
    if let Some(host) = hosts.linux().last() {
        host.run(&["systemctl", "stop", STRANGER])?;
    }
    hosts.windows().for_each(|host| host.set_clock_ahead(Duration::ZERO));
    Ok(())
}

/// Has another program listen on a port of ours.
fn take_port(host: &LinuxHost) -> Result<(), Error> {
    let unit = format!("--unit={STRANGER}");
    host.run(&["systemd-run", "--quiet", &unit, "busybox", "nc", "-ll", "-p", PORT, "-e", "/bin/true"])?;
    let deadline = Instant::now() + PATIENCE;
    while host.run(&["ss", "-Hltn", "sport", "=", PORT])?.trim().is_empty() {
        if Instant::now() >= deadline {
            return Err(Error::Cluster(format!("busybox does not listen on {PORT} of {}", host.hostname())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
