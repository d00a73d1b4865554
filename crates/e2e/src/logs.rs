//! What the hosts wrote, kept when a test fails.

use std::fs;
use std::path::Path;

use k8swin_sandbox::{LinuxHost, WindowsHost};

use crate::error::{Error, file};
use crate::hosts::Hosts;

/// What is asked of a Linux host: the name of the file, and the program.
const LINUX: [(&str, &[&str]); 5] = [
    ("journal.log", &["journalctl", "--no-pager", "--output=short-precise"]),
    ("units.txt", &["systemctl", "list-units", "--all", "--no-pager"]),
    ("network.txt", &["sh", "-c", "ip address; ip route; iptables-save"]),
    ("docker.txt", &["sh", "-c", "docker ps --all; docker images; docker info"]),
    ("processes.txt", &["ps", "-e", "-o", "pid,ppid,rss,etime,args"]),
];

/// What is kept of a Windows host: folders below its drive C:, each with the name that it gets.
const WINDOWS: [(&str, &str); 3] =
    [("k8swin/log", "log"), ("stand-ins", "stand-ins"), ("ProgramData/docker", "docker")];

/// Files that are logs, or state that a person can read.
const READABLE: [&str; 3] = ["log", "json", "txt"];

/// Empties the folder for logs.
pub(crate) fn prepare(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file("remove", folder)(error)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(file("make", folder))
}

/// Collects the logs of all hosts below `folder`. What cannot be had is left out: this runs after a failure.
pub(crate) fn collect(hosts: &Hosts, folder: &Path) {
    for host in hosts.linux() {
        let folder = folder.join(host.hostname());
        if fs::create_dir_all(&folder).is_ok() {
            of_linux(host, &folder);
        }
    }
    for host in hosts.windows() {
        let folder = folder.join(host.hostname());
        if fs::create_dir_all(&folder).is_ok() {
            of_windows(host, &folder);
        }
    }
}

fn of_windows(host: &WindowsHost, folder: &Path) {
    for (of, to) in WINDOWS {
        copy_readable(&host.drive().join(of), &folder.join(to));
    }
    let words = ["sh", "-c", "ip address; ip route; ss -tlnp; ps -e -o pid,ppid,rss,etime,args"];
    if let Ok(output) = host.linux(&words).output() {
        let _ = fs::write(folder.join("network-and-processes.txt"), [output.stdout, output.stderr].concat());
    }
}

fn copy_readable(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            copy_readable(&path, &to.join(entry.file_name()));
        } else if READABLE.contains(&ending.as_str()) && fs::create_dir_all(to).is_ok() {
            let _ = fs::copy(&path, to.join(entry.file_name()));
        }
    }
}

fn of_linux(host: &LinuxHost, folder: &Path) {
    let _ = fs::write(folder.join("console.log"), host.console());
    for (name, words) in LINUX {
        if let Ok(output) = host.try_run(words) {
            let _ = fs::write(folder.join(name), [output.stdout, output.stderr].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_windows_host_what_a_person_can_read_is_kept_with_its_folders() {
        let folder = std::env::temp_dir().join(format!("k8swin-e2e-logs-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("pods/web")).unwrap();
        fs::create_dir_all(from.join("empty")).unwrap();
        for name in ["kubelet.log", "network.json", "netsh.exe", "pods/web/0.log"] {
            fs::write(from.join(name), name).unwrap();
        }
        copy_readable(&from, &to);
        assert_eq!(fs::read_to_string(to.join("pods/web/0.log")).unwrap(), "pods/web/0.log");
        assert!(to.join("kubelet.log").is_file() && to.join("network.json").is_file());
        assert!(!to.join("netsh.exe").exists() && !to.join("empty").exists());
        // A host that never had any is no trouble.
        copy_readable(&folder.join("nothing"), &to);
        fs::remove_dir_all(folder).unwrap();
    }
}
