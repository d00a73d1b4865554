//! What a command line asks of a host. Pure: text in, [`Command`] out.
//!
//! There is no shell here and none is imitated: what is not one of these few forms is [`Command::NotSimulated`].

use k8swin_protocol::{HostPath, bootstrap};

use crate::program::CommandLine;

/// What a host can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The script that puts the agent on the host or takes it away.
    Bootstrap,
    /// `PATH serve`: the agent.
    Agent {
        /// Its file.
        path: HostPath,
        /// What it is asked at its start, as one word.
        opening: Option<String>,
    },
    /// `hostname`.
    HostName,
    /// `uname`, `uname -a`, `ver`.
    System {
        /// Everything, not just the kernel's name.
        all: bool,
    },
    /// `whoami`.
    User {
        /// By way of `sudo`.
        sudo: bool,
    },
    /// `id -u`.
    UserId {
        /// By way of `sudo`.
        sudo: bool,
    },
    /// `true`.
    Succeed,
    /// `echo …`.
    Echo(String),
    /// `cat PATH`, `type PATH`.
    Show(String),
    /// `ls PATH`, `dir PATH`.
    List(String),
    /// Something else; its program, or the whole text where that cannot be told.
    NotSimulated(String),
}

/// Reads the text of an SSH `exec` request, which a Linux host hands to its login shell.
pub(crate) fn linux(line: &CommandLine) -> Command {
    let text = joined(line);
    if [false, true].iter().any(|sudo| text == bootstrap::sh_command(*sudo)) {
        return Command::Bootstrap;
    }
    let Some(words) = sh_words(&text) else { return Command::NotSimulated(text) };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (sudo, words) = match words.as_slice() {
        ["sudo", "-n", rest @ ..] => (true, rest),
        words => (false, words),
    };
    match words {
        ["hostname"] => Command::HostName,
        ["uname"] => Command::System { all: false },
        ["uname", "-a"] => Command::System { all: true },
        ["whoami"] => Command::User { sudo },
        ["id", "-u"] => Command::UserId { sudo },
        [] | ["true"] => Command::Succeed,
        ["echo", rest @ ..] => Command::Echo(rest.join(" ")),
        ["cat", path] => Command::Show((*path).to_owned()),
        ["ls"] => Command::List("/".to_owned()),
        ["ls", path] => Command::List((*path).to_owned()),
        [program, "serve"] | [program, "serve", _] => match HostPath::new(*program) {
            Ok(path) if !path.is_windows() => agent(path, words.get(2)),
            _ => Command::NotSimulated((*program).to_owned()),
        },
        [program, ..] => Command::NotSimulated((*program).to_owned()),
    }
}

/// Reads the command and arguments of a WinRM command, which a Windows host runs by way of `cmd /c`. It does not matter
/// which part of the line arrives as command and which as arguments, or whether `cmd /c` is said once more.
#[must_use]
pub fn windows(line: &CommandLine) -> Command {
    let text = joined(line);
    let words = windows_words(&text);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [first, second, ..] = words.as_slice()
        && is_program(first, "cmd")
        && second.eq_ignore_ascii_case("/c")
    {
        words.drain(..2);
        // `cmd /c "ver"` and `cmd /c "type C:\x"`: the rest may be one quoted word.
        if let [only] = words.as_slice() {
            let inner = CommandLine { command: (*only).to_owned(), arguments: Vec::new() };
            if *only != text {
                return windows(&inner);
            }
        }
    }
    let Some((program, arguments)) = words.split_first() else { return Command::Succeed };
    if is_program(program, "powershell") || program.eq_ignore_ascii_case(bootstrap::POWERSHELL_PROGRAM) {
        return if arguments == bootstrap::powershell_arguments() {
            Command::Bootstrap
        } else {
            Command::NotSimulated((*program).to_owned())
        };
    }
    match (program.to_ascii_lowercase().as_str(), arguments) {
        ("hostname" | "hostname.exe", []) => Command::HostName,
        ("ver", []) => Command::System { all: true },
        ("whoami" | "whoami.exe", []) => Command::User { sudo: false },
        ("echo", rest) => Command::Echo(rest.join(" ")),
        ("type", [path]) => Command::Show((*path).to_owned()),
        ("dir", []) => Command::List("C:\\".to_owned()),
        ("dir", [path]) => Command::List((*path).to_owned()),
        (_, ["serve"] | ["serve", _]) => match HostPath::new(*program) {
            Ok(path) if path.is_windows() => agent(path, arguments.get(1)),
            _ => Command::NotSimulated((*program).to_owned()),
        },
        // cmd's own language: the program is simulated perhaps, what is said about it is not.
        (_, rest) if rest.iter().any(|word| word.starts_with(['&', '|', '<', '>'])) => Command::NotSimulated(text),
        _ => Command::NotSimulated((*program).to_owned()),
    }
}

fn agent(path: HostPath, opening: Option<&&str>) -> Command {
    Command::Agent { path, opening: opening.map(|word| (*word).to_owned()) }
}

fn joined(line: &CommandLine) -> String {
    let mut text = line.command.clone();
    for argument in &line.arguments {
        text.push(' ');
        text.push_str(argument);
    }
    text
}

fn is_program(word: &str, name: &str) -> bool {
    let file = word.rsplit('\\').next().unwrap_or(word).to_ascii_lowercase();
    file == name || file.strip_suffix(".exe") == Some(name)
}

