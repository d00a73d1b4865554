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

    /// The script without comments and without what stands in quotes.
    fn powershell_code() -> String {
        let script = without_comments(POWERSHELL);
        script.split('\'').step_by(2).collect::<Vec<_>>().join("''")
    }

    #[test]
    fn the_powershell_script_is_sent_as_it_is_and_any_execution_policy_lets_it_run() {
        let arguments = powershell_arguments();
        // A policy is about script files; a command has none, and no file is left on the host.
        assert_eq!(arguments[..5], ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand"]);
        let bytes = BASE64.decode(&arguments[5]).unwrap();
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(String::from_utf16(&units).unwrap(), without_comments(POWERSHELL));
    }

    #[test]
    fn the_powershell_script_has_nothing_that_windows_powershell_5_1_lacks() {
        let code = powershell_code();
        for newer in ["??", "?.", "&&", "||", "?[", " ? ", "-AsByteStream", "-Parallel", "ternary", "clean{"] {
            assert!(!code.contains(newer), "{newer}");
        }
        assert!(POWERSHELL.is_ascii() && !POWERSHELL.contains('\r') && !POWERSHELL.contains('\t'));
        // Text in the script has no quotes inside, which is what the other tests rely on; braces and brackets pair up.
        assert_eq!(without_comments(POWERSHELL).matches('\'').count() % 2, 0);
        for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
            assert_eq!(code.matches(open).count(), code.matches(close).count(), "{open}{close}");
        }
    }

    #[test]
    fn the_powershell_script_calls_no_cmdlet_and_no_alias() {
        const KEYWORDS: [&str; 12] =
            ["try", "catch", "finally", "if", "else", "elseif", "while", "foreach", "in", "throw", "exit", "break"];
        // What could be a command is a bare word: one that is no variable, member, type, parameter or keyword.
        let code = powershell_code();
        let mut before = ' ';
        let mut word = String::new();
        let mut in_type = false;
        for character in code.chars().chain(['\n']) {
            if character.is_ascii_alphanumeric() {
                word.push(character);
                continue;
            }
            let bare = !word.is_empty()
                && !in_type
                && !"$.:-\"".contains(before)
                && !word.starts_with(|first: char| first.is_ascii_digit());
            assert!(!bare || KEYWORDS.contains(&word.as_str()), "`{word}` would be a command");
            word.clear();
            in_type = (in_type || character == '[') && character != ']';
            before = character;
        }
    }

    #[test]
    fn the_powershell_script_assigns_before_it_reads() {
        // As `Set-StrictMode` would have it: a variable's first appearance gives it a value.
        let code = powershell_code();
        let mut known = vec!["input", "null", "false", "true", "PID", "_", "ErrorActionPreference"];
        let mut rest = code.as_str();
        while let Some(at) = rest.find('$') {
            rest = &rest[at + 1..];
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(length);
            let given = after.starts_with("=") || after.starts_with(",$") || after.starts_with(" in ");
            assert!(known.contains(&name) || given, "${name} is read before it is set");
            known.push(name);
        }
    }

    #[test]
    fn the_powershell_script_verifies_before_it_renames_and_cleans_up() {
        let at = |text: &str| POWERSHELL.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert!(at("if($found -ne $sum)") < at("[IO.File]::Move("));
        assert!(
            at("[IO.File]::Move(") < at("}finally{") && at("}finally{") < at("if($part){[IO.File]::Delete($part)}")
        );
        assert!(at("if($file){$file.Dispose()}") < at("if($part){[IO.File]::Delete($part)}"), "an open file stays");
        assert_eq!(POWERSHELL.matches("exit ").count(), 1, "the end is behind the clean-up");
        assert!(POWERSHELL.contains(&format!("$code={EXIT_DIGEST_DIFFERS}")));
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
