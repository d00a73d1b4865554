//! The whole test: hosts, then k8swin against them, command by command.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Parser;
use k8swin_inventory::Cluster;
use k8swin_protocol::Os;
use k8swin_sandbox::{Flavour, Rootfs, Sandbox};

use crate::error::{Error, file};
use crate::hosts::{Hosts, Making};
use crate::interrupt::Interrupt;
use crate::k8swin::K8swin;
use crate::parts::Parts;
use crate::trouble::Troubles;
use crate::twin::Desk;
use crate::windows::WindowsParts;
use crate::{damage, flags, logs, outage, programs};

/// Build a cluster of real hosts in a sandbox on this machine with k8swin, prove it, and take it apart.
#[derive(Clone, Debug, Parser)]
#[command(name = "k8swin-e2e")]
pub(crate) struct Arguments {
    /// The inventory; addresses must be IPv4 addresses, and connection keys are replaced.
    #[arg(long, default_value = "inventories/sandbox.toml")]
    inventory: Utf8PathBuf,
    /// Another Kubernetes version than the inventory's.
    #[arg(long)]
    kubernetes: Option<String>,
    /// A folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, kubelet.exe
    /// and kube-proxy.exe.
    #[arg(long)]
    binaries: PathBuf,
    /// A folder with k8swin and the agents.
    #[arg(long)]
    dist: Utf8PathBuf,
    /// Where logs go; it is emptied first.
    #[arg(long, default_value = "target/e2e")]
    logs: PathBuf,
    /// Leave the hosts running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// A part that was done before, for the table of times: its name and its seconds.
    #[arg(long, value_name = "NAME=SECONDS", value_parser = before)]
    before: Vec<(String, f64)>,
}

fn before(text: &str) -> Result<(String, f64), String> {
    let (name, seconds) = text.split_once('=').ok_or("NAME=SECONDS is expected")?;
    let seconds = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    Ok((name.to_owned(), seconds))
}

/// Runs the test; 0 when all went well.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let mut parts = Parts::begun_with(&arguments.before);
    // Hosts end with the thread that started them, so that all of it happens on this one.
    let result = whole(arguments, &mut parts);
    println!("\n{}", parts.table());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => {
            eprintln!("interrupted; the hosts are gone");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn whole(arguments: &Arguments, parts: &mut Parts) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(file("start", "a runtime"))?;
    let interrupt = Interrupt::listen(runtime.handle()).map_err(file("listen for", "signals"))?;
    let original = fs::read_to_string(&arguments.inventory).map_err(file("read", &arguments.inventory))?;
    let mut cluster = k8swin_inventory::parse(&original, &arguments.inventory)
        .map_err(|errors| Error::Inventory(errors.to_string()))?;
    if let Some(version) = &arguments.kubernetes {
        let no_profile = |_| Error::Inventory(format!("there is no release profile for Kubernetes {version}"));
        cluster.kubernetes = version.parse().map_err(no_profile)?;
    }
    let logs = absolute(&arguments.logs)?;
    logs::prepare(&logs)?;
    let sandbox = Sandbox::new()?;
    let rootfs = parts.part("root filesystem", || {
        let rootfs = Rootfs::cached(Flavour::Node)?;
        let told = rootfs.folder().display().to_string();
        Ok((rootfs, told))
    })?;
    let folder = Utf8PathBuf::from_path_buf(sandbox.folder().join("desk"))
        .map_err(|path| Error::Inventory(format!("{} is not UTF-8", path.display())))?;
    let desk = Desk::new(folder)?;
    let dist = Utf8PathBuf::from_path_buf(absolute(arguments.dist.as_std_path())?)
        .map_err(|path| Error::Inventory(format!("{} is not UTF-8", path.display())))?;
    desk.write_inventory(&original, &arguments.inventory, &cluster, arguments.kubernetes.as_deref(), &dist)?;
    let systems: BTreeSet<_> = cluster.hosts.iter().map(|host| host.os()).collect();
    programs::assemble(desk.programs().as_std_path(), &arguments.binaries, &rootfs, &systems)?;
    let windows = match systems.contains(&Os::Windows) {
        true => Some(
            parts
                .part("stand-ins for Windows", || WindowsParts::build().map(|windows| (windows, "built".to_owned())))?,
        ),
        false => None,
    };
    let mut hosts = parts.part("boot hosts", || {
        let making = Making {
            sandbox: &sandbox,
            cluster: &cluster,
            rootfs: &rootfs,
            windows: windows.as_ref(),
            desk: &desk,
            runtime: runtime.handle(),
            interrupt: &interrupt,
        };
        let hosts = Hosts::start(&making)?;
        let told = hosts.names().join(", ");
        Ok((hosts, told))
    })?;
    let mut k8swin = K8swin {
        program: dist.join("k8swin").into_std_path_buf(),
        namespace: hosts.client().to_owned(),
        inventory: desk.inventory().into_std_path_buf(),
        logs: logs.clone(),
        runs: 0,
    };
    let result = commands(&cluster, &mut k8swin, &mut hosts, parts, &interrupt);
    if result.is_err() {
        logs::collect(&hosts, &logs);
        println!("logs of all hosts: {}", logs.display());
    }
    if arguments.keep && !interrupt.is_asked() {
        if let Err(error) = &result {
            eprintln!("error: {error}");
        }
        keep(&k8swin, &mut hosts, &cluster, &desk, &interrupt)?;
    }
    result
}

