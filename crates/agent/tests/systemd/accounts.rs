//! Who logs in: a user with `sudo -n` is as good as root, by way of the host's own sshd; one without is told so.

use std::io::Write as _;
use std::process::Stdio;

use k8swin_protocol::bootstrap::{self, Bootstrap, Verb};
use k8swin_protocol::wire::{Request, Response};
use k8swin_protocol::{Facts, Sha256};

use crate::host::Host;
use crate::resources::*;
use crate::session::Session;

/// The options of OpenSSH's client on the host, which logs in to its own host.
const SSH: [&str; 8] =
    ["ssh", "-q", "-i", "/root/key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];

/// An account that may log in with the key of the test.
fn add_user(host: &Host, name: &str) {
    host.run(&["useradd", "--create-home", "--shell", "/bin/sh", name]);
    let home = format!("/home/{name}/.ssh");
    host.run(&["install", "-d", "-m", "700", "-o", name, &home]);
    host.run(&["install", "-m", "600", "-o", name, "/root/key.pub", &format!("{home}/authorized_keys")]);
}

#[test]
fn a_user_with_sudo_is_as_good_as_root() {
    let Some(host) = Host::boot() else { return };
    host.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key"]);
    add_user(&host, "admin");
    add_user(&host, "guest");
    host.write("/etc/sudoers.d/admin", "admin ALL=(ALL:ALL) NOPASSWD: ALL\n");
    let over_ssh = |login: &str, command: &str| {
        let words = [SSH.as_slice(), &[login, command]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    // The agent is put there as the orchestrator does it for such a user.
    let agent = host.agent.as_str();
    host.run(&["rm", agent]);
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_k8swin-agent")).unwrap();
    let bootstrap = Bootstrap { verb: Verb::Put, sha256: Sha256::of(&bytes), path: host.agent.clone() };
    let put = over_ssh("admin@lin01", &bootstrap::sh_command(true));
    let put: Vec<_> = put.iter().map(String::as_str).collect();
    let mut child = host.command(&put).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(bootstrap.header().as_bytes()).unwrap();
    stdin.write_all(&bytes).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(host.run(&["stat", "-c", "%U %a", agent]), "root 755\n");

    let before = host.state();
    let mut session = Session::start(&host, &over_ssh("admin@lin01", &format!("sudo -n {agent} serve")));
    let Ok(Response::Facts(facts)) = session.ask(Request::Facts) else { panic!("no facts") };
    let Facts::Linux(facts) = *facts else { panic!("not a Linux host") };
    assert_eq!((facts.common.user.as_str(), facts.common.privileged), ("root", true));
    let key = b"-----BEGIN PRIVATE KEY----- canary".as_slice();
    let resources = [
        secret("/etc/kubernetes/pki/sa.key", key),
        sysctl("net.ipv4.ip_forward", "1"),
        forward(),
        route("192.168.1.0/24", [10, 5, 6, 216]),
        network_unit(&host.agent),
        service("demo", "/bin/sleep infinity"),
    ];
    session.stage(key).unwrap();
    session.apply(&resources).unwrap();
    assert_eq!(session.drift(&resources), [""; 0]);
    assert_eq!(host.run(&["stat", "-c", "%U %a", "/etc/kubernetes/pki/sa.key"]), "root 600\n");
    session.reset().unwrap();
    session.bye();
    assert_eq!(host.state(), before);

    // Without sudo: looking is possible, changing is not, and the agent says why.
    let mut session = Session::start(&host, &over_ssh("guest@lin01", &format!("{agent} serve")));
    let Ok(Response::Facts(facts)) = session.ask(Request::Facts) else { panic!("no facts") };
    assert_eq!((facts.common().user.as_str(), facts.common().privileged), ("guest", false));
    let failure = session.apply(&resources[1..2]).unwrap_err();
    assert_eq!(failure.answer, "Permission denied");
    assert_eq!(failure.hint.as_deref(), Some("the agent must run as root: log in as root or allow sudo -n"));
    drop(session);
    assert_eq!(host.state(), before);
}
