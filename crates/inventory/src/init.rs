//! Writes a new inventory for `k8swin init`: it teaches the schema by its comments, and parses as it is.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::cluster::{AdapterSelector, KubernetesVersion};
use crate::{network, values};

/// The answers to the questions of `k8swin init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInventory {
    /// The cluster's name.
    pub name: String,
    /// The Kubernetes version.
    pub kubernetes: KubernetesVersion,
    /// The range of all pods.
    pub pod_cidr: Ipv4Net,
    /// The range of service addresses.
    pub service_cidr: Ipv4Net,
    /// The hosts, in order.
    pub hosts: Vec<NewHost>,
}

/// A host of a new inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHost {
    /// Its name.
    pub name: String,
    /// Where this machine reaches it: an IPv4 address or a DNS name.
    pub address: String,
    /// The address by which the other nodes reach it, if it is not `address`.
    pub node_address: Option<Ipv4Addr>,
    /// What depends on the operating system.
    pub system: NewSystem,
}

/// What depends on the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewSystem {
    /// Linux.
    Linux {
        /// Whether it runs etcd and the control plane.
        control_plane: bool,
        /// Whether ordinary pods run on it. A host that is neither becomes a worker.
        worker: bool,
    },
    /// Windows Server.
    Windows {
        /// The second adapter.
        pod_adapter: AdapterSelector,
    },
}

/// Reads the name of a new cluster.
///
/// # Errors
/// With what is expected, when it is not an RFC 1123 label.
pub fn cluster_name(text: &str) -> Result<String, String> {
    if values::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected at most 63 lower-case letters, digits and dashes, with no dash at either end".to_owned())
    }
}

const DEFAULT_NODE_POD_PREFIX: u8 = 24;

/// The text of a new inventory. It parses if the answers fit together: whether they do, [`crate::parse`] says.
///
/// Pod subnets are written down, so that a host that is removed later moves no other.
#[must_use]
pub fn render(new: &NewInventory) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_cluster(&mut text, new);
    let _ = write_defaults(&mut text, new);
    let prefix = DEFAULT_NODE_POD_PREFIX.max(new.pod_cidr.prefix_len());
    let subnets = network::allot_pod_subnets(new.pod_cidr, prefix, &vec![None; new.hosts.len()]).unwrap_or_default();
    let mut subnets = subnets.into_iter();
    for host in &new.hosts {
        let _ = write_host(&mut text, host, subnets.next());
    }
    text
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn write_cluster(text: &mut String, new: &NewInventory) -> std::fmt::Result {
    let NewInventory { name, kubernetes, pod_cidr, service_cidr, .. } = new;
    write!(
        text,
        r#"# The hosts of one Kubernetes cluster, and what is needed to reach them.
# Next: `k8swin preflight` looks at the hosts, `k8swin plan` shows what would change, `k8swin up` does it.

schema = 1

[cluster]
name = {name}
kubernetes = "{kubernetes}"    # Windows hosts need 1.5.3 or later

# All pods. Each host gets a /24 of it: its first address is the pods' gateway, and every other host has a route to it.
pod_cidr = "{pod_cidr}"

# Services. Windows hosts take the whole classful network of this range (10.x: all of 10.0.0.0/8; 172.16.x to 172.31.x:
# its /16; 192.168.x: its /24), so nothing else may lie there: no host, and no pods.
service_cidr = "{service_cidr}"
"#,
        name = quoted(name),
    )?;
    if pod_cidr.prefix_len() > DEFAULT_NODE_POD_PREFIX {
        writeln!(text, "\n# One host's part of pod_cidr.\nnode_pod_prefix = {}", pod_cidr.prefix_len())?;
    }
    text.push_str(
        r#"
# Where Kubernetes' programs come from. Without this table: the official archives of dl.k8s.io.
# [cluster.artifacts]
# source = "release"             # or "local" with path = "folder", or "build" with repository = "…" and tag = "…"
# mirror = "https://mirror.example.com/k8s"
"#,
    );
    Ok(())
}

fn write_defaults(text: &mut String, new: &NewInventory) -> std::fmt::Result {
    text.push_str(
        r#"
# What holds for all Linux hosts, unless a host says otherwise. What is not said here is looked up in ~/.ssh/config.
[defaults.linux]
user = "root"                    # or an account that may `sudo -n`
# identity = "~/.ssh/id_rsa"
# host_key = "accept-new"        # take unknown host keys and write them down; "strict" refuses them
# proxy_jump = "admin@bastion.example.com"
"#,
    );
    if new.hosts.iter().any(|host| matches!(host.system, NewSystem::Windows { .. })) {
        text.push_str(
            r#"
# What holds for all Windows hosts. Passwords do not belong in this file: name the environment variable, or the file
# with { file = "path" }, or write "prompt" to be asked.
[defaults.windows]
user = "Administrator"
password = { env = "K8SWIN_WINDOWS_PASSWORD" }
transport = "https"              # port 5986; "http" is port 5985 with NTLM message encryption
# ca = "winrm-ca.pem"            # who issued the WinRM certificates, if this machine does not know it;
                                 # or fingerprint = "…" in a host, the SHA-256 of its certificate
# forwarding = "per-adapter"     # instead of "rras", the Routing and Remote Access service
"#,
        );
    }
    Ok(())
}

fn write_host(text: &mut String, host: &NewHost, pod_cidr: Option<Ipv4Net>) -> std::fmt::Result {
    let os = match host.system {
        NewSystem::Linux { .. } => "linux",
        NewSystem::Windows { .. } => "windows",
    };
    writeln!(text, "\n[[host]]\nname = {}\nos = \"{os}\"", quoted(&host.name))?;
    if let NewSystem::Linux { control_plane, worker } = host.system {
        let roles = match (control_plane, worker) {
            (true, true) => r#"["control-plane", "worker"]"#,
            (true, false) => r#"["control-plane"]"#,
            (false, _) => r#"["worker"]"#,
        };
        writeln!(text, "roles = {roles}")?;
    }
    writeln!(text, "address = {}", quoted(&host.address))?;
    if let Some(node_address) = host.node_address {
        writeln!(text, "node_address = \"{node_address}\"    # where the other hosts reach it")?;
    }
    if let Some(pod_cidr) = pod_cidr {
        writeln!(text, "pod_cidr = \"{pod_cidr}\"")?;
    }
    if let NewSystem::Windows { pod_adapter } = &host.system {
        let adapter = quoted(&pod_adapter.to_string());
        writeln!(text, "pod_adapter = {adapter}    # the second adapter: by name, MAC address or IPv4 address")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clusters_are_labels() {
        assert_eq!(cluster_name("my-cluster2"), Ok("my-cluster2".to_owned()));
        for refused in ["", "BAD NAME", "a.b", "-a", "a-", &"a".repeat(64)] {
            assert!(cluster_name(refused).is_err(), "{refused}");
        }
    }
}
