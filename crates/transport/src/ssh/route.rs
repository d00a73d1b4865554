//! The way to a host: the jump hosts before it, and how to log in to each. Pure, but for what is injected.

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{Host, SecretSource, Ssh, UnknownHostKey};

use super::config::{ConfigError, HostSettings, SshConfig, in_home};
use crate::error::{ConnectError, Target};

/// More jump hosts than this in a row are a loop.
const MOST_HOPS: usize = 8;

/// The private keys that OpenSSH looks for when none is named.
const DEFAULT_IDENTITIES: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];

/// What a connection finds on this machine. Tests bring their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The user's home folder.
    pub(crate) home: Option<Utf8PathBuf>,
    /// The user's name, which is the account on hosts for which none is named.
    pub(crate) user: Option<String>,
    /// The socket of the user's SSH agent.
    pub(crate) agent_socket: Option<Utf8PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_this_machine() -> Self {
        let variable =
            |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self {
            home: variable(&["HOME", "USERPROFILE"]).map(Utf8PathBuf::from),
            user: variable(&["USER", "USERNAME"]),
            agent_socket: variable(&["SSH_AUTH_SOCK"]).map(Utf8PathBuf::from),
        }
    }
}

/// One SSH server on the way, the last of which is the host itself.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) target: Target,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) login: Login,
    /// Files of known host keys; the first is the one that is written to.
    pub(super) known_hosts: Vec<Utf8PathBuf>,
    /// Whether a key that is not known yet is taken.
    pub(super) accept_new: bool,
}

/// How to log in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: String,
    /// The inventory's key file.
    pub(super) identity: Option<Utf8PathBuf>,
    /// Key files of the configuration, or OpenSSH's default ones.
    pub(super) further_identities: Vec<Utf8PathBuf>,
    /// Whether only these keys may be offered, and none else of the agent's.
    pub(super) identities_only: bool,
    pub(super) agent_socket: Option<Utf8PathBuf>,
    pub(super) passphrase: Option<SecretSource>,
    pub(super) password: Option<SecretSource>,
}

/// Finds the way to `host`: the jump hosts in order, and the host itself.
pub(super) fn route(
    host: &Host,
    ssh: &Ssh,
    config: &SshConfig,
    surroundings: &Surroundings,
) -> Result<(Vec<Hop>, Hop), ConnectError> {
    let router = Router { name: &host.name, ssh, config, surroundings };
    let unreadable = |reason: RouteError| ConnectError::Setup {
        target: Target { host: host.name.clone(), endpoint: format!("{}:{}", host.address, host.port()) },
        attempted: "find the way by SSH".to_owned(),
        answer: reason.to_string(),
        hint: "look at `proxy_jump` and `user` in the inventory, and at ~/.ssh/config".to_owned(),
    };
    router.to_host(&host.address).map_err(unreadable)
}

#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("`{0}` is not a jump host: expected [user@]host[:port]")]
    NotAJump(String),
    #[error("more than {MOST_HOPS} jump hosts in a row")]
    Loop,
    #[error("no account is named for {0}, and this machine's user has no name")]
    NoUser(String),
}

struct Router<'a> {
    name: &'a str,
    ssh: &'a Ssh,
    config: &'a SshConfig,
    surroundings: &'a Surroundings,
}

