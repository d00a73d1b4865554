//! Runs all tests of the workspace: the one command of the README, which CI calls too.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::process::{Command, ExitStatus};

/// Asks for the tests on hosts, which are skipped without it.
const HOST_TESTS: &str = "K8SWIN_HOST_TESTS";

/// The tests on hosts. They wait for hosts more than they compute, and take as long as all others together.
const ON_HOSTS: [&str; 3] = ["systemd", "wine", "nodes"];

/// Runs `cargo test` for the workspace; where all tests are asked for, those on hosts go on beside the others.
///
/// # Errors
/// When cargo cannot be started or a test fails.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if std::env::var_os(HOST_TESTS).is_none() || !arguments.is_empty() {
        return ended(cargo(arguments).status());
    }
    // Once: two that compile wait for each other.
    ended(cargo(&["--no-run"]).status())?;
    let on_hosts: Vec<_> = ON_HOSTS.iter().flat_map(|name| ["--test", name]).collect();
    let log = crate::cargo::target(crate::root()?).join("tests-on-hosts.log");
    let output = File::create(&log).and_then(|log| Ok((log.try_clone()?, log)));
    let (stdout, stderr) = output.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut beside = cargo(&on_hosts).stdout(stdout).stderr(stderr).spawn().map_err(not_started)?;
    let others = ended(cargo::<&str>(&[]).env_remove(HOST_TESTS).status());
    println!("\ntests on hosts ({}):", log.display());
    let beside = ended(beside.wait());
    println!("{}", String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()));
    others.and(beside)
}

fn cargo<S: AsRef<str>>(arguments: &[S]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // winrm-rs 2 declares a newer rustc than it needs (README, Development).
    command.args(["test", "--locked", "--ignore-rust-version"]);
    command.args(arguments.iter().map(AsRef::as_ref));
    command
}

fn ended(status: io::Result<ExitStatus>) -> Result<(), String> {
    if status.map_err(not_started)?.success() { Ok(()) } else { Err("tests failed".to_owned()) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` has")]
fn not_started(error: io::Error) -> String {
    format!("cannot start cargo: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is missing here would run twice as long, alone; one too many would fail.
    #[test]
    fn the_tests_on_hosts_are_all_those_that_look_for_the_variable() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut found = Vec::new();
        for part in std::fs::read_dir(root).unwrap().map(|part| part.unwrap().path().join("tests")) {
            for test in std::fs::read_dir(part).into_iter().flatten().map(|test| test.unwrap().path()) {
                let main = if test.is_dir() { test.join("main.rs") } else { test.clone() };
                if std::fs::read_to_string(main).unwrap_or_default().contains(HOST_TESTS) {
                    found.push(test.file_stem().unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        let mut expected = ON_HOSTS.map(str::to_owned);
        expected.sort();
        assert_eq!(found, expected);
    }

    /// winrm-rs 1.x sends parts of a run in the clear and logs secrets; cargo's resolver would choose it for an older rustc.
    #[test]
    fn winrm_rs_is_2_or_later() {
        let lock = include_str!("../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"winrm-rs\"\nversion = \"").unwrap();
        let (major, _) = package.split_once('.').unwrap();
        assert!(major.parse::<u32>().unwrap() >= 2, "{major}");
    }
}
