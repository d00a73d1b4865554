//! Proves k8swin on real hosts in a sandbox on this machine: builds what that needs, then becomes the program of
//! `crates/e2e`, which makes the hosts and runs k8swin against them.

mod kubernetes;
mod parts;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use k8swin_inventory::Cluster;
use k8swin_protocol::Os;

use crate::{cargo, dist};
use parts::Parts;

/// The version that is built where no folder of programs is given.
const BUILT: &str = "1.20.2";

/// What `cargo xtask e2e` takes beside `--target`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The Kubernetes version, instead of the inventory's.
    #[arg(long)]
    kubernetes: Option<String>,
    /// A folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, kubelet.exe and
    /// kube-proxy.exe of that version. Without it, 1.20.2 is built from Debian's source package.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// The inventory: its hosts are made.
    #[arg(long, value_name = "FILE", default_value = "inventories/sandbox.toml")]
    inventory: PathBuf,
    /// Say only whether this machine can do it, and what it lacks.
    #[arg(long)]
    check: bool,
    /// Leave the hosts running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// More arguments for k8swin-e2e.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Builds what the test needs and becomes it.
pub(crate) fn sandbox(arguments: &Arguments) -> Result<(), String> {
    let cluster = cluster(&arguments.inventory)?;
    let version = arguments.kubernetes.clone().unwrap_or_else(|| cluster.kubernetes.to_string());
    // All that is missing is said before anything is built for minutes.
    needed(&cluster)?;
    if arguments.check {
        // Some containers let no host boot: that is known once its files are there.
        let rootfs =
            k8swin_sandbox::Rootfs::cached(k8swin_sandbox::Flavour::Node).map_err(|error| error.to_string())?;
        println!("this machine can: the files of its Linux hosts are in {}", rootfs.folder().display());
        return Ok(());
    }
    if arguments.binaries.is_none() && version != BUILT {
        return Err(format!(
            "Kubernetes {version} needs a folder with its programs: --binaries FOLDER (only {BUILT} is built here)"
        ));
    }
    let mut parts = Parts::default();
    let root = crate::root()?;
    let dist = parts.part("build k8swin and agents", dist::run)?;
    let binaries = match &arguments.binaries {
        Some(folder) => folder.clone(),
        None => parts.part("build Kubernetes", || kubernetes::built(&dist.join("k8swin")))?,
    };
    parts.part("build the test", || cargo::build(root, None, &["--quiet", "--workspace", "--bin", "k8swin-e2e"]))?;
    let mut test = Command::new(cargo::target(root).join("debug/k8swin-e2e"));
    test.arg("--inventory").arg(&arguments.inventory).args(["--kubernetes", &version]);
    test.arg("--binaries").arg(&binaries).arg("--dist").arg(&dist);
    test.arg("--logs").arg(cargo::target(root).join("e2e"));
    for (name, seconds) in parts.done() {
        test.arg("--before").arg(format!("{name}={seconds:.1}"));
    }
    if arguments.keep {
        test.arg("--keep");
    }
    // In this process' place, so that Ctrl-C is its alone: it takes its hosts away.
    let error = test.args(&arguments.more).exec();
    Err(format!("cannot run k8swin-e2e: {error}"))
}

fn cluster(path: &Path) -> Result<Cluster, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let shown = path.to_string_lossy();
    k8swin_inventory::parse(&text, shown.as_ref().into()).map_err(|errors| errors.to_string())
}

/// What this machine lacks, in one line.
fn needed(cluster: &Cluster) -> Result<(), String> {
    k8swin_sandbox::needed().map_err(|error| error.to_string())?;
    if cluster.hosts.iter().any(|host| host.os() == Os::Windows) {
        k8swin_sandbox::require_wine().map_err(|error| error.to_string())?;
        k8swin_sandbox::require_moved_clock().map_err(|error| error.to_string())?;
    }
    let missing = dist::missing();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}
