//! systemd units: the text of a unit file, with arguments quoted so that systemd reads back exactly what was meant.

use k8swin_protocol::HostPath;
use serde::Serialize;

use crate::render::{RenderError, Template, render};

/// How systemd knows that a service has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceKind {
    /// When its process is there.
    Simple,
    /// When it says so: etcd, kube-apiserver and our agent do, and what is started after them finds them ready.
    Notify,
}

/// A service. It runs as root, is restarted whenever it ends, and starts at boot.
pub(crate) struct Unit<'a> {
    /// Words for people.
    pub(crate) description: &'a str,
    /// How its start is told.
    pub(crate) kind: ServiceKind,
    /// Units that are started along and before.
    pub(crate) after: &'a [&'a str],
    /// Units that are started after it.
    pub(crate) before: &'a [&'a str],
    /// The program.
    pub(crate) program: HostPath,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
}

impl Unit<'_> {
    /// The text of the unit file: one argument a line.
    pub(crate) fn text(&self) -> Result<String, RenderError> {
        #[derive(Serialize)]
        struct Values<'a> {
            description: &'a str,
            kind: ServiceKind,
            wants: &'a [&'a str],
            after: &'a [&'a str],
            before: &'a [&'a str],
            exec_start: String,
        }
        render(
            Template::Unit,
            &Values {
                description: self.description,
                kind: self.kind,
                wants: self.after,
                after: self.after,
                before: self.before,
                exec_start: exec_start(self.program.as_str(), &self.arguments),
            },
        )
    }
}

/// The value of `ExecStart=`: backslash and line feed between the words.
fn exec_start(program: &str, arguments: &[String]) -> String {
    let words = std::iter::once(program).chain(arguments.iter().map(String::as_str)).map(quote);
    words.collect::<Vec<_>>().join(" \\\n    ")
}

/// One word of `ExecStart=` (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").
///
/// `%` begins a specifier and `$` a variable, quoted or not, so both are doubled. Anything but harmless characters puts
/// the word in double quotes: that also keeps a word that begins with `;` or `#` from being read as the end of the command
/// or, at the start of a continuation line, as a comment.
fn quote(word: &str) -> String {
    let harmless = |character: char| character.is_ascii_alphanumeric() || "_./:=,@+-%$".contains(character);
    let quoted = word.is_empty() || !word.chars().all(harmless);
    let mut text = String::with_capacity(word.len() + 2);
    for character in word.chars() {
        match character {
            '%' => text.push_str("%%"),
            '$' => text.push_str("$$"),
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            control if control.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => text.push(other),
        }
    }
    if quoted { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `ExecStart=` back as systemd does: joins continued lines and drops comments among them, splits into words,
    /// takes quotes and C escapes away, then expands specifiers and variables (of which none may be left).
    fn systemd_reads(value: &str) -> Vec<String> {
        let mut joined = String::new();
        for (number, line) in value.split('\n').enumerate() {
            let start = line.trim_start();
            assert!(number == 0 || !start.starts_with([';', '#']), "read as a comment: {line}");
            joined.push_str(line.strip_suffix('\\').unwrap_or(line));
            joined.push(' ');
        }
        let mut words = Vec::new();
        let mut rest = joined.trim_start();
        while !rest.is_empty() {
            assert!(!rest.starts_with("; "), "read as the end of the command");
            let mut word = String::new();
            let mut quote = None;
            let mut characters = rest.char_indices();
            let mut end = rest.len();
            while let Some((at, character)) = characters.next() {
                match (character, quote) {
                    ('\\', _) => match characters.next().unwrap().1 {
                        'x' => {
                            let digits =
                                String::from_iter([characters.next().unwrap().1, characters.next().unwrap().1]);
                            word.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
                        }
                        escaped => word.push(escaped),
                    },
                    ('"' | '\'', None) => quote = Some(character),
                    (_, Some(open)) if character == open => quote = None,
                    (' ' | '\t' | '\n' | '\r', None) => {
                        end = at;
                        break;
                    }
                    _ => word.push(character),
                }
            }
            assert_eq!(quote, None, "an open quote");
            words.push(expand(&word));
            rest = rest[end..].trim_start();
        }
        words
    }

    fn expand(word: &str) -> String {
        let mut characters = word.chars();
        let mut text = String::new();
        while let Some(character) = characters.next() {
            if "%$".contains(character) {
                assert_eq!(characters.next(), Some(character), "expanded by systemd: {word}");
            }
            text.push(character);
        }
        text
    }

    #[test]
    fn arguments_of_kubernetes_stay_readable() {
        assert_eq!(quote("--etcd-servers=https://127.0.0.1:2379"), "--etcd-servers=https://127.0.0.1:2379");
        assert_eq!(quote("--cloud-provider="), "--cloud-provider=");
        assert_eq!(quote("100% $HOME"), "\"100%% $$HOME\"");
        assert_eq!(quote(""), "\"\"");
    }

    proptest! {
        #[test]
        fn systemd_reads_what_was_meant(
            arguments in proptest::collection::vec("([ -~]|[;#%$\\\\\"' \t\n]|[^\0]){0,12}", 0..6)
        ) {
            let mut words = vec!["/opt/k8swin/bin/etcd".to_owned()];
            words.extend(arguments.clone());
            prop_assert_eq!(systemd_reads(&exec_start("/opt/k8swin/bin/etcd", &arguments)), words);
        }
    }
}
