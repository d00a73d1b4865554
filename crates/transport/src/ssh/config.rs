//! `~/.ssh/config`, as far as this program follows it: `Host`, `HostName`, `User`, `Port`, `IdentityFile`,
//! `IdentitiesOnly`, `ProxyJump`, `UserKnownHostsFile`, `StrictHostKeyChecking`, and `Include` one level deep.
//!
//! Other keywords are passed over. So are `Match` sections, except for `Match all`: what they ask (the local user, a
//! command's result) is not known here, and not applying a section is better than applying it to the wrong host. The crate
//! ssh2-config was looked at: it has no home folder that can be given to it, drops `Match` sections' conditions, and keeps
//! no line numbers for errors.

use camino::{Utf8Path, Utf8PathBuf};

use super::pattern;

/// The files that the arguments of an `Include` name, with their text.
type Include<'a> = dyn Fn(&[String]) -> Vec<(Utf8PathBuf, String)> + 'a;

/// A parsed configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct SshConfig {
    lines: Vec<Line>,
}

/// A line cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub(super) struct ConfigError {
    /// `file:line`.
    pub(super) place: String,
    /// What is wrong.
    pub(super) reason: String,
}

/// What the configuration says about one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostSettings {
    pub(super) host_name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) identities: Vec<String>,
    pub(super) identities_only: bool,
    pub(super) proxy_jump: Option<String>,
    pub(super) known_hosts: Vec<String>,
    pub(super) accept_new: bool,
}

/// One setting, and the sections it stands in.
#[derive(Clone, Debug)]
struct Line {
    sections: Vec<Section>,
    keyword: String,
    arguments: Vec<String>,
    place: String,
}

#[derive(Clone, Debug)]
enum Section {
    Hosts(Vec<String>),
    Always,
    Never,
}

impl Section {
    fn applies(&self, host: &str) -> bool {
        match self {
            Self::Hosts(patterns) => pattern::list_matches(patterns.iter().map(String::as_str), host),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl SshConfig {
    /// Reads a configuration; a file that is not there is an empty one. `home` is where relative `Include`s and `~` lead.
    pub(super) fn read(path: &Utf8Path, home: Option<&Utf8Path>) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ConfigError { place: path.to_string(), reason: error.to_string() }),
        };
        Self::parse(path, &text, &|patterns| included(patterns, home))
    }

    /// Parses a configuration; `include` gives the files that an `Include` names.
    fn parse(path: &Utf8Path, text: &str, include: &Include<'_>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.parse_file(path, text, &[], Some(include))?;
        Ok(config)
    }

    fn parse_file(
        &mut self,
        path: &Utf8Path,
        text: &str,
        outer: &[Section],
        include: Option<&Include<'_>>,
    ) -> Result<(), ConfigError> {
        let mut section = Section::Always;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            let faulty = |reason: String| ConfigError { place: place.clone(), reason };
            let Some((keyword, arguments)) = words(line).map_err(faulty)? else { continue };
            let sections = || outer.iter().cloned().chain([section.clone()]).collect::<Vec<_>>();
            match keyword.as_str() {
                "host" => section = Section::Hosts(arguments),
                "match" => {
                    let all = matches!(arguments.as_slice(), [only] if only.eq_ignore_ascii_case("all"));
                    section = if all { Section::Always } else { Section::Never };
                }
                "include" => {
                    let sections = sections();
                    for (path, text) in include.map(|include| include(&arguments)).unwrap_or_default() {
                        self.parse_file(&path, &text, &sections, None)?;
                    }
                }
                _ => self.lines.push(Line { sections: sections(), keyword, arguments, place }),
            }
        }
        Ok(())
    }

    /// What is said about `host`, the name as it stands in the inventory. Of each setting the first counts; identities add
    /// up.
    pub(super) fn lookup(&self, host: &str) -> Result<HostSettings, ConfigError> {
        let mut settings = HostSettings::default();
        let (mut identities_only, mut strictness) = (None, None);
        for line in self.lines.iter().filter(|line| line.sections.iter().all(|section| section.applies(host))) {
            let Some(first) = line.arguments.first() else { continue };
            let once = |slot: &mut Option<String>| {
                slot.get_or_insert_with(|| first.clone());
            };
            match line.keyword.as_str() {
                "hostname" => once(&mut settings.host_name),
                "user" => once(&mut settings.user),
                "proxyjump" => once(&mut settings.proxy_jump),
                "identitiesonly" => once(&mut identities_only),
                "stricthostkeychecking" => once(&mut strictness),
                "port" if settings.port.is_none() => {
                    let reason = || format!("`{first}` is not a port");
                    let port = first.parse().ok().filter(|port| *port != 0);
                    settings.port =
                        Some(port.ok_or_else(|| ConfigError { place: line.place.clone(), reason: reason() })?);
                }
                "identityfile" if !settings.identities.contains(first) => settings.identities.push(first.clone()),
                "userknownhostsfile" if settings.known_hosts.is_empty() => {
                    settings.known_hosts = line.arguments.clone()
                }
                _ => {}
            }
        }
        settings.identities_only = identities_only.is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        // `no` would take changed keys as well; here it is never weaker than accept-new.
        settings.accept_new = strictness
            .is_some_and(|value| ["accept-new", "no", "off"].iter().any(|word| value.eq_ignore_ascii_case(word)));
        Ok(settings)
    }
}

