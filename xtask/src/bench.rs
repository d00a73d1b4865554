//! Builds k8swin, the agent and the benchmarks of `crates/bench` for release, and runs these.

use std::process::Command;

use crate::cargo;

/// Builds and measures.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let root = crate::root()?;
    let programs = ["k8swin", "k8swin-agent", "k8swin-bench"];
    let packages: Vec<&str> = programs.iter().flat_map(|program| ["-p", program, "--bin", program]).collect();
    cargo::build(root, None, &[&["--release", "--quiet"], packages.as_slice()].concat())?;
    let target = cargo::target(root);
    let mut bench = Command::new(target.join("release/k8swin-bench"));
    bench.args(arguments).arg("--programs").arg(target.join("release")).arg("--docs").arg(root.join("docs"));
    bench.arg("--work").arg(target.join("bench"));
    let status = bench.status().map_err(|error| format!("cannot run k8swin-bench: {error}"))?;
    if status.success() { Ok(()) } else { Err("the benchmark failed".to_owned()) }
}
