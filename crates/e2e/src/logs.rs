//! What the hosts wrote, kept when a test fails.

use std::fs;
use std::path::Path;

use k8swin_sandbox::LinuxHost;

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
}

fn of_linux(host: &LinuxHost, folder: &Path) {
    let _ = fs::write(folder.join("console.log"), host.console());
    for (name, words) in LINUX {
        if let Ok(output) = host.try_run(words) {
            let _ = fs::write(folder.join(name), [output.stdout, output.stderr].concat());
        }
    }
}