/// The keyword in lower case, and its arguments; nothing for an empty line or a comment.
fn words(line: &str) -> Result<Option<(String, Vec<String>)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = match line.find(|c: char| c.is_whitespace() || c == '=') {
        Some(end) => line.split_at(end),
        None => (line, ""),
    };
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((keyword.to_ascii_lowercase(), arguments(rest)?)))
}

/// Words between blanks; double quotes hold blanks together.
fn arguments(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            // A comment may follow the arguments.
            '#' if !quoted && word.is_none() => break,
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err("a quotation mark is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// The files that an `Include` names, in the order of their names. `*` and `?` may stand in the last part of the path.
fn included(patterns: &[String], home: Option<&Utf8Path>) -> Vec<(Utf8PathBuf, String)> {
    let mut files = Vec::new();
    for argument in patterns {
        let Some(path) = in_home(argument, home, ".ssh") else { continue };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let Ok(entries) = folder.read_dir_utf8() else { continue };
        let mut paths: Vec<Utf8PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|entry| pattern::matches(name, entry.file_name()))
            .map(|entry| entry.path().to_owned())
            .collect();
        paths.sort();
        files.extend(paths.into_iter().filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))));
    }
    files
}

/// A path of the configuration: `~/x` is in the home folder, and a relative one in `below` of it.
pub(super) fn in_home(path: &str, home: Option<&Utf8Path>, below: &str) -> Option<Utf8PathBuf> {
    if path == "~" {
        return home.map(Utf8Path::to_owned);
    }
    if let Some(rest) = path.strip_prefix("~/") {
        return Some(home?.join(rest));
    }
    let path = Utf8Path::new(path);
    if path.is_absolute() { Some(path.to_owned()) } else { Some(home?.join(below).join(path)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> SshConfig {
        SshConfig::parse(Utf8Path::new("config"), text, &|_| Vec::new()).unwrap()
    }

    const CONFIG: &str = r#"
# the office
Port = 2222
Host bastion
    HostName bastion.example.com
    User=jump
Host 10.5.* !10.5.6.1
    ProxyJump bastion
    IdentityFile "~/keys/the office"   # with a blank
    identityfile ~/.ssh/id_rsa
Match user nobody
    User nobody
Match all
    User admin
Host *
    Port 22
    UserKnownHostsFile ~/.ssh/known_hosts ~/.ssh/known_hosts2
    StrictHostKeyChecking accept-new
    IdentitiesOnly yes
    ServerAliveInterval 5
"#;

    #[test]
    fn the_first_value_counts_and_identities_add_up() {
        let settings = parse(CONFIG).lookup("10.5.6.215").unwrap();
        assert_eq!(settings.port, Some(2222));
        assert_eq!(settings.user.as_deref(), Some("admin"));
        assert_eq!(settings.proxy_jump.as_deref(), Some("bastion"));
        assert_eq!(settings.identities, ["~/keys/the office", "~/.ssh/id_rsa"]);
        assert_eq!(settings.known_hosts, ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]);
        assert!(settings.accept_new && settings.identities_only);
    }

    #[test]
    fn sections_apply_to_their_hosts_only() {
        let config = parse(CONFIG);
        let bastion = config.lookup("bastion").unwrap();
        assert_eq!(bastion.host_name.as_deref(), Some("bastion.example.com"));
        assert_eq!(bastion.user.as_deref(), Some("jump"));
        assert_eq!(config.lookup("10.5.6.1").unwrap().proxy_jump, None);
    }

    #[test]
    fn a_section_that_cannot_be_judged_applies_to_nobody() {
        let config = parse("Match exec \"true\"\nUser nobody\nProxyJump evil\n");
        assert_eq!(config.lookup("x").unwrap(), HostSettings::default());
    }

    #[test]
    fn faults_name_file_and_line() {
        let error = parse("Host x\nPort none\n").lookup("x").unwrap_err();
        assert_eq!(error.to_string(), "config:2: `none` is not a port");
        assert!(parse("Host x\nPort none\n").lookup("y").is_ok(), "other hosts are not concerned");
        let error = SshConfig::parse(Utf8Path::new("config"), "User \"x", &|_| Vec::new()).unwrap_err();
        assert_eq!(error.place, "config:1");
    }

    #[test]
    fn includes_stand_within_their_section() {
        let folder = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir_all(home.join(".ssh/conf.d")).unwrap();
        std::fs::write(home.join(".ssh/config"), "Host a\nInclude conf.d/*.conf\nHost *\nUser last\n").unwrap();
        std::fs::write(home.join(".ssh/conf.d/1.conf"), "User first\nInclude 2.conf\nHost b\nPort 7\n").unwrap();
        std::fs::write(home.join(".ssh/conf.d/2.conf"), "Port 8\n").unwrap();
        std::fs::write(home.join(".ssh/conf.d/ignored"), "Port 9\n").unwrap();
        let config = SshConfig::read(&home.join(".ssh/config"), Some(home)).unwrap();
        let a = config.lookup("a").unwrap();
        assert_eq!((a.user.as_deref(), a.port), (Some("first"), Some(8)));
        let b = config.lookup("b").unwrap();
        assert_eq!((b.user.as_deref(), b.port), (Some("last"), None));
    }

    #[test]
    fn a_file_that_is_not_there_is_empty() {
        let config = SshConfig::read(Utf8Path::new("/no/such/config"), None).unwrap();
        assert_eq!(config.lookup("x").unwrap(), HostSettings::default());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", host in ".{0,20}") {
            if let Ok(config) = SshConfig::parse(Utf8Path::new("config"), &text, &|_| Vec::new()) {
                let _ = config.lookup(&host);
            }
        }

        #[test]
        fn values_come_back_in_every_notation(
            user in "[a-z][a-z0-9_-]{0,15}",
            port in 1_u16..,
            path in "/[a-z ]{1,20}[a-z]",
            equals: bool,
            upper: bool,
            indent in "[ \t]{0,4}",
        ) {
            let separator = if equals { " = " } else { "\t" };
            let line = |keyword: &str, value: &str| {
                let keyword = if upper { keyword.to_uppercase() } else { keyword.to_owned() };
                format!("{indent}{keyword}{separator}{value}\r\n")
            };
            let text = [line("User", &user), line("Port", &port.to_string()), line("IdentityFile", &format!("\"{path}\""))];
            let settings = parse(&text.concat()).lookup("any").unwrap();
            prop_assert_eq!(settings.user, Some(user));
            prop_assert_eq!(settings.port, Some(port));
            prop_assert_eq!(settings.identities, vec![path]);
        }
    }
}