/// The words of a simple command; `None` when it uses more of the shell's language than quoted words.
fn sh_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        end if end == character => break,
                        '$' | '`' | '\\' if character == '"' => return None,
                        other => word.push(other),
                    }
                }
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '[' | '#' | '~' | '{' | '!'
            | '\n' | '\r' => return None,
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// The words of a Windows command line: quotes group, a doubled backslash before a quote is one, as `CommandLineToArgvW`
/// has it.
fn windows_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut backslashes = 0;
    for character in text.chars() {
        if character == '\\' {
            backslashes += 1;
            continue;
        }
        let pending = std::mem::take(&mut backslashes);
        if character == '"' {
            word.get_or_insert_default().extend(std::iter::repeat_n('\\', pending / 2));
            if pending % 2 == 1 {
                word.get_or_insert_default().push('"');
            } else {
                quoted = !quoted;
            }
            continue;
        }
        if pending > 0 {
            word.get_or_insert_default().extend(std::iter::repeat_n('\\', pending));
        }
        if character.is_whitespace() && !quoted {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(character);
        }
    }
    if backslashes > 0 {
        word.get_or_insert_default().extend(std::iter::repeat_n('\\', backslashes));
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(text: &str) -> Command {
        linux(&CommandLine { command: text.to_owned(), arguments: Vec::new() })
    }

    fn cmd(command: &str, arguments: &[&str]) -> Command {
        windows(&CommandLine {
            command: command.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        })
    }

    fn path(path: &str) -> HostPath {
        HostPath::new(path).unwrap()
    }

    #[test]
    fn linux_commands_are_recognised() {
        assert_eq!(sh(&bootstrap::sh_command(false)), Command::Bootstrap);
        assert_eq!(sh(&bootstrap::sh_command(true)), Command::Bootstrap);
        let asked = |opening: Option<&str>| agent(path("/opt/k8swin/bin/a"), opening.as_ref());
        assert_eq!(sh("sudo -n /opt/k8swin/bin/a serve"), asked(None));
        assert_eq!(sh("'/opt/k8swin/bin/a' serve"), asked(None));
        assert_eq!(sh("/opt/k8swin/bin/a serve eyJ-_0"), asked(Some("eyJ-_0")));
        assert_eq!(sh("  hostname "), Command::HostName);
        assert_eq!(sh("sudo -n id -u"), Command::UserId { sudo: true });
        assert_eq!(sh("echo 'a  b' \"c\""), Command::Echo("a  b c".into()));
        assert_eq!(sh("cat /etc/hosts"), Command::Show("/etc/hosts".into()));
    }

    #[test]
    fn what_needs_a_shell_is_not_simulated() {
        for text in ["echo $HOME", "hostname; id", "true && true", "cat <x", "echo 'open", "echo \"`id`\"", "a\nb"] {
            assert_eq!(sh(text), Command::NotSimulated(text.to_owned()), "{text}");
        }
        assert_eq!(sh("nmap -p 22 x"), Command::NotSimulated("nmap".into()));
        let almost = bootstrap::sh_command(false).replace("umask 077", "umask 000");
        assert!(matches!(sh(&almost), Command::NotSimulated(_)));
    }

    #[test]
    fn windows_commands_may_be_split_and_quoted_in_any_way() {
        let system = Command::System { all: true };
        for (command, arguments) in [
            ("ver", [].as_slice()),
            ("cmd /c ver", &[]),
            ("cmd.exe", &["/c", "ver"]),
            ("\"cmd.exe\"", &["/C \"ver\""]),
            (r"C:\Windows\System32\cmd.exe", &["/c", "ver"]),
        ] {
            assert_eq!(cmd(command, arguments), system, "{command} {arguments:?}");
        }
        assert_eq!(cmd("cmd", &["/c", "\"type C:\\a.txt\""]), Command::Show(r"C:\a.txt".into()));
        assert_eq!(cmd("nmap", &["-p"]), Command::NotSimulated("nmap".into()));
        assert_eq!(cmd("hostname & ver", &[]), Command::NotSimulated("hostname & ver".into()));
        assert_eq!(cmd("powershell", &["-Command", "Get-Date"]), Command::NotSimulated("powershell".into()));
    }

    #[test]
    fn the_powershell_bootstrap_and_the_agent_are_recognised() {
        let arguments = bootstrap::powershell_arguments();
        let separate: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(cmd(bootstrap::POWERSHELL_PROGRAM, &separate), Command::Bootstrap);
        let one = format!("\"{}\" {}", bootstrap::POWERSHELL_PROGRAM, separate.join(" "));
        assert_eq!(cmd(&one, &[]), Command::Bootstrap);
        let quoted: Vec<String> = separate.iter().map(|argument| format!("\"{argument}\"")).collect();
        assert_eq!(
            cmd(bootstrap::POWERSHELL_PROGRAM, &quoted.iter().map(String::as_str).collect::<Vec<_>>()),
            Command::Bootstrap
        );
        let asked = |opening: Option<&str>| agent(path(r"C:\k8swin\bin\k8swin-agent-1.exe"), opening.as_ref());
        assert_eq!(cmd(r"C:\k8swin\bin\k8swin-agent-1.exe", &["serve"]), asked(None));
        assert_eq!(cmd(r#""C:\k8swin\bin\k8swin-agent-1.exe" serve"#, &[]), asked(None));
        assert_eq!(cmd(r"C:\k8swin\bin\k8swin-agent-1.exe", &["serve", "eyJ-_0"]), asked(Some("eyJ-_0")));
    }

    #[test]
    fn backslashes_before_quotes_follow_the_windows_rules() {
        assert_eq!(windows_words(r#"a\b "c d" e\\"f g" h\"i j\"#), ["a\\b", "c d", "e\\f g", "h\"i", "j\\"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text: String) {
            sh(&text);
            cmd(&text, &[]);
        }
    }
}
