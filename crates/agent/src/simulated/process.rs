//! What runs on a simulated host: programs with their arguments, and what each needs, listens on and leaves behind.

use std::collections::BTreeMap;

use k8swin_protocol::{HostPath, Os};

use super::files::Files;

/// A program that a service runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its path.
    pub(super) program: String,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Another number after each start.
    pub(super) start: u64,
}

impl Process {
    /// The program's name, without folder and extension.
    pub(super) fn name(&self) -> &str {
        let file = self.program.rsplit(['/', '\\']).next().unwrap_or_default();
        file.strip_suffix(".exe").unwrap_or(file)
    }

    /// Whether this is the agent that keeps the network resources in place.
    pub(super) fn is_network_service(&self) -> bool {
        self.name().starts_with("k8swin-agent") && self.arguments.first().is_some_and(|first| first == "network")
    }

    /// The value of a flag, written `--name=value` or `--name value`; `_` counts as `-` (facts B.1).
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags().remove(name)
    }

    /// What keeps the program from running: its own file or one that it reads is absent.
    pub(super) fn missing_file(&self, files: &Files) -> Option<String> {
        if !files.is_file(&self.program) {
            return Some(self.program.clone());
        }
        let read = self.flags().into_iter().filter(|(name, value)| is_input(name) && HostPath::new(*value).is_ok());
        read.map(|(_, value)| value.to_owned()).find(|path| !files.is_file(path))
    }

    /// The TCP ports on which the program listens, by its defaults and flags.
    pub(super) fn ports(&self) -> Vec<u16> {
        let port = |name: &str, default: u16| self.flag(name).and_then(|port| port.parse().ok()).unwrap_or(default);
        match self.name() {
            "etcd" => vec![2379, 2380],
            "kube-apiserver" => vec![port("secure-port", 6443)],
            "kube-controller-manager" => vec![port("port", 10252)],
            "kube-scheduler" => vec![port("port", 10251)],
            "kubelet" => vec![port("healthz-port", 10248), port("port", 10250)],
            "kube-proxy" => vec![port("healthz-port", 10249)],
            _ => Vec::new(),
        }
    }

    /// The folders that the program makes for itself when it starts.
    pub(super) fn folders(&self, os: Os) -> Vec<HostPath> {
        let names: Vec<String> = match self.name() {
            "etcd" => {
                let data = self.etcd_data();
                vec![format!("{data}/member/snap"), format!("{data}/member/wal")]
            }
            "kubelet" => match os {
                Os::Linux => vec![format!("{}/pods", self.flag("root-dir").unwrap_or("/var/lib/kubelet"))],
                Os::Windows => vec![format!(r"{}\pods", self.flag("root-dir").unwrap_or(r"C:\var\lib\kubelet"))],
            },
            _ => Vec::new(),
        };
        names.into_iter().filter_map(|name| HostPath::new(name).ok()).collect()
    }

    /// Where etcd keeps its data.
    pub(super) fn etcd_data(&self) -> &str {
        self.flag("data-dir").unwrap_or("/default.etcd")
    }

    fn flags(&self) -> BTreeMap<String, &str> {
        let mut flags = BTreeMap::new();
        let mut arguments = self.arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value),
                None => match arguments.peek() {
                    Some(next) if !next.starts_with('-') => (flag, next.as_str()),
                    _ => (flag, ""),
                },
            };
            flags.insert(name.replace('_', "-"), value);
        }
        flags
    }
}

/// Whether a flag names a file that the program reads.
fn is_input(flag: &str) -> bool {
    flag != "log-file"
        && (["kubeconfig", "config"].contains(&flag)
            || ["-file", "-cafile", "-certfile", "-keyfile", "-kubeconfig", "-client-certificate", "-client-key"]
                .iter()
                .any(|end| flag.ends_with(end)))
}

/// What a simulated systemd understands of a unit file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFile {
    pub(super) command: Vec<String>,
    /// Units that start before this one.
    pub(super) after: Vec<String>,
    /// Units that start after this one.
    pub(super) before: Vec<String>,
    /// Units without which this one does not start.
    pub(super) requires: Vec<String>,
}

impl UnitFile {
    pub(super) fn parse(text: &str) -> Self {
        let mut unit = Self::default();
        for line in text.replace("\\\n", " ").lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            match key.trim() {
                "ExecStart" => unit.command = words(value),
                "After" => unit.after.extend(services(value)),
                "Before" => unit.before.extend(services(value)),
                "Requires" | "BindsTo" => unit.requires.extend(services(value)),
                _ => {}
            }
        }
        unit
    }

    pub(super) fn process(&self, start: u64) -> Option<Process> {
        let (program, arguments) = self.command.split_first()?;
        let program = program.trim_start_matches(['-', '+', '!', '@']).to_owned();
        Some(Process { program, arguments: arguments.to_vec(), start })
    }
}

fn services(value: &str) -> Vec<String> {
    value.split_whitespace().filter_map(|name| name.strip_suffix(".service")).map(str::to_owned).collect()
}

/// The words of a command line as systemd splits it: quotes group, a backslash takes the next character as it is, and
/// `%%` is a percent sign.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (end, Some(open)) if end == open => quote = None,
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            ('%' | '$', _) if characters.peek() == Some(&character) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_files_are_read_as_systemd_reads_them() {
        let unit = UnitFile::parse(
            "[Unit]\nAfter=docker.service network.target\nRequires=docker.service\n[Service]\nType=notify\n\
             ExecStart=/opt/k8swin/bin/kubelet --resolv-conf= \\\n  \"--node-labels=a=b c\" --v 2 --root_dir=/x%%y\n",
        );
        assert_eq!(unit.after, ["docker"]);
        assert_eq!(unit.requires, ["docker"]);
        let process = unit.process(1).unwrap();
        assert_eq!(process.name(), "kubelet");
        assert_eq!(process.flag("node-labels"), Some("a=b c"));
        assert_eq!(process.flag("v"), Some("2"));
        assert_eq!(process.flag("root-dir"), Some("/x%y"));
        assert_eq!(process.flag("resolv-conf"), Some(""));
    }
}
