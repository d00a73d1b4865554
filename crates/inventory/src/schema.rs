//! The keys of `inventory.toml`, as data: what the parser accepts, what errors suggest and what the README shows.
//!
//! ```toml
//! schema = 1                 # TOP
//! [cluster]                  # CLUSTER
//! [cluster.artifacts]        # ARTIFACTS
//! [defaults.linux]           # CONNECTION + LINUX
//! [defaults.windows]         # CONNECTION + WINDOWS
//! [[host]]                   # HOST + CONNECTION + LINUX or WINDOWS
//! password = { env = "X" }   # SECRET
//! docker = { zip = "X", … }   # DOCKER
//! ```
//!
//! A key of a `[[host]]` wins over the same key in `[defaults.*]`. Relative paths are relative to the inventory's
//! folder; a path that begins with `~/` is left for the program that opens it.

/// A key of a table of the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What may stand there.
    pub value: &'static str,
    /// What holds without it; [`REQUIRED`] if it must be there.
    pub default: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// The default of a key that must be there.
pub const REQUIRED: &str = "required";

const fn key(name: &'static str, value: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, value, default, about }
}

/// The only schema there is.
pub const SCHEMA_VERSION: i64 = 1;

/// Keys outside all tables, and the tables themselves.
pub const TOP: &[Key] = &[
    key("schema", "1", "1", "the version of this schema"),
    key("cluster", "a table", REQUIRED, "what holds for the whole cluster"),
    key("defaults", "a table", "none", "connection keys for all Linux hosts or all Windows hosts"),
    key("host", "an array of tables: one [[host]] for each host", REQUIRED, "the hosts, in order"),
];

/// Keys of `[cluster]`.
pub const CLUSTER: &[Key] = &[
    key(
        "name",
        "an RFC 1123 label: lower-case letters, digits and dashes",
        REQUIRED,
        "the cluster's name, also in its kubeconfig",
    ),
    key(
        "kubernetes",
        "\"1.5.0\" to \"1.5.8\" or \"1.20.0\" to \"1.20.15\"",
        REQUIRED,
        "the Kubernetes version; Windows hosts need 1.5.3 or later",
    ),
    key("pod_cidr", "an IPv4 range, such as \"192.168.0.0/16\"", REQUIRED, "the range of all pods"),
    key(
        "service_cidr",
        "an IPv4 range from /12 to /27, such as \"172.30.0.0/16\"",
        REQUIRED,
        "the range of service addresses; with Windows hosts nothing else may lie in its classful network",
    ),
    key("node_pod_prefix", "8 to 28", "24", "the prefix length of one host's pod subnet"),
    key("dns_domain", "a DNS name", "\"cluster.local\"", "the DNS domain of services"),
    key("api_port", "a port", "6443", "the port of the API servers"),
    key(
        "windows_test_image",
        "an image that serves HTTP, such as \"microsoft/iis\"; its Windows revision must be the hosts'",
        "none: only pause pods",
        "`verify`, also at the end of `up`, runs it on one Windows host and asks it from the other hosts; it is pulled if \
         it is not there, whatever its size",
    ),
    key("windows_test_port", "a port; only with windows_test_image", "80", "where that image serves HTTP"),
    key("artifacts", "a table", "source = \"release\"", "where Kubernetes' programs come from"),
    key(
        "ignore",
        "an array of names of checks",
        "[]",
        "checks of preflight whose findings are shown and do not count, on all hosts; docs/preflight.md lists the names",
    ),
];

