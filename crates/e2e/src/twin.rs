//! The working copy of the inventory: the same cluster, with the addresses, keys and programs of the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::System;
use k8swin_inventory::twin::{Twin, TwinHost, twin};
use k8swin_inventory::{Cluster, Host};

use crate::error::{Error, file};

/// The folder of the administrator's machine.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    folder: Utf8PathBuf,
}

impl Desk {
    /// Makes it.
    pub(crate) fn new(folder: Utf8PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(file("make", &folder))?;
        Ok(Self { folder })
    }

    /// The inventory that reaches the hosts.
    pub(crate) fn inventory(&self) -> Utf8PathBuf {
        self.folder.join("inventory.toml")
    }

    /// The private key that may log in on Linux hosts.
    pub(crate) fn identity(&self) -> Utf8PathBuf {
        self.folder.join("id_ed25519")
    }

    /// The Linux hosts' keys.
    pub(crate) fn known_hosts(&self) -> Utf8PathBuf {
        self.folder.join("known_hosts")
    }

    /// The authority of the Windows hosts' certificates.
    pub(crate) fn authority(&self) -> Utf8PathBuf {
        self.folder.join("winrm-ca.pem")
    }

    /// The Windows hosts' password.
    pub(crate) fn password(&self) -> Utf8PathBuf {
        self.folder.join("windows-password")
    }

    /// Writes the Windows hosts' password, for the administrator only.
    pub(crate) fn write_password(&self, password: &str) -> Result<(), Error> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.password();
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        opened.and_then(|mut file| writeln!(file, "{password}")).map_err(file("write", path))
    }

    /// The cluster's programs.
    pub(crate) fn programs(&self) -> Utf8PathBuf {
        self.folder.join("programs")
    }

    /// Writes the working copy.
    pub(crate) fn write_inventory(
        &self,
        original: &str,
        path: &Utf8Path,
        cluster: &Cluster,
        kubernetes: Option<&str>,
        agents: &Utf8Path,
    ) -> Result<(), Error> {
        let hosts: BTreeMap<_, _> = cluster.hosts.iter().map(|host| (host.name.clone(), self.reached(host))).collect();
        let of = Twin {
            title: "The sandbox's copy",
            kubernetes: kubernetes.map(str::to_owned),
            hosts,
            artifacts_path: self.programs(),
            agents_path: agents.to_owned(),
        };
        let text = twin(original, path, &of).map_err(|errors| Error::Inventory(errors.to_string()))?;
        fs::write(self.inventory(), text).map_err(file("write", self.inventory()))
    }

    fn reached(&self, host: &Host) -> TwinHost {
        let windows = matches!(host.system, System::Windows(_));
        let on = |condition: bool, path: Utf8PathBuf| condition.then_some(path);
        TwinHost {
            // Its hosts have Docker, or a stand-in for it.
            docker: None,
            address: host.node_address,
            port: port(host),
            user: if windows { "Administrator".to_owned() } else { "root".to_owned() },
            identity: on(!windows, self.identity()),
            known_hosts: on(!windows, self.known_hosts()),
            ca: on(windows, self.authority()),
            password_file: on(windows, self.password()),
            api_endpoint: None,
        }
    }
}

/// The port of SSH or WinRM in a sandbox: the usual one.
pub(crate) fn port(host: &Host) -> u16 {
    use k8swin_inventory::cluster::WinRmTransport;
    match &host.system {
        System::Linux(_) => 22,
        System::Windows(windows) => match windows.winrm.transport {
            WinRmTransport::Https(_) => 5986,
            WinRmTransport::Http => 5985,
        },
    }
}

/// The network that all hosts share, and the administrator's own address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The administrator's address.
    pub(crate) client: Ipv4Addr,
    /// The prefix length of everybody's address.
    pub(crate) prefix: u8,
}

impl Segment {
    /// The smallest one, of at least a /24, that holds all of these addresses and another one.
    pub(crate) fn around(addresses: &[Ipv4Addr]) -> Result<Self, Error> {
        let first = addresses.first().copied().map_or(0, u32::from);
        let fits = |prefix: &u8| addresses.iter().all(|address| (u32::from(*address) ^ first) >> (32 - prefix) == 0);
        let prefix = (8..=24_u8).rev().find(fits);
        let prefix =
            prefix.ok_or_else(|| Error::Inventory("the hosts' addresses lie in no common network".to_owned()))?;
        let network = first >> (32 - prefix) << (32 - prefix);
        let client = (1..255).map(|number| Ipv4Addr::from(network | number)).find(|free| !addresses.contains(free));
        let client =
            client.ok_or_else(|| Error::Inventory("the hosts leave no address for this machine".to_owned()))?;
        Ok(Self { client, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(addresses: &[[u8; 4]]) -> Option<(String, u8)> {
        let addresses: Vec<_> = addresses.iter().copied().map(Ipv4Addr::from).collect();
        let Segment { client, prefix } = Segment::around(&addresses).ok()?;
        Some((client.to_string(), prefix))
    }

    #[test]
    fn a_segment_holds_all_hosts_and_the_administrator() {
        assert_eq!(around(&[[10, 5, 6, 215], [10, 5, 6, 216]]), Some(("10.5.6.1".into(), 24)));
        assert_eq!(around(&[[10, 5, 6, 1], [10, 5, 7, 1]]), Some(("10.5.6.2".into(), 23)));
        assert_eq!(around(&[[10, 5, 6, 1], [11, 5, 7, 1]]), None);
    }
}
