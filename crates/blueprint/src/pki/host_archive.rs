//! All hosts' own keys and certificates in one file of the first control plane, so that a laptop that lost its state folder
//! gets them back with the rest: without it, every host would get new ones and restart what uses them.

use std::collections::BTreeMap;

use k8swin_protocol::SecretBytes;
use k8swin_protocol::wire::WireBytes;

/// The archive's name below the PKI folder.
pub(crate) const HOST_ARCHIVE: &str = "hosts.json";

/// What begins the names of the files that it holds.
const HOSTS: &str = "hosts/";

/// The archive: a JSON object of file names and base64, the same bytes for the same files.
pub(super) fn pack(files: &BTreeMap<String, SecretBytes>) -> SecretBytes {
    let entries: BTreeMap<_, _> = files
        .iter()
        .filter(|(name, _)| name.starts_with(HOSTS))
        .map(|(name, bytes)| (name.as_str(), WireBytes(bytes.clone())))
        .collect();
    // A map of texts is always JSON.
    SecretBytes::new(serde_json::to_vec(&entries).unwrap_or_default())
}

/// Takes the archive's files out of it; what is there already wins, and what is no archive is dropped: hosts then get new
/// certificates, which is what happens without one.
pub(super) fn unpack(files: &mut BTreeMap<String, SecretBytes>) {
    let Some(archive) = files.remove(HOST_ARCHIVE) else { return };
    let entries: BTreeMap<String, WireBytes> = serde_json::from_slice(archive.expose()).unwrap_or_default();
    for (name, WireBytes(bytes)) in entries.into_iter().filter(|(name, _)| is_host_file(name)) {
        files.entry(name).or_insert(bytes);
    }
}

/// The names become paths of this machine.
fn is_host_file(name: &str) -> bool {
    name.starts_with(HOSTS) && !name.contains('\\') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeMap<String, SecretBytes> {
        names.iter().map(|name| ((*name).to_owned(), SecretBytes::new(*name))).collect()
    }

    #[test]
    fn the_hosts_files_come_back_and_nothing_else() {
        let all = files(&["ca.key", "hosts/lin01/kubelet.key", "hosts/lin01/etcd/peer.crt"]);
        let mut back = files(&["ca.key"]);
        back.insert(HOST_ARCHIVE.to_owned(), pack(&all));
        unpack(&mut back);
        assert_eq!(back, all);
    }

    #[test]
    fn names_that_lead_elsewhere_and_garbage_are_dropped() {
        for archive in
            [r#"{"hosts/../../.ssh/id": "eA=="}"#, r#"{"/etc/passwd": "eA=="}"#, r#"{"hosts//x": "eA=="}"#, "[", ""]
        {
            let mut back = files(&["ca.key"]);
            back.insert(HOST_ARCHIVE.to_owned(), SecretBytes::new(archive));
            unpack(&mut back);
            assert_eq!(back, files(&["ca.key"]), "{archive}");
        }
    }
}