impl Router<'_> {
    fn to_host(&self, address: &str) -> Result<(Vec<Hop>, Hop), RouteError> {
        let settings = self.config.lookup(address)?;
        let jumps = self.ssh.proxy_jump.as_ref().or(settings.proxy_jump.as_ref()).cloned();
        let port = self.ssh.port.or(settings.port).unwrap_or(22);
        let user = self.ssh.user.clone().or_else(|| settings.user.clone());
        let mut hop = self.hop(self.name.to_owned(), address, settings, user, port)?;
        hop.login.password.clone_from(&self.ssh.password);
        Ok((self.through(jumps.as_deref(), 0)?, hop))
    }

    /// The hops of a `ProxyJump`: the first may have a `ProxyJump` of its own, as with OpenSSH.
    fn through(&self, jumps: Option<&str>, depth: usize) -> Result<Vec<Hop>, RouteError> {
        let Some(jumps) = jumps.filter(|jumps| !jumps.eq_ignore_ascii_case("none")) else { return Ok(Vec::new()) };
        let mut hops = Vec::new();
        for (index, text) in jumps.split(',').enumerate() {
            let jump = parse_jump(text.trim()).ok_or_else(|| RouteError::NotAJump(text.to_owned()))?;
            let settings = self.config.lookup(&jump.host)?;
            if index == 0 {
                if depth >= MOST_HOPS {
                    return Err(RouteError::Loop);
                }
                hops = self.through(settings.proxy_jump.as_deref(), depth + 1)?;
            }
            let name = format!("{}, a jump host of {}", jump.host, self.name);
            let port = jump.port.or(settings.port).unwrap_or(22);
            let user = jump.user.or_else(|| settings.user.clone());
            hops.push(self.hop(name, &jump.host, settings, user, port)?);
        }
        if hops.len() > MOST_HOPS { Err(RouteError::Loop) } else { Ok(hops) }
    }

    fn hop(
        &self,
        name: String,
        alias: &str,
        settings: HostSettings,
        user: Option<String>,
        port: u16,
    ) -> Result<Hop, RouteError> {
        let home = self.surroundings.home.as_deref();
        let local_user = self.surroundings.user.as_deref();
        let user =
            user.or_else(|| local_user.map(str::to_owned)).ok_or_else(|| RouteError::NoUser(alias.to_owned()))?;
        let address = match &settings.host_name {
            Some(name) => expand(name, &[('h', alias)]),
            None => alias.to_owned(),
        };
        let port_text = port.to_string();
        let tokens = [
            ('h', address.as_str()),
            ('n', alias),
            ('p', port_text.as_str()),
            ('r', user.as_str()),
            ('u', local_user.unwrap_or_default()),
            ('d', home.map(Utf8Path::as_str).unwrap_or_default()),
        ];
        let file = |path: &String| in_home(&expand(path, &tokens), home, "");
        let default_identities = DEFAULT_IDENTITIES.map(str::to_owned);
        let further = if settings.identities.is_empty() { &default_identities[..] } else { &settings.identities };
        let known_hosts = match &self.ssh.known_hosts {
            Some(path) => vec![path.clone()],
            None if settings.known_hosts.is_empty() => file(&"~/.ssh/known_hosts".to_owned()).into_iter().collect(),
            None => settings.known_hosts.iter().filter_map(file).collect(),
        };
        let login = Login {
            identity: self.ssh.identity.clone(),
            further_identities: further.iter().filter_map(file).collect(),
            identities_only: settings.identities_only,
            agent_socket: self.surroundings.agent_socket.clone(),
            passphrase: self.ssh.passphrase.clone(),
            // A password is for the host that it is named for, not for the machines on the way.
            password: None,
            user,
        };
        Ok(Hop {
            target: Target { host: name, endpoint: format!("{address}:{port}") },
            address,
            port,
            login,
            known_hosts,
            accept_new: settings.accept_new || self.ssh.unknown_host_key == UnknownHostKey::AcceptNew,
        })
    }
}

