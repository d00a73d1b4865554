//! The digest of a source folder: what tells whether it is the one that was built before.
//!
//! All contents are read once; after that sizes and times of all files tell whether they must be read again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;
use k8swin_protocol::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::digests;

/// Entries at the top of a source that are no source: git's data, and what `make` writes.
pub(crate) const NOT_SOURCE: [&str; 3] = [".git", "_output", ".make"];

/// What is remembered of each folder, in a file of the cache.
#[derive(Default, Serialize, Deserialize)]
struct Known(BTreeMap<Utf8PathBuf, Remembered>);

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// The digest of names, sizes and times.
    stamps: Sha256,
    /// The digest of names and contents.
    contents: Sha256,
}

/// The digest of names, kinds and contents of all files of a source folder. `memory` is a file of the cache.
pub(crate) async fn digest(folder: &Utf8Path, memory: &Utf8Path) -> io::Result<Sha256> {
    let root = folder.to_owned();
    let memory_file = memory.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let mut known: Known =
            fs::read(&memory_file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let entries = list(root.as_std_path())?;
        let stamps = of(&entries, |entry, hasher| {
            hasher.update(&entry.size.to_le_bytes());
            hasher.update(&entry.modified_ns.to_le_bytes());
            Ok(())
        })?;
        if let Some(known) = known.0.get(&root).filter(|known| known.stamps == stamps) {
            return Ok((known.contents, None));
        }
        let contents =
            of(&entries, |entry, hasher| hash_content(&root.as_std_path().join(&entry.path), entry, hasher))?;
        known.0.insert(root, Remembered { stamps, contents });
        Ok::<_, io::Error>((contents, Some(serde_json::to_vec_pretty(&known)?)))
    });
    let (contents, remember) = work.await.map_err(io::Error::other)??;
    if let Some(bytes) = remember
        && let Err(error) = digests::replace(memory, &bytes).await
    {
        // Then the contents are read again the next time.
        tracing::debug!(%error, "the digest of the source cannot be remembered");
    }
    Ok(contents)
}

struct Entry {
    /// Relative to the root.
    path: PathBuf,
    kind: Kind,
    size: u64,
    modified_ns: u128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Program,
    Link,
}

/// All files and links, in the order of their paths. Empty folders mean nothing to a build.
fn list(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            if folder.as_os_str().is_empty() && NOT_SOURCE.iter().any(|no| name == *no) {
                continue;
            }
            let path = folder.join(name);
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let kind = match () {
                () if metadata.is_symlink() => Kind::Link,
                () if is_program(&metadata) => Kind::Program,
                () => Kind::File,
            };
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            entries.push(Entry { path, kind, size: metadata.len(), modified_ns: modified.as_nanos() });
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

#[cfg(unix)]
fn is_program(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_program(_metadata: &fs::Metadata) -> bool {
    false
}

/// The digest of all entries: name, kind, and what `add` adds of each.
fn of(entries: &[Entry], mut add: impl FnMut(&Entry, &mut Hasher) -> io::Result<()>) -> io::Result<Sha256> {
    let mut hasher = Hasher::default();
    for entry in entries {
        let name = entry.path.as_os_str().as_encoded_bytes();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(&[entry.kind as u8]);
        add(entry, &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn hash_content(path: &Path, entry: &Entry, hasher: &mut Hasher) -> io::Result<()> {
    let content = match entry.kind {
        Kind::Link => fs::read_link(path)?.into_os_string().into_encoded_bytes(),
        Kind::File | Kind::Program => fs::read(path)?,
    };
    hasher.update(&(content.len() as u64).to_le_bytes());
    hasher.update(&content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Source(tempfile::TempDir);

    impl Source {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let source = Self(folder);
            source.write("Makefile", "all:\n");
            source.write("cmd/kubelet/kubelet.go", "package main\n");
            source
        }

        fn root(&self) -> Utf8PathBuf {
            Utf8PathBuf::from_path_buf(self.0.path().join("source")).unwrap()
        }

        fn write(&self, name: &str, content: &str) {
            let path = self.root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        async fn digest(&self) -> Sha256 {
            let memory = Utf8PathBuf::from_path_buf(self.0.path().join("trees.json")).unwrap();
            digest(&self.root(), &memory).await.unwrap()
        }
    }

    #[tokio::test]
    async fn contents_and_names_count_and_what_make_writes_does_not() {
        let source = Source::new();
        let first = source.digest().await;
        assert_eq!(source.digest().await, first);
        for product in ["_output/bin/kubelet", ".make/stamp", ".git/HEAD"] {
            source.write(product, "product");
        }
        assert_eq!(source.digest().await, first);
        source.write("cmd/kubelet/kubelet.go", "package other\n");
        let changed = source.digest().await;
        assert_ne!(changed, first);
        source.write("cmd/_output/deep.go", "package deep\n");
        assert_ne!(source.digest().await, changed, "only the top has folders that are no source");
    }

    #[tokio::test]
    async fn times_alone_do_not_count() {
        let source = Source::new();
        let first = source.digest().await;
        let file = fs::File::options().write(true).open(source.root().join("Makefile")).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1)).unwrap();
        assert_eq!(source.digest().await, first);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn permissions_and_targets_of_links_count() {
        use std::os::unix::fs::PermissionsExt as _;
        let source = Source::new();
        let first = source.digest().await;
        let file = source.root().join("Makefile");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let program = source.digest().await;
        assert_ne!(program, first);
        std::os::unix::fs::symlink("no-such-target", source.root().join("link")).unwrap();
        assert_ne!(source.digest().await, program, "a link that leads nowhere is a part of the source");
    }
}
