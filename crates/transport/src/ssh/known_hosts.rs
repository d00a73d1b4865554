//! Known host keys: which entry of `known_hosts` (sshd(8)) is about a host, and what that says about the key it offers.
//!
//! The entries are looked at one by one here, and not with one question to libssh2, so that an error can name file and
//! line, and because libssh2 takes an entry for `host` as one for `[host]:2222`. Hashed names are left to libssh2.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use ssh2::{CheckResult, KnownHostFileKind};

use super::pattern;
use crate::error::HostKey;

/// The key types in the order in which they are asked for when none is known, and what libssh2 calls them in a handshake.
/// SHA-1 signatures and DSA are not among them.
const KINDS: [(&str, &[&str]); 5] = [
    ("ssh-ed25519", &["ssh-ed25519"]),
    ("ecdsa-sha2-nistp256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-sha2-nistp384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-sha2-nistp521", &["ecdsa-sha2-nistp521"]),
    ("ssh-rsa", &["rsa-sha2-512", "rsa-sha2-256"]),
];

/// The name of a host in `known_hosts`: with its port, unless that is 22.
pub(super) fn name_of(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

/// One line about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    names: String,
    mark: Mark,
    key: HostKey,
    /// `file:line`.
    place: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Revoked,
    /// The key signs host certificates, which libssh2 does not check.
    Authority,
}

/// What the entries say about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    Unknown,
    Changed { known: HostKey, place: String },
    Revoked { place: String },
}

/// All entries about the host `name` in `files`, in order. A file that is not there has none.
pub(super) fn entries_about(name: &str, files: &[Utf8PathBuf]) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for path in files {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
        };
        found.extend(parse(path, &text, name));
    }
    Ok(found)
}

/// The entries about the host `name`. Lines that are no entries are passed over, as OpenSSH does.
fn parse(path: &Utf8Path, text: &str, name: &str) -> Vec<Entry> {
    let entry = |(index, line): (usize, &str)| {
        let mut words = line.split_ascii_whitespace().peekable();
        let mark = match words.next_if(|word| word.starts_with('@')) {
            None => Mark::None,
            Some("@revoked") => Mark::Revoked,
            Some("@cert-authority") => Mark::Authority,
            Some(_) => return None,
        };
        let names = words.next().filter(|names| !names.starts_with('#'))?;
        // Before its key is looked at: of a file with an entry for each of many hosts, every host wants one.
        if !is_hashed(names) && !pattern::list_matches(names.split(','), name) {
            return None;
        }
        let kind = words.next()?;
        let blob = STANDARD.decode(words.next()?).ok()?;
        // The key says its own type; an entry that calls it something else is none.
        let key = HostKey { kind: kind.to_owned(), blob };
        if kind_of(&key.blob)? != kind {
            return None;
        }
        let entry = Entry { names: names.to_owned(), mark, key, place: format!("{path}:{}", index + 1) };
        (!is_hashed(names) || entry.hashed_names_match(name).unwrap_or(false)).then_some(entry)
    };
    text.lines().enumerate().filter_map(entry).collect()
}

/// Whether the names of an entry are hashed (`HashKnownHosts`).
fn is_hashed(names: &str) -> bool {
    names.starts_with("|1|")
}

impl Entry {
    fn hashed_names_match(&self, name: &str) -> Result<bool, ssh2::Error> {
        let mut known_hosts = ssh2::Session::new()?.known_hosts()?;
        let line = format!("{} {} {}\n", self.names, self.key.kind, STANDARD.encode(&self.key.blob));
        known_hosts.read_str(&line, KnownHostFileKind::OpenSSH)?;
        Ok(!name.contains('\0') && matches!(known_hosts.check(name, &self.key.blob), CheckResult::Match))
    }
}

