//! The Debian host of a test, with the agent put on it as the orchestrator does.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use k8swin_protocol::bootstrap::{self, Bootstrap, Verb};
use k8swin_protocol::{HostPath, Os, Sha256};
use k8swin_sandbox::{Adapter, Flavour, LinuxHost, LinuxSettings, Network, Rootfs, Sandbox, SandboxError};

/// The host's address.
pub(crate) const ADDRESS: [u8; 4] = [10, 5, 6, 215];

/// The host's identity.
pub(crate) const MACHINE_ID: &str = "11111111222233334444555555555555";

/// A booted host, alone in a network of its own.
pub(crate) struct Host {
    linux: LinuxHost,
    // In the order in which they go.
    _network: Network,
    _sandbox: Sandbox,
    /// The agent on the host.
    pub(crate) agent: HostPath,
}

impl Host {
    /// Boots a fresh host and puts the agent on it; none, and a line why, where that cannot be.
    pub(crate) fn boot() -> Option<Self> {
        let (sandbox, rootfs) = match parts() {
            Ok(parts) => parts,
            Err(why) => {
                static SAID: Once = Once::new();
                // Past what the test harness keeps to itself, so that it shows which tests a green run left out.
                SAID.call_once(|| drop(writeln!(std::io::stderr(), "\ntests on a booted host are skipped: {why}")));
                return None;
            }
        };
        let mut network = Network::new(&sandbox).unwrap();
        let adapter = Adapter { name: "eth0".into(), mac: None, address: None };
        let settings = LinuxSettings {
            hostname: "lin01".into(),
            machine_id: MACHINE_ID.into(),
            address: (ADDRESS.into(), 24),
            gateway: None,
            namespace: network.attach(&sandbox, "lin01", &[adapter]).unwrap(),
            neighbours: vec![],
            node: None,
        };
        let agent = fs::read(env!("CARGO_BIN_EXE_k8swin-agent")).unwrap();
        let linux = LinuxHost::start(&sandbox, &rootfs, settings).unwrap();
        let path = Os::Linux.agent(Sha256::of(&agent));
        let mut host = Self { linux, _network: network, _sandbox: sandbox, agent: path };
        host.linux.wait_until_up().unwrap();
        host.put_agent(&agent);
        Some(host)
    }

    fn put_agent(&self, bytes: &[u8]) {
        let bootstrap = Bootstrap { verb: Verb::Put, sha256: Sha256::of(bytes), path: self.agent.clone() };
        let script = bootstrap::sh_command(false);
        let mut child = self
            .command(&["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(bootstrap.header().as_bytes()).unwrap();
        stdin.write_all(bytes).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until the machine has gone down by itself, and boots it anew.
    pub(crate) fn comes_back(&mut self) {
        self.linux.comes_back().unwrap();
    }

    /// Cuts the power, and boots the machine anew.
    pub(crate) fn power_cut(&mut self) {
        self.linux.power_cut().unwrap();
    }

    /// A program on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.linux.command(words)
    }

    /// Runs a program, whatever its exit code is.
    pub(crate) fn try_run(&self, words: &[&str]) -> Output {
        self.linux.try_run(words).unwrap()
    }

    /// Runs a program that must succeed; returns what it said.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        self.linux.run(words).unwrap()
    }

    /// A file of the host, seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.linux.path(path)
    }

    /// Writes a file as the host's administrator would.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// All that k8swin changes on a host, to compare.
    pub(crate) fn state(&self) -> String {
        let files = "find /etc /opt /usr/local /var/lib -not -path '/var/lib/systemd/*' -printf '%p %M %U:%G %l\\n'; \
                     find /etc /opt -type f -exec sha256sum {} +";
        let mut files: Vec<_> = self.run(&["sh", "-c", files]).lines().map(str::to_owned).collect();
        files.sort();
        let settings = self.run(&["sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"]);
        let rules = self.run(&["iptables", "-w", "-S", "FORWARD"]);
        let routes = self.run(&["ip", "-4", "route"]);
        let units = self.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "demo*", "k8swin*"]);
        format!("{}\n{settings}{rules}{routes}{units}", files.join("\n"))
    }
}

/// What a host is made of; or why this machine cannot have one.
fn parts() -> Result<(Sandbox, Rootfs), String> {
    if std::env::var_os("K8SWIN_HOST_TESTS").is_none() {
        return Err("booting a host takes a minute: K8SWIN_HOST_TESTS=1 asks for it".into());
    }
    let made = Sandbox::new().and_then(|sandbox| Ok((sandbox, Rootfs::cached(Flavour::Base)?)));
    match made {
        Err(missing @ SandboxError::Missing { .. }) => Err(missing.to_string()),
        made => Ok(made.unwrap()),
    }
}
