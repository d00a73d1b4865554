//! Builds what is shipped: k8swin for this machine, the agents for hosts, and `sha256sums` beside them in target/dist.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8swin_protocol::Sha256;

use crate::cargo;

/// The agents: static on Linux, so that one program runs on every distribution; without a Visual C++ runtime on Windows.
const AGENTS: [(&str, &str); 2] =
    [("x86_64-unknown-linux-musl", "k8swin-agent"), ("x86_64-pc-windows-gnu", "k8swin-agent.exe")];

/// The linker of the Windows target.
const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// Builds all, copies it to target/dist and prints size and sha256 of each. Returns that folder.
pub(crate) fn run() -> Result<PathBuf, String> {
    let missing = missing();
    if !missing.is_empty() {
        return Err(format!("this machine cannot build the agents yet; missing:\n  {}", missing.join("\n  ")));
    }
    let root = crate::root()?;
    let target = cargo::target(root);
    let dist = target.join("dist");
    fs::create_dir_all(&dist).map_err(|error| format!("cannot create {}: {error}", dist.display()))?;

    let program = format!("k8swin{EXE_SUFFIX}");
    cargo::build(root, None, &["--release", "-p", "k8swin", "--bin", "k8swin"])?;
    let mut built = vec![(target.join("release").join(&program), program)];
    // A folder of their own: cargo keeps what the profile `dist` builds for this machine in `dist` below it.
    let agents = target.join("agents");
    for (triple, name) in AGENTS {
        cargo::build(
            root,
            Some(&agents),
            &["--profile", "dist", "--target", triple, "-p", "k8swin-agent", "--bin", "k8swin-agent"],
        )?;
        built.push((agents.join(triple).join("dist").join(name), name.to_owned()));
    }

    let mut sums = String::new();
    for (from, name) in built {
        let to = dist.join(&name);
        copy(&from, &to)?;
        let bytes = fs::read(&to).map_err(|error| format!("cannot read {}: {error}", to.display()))?;
        let digest = Sha256::of(&bytes);
        println!("{:>10} bytes  {digest}  {}", bytes.len(), to.display());
        // Writing into a String cannot fail.
        let _ = writeln!(sums, "{digest}  {name}");
    }
    let path = dist.join("sha256sums");
    fs::write(&path, sums).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(dist)
}

/// What this machine lacks, each with the command that brings it.
pub(crate) fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    // Without rustup (a distribution's Rust) nobody can say which targets there are: then cargo says it.
    if let Some(installed) = output("rustup", &["target", "list", "--installed"]) {
        for (triple, _) in AGENTS {
            if !installed.lines().any(|line| line == triple) {
                missing.push(format!("the Rust target {triple}: rustup target add {triple}"));
            }
        }
    }
    if output(MINGW, &["--version"]).is_none() {
        missing.push(format!("the linker {MINGW}: apt-get install gcc-mingw-w64-x86-64"));
    }
    missing
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Copies to a temporary name and renames: the program that is replaced may be running.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let temporary = to.with_extension("new");
    let result = fs::copy(from, &temporary).and_then(|_| fs::rename(&temporary, to));
    let name = |path: &Path| path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned();
    result.map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), name(to)))
}
