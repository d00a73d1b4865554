//! Ten pieces of desired state, as k8swin's agent is told them and as a playbook of Ansible has them.

use k8swin_protocol::resource::{Content, Directory, File, LinuxResource, Protection, Sysctl, SystemdUnit};
use k8swin_protocol::{HostPath, Sha256};

/// The folders.
const FOLDERS: [&str; 2] = ["/srv/bench", "/srv/bench/data"];

/// How many files there are.
const FILES: usize = 3;

/// The services, which do nothing.
const SERVICES: [&str; 2] = ["bench-one", "bench-two"];

/// Kernel settings of the host's own network, with other values than the kernel's own.
const SETTINGS: [(&str, &str); 3] =
    [("net.ipv4.ip_forward", "1"), ("net.ipv4.conf.all.send_redirects", "0"), ("net.ipv4.tcp_keepalive_time", "600")];

/// What they are, for people.
pub(crate) const TOLD: &str = "two folders, three files with their content, owner and mode, two services that run and start at \
                               boot, three kernel settings for now and for the next boot";

/// The state.
pub(crate) fn resources() -> Result<Vec<LinuxResource>, String> {
    let path = |path: &str| HostPath::new(path).map_err(|error| error.to_string());
    let folder = |name: &&str| {
        Ok(LinuxResource::Directory(Directory { path: path(name)?, protection: Protection::Public, purge: false }))
    };
    let file = |number| {
        let content = Content::Text(format!("# A file of the benchmark.\nkey = {number}\n"));
        let path = path(&format!("/srv/bench/file{number}"))?;
        Ok(LinuxResource::File(File { path, content, protection: Protection::Public }))
    };
    let service = |name: &&str| {
        let unit = format!(
            "[Unit]\nDescription={name}\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
        );
        let inputs = Sha256::of(unit.as_bytes());
        Ok(LinuxResource::SystemdUnit(SystemdUnit { name: (*name).to_owned(), unit, inputs }))
    };
    let setting = |(key, value): &(&str, &str)| {
        Ok(LinuxResource::Sysctl(Sysctl { key: (*key).to_owned(), value: (*value).to_owned() }))
    };
    let files = FOLDERS.iter().map(folder).chain((0..FILES).map(file));
    files.chain(SERVICES.iter().map(service)).chain(SETTINGS.iter().map(setting)).collect()
}

/// A playbook that wants the same. k8swin compares the unit files of services, too.
pub(crate) fn playbook(resources: &[LinuxResource]) -> String {
    let tasks = resources.iter().filter_map(task).map(|task| format!("    - {task}\n"));
    format!("- hosts: all\n  gather_facts: false\n  tasks:\n{}", tasks.collect::<String>())
}

fn task(resource: &LinuxResource) -> Option<String> {
    Some(match resource {
        LinuxResource::Directory(Directory { path, .. }) => {
            format!("ansible.builtin.file: {{path: \"{path}\", state: directory, mode: \"0755\", owner: root}}")
        }
        LinuxResource::File(File { path, content: Content::Text(text), .. }) => {
            let text = text.replace('\n', "\\n");
            format!("ansible.builtin.copy: {{dest: \"{path}\", content: \"{text}\", mode: \"0644\", owner: root}}")
        }
        LinuxResource::SystemdUnit(SystemdUnit { name, .. }) => {
            format!("ansible.builtin.systemd_service: {{name: \"{name}\", state: started, enabled: true}}")
        }
        // The file is the one that the agent writes.
        LinuxResource::Sysctl(Sysctl { key, value }) => format!(
            "ansible.posix.sysctl: {{name: \"{key}\", value: \"{value}\", sysctl_set: true, \
             sysctl_file: \"/etc/sysctl.d/99-k8swin-{key}.conf\"}}"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playbook_has_a_task_for_each_resource() {
        let resources = resources().unwrap();
        assert_eq!(resources.len(), 10);
        let playbook = playbook(&resources);
        assert_eq!(playbook.lines().filter(|line| line.starts_with("    - ansible.")).count(), 10);
        assert!(playbook.contains(r##"content: "# A file of the benchmark.\nkey = 2\n""##), "{playbook}");
    }
}
