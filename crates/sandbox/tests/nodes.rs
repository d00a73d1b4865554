//! Two hosts that can become nodes: they reach each other, take a key by SSH, run containers, and come back.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::process::Command;

use k8swin_sandbox::{
    Adapter, Flavour, LinuxHost, LinuxSettings, Network, Node, Rootfs, Sandbox, SandboxError, ssh_key,
};

fn adapter(name: &str, address: Option<Ipv4Addr>) -> Adapter {
    Adapter { name: name.into(), mac: None, address: address.map(|address| (address, 24)) }
}

#[test]
fn nodes_of_a_sandbox() {
    if std::env::var_os("K8SWIN_HOST_TESTS").is_none() {
        println!("skipped: booting hosts takes a minute: K8SWIN_HOST_TESTS=1 asks for it");
        return;
    }
    let (sandbox, rootfs) = match Sandbox::new().and_then(|sandbox| Ok((sandbox, Rootfs::cached(Flavour::Node)?))) {
        Err(missing @ SandboxError::Missing { .. }) => return println!("skipped: {missing}"),
        parts => parts.unwrap(),
    };
    let mut network = Network::new(&sandbox).unwrap();
    let key = sandbox.folder().join("key");
    ssh_key(&key).unwrap();
    let authorized_key = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let address = |number| Ipv4Addr::new(10, 5, 6, number);
    let client = network.attach(&sandbox, "client", &[adapter("eth0", Some(address(1)))]).unwrap();
    let mut hosts: Vec<LinuxHost> = [("lin01", 2), ("lin02", 3)]
        .map(|(name, number)| {
            let settings = LinuxSettings {
                hostname: name.into(),
                machine_id: format!("{number:032x}"),
                address: (address(number), 24),
                gateway: None,
                namespace: network.attach(&sandbox, name, &[adapter("eth0", None)]).unwrap(),
                neighbours: vec![],
                node: Some(Node { authorized_key: authorized_key.clone() }),
            };
            LinuxHost::start(&sandbox, &rootfs, settings).unwrap()
        })
        .into();
    for host in &mut hosts {
        host.wait_until_up().unwrap();
        assert_eq!(host.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).unwrap(), "");
    }
    let known_hosts = sandbox.folder().join("known_hosts");
    std::fs::write(&known_hosts, format!("10.5.6.3 {}", hosts[1].host_key().unwrap())).unwrap();
    let ssh = |words: &[&str]| {
        let options = format!("-oUserKnownHostsFile={}", known_hosts.display());
        let output = Command::new("ip")
            .args(["netns", "exec", &client, "ssh", "-oBatchMode=yes", &options, "-i"])
            .arg(&key)
            .arg("root@10.5.6.3")
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ssh(&["hostname"]), "lin02\n");
    assert_eq!(ssh(&["docker", "run", "--rm", "busybox:1", "echo", "in", "a", "container"]), "in a container\n");
    assert!(ssh(&["ping", "-c", "1", "-W", "5", "10.5.6.2"]).contains("1 received"));
    let boot = |host: &LinuxHost| host.run(&["cat", "/proc/sys/kernel/random/boot_id"]).unwrap();
    let before = boot(&hosts[1]);
    hosts[1].run(&["systemctl", "reboot"]).unwrap();
    hosts[1].comes_back().unwrap();
    assert_ne!(boot(&hosts[1]), before);
    assert!(ssh(&["docker", "image", "ls"]).contains("registry.k8s.io/pause"));
    let names = sandbox.named("");
    let folder = sandbox.folder().to_owned();
    drop((hosts, network, sandbox));
    let namespaces = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8(namespaces.stdout).unwrap().contains(&names));
    assert!(!folder.exists());
}
