//! A Debian host that this machine boots, with systemd and OpenSSH's sshd, which has many addresses, and so many names.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_sandbox::{
    Adapter, Flavour, LinuxHost, LinuxSettings, Namespace, Network, Rootfs, Sandbox, SandboxError, ssh_key,
};

use crate::run::host;

/// So many names it has, each with an address.
pub(crate) const MOST: usize = 30;

/// The prefix length of its network.
const PREFIX: u8 = 24;

/// The address of whoever logs in.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// Debian's own configuration, but for the limits: many log in at once to what is one host only.
const SSHD: &str = "UseDNS no\nMaxSessions 500\nMaxStartups 500\n";

/// The address of the name with this number.
pub(crate) fn address(number: usize) -> String {
    format!("10.1.0.{}", number + 2)
}

/// What a host is made of.
pub(crate) struct Parts {
    sandbox: Sandbox,
    rootfs: Rootfs,
}

impl Parts {
    /// The files of such a host, which are made and kept where they are missing; or why this machine cannot have one.
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let sandbox = Sandbox::new()?;
        let rootfs = Rootfs::cached(Flavour::Managed)?;
        Ok(Self { sandbox, rootfs })
    }
}

/// The running host. It goes with the value.
pub(crate) struct Booted {
    // In the order in which they go.
    _linux: LinuxHost,
    _network: Network,
    _sandbox: Sandbox,
    client: Namespace,
    folder: Utf8PathBuf,
}

impl Booted {
    /// Boots one; what is needed to log in lies in `folder`.
    pub(crate) fn start(parts: Parts, folder: &Utf8Path) -> Result<Self, String> {
        let told = |error: SandboxError| error.to_string();
        let Parts { sandbox, rootfs } = parts;
        let mut network = Network::new(&sandbox).map_err(told)?;
        let adapter = |address| Adapter { name: "eth0".into(), mac: None, address };
        let client = network.attach(&sandbox, "client", &[adapter(Some((CLIENT, PREFIX)))]).map_err(told)?;
        let settings = LinuxSettings {
            hostname: host(0),
            machine_id: "11111111222233334444555555555555".into(),
            address: (address(0).parse().map_err(|_| "no address")?, PREFIX),
            gateway: None,
            namespace: network.attach(&sandbox, &host(0), &[adapter(None)]).map_err(told)?,
            neighbours: vec![],
            node: None,
        };
        let mut linux = LinuxHost::start(&sandbox, &rootfs, settings).map_err(told)?;
        linux.wait_until_up().map_err(told)?;
        for number in 1..MOST {
            let address = format!("{}/{PREFIX}", address(number));
            linux.run(&["ip", "address", "add", &address, "dev", "eth0"]).map_err(told)?;
        }
        let key = folder.join("id");
        ssh_key(key.as_std_path()).map_err(told)?;
        let known = open_to(&linux, &key).map_err(|error| format!("the host's sshd: {error}"))?;
        fs::write(folder.join("known_hosts"), known).map_err(|error| error.to_string())?;
        linux.run(&["systemctl", "restart", "ssh"]).map_err(told)?;
        Ok(Self { _linux: linux, _network: network, _sandbox: sandbox, client, folder: folder.to_owned() })
    }

    /// The private key that logs in as root.
    pub(crate) fn identity(&self) -> Utf8PathBuf {
        self.folder.join("id")
    }

    /// The host's keys under all its names.
    pub(crate) fn known_hosts(&self) -> Utf8PathBuf {
        self.folder.join("known_hosts")
    }

    /// A program in the network that reaches the host.
    pub(crate) fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", &*self.client)).arg(program);
        command
    }

    /// An inventory in which it has so many names.
    pub(crate) fn inventory(&self, hosts: usize) -> String {
        let mut text = format!(
            "schema = 1\n[cluster]\nname = \"bench\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.128.0.0/9\"\nservice_cidr = \"172.30.0.0/16\"\n\
             [defaults.linux]\nuser = \"root\"\nidentity = \"{}\"\nknown_hosts = \"{}\"\n",
            self.identity(),
            self.known_hosts()
        );
        for number in 0..hosts {
            let roles = if number == 0 { "roles = [\"control-plane\", \"worker\"]\n" } else { "" };
            text += &format!(
                "[[host]]\nname = \"{}\"\nos = \"linux\"\naddress = \"{}\"\n{roles}",
                host(number),
                address(number)
            );
        }
        text
    }
}

/// Lets root log in with the key; gives the lines of known_hosts.
fn open_to(linux: &LinuxHost, key: &Utf8Path) -> std::io::Result<String> {
    let folder = linux.path("/root/.ssh");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    fs::copy(key.with_extension("pub"), folder.join("authorized_keys"))?;
    fs::write(linux.path("/etc/ssh/sshd_config.d/bench.conf"), SSHD)?;
    let public = fs::read_to_string(linux.path("/etc/ssh/ssh_host_ed25519_key.pub"))?;
    let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Ok((0..MOST).map(|number| format!("{} {}\n", address(number), public.trim_end())).collect())
}