/// The commands of the life of a cluster.
fn commands(
    cluster: &Cluster,
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    preflight(k8swin, hosts, parts, interrupt, "preflight")?;
    up(k8swin, hosts, parts, interrupt, "up")?;
    verify(k8swin, hosts, parts, interrupt, "verify")?;
    let changed = up(k8swin, hosts, parts, interrupt, "up again")?;
    unchanged(changed)?;
    damage::damages(cluster, k8swin, hosts, parts, interrupt)?;
    for name in hosts.names() {
        parts.part(format!("reboot {name}"), || {
            interrupt.check()?;
            hosts.reboot(&name)?;
            Ok(((), "up".to_owned()))
        })?;
    }
    verify(k8swin, hosts, parts, interrupt, "verify after reboots")?;
    let changed = up(k8swin, hosts, parts, interrupt, "up after reboots")?;
    unchanged(changed)?;
    outage::outages(cluster, k8swin, hosts, parts, interrupt)?;
    parts.part("flags", || {
        let flags::Checked { logs, known } = flags::check(hosts, cluster.kubernetes.minor)?;
        for line in &known {
            println!("   {line}");
        }
        Ok(((), format!("{logs} logs, {} remarks, each with a known reason", known.len())))
    })?;
    reset(k8swin, hosts, parts, interrupt, "reset")?;
    in_trouble(k8swin, hosts, parts, interrupt, Troubles::of(cluster))
}

/// A second life, in which hosts have trouble while the cluster is built.
fn in_trouble(
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
    mut troubles: Troubles,
) -> Result<(), Error> {
    if troubles.is_empty() {
        return Ok(());
    }
    parts.part("up in trouble", || {
        let outcome = k8swin.run_in_trouble("up", hosts, interrupt, &mut troubles)?;
        troubles.all_happened()?;
        let troubled: Vec<_> = troubles.happened.iter().map(|planned| planned.host.as_str()).collect();
        let told = outcome.recovered_or_told(&troubled)?;
        let happened: Vec<_> =
            troubles.happened.iter().map(|planned| format!("{:?} {}", planned.trouble, planned.host)).collect();
        Ok(((), format!("{}: {told}", happened.join(", "))))
    })?;
    up(k8swin, hosts, parts, interrupt, "up after trouble")?;
    verify(k8swin, hosts, parts, interrupt, "verify after trouble")?;
    let changed = up(k8swin, hosts, parts, interrupt, "up once more")?;
    unchanged(changed)?;
    reset(k8swin, hosts, parts, interrupt, "reset after trouble")
}

fn reset(
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
    name: &str,
) -> Result<(), Error> {
    parts.part(name, || {
        let outcome = k8swin.run("reset", hosts, interrupt)?.succeeded()?;
        Ok(((), format!("changed {}", outcome.count("changed")?)))
    })
}

/// Runs `preflight`, which finds nothing that stands in the way.
pub(crate) fn preflight(
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
    name: &str,
) -> Result<(), Error> {
    parts.part(name, || {
        let outcome = k8swin.run("preflight", hosts, interrupt)?.succeeded()?;
        Ok(((), format!("{} ok, {} warnings", outcome.findings("ok"), outcome.findings("warning"))))
    })
}

/// Runs `up`; what it changed.
pub(crate) fn up(
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
    name: &str,
) -> Result<u64, Error> {
    parts.part(name, || {
        let outcome = k8swin.run("up", hosts, interrupt)?.succeeded()?;
        let (changed, unchanged) = (outcome.count("changed")?, outcome.count("unchanged")?);
        Ok((changed, format!("changed {changed}, unchanged {unchanged}")))
    })
}

fn unchanged(changed: u64) -> Result<(), Error> {
    if changed == 0 {
        return Ok(());
    }
    let problem = format!("nothing was changed by anybody, and it changed {changed} resources");
    Err(Error::K8swin { command: "up".to_owned(), problem })
}

/// Runs `verify`.
pub(crate) fn verify(
    k8swin: &mut K8swin,
    hosts: &mut Hosts,
    parts: &mut Parts,
    interrupt: &Interrupt,
    name: &str,
) -> Result<(), Error> {
    parts.part(name, || {
        let outcome = k8swin.run("verify", hosts, interrupt)?.succeeded()?;
        Ok(((), format!("{} findings ok", outcome.findings("ok"))))
    })
}

/// Leaves the hosts running, tells how to reach them, and waits for Ctrl-C.
fn keep(
    k8swin: &K8swin,
    hosts: &mut Hosts,
    cluster: &Cluster,
    desk: &Desk,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    println!("\nThe hosts stay until Ctrl-C. k8swin reaches them so:\n  {}", k8swin.shown(&["status"]));
    for host in hosts.linux() {
        if let Some(known) = cluster.host(host.hostname()) {
            println!(
                "{}: ip netns exec {} ssh -i {} -o UserKnownHostsFile={} root@{}",
                host.hostname(),
                hosts.client(),
                desk.identity(),
                desk.known_hosts(),
                known.node_address
            );
        }
    }
    while !interrupt.is_asked() {
        hosts.restart_those_that_asked()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(file("find", path))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