/// Keys of `[cluster.artifacts]`.
pub const ARTIFACTS: &[Key] = &[
    key(
        "source",
        "\"release\", \"local\" or \"build\"",
        "\"release\"",
        "release: the official archives; local: a folder; build: compiled from source",
    ),
    key(
        "mirror",
        "an http or https address; only with \"release\"",
        "https://dl.k8s.io",
        "where the official archives are fetched from",
    ),
    key(
        "path",
        "a folder; only with \"local\"",
        "required with \"local\"",
        "a folder with linux/ and windows/, each with the programs by their usual names, and sha256sums",
    ),
    key("repository", "a folder or a git URL; only with \"build\"", "required with \"build\"", "Kubernetes' source"),
    key("tag", "a git tag; only with \"build\"", "none: the folder as it is", "what to build"),
    key(
        "go",
        "a folder or a `go` program; only with \"build\"",
        "one of this machine that fits",
        "the Go to build with: each Kubernetes minor needs one of its age",
    ),
    key("agents", "a folder", "beside the k8swin program", "holds k8swin-agent and k8swin-agent.exe"),
];

/// Keys of `[defaults]`.
pub const DEFAULTS: &[Key] = &[
    key("linux", "a table", "none", "connection keys for all Linux hosts"),
    key("windows", "a table", "none", "connection keys for all Windows hosts"),
];

/// Keys of a `[[host]]` that cannot stand in `[defaults.*]`.
pub const HOST: &[Key] = &[
    key("name", "an RFC 1123 name in lower case", REQUIRED, "the host's name, which becomes the node's name"),
    key("os", "\"linux\" or \"windows\"", REQUIRED, "the operating system"),
    key(
        "roles",
        "an array of \"control-plane\" and \"worker\"",
        "[\"worker\"]",
        "what runs there; a control-plane host is Linux, since of Kubernetes only kubelet and kube-proxy run on Windows",
    ),
    key("address", "an IPv4 address or a DNS name", REQUIRED, "where this machine reaches the host"),
    key(
        "node_address",
        "an IPv4 address that is not loopback",
        "address, which must be an IPv4 address then",
        "the routable address by which the other nodes reach the host",
    ),
    key(
        "api_endpoint",
        "\"host:port\"; only for control-plane hosts",
        "address and api_port",
        "where this machine reaches the host's API server, if a tunnel or a NAT is in between",
    ),
    key(
        "pod_cidr",
        "an IPv4 range of length node_pod_prefix inside the cluster's pod_cidr",
        "the first that is free, in the order of the hosts",
        "the host's pod subnet",
    ),
    key(
        "ignore",
        "an array of names of checks",
        "[]",
        "checks of preflight whose findings about this host are shown and do not count",
    ),
];

/// Connection keys of all hosts: in `[defaults.*]` or in a `[[host]]`.
pub const CONNECTION: &[Key] = &[
    key(
        "user",
        "an account: root or one that may `sudo -n`; on Windows an administrator, with an optional DOMAIN\\ before it",
        "from ~/.ssh/config; on Windows \"Administrator\"",
        "who logs in",
    ),
    key(
        "port",
        "a port",
        "from ~/.ssh/config, else 22; on Windows 5986 (https) or 5985 (http)",
        "SSH's or WinRM's port",
    ),
    key(
        "password",
        "{ env = \"NAME\" }, { file = \"path\" } or \"prompt\"; any other text is the password itself, and warns",
        "none; required on Windows",
        "the account's password",
    ),
];

/// Connection keys of Linux hosts: in `[defaults.linux]` or in a `[[host]]`. What is left out is looked up in
/// `~/.ssh/config`, then in OpenSSH's defaults.
pub const LINUX: &[Key] = &[
    key("identity", "a file", "from ~/.ssh/config", "the private key"),
    key("passphrase", "as password", "none", "the private key's passphrase"),
    key("known_hosts", "a file", "~/.ssh/known_hosts", "the host keys that are known"),
    key(
        "host_key",
        "\"strict\" or \"accept-new\"",
        "\"strict\"",
        "what to do with a host key that is not known yet: refuse it, or take it and write it down; one that differs is \
         always refused",
    ),
    key("proxy_jump", "\"[user@]host[:port]\"", "from ~/.ssh/config", "the jump host"),
];

