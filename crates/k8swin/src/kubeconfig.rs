//! Merging a kubeconfig into the user's own, and writing files that hold keys.

use std::io::{self, Write as _};

use camino::Utf8Path;
use k8swin_protocol::SecretBytes;
use serde_json::{Value, json};

/// Why a kubeconfig cannot be merged. No message quotes the files: they hold keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MergeError {
    /// The user's file is not YAML; with the place of the fault.
    Unreadable(String),
    /// The file is YAML, but has something else where a kubeconfig has this key.
    NotAConfig(&'static str),
    /// The name is taken by another cluster.
    OtherCluster {
        /// The name.
        name: String,
        /// The server of the other cluster.
        server: String,
    },
    /// The result cannot be written as YAML.
    Unwritable(String),
}

impl std::fmt::Display for MergeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(place) => write!(f, "it is not valid YAML{place}"),
            Self::NotAConfig(key) => write!(f, "it is no kubeconfig: `{key}` is not what it should be"),
            Self::OtherCluster { name, server } => {
                write!(f, "it has another cluster by the name of `{name}` already, at {server}")
            }
            Self::Unwritable(reason) => write!(f, "the result cannot be written: {reason}"),
        }
    }
}

/// The user's own kubeconfig (empty for none) with cluster, user and context `name` of `ours`, as current context.
/// Entries of that name are replaced if they are of the same cluster: keys are renewed, and addresses change. What else
/// the user has is kept; comments are not, as with kubectl itself.
pub(crate) fn merge(own: &str, ours: &[u8], name: &str) -> Result<SecretBytes, MergeError> {
    let mut own = parse(own)?;
    let ours = parse(std::str::from_utf8(ours).map_err(|_| MergeError::NotAConfig("kubeconfig"))?)?;
    let cluster = only(&ours, "clusters", "cluster")?;
    let user = only(&ours, "users", "user")?;
    if own.is_null() {
        own = json!({ "apiVersion": "v1", "kind": "Config" });
    }
    let Some(config) = own.as_object_mut() else { return Err(MergeError::NotAConfig("kubeconfig")) };
    let admin = format!("{name}-admin");
    let entries = [
        ("clusters", "cluster", name, cluster),
        ("users", "user", &admin, user),
        ("contexts", "context", name, json!({ "cluster": name, "user": admin })),
    ];
    for (list, key, name, value) in entries {
        let entries = config.entry(list).or_insert(Value::Null);
        if entries.is_null() {
            *entries = json!([]);
        }
        let Some(entries) = entries.as_array_mut() else { return Err(MergeError::NotAConfig(list)) };
        let entry = json!({ "name": name, key: value });
        match entries.iter_mut().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name)) {
            Some(old) => {
                if key == "cluster" {
                    refuse_other(old, &entry, name)?;
                }
                *old = entry;
            }
            None => entries.push(entry),
        }
    }
    config.insert("current-context".to_owned(), name.into());
    // Keys as one line each, as kubectl writes them, not as folded blocks.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&own, options)
        .map(|text| SecretBytes::new(text.into_bytes()))
        .map_err(|error| MergeError::Unwritable(error.to_string()))
}

/// Another CA at another server is another cluster.
fn refuse_other(old: &Value, new: &Value, name: &str) -> Result<(), MergeError> {
    let field = |entry: &Value, key: &str| entry.get("cluster").and_then(|cluster| cluster.get(key)).cloned();
    let differs = |key| field(old, key) != field(new, key);
    if differs("server") && differs("certificate-authority-data") {
        let server = field(old, "server").and_then(|server| server.as_str().map(str::to_owned)).unwrap_or_default();
        return Err(MergeError::OtherCluster { name: name.to_owned(), server });
    }
    Ok(())
}

fn parse(text: &str) -> Result<Value, MergeError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    // Without the excerpt that errors have by default: the lines may be keys.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|location| format!(", line {}", location.line())).unwrap_or_default();
        MergeError::Unreadable(place)
    })
}

