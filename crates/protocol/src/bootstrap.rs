//! The two scripts that put the agent on a host, and the lines that they read.
//!
//! The scripts are constants: what varies is read from standard input, so that no command text is ever composed. The lab
//! recognises them by their text, which is how what is rehearsed stays what runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::{HostPath, Sha256};

/// The exit code of both scripts when the bytes that arrived have another digest.
pub const EXIT_DIGEST_DIFFERS: i32 = 65;

/// Bytes of the agent in one base64 line of the PowerShell script's input.
pub const LINE_BYTES: usize = 48 << 10;

const SH: &str = include_str!("../../../templates/bootstrap.sh");
const POWERSHELL: &str = include_str!("../../../templates/bootstrap.ps1");

/// What the scripts are asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Put or remove.
    pub verb: Verb,
    /// The agent's digest.
    pub sha256: Sha256,
    /// Where the agent lies: [`crate::Os::agent`].
    pub path: HostPath,
}

/// What to do with the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Put it there.
    Put,
    /// Take it away, and the folders that are empty then.
    Remove,
}

impl Bootstrap {
    /// The first line of the script's input, with its line feed.
    #[must_use]
    pub fn header(&self) -> String {
        let verb = match self.verb {
            Verb::Put => "put",
            Verb::Remove => "remove",
        };
        format!("{verb} {} {}\n", self.sha256, self.path)
    }

    /// Reads the first line back: what the lab does.
    #[must_use]
    pub fn parse_header(line: &str) -> Option<Self> {
        let mut words = line.trim_end().splitn(3, ' ');
        let verb = match words.next()? {
            "put" => Verb::Put,
            "remove" => Verb::Remove,
            _ => return None,
        };
        let sha256 = words.next()?.parse().ok()?;
        let path = HostPath::new(words.next()?).ok()?;
        Some(Self { verb, sha256, path })
    }
}

/// The command for an SSH `exec` request: the script as one quoted word, for root or by way of `sudo -n`.
#[must_use]
pub fn sh_command(sudo: bool) -> String {
    // The script holds no single quote (a test looks), so that quoting it is this easy.
    format!("{}sh -c '{}'", if sudo { "sudo -n " } else { "" }, without_comments(SH))
}

/// The arguments that run the PowerShell script: `-EncodedCommand` takes UTF-16 in base64.
#[must_use]
pub fn powershell_arguments() -> Vec<String> {
    let utf16: Vec<u8> = without_comments(POWERSHELL).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut arguments: Vec<String> =
        ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand"].map(str::to_owned).into();
    arguments.push(BASE64.encode(utf16));
    arguments
}

/// Where PowerShell is on every Windows since 2008: never looked up in PATH.
pub const POWERSHELL_PROGRAM: &str = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";

fn without_comments(script: &str) -> String {
    script.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_fit_their_command_lines() {
        let arguments = powershell_arguments();
        assert_eq!(arguments[0], "-NoProfile");
        // cmd.exe takes 8191 characters (facts F.3).
        let length = POWERSHELL_PROGRAM.len() + arguments.iter().map(|argument| argument.len() + 3).sum::<usize>();
        assert!(length < 8000, "{length}");
        assert!(!without_comments(SH).contains('\''), "sh_command quotes with single quotes");
        assert!(SH.is_ascii() && POWERSHELL.is_ascii());
    }

    #[test]
    fn headers_come_back() {
        for verb in [Verb::Put, Verb::Remove] {
            for path in ["/opt/k8swin/bin/agent", r"C:\k8swin\bin\k8swin agent.exe"] {
                let bootstrap = Bootstrap { verb, sha256: Sha256::of(b"x"), path: HostPath::new(path).unwrap() };
                assert_eq!(Bootstrap::parse_header(&bootstrap.header()), Some(bootstrap));
            }
        }
        assert_eq!(Bootstrap::parse_header("put zz /x"), None);
    }
}
