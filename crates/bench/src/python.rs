//! Tools from PyPI, in a virtual environment of the benchmark's own.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

/// A virtual environment with these packages, kept in `folder` for the next time; or one line that says what is missing.
pub(crate) fn environment(folder: &Utf8Path, packages: &[&str]) -> Result<Utf8PathBuf, String> {
    let programs = folder.join("bin");
    let mark = folder.join(format!("{}.installed", packages.join("-")));
    if mark.exists() {
        return Ok(programs);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .map_err(|error| format!("no Python 3 with venv ({error})"))?;
    let mut install = Command::new(programs.join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    run(&mut install).map_err(|error| format!("PyPI did not give {} ({error})", packages.join(", ")))?;
    std::fs::write(&mark, "").map_err(|error| error.to_string())?;
    Ok(programs)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.lines().last().unwrap_or("no reason given").to_owned()) }
}