/// Connection keys of Windows hosts: in `[defaults.windows]` or in a `[[host]]`.
pub const WINDOWS: &[Key] = &[
    key(
        "transport",
        "\"https\" or \"http\"",
        "\"https\"",
        "https: TLS on port 5986; http: NTLM message encryption on port 5985, which warns",
    ),
    key(
        "ca",
        "a PEM file; not together with fingerprint",
        "the CAs that this machine trusts",
        "the CA that issued the WinRM certificate",
    ),
    key(
        "fingerprint",
        "64 hexadecimal digits, with or without colons",
        "none",
        "the SHA-256 fingerprint of the WinRM certificate, instead of a CA",
    ),
    key(
        "pod_adapter",
        "an adapter's name, MAC address or IPv4 address",
        REQUIRED,
        "the second network adapter, which carries the pods: Docker's transparent network takes it whole, so it cannot \
         be the adapter of the host's own address",
    ),
    key(
        "forwarding",
        "\"rras\" or \"per-adapter\"",
        "\"rras\"",
        "rras: the Routing and Remote Access service, as in the walkthrough; per-adapter: forwarding switched on for \
         each adapter, without a role and a reboot",
    ),
    key(
        "pause_base_image",
        "an image",
        "\"mcr.microsoft.com/windows/nanoserver:sac2016\"",
        "the image from which the pause image is built; its Windows revision must be the host's",
    ),
    key(
        "docker",
        "{ zip = \"…\", sha256 = \"…\", version = \"…\" }",
        "none: Docker must be there",
        "the Docker that `up` installs where there is none; one that k8swin did not install is never touched",
    ),
];

/// Keys of `docker`: all of them.
pub const DOCKER: &[Key] = &[
    key(
        "zip",
        "a file, or an http or https address",
        REQUIRED,
        "Docker for Windows as a zip with one folder docker/, which has dockerd.exe and docker.exe",
    ),
    key("sha256", "64 hexadecimal digits", REQUIRED, "the zip's digest: another zip is refused"),
    key(
        "version",
        "such as \"17.06.2-ee-16\" or \"1.12.2-cs2-ws-beta\"",
        REQUIRED,
        "the version in the zip, which preflight judges before anything is installed",
    ),
];

/// Keys of a `password` or `passphrase` that is a table: exactly one of them.
pub const SECRET: &[Key] = &[
    key("env", "a name", "none", "an environment variable of this machine"),
    key("file", "a file", "none", "the first line of a file of this machine"),
    key("prompt", "true", "none", "asked on the terminal, once for all hosts that ask the same question"),
];

/// The nearest key to a name that is none of them, if one is near: upper case, dashes and small slips are forgiven.
pub(crate) fn nearest<'k>(name: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    const SIMILAR: f64 = 0.8;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let spellings = [name.replace('-', "_"), name.replace('_', "-")];
            let similarity =
                spellings.iter().map(|spelling| strsim::jaro_winkler(spelling, candidate)).fold(0.0, f64::max);
            (similarity, candidate)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest_host_key(name: &str) -> Option<&'static str> {
        nearest(name, [HOST, CONNECTION, LINUX, WINDOWS].into_iter().flatten().map(|key| key.name))
    }

    #[test]
    fn slips_find_their_key() {
        for (slip, key) in [
            ("adress", "address"),
            ("Name", "name"),
            ("pod-cidr", "pod_cidr"),
            ("podadapter", "pod_adapter"),
            ("passwd", "password"),
            ("know_hosts", "known_hosts"),
            ("username", "user"),
            ("finger_print", "fingerprint"),
        ] {
            assert_eq!(nearest_host_key(slip), Some(key), "{slip}");
        }
    }

    #[test]
    fn what_is_far_from_all_keys_finds_none() {
        for strange in ["", "zzz", "colour", "gateway", &"address".repeat(20)] {
            assert_eq!(nearest_host_key(strange), None, "{strange}");
        }
    }
}