/// The one entry of a list of our own kubeconfig.
fn only(config: &Value, list: &'static str, key: &str) -> Result<Value, MergeError> {
    let entry = config.get(list).and_then(|entries| entries.get(0)).and_then(|entry| entry.get(key));
    entry.cloned().ok_or(MergeError::NotAConfig(list))
}

/// Replaces a file as a whole, for this user only. A link is followed, so that it stays one.
pub(crate) fn write_private(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let path = path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Temporary files are for their user only from the start (0600).
    let mut file = tempfile::Builder::new().prefix(".k8swin-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "\
apiVersion: v1
kind: Config
clusters:
- name: demo
  cluster: { server: \"https://10.5.6.215:6443\", certificate-authority-data: Q0E= }
users:
- name: kubernetes-admin
  user: { client-certificate-data: Q1JU, client-key-data: S0VZ }
contexts:
- name: kubernetes-admin@demo
  context: { cluster: demo, user: kubernetes-admin }
current-context: kubernetes-admin@demo
";

    const OWN: &str = "\
# by hand
apiVersion: v1
clusters:
- cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: T1RIRVI=
  name: kind
contexts:
- context: {cluster: kind, user: kind}
  name: kind
current-context: kind
kind: Config
preferences: {}
users:
- name: kind
  user:
    token: \"0123\"
    exec: {command: aws, args: [\"yes\", \"1e3\"]}
";

    fn merged(own: &str, name: &str) -> String {
        String::from_utf8(merge(own, OURS.as_bytes(), name).unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn a_new_file_has_our_cluster_alone() {
        insta::assert_snapshot!(merged("", "demo"));
    }

    #[test]
    fn what_the_user_has_is_kept() {
        insta::assert_snapshot!(merged(OWN, "demo"));
    }

    #[test]
    fn long_keys_stay_on_one_line() {
        let key = "S0VZ".repeat(600);
        let text = merge("", OURS.replace("S0VZ", &key).as_bytes(), "demo").unwrap();
        let line = format!("    client-key-data: {key}");
        assert!(std::str::from_utf8(text.expose()).unwrap().lines().any(|found| found == line));
    }

    #[test]
    fn merging_twice_changes_nothing() {
        let once = merged(OWN, "demo");
        assert_eq!(merged(&once, "demo"), once);
    }

    #[test]
    fn another_cluster_of_that_name_is_left_alone() {
        let error = merge(OWN, OURS.as_bytes(), "kind").unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has another cluster by the name of `kind` already, at https://127.0.0.1:6443"
        );
        let renewed = merged(&OWN.replace("https://127.0.0.1:6443", "https://10.5.6.215:6443"), "kind");
        assert!(renewed.contains("Q0E=") && !renewed.contains("T1RIRVI="), "{renewed}");
    }

    #[test]
    fn a_damaged_file_is_refused_without_being_quoted() {
        for damaged in ["users: [S0VZ", "a: S0VZ\na: S0VZ", "- S0VZ", "users: S0VZ", "clusters: S0VZ"] {
            let error = merge(damaged, OURS.as_bytes(), "demo").unwrap_err();
            assert!(!error.to_string().contains("S0VZ"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_this_user_only_and_links_stay_links() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (file, link) = (folder.join("new/config"), folder.join("link"));
        write_private(&file, b"one").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_private(&link, b"two").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    proptest! {
        #[test]
        fn strings_of_the_user_come_back_as_strings(text in "\\PC{0,40}") {
            let own = json!({ "users": [{ "name": "other", "user": { "token": text } }] });
            let first = merge(&own.to_string(), OURS.as_bytes(), "demo").unwrap();
            let read: Value = parse(std::str::from_utf8(first.expose()).unwrap()).unwrap();
            prop_assert_eq!(&read["users"][0]["user"]["token"], &Value::String(text));
        }
    }
}