/// The type that an encoded key begins with (RFC 4253 §6.6).
pub(super) fn kind_of(blob: &[u8]) -> Option<&str> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let kind = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(kind).ok().filter(|kind| kind.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// What `entries`, all about one host, say about the key that it offers.
///
/// A key of another type than the known ones is a changed key, too: whoever sits between could offer a type of their own.
pub(super) fn judge(entries: &[Entry], offered: &HostKey) -> Verdict {
    let same = |entry: &&Entry| entry.key == *offered;
    if let Some(revoked) = entries.iter().filter(|entry| entry.mark == Mark::Revoked).find(same) {
        return Verdict::Revoked { place: revoked.place.clone() };
    }
    let known = || entries.iter().filter(|entry| entry.mark == Mark::None);
    if known().any(|entry| same(&entry)) {
        return Verdict::Known;
    }
    let of_that_type = known().find(|entry| entry.key.kind == offered.kind);
    match of_that_type.or_else(|| known().next()) {
        Some(entry) => Verdict::Changed { known: entry.key.clone(), place: entry.place.clone() },
        None => Verdict::Unknown,
    }
}

/// The host key methods to ask for, in order: those of known keys first, so that a host with several keys shows a known
/// one.
pub(super) fn preferences(entries: &[Entry]) -> String {
    let known = |kind: &str| entries.iter().any(|entry| entry.mark == Mark::None && entry.key.kind == kind);
    let (first, then): (Vec<_>, Vec<_>) = KINDS.iter().partition(|(kind, _)| known(kind));
    let methods: Vec<&str> = first.into_iter().chain(then).flat_map(|(_, methods)| methods.iter().copied()).collect();
    methods.join(",")
}

/// The line that makes a key known.
pub(super) fn line(name: &str, key: &HostKey) -> String {
    format!("{name} {} {}", key.kind, STANDARD.encode(&key.blob))
}

/// Writes a new key down, for the owner's eyes only, unless another connection has done so meanwhile.
///
/// # Errors
/// When the file cannot be written to; also when it knows another key by now.
pub(super) fn append(path: &Utf8Path, name: &str, key: &HostKey) -> io::Result<()> {
    // Hosts share jump hosts, and all hosts share one file.
    static APPENDING: Mutex<()> = Mutex::new(());
    let _alone = APPENDING.lock().unwrap_or_else(PoisonError::into_inner);
    match judge(&entries_about(name, &[path.to_owned()])?, key) {
        Verdict::Known => return Ok(()),
        Verdict::Unknown => {}
        Verdict::Changed { place, .. } | Verdict::Revoked { place } => {
            return Err(io::Error::other(format!("{place} has another key meanwhile")));
        }
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) {
        private_folder(folder)?;
    }
    let whole = std::fs::read(path).map_or(true, |bytes| bytes.is_empty() || bytes.ends_with(b"\n"));
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = format!("{}{}\n", if whole { "" } else { "\n" }, line(name, key));
    options.open(path)?.write_all(text.as_bytes())
}

fn private_folder(folder: &Utf8Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(kind: &str, content: &[u8]) -> HostKey {
        let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
        HostKey { kind: kind.into(), blob: [&length, kind.as_bytes(), content].concat() }
    }

    fn about(name: &str, text: &str) -> Vec<Entry> {
        parse(Utf8Path::new("kh"), text, name)
    }

    fn verdict(name: &str, text: &str, offered: &HostKey) -> Verdict {
        judge(&about(name, text), offered)
    }

    #[test]
    fn names_carry_their_port_unless_it_is_22() {
        assert_eq!(name_of("Host.Example", 22), "host.example");
        assert_eq!(name_of("::1", 2222), "[::1]:2222");
    }

    #[test]
    fn a_key_is_known_by_any_of_its_names() {
        let (good, other) = (key("ssh-ed25519", b"1"), key("ssh-ed25519", b"2"));
        let text = format!("# comment\n\n{}\nnonsense\n", line("a,*.example.com,!evil.example.com,[b]:2222", &good));
        for name in ["a", "www.example.com", "[b]:2222"] {
            assert_eq!(verdict(name, &text, &good), Verdict::Known);
            let changed = Verdict::Changed { known: good.clone(), place: "kh:3".into() };
            assert_eq!(verdict(name, &text, &other), changed);
        }
        for name in ["b", "[a]:2222", "evil.example.com", "c"] {
            assert_eq!(verdict(name, &text, &good), Verdict::Unknown, "{name}");
        }
    }

    #[test]
    fn hashed_names_are_understood() {
        // What `ssh-keygen -H` makes of `[127.0.0.1]:2222` and `example.com`, with one key.
        const HASHED: &str = "\
|1|aChJuGuu97FhAwzuH6StLgp2vqc=|IhYEVPHnZpNCaldQHNxf26RFr24= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG/yMCRXoJ50HD9jDsWlQD6cFO5eX+yeZ9peqdQVG10O
|1|shEf39nvlccFdqb/fjTUGb7/IwQ=|2uPEFMcTy3phzT+SAOB9U0IHDqQ= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG/yMCRXoJ50HD9jDsWlQD6cFO5eX+yeZ9peqdQVG10O
";
        let places = |name: &str| about(name, HASHED).into_iter().map(|entry| entry.place).collect::<Vec<_>>();
        assert_eq!(places("[127.0.0.1]:2222"), ["kh:1"]);
        assert_eq!(places("example.com"), ["kh:2"]);
        assert!(places("127.0.0.1").is_empty() && places("[example.com]:2222").is_empty());
    }

    #[test]
    fn a_key_of_another_type_is_a_changed_key() {
        let text = line("a", &key("ssh-ed25519", b"1"));
        let verdict = verdict("a", &text, &key("ecdsa-sha2-nistp256", b"1"));
        assert!(matches!(verdict, Verdict::Changed { .. }), "{verdict:?}");
    }

    #[test]
    fn marks_are_heeded() {
        let (good, stolen) = (key("ssh-ed25519", b"1"), key("ssh-ed25519", b"2"));
        let text = format!("@revoked {}\n{}\n", line("*", &stolen), line("a", &good));
        assert_eq!(verdict("a", &text, &good), Verdict::Known);
        assert_eq!(verdict("a", &text, &stolen), Verdict::Revoked { place: "kh:1".into() });
        assert_eq!(verdict("b", &text, &good), Verdict::Unknown);
        let text = format!("@cert-authority {}\n", line("*", &good));
        assert_eq!(verdict("a", &text, &good), Verdict::Unknown);
    }

    #[test]
    fn known_types_are_asked_for_first() {
        assert!(preferences(&[]).starts_with("ssh-ed25519,"));
        let entries = about("a", &line("a", &key("ssh-rsa", b"1")));
        assert!(preferences(&entries).starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519"));
    }

    #[test]
    fn a_new_key_is_appended_once_and_privately() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("ssh/known_hosts")).unwrap();
        let new = key("ssh-ed25519", b"1");
        append(&path, "a", &new).unwrap();
        append(&path, "a", &new).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", line("a", &new)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "no line feed").unwrap();
        append(&path, "a", &new).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("no line feed\n{}\n", line("a", &new)));
        assert!(append(&path, "a", &key("ssh-ed25519", b"2")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", name in ".{0,20}") {
            let _ = about(&name, &text);
        }

        #[test]
        fn a_line_makes_its_key_known_and_every_other_a_changed_one(
            host in "[a-z0-9.]{1,20}",
            port: u16,
            content: [u8; 8],
            other: [u8; 8],
        ) {
            let name = name_of(&host, port);
            let (good, offered) = (key("ssh-ed25519", &content), key("ssh-ed25519", &other));
            let expected = if good == offered {
                Verdict::Known
            } else {
                Verdict::Changed { known: good.clone(), place: "kh:1".into() }
            };
            prop_assert_eq!(verdict(&name, &line(&name, &good), &offered), expected);
        }
    }
}