/// Replaces the tokens of ssh_config(5), such as `%h`; `%%` is a percent sign.
fn expand(text: &str, tokens: &[(char, &str)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => expanded.push('%'),
            Some(token) => match tokens.iter().find(|(name, _)| *name == token) {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.extend(['%', token]),
            },
            None => expanded.push('%'),
        }
    }
    expanded
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Jump {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Parses `[user@]host[:port]` or `ssh://[user@]host[:port]`; an IPv6 address stands in brackets.
fn parse_jump(text: &str) -> Option<Jump> {
    let text = text.strip_prefix("ssh://").map_or(text, |rest| rest.trim_end_matches('/'));
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user.to_owned()).filter(|user| !user.is_empty())?.into(), place),
        None => (None, text),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    let valid = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control());
    valid.then(|| Jump { user, host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use k8swin_inventory::cluster::{LinuxHost, System};
    use proptest::prelude::*;

    use super::*;

    fn ssh() -> Ssh {
        Ssh {
            user: None,
            port: None,
            identity: None,
            passphrase: None,
            password: None,
            known_hosts: None,
            unknown_host_key: UnknownHostKey::Refuse,
            proxy_jump: None,
        }
    }

    fn way(ssh: Ssh, config: &str) -> Result<Vec<Hop>, ConnectError> {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("config")).unwrap();
        std::fs::write(&path, config).unwrap();
        let surroundings = Surroundings {
            home: Some("/home/ada".into()),
            user: Some("ada".into()),
            agent_socket: Some("/run/agent".into()),
        };
        let config = SshConfig::read(&path, Some("/home/ada".into())).unwrap();
        let host = Host {
            name: "lin01".into(),
            address: "10.5.6.215".into(),
            node_address: Ipv4Addr::new(10, 5, 6, 215),
            api_endpoint: None,
            pod_cidr: "192.168.0.0/24".parse().unwrap(),
            ignore: Vec::new(),
            system: System::Linux(LinuxHost { control_plane: true, worker: true, ssh: ssh.clone() }),
        };
        route(&host, &ssh, &config, &surroundings).map(|(jumps, host)| jumps.into_iter().chain([host]).collect())
    }

    #[test]
    fn defaults_are_those_of_openssh() {
        let hops = way(ssh(), "").unwrap();
        let [hop] = hops.as_slice() else { panic!("{hops:?}") };
        assert_eq!((hop.address.as_str(), hop.port, hop.login.user.as_str()), ("10.5.6.215", 22, "ada"));
        assert_eq!(hop.known_hosts, ["/home/ada/.ssh/known_hosts"]);
        assert_eq!(hop.login.further_identities[0], "/home/ada/.ssh/id_ed25519");
        assert!(!hop.accept_new);
    }

    #[test]
    fn the_inventory_wins_over_the_configuration() {
        let config = "Host 10.5.6.215\nUser x\nPort 1\nUserKnownHostsFile ~/kh\nIdentityFile ~/%h.%r\nProxyJump a\n";
        let hop = way(ssh(), config).unwrap().pop().unwrap();
        assert_eq!((hop.port, hop.login.user.as_str()), (1, "x"));
        assert_eq!(hop.known_hosts, ["/home/ada/kh"]);
        assert_eq!(hop.login.further_identities, ["/home/ada/10.5.6.215.x"]);
        let inventory = Ssh {
            user: Some("root".into()),
            port: Some(2222),
            known_hosts: Some("kh".into()),
            proxy_jump: Some("none".into()),
            ..ssh()
        };
        let hops = way(inventory, config).unwrap();
        let [hop] = hops.as_slice() else { panic!("{hops:?}") };
        assert_eq!((hop.port, hop.login.user.as_str()), (2222, "root"));
        assert_eq!(hop.known_hosts, ["kh"]);
    }

    #[test]
    fn jump_hosts_have_settings_of_their_own_and_never_get_the_password() {
        let config = "Host edge\nHostName edge.example.com\nUser jump\nProxyJump front:2200\nHost inner\nPort 23\n";
        let password = Some(SecretSource::Env("P".into()));
        let ssh = Ssh { proxy_jump: Some("edge, bob@inner".into()), password, user: Some("root".into()), ..ssh() };
        let hops = way(ssh, config).unwrap();
        let shown: Vec<String> =
            hops.iter().map(|hop| format!("{}@{}:{}", hop.login.user, hop.address, hop.port)).collect();
        assert_eq!(shown, ["ada@front:2200", "jump@edge.example.com:22", "bob@inner:23", "root@10.5.6.215:22"]);
        let passwords: Vec<bool> = hops.iter().map(|hop| hop.login.password.is_some()).collect();
        assert_eq!(passwords, [false, false, false, true]);
        assert_eq!(hops[0].target.host, "front, a jump host of lin01");
    }

    #[test]
    fn a_loop_of_jump_hosts_is_refused() {
        let error = way(ssh(), "Host *\nProxyJump other\n").unwrap_err();
        assert!(error.to_string().contains("jump hosts in a row"), "{error}");
    }

    #[test]
    fn what_is_not_a_jump_host_is_quoted() {
        for text in ["host:none", "@host", "", "a b"] {
            let error = way(Ssh { proxy_jump: Some(text.into()), ..ssh() }, "").unwrap_err();
            assert!(error.to_string().contains("expected [user@]host[:port]"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn jumps_come_back(
            user in prop::option::of("[a-z][a-z0-9@._-]{0,10}"),
            host in "[a-z0-9][a-z0-9.-]{0,15}|[0-9a-f:]{2,12}::1",
            port in prop::option::of(1_u16..),
            url: bool,
        ) {
            let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let user_text = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port_text = port.map(|port| format!(":{port}")).unwrap_or_default();
            let text = format!("{}{user_text}{shown}{port_text}", if url { "ssh://" } else { "" });
            prop_assert_eq!(parse_jump(&text), Some(Jump { user, host, port }));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_jump(&text);
            let _ = expand(&text, &[('h', "x")]);
        }
    }
}
