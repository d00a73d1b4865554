//! What happens to a finished cluster behind k8swin's back: services that stop, a route that is deleted, a port that another
//! program takes, a clock that goes wrong. `preflight` tells each by its name and changes nothing; once the program is gone
//! and the clock is right, `up` mends the rest, and `preflight` is green.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use k8swin_inventory::Cluster;
use k8swin_sandbox::LinuxHost;

use crate::error::{Error, file};
use crate::hosts::Hosts;
use crate::interrupt::Interrupt;
use crate::k8swin::K8swin;
use crate::parts::Parts;
use crate::run::{preflight, up};

/// kube-proxy's port for its health: nobody but an administrator asks it.
const PORT: &str = "10249";

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
        let (wrong, stranger) = damage(cluster, hosts)?;
        let outcome = k8swin.run("preflight", hosts, interrupt);
        drop(stranger);
        hosts.windows().for_each(|host| host.set_clock_ahead(Duration::ZERO));
        let told = outcome?.refused()?;
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

/// A program that is ended when the value is dropped.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is wrong afterwards, and the program that has the port for as long as it is kept.
fn damage(cluster: &Cluster, hosts: &Hosts) -> Result<(Vec<Wrong>, Option<Stranger>), Error> {
    let (mut wrong, mut stranger) = (Vec::new(), None);
    if let Some(host) = hosts.linux().last() {
        let name = host.hostname();
        // It would bring the route back within seconds.
        host.run(&["systemctl", "stop", "k8swin-network.service", "kube-proxy.service"])?;
        wrong.push((name.to_owned(), "services"));
        if let Some(other) = cluster.hosts.iter().find(|other| other.name != name) {
            host.run(&["ip", "route", "delete", &other.pod_cidr.to_string()])?;
            wrong.push((name.to_owned(), "routes"));
        }
        stranger = Some(take_port(host)?);
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
    Ok((wrong, stranger))
}

/// Another program that listens on a port of ours.
fn take_port(host: &LinuxHost) -> Result<Stranger, Error> {
    let mut command = host.command(&["busybox", "nc", "-lk", "-p", PORT, "-e", "true"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let stranger = Stranger(child.map_err(file("start", "busybox"))?);
    let deadline = Instant::now() + PATIENCE;
    while host.run(&["ss", "-Hltn", "sport", "=", PORT])?.trim().is_empty() {
        if Instant::now() >= deadline {
            return Err(Error::Cluster(format!("busybox does not listen on {PORT} of {}", host.hostname())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(stranger)
}
