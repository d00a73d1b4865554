//! Digests of files of this machine: computed in parallel, and remembered for as long as size and time stay the same.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;
use k8swin_protocol::digest::Hasher;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::error::{ArtifactError, io};
use crate::{Artifact, Progress};

/// Above this size it is worth telling that a digest is computed.
const LARGE: u64 = 32 << 20;

/// The digests that were computed before, in a file of the cache.
pub(crate) struct Digests {
    file: Utf8PathBuf,
    known: BTreeMap<Utf8PathBuf, Known>,
    changed: bool,
}

/// What a file had when its digest was computed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    stamp: Stamp,
    sha256: Sha256,
}

/// What tells that a file has changed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified_ns: u64,
}

impl Digests {
    /// Reads what is remembered. A file that is not there or not readable is the same as one that remembers nothing.
    pub(crate) async fn load(cache: &Utf8Path) -> Self {
        let file = cache.join("digests.json");
        let known = match tokio::fs::read(&file).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::debug!(%file, %error, "remembered digests are not readable and are computed again");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { file, known, changed: false }
    }

    /// Path, digest and size of each file, or why it cannot be read.
    pub(crate) async fn of(
        &mut self,
        files: impl IntoIterator<Item = Utf8PathBuf>,
        progress: &impl Fn(Progress),
    ) -> BTreeMap<Utf8PathBuf, io::Result<Artifact>> {
        let parallel = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));
        let mut results = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for path in files {
            let (key, stamp) = match stamped(&path).await {
                Ok(found) => found,
                Err(error) => {
                    results.insert(path, Err(error));
                    continue;
                }
            };
            if let Some(known) = self.known.get(&key).filter(|known| known.stamp == stamp) {
                let artifact = Artifact { path: path.clone(), sha256: known.sha256, size: stamp.size };
                results.insert(path, Ok(artifact));
                continue;
            }
            if stamp.size > LARGE {
                progress(Progress::Hashing { file: path.clone() });
            }
            let parallel = Arc::clone(&parallel);
            tasks.spawn(async move {
                let _permit = parallel.acquire_owned().await;
                let file = path.clone();
                let hashed = tokio::task::spawn_blocking(move || hash(&file)).await;
                (path, key, stamp, hashed.map_err(io::Error::other).and_then(|result| result))
            });
        }
        while let Some(Ok((path, key, stamp, hashed))) = tasks.join_next().await {
            if let Ok(sha256) = hashed {
                self.known.insert(key, Known { stamp, sha256 });
                self.changed = true;
            }
            let artifact = hashed.map(|sha256| Artifact { path: path.clone(), sha256, size: stamp.size });
            results.insert(path, artifact);
        }
        results
    }

    /// Path, digest and size of one file.
    pub(crate) async fn of_one(&mut self, file: &Utf8Path, progress: &impl Fn(Progress)) -> io::Result<Artifact> {
        let none = || Err(io::Error::other("its digest could not be computed"));
        self.of([file.to_owned()], progress).await.remove(file).unwrap_or_else(none)
    }

    /// Writes what is remembered, if there is something new. Files that are gone are forgotten.
    pub(crate) async fn save(&mut self) -> Result<(), ArtifactError> {
        if !self.changed {
            return Ok(());
        }
        self.known.retain(|path, _| path.exists());
        let json = serde_json::to_vec_pretty(&self.known).map_err(|error| io("write", &self.file)(error.into()))?;
        replace(&self.file, &json).await?;
        self.changed = false;
        Ok(())
    }
}

/// Replaces a file as a whole: a temporary file, then a rename.
pub(crate) async fn replace(path: &Utf8Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let temporary = Utf8PathBuf::from(format!("{path}.{}", std::process::id()));
    tokio::fs::write(&temporary, bytes).await.map_err(io("write", &temporary))?;
    tokio::fs::rename(&temporary, path).await.map_err(io("replace", path))
}

async fn stamped(path: &Utf8Path) -> io::Result<(Utf8PathBuf, Stamp)> {
    let metadata = tokio::fs::metadata(path).await?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    Ok((camino::absolute_utf8(path)?, Stamp { size: metadata.len(), modified_ns }))
}

fn hash(path: &Utf8Path) -> io::Result<Sha256> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(hasher.finish()) };
        hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_digest_is_computed_once_for_each_state_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let file = cache.join("kubelet");
        std::fs::write(&file, "one").unwrap();

        let mut digests = Digests::load(cache).await;
        assert_eq!(digests.of_one(&file, &|_| ()).await.unwrap().sha256, Sha256::of(b"one"));
        assert!(digests.changed);
        digests.save().await.unwrap();

        let mut digests = Digests::load(cache).await;
        let again = digests.of_one(&file, &|_| ()).await.unwrap();
        assert_eq!(again, Artifact { path: file.clone(), sha256: Sha256::of(b"one"), size: 3 });
        assert!(!digests.changed, "the digest was computed again");

        std::fs::write(&file, "other").unwrap();
        assert_eq!(digests.of_one(&file, &|_| ()).await.unwrap().sha256, Sha256::of(b"other"));
        assert!(digests.changed);
    }

    #[tokio::test]
    async fn files_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        for name in ["one", "other"] {
            std::fs::write(cache.join(name), name).unwrap();
            let mut digests = Digests::load(cache).await;
            digests.of_one(&cache.join(name), &|_| ()).await.unwrap();
            digests.save().await.unwrap();
            let known: Vec<_> = Digests::load(cache).await.known.into_keys().collect();
            assert_eq!(known, [cache.join(name)]);
            std::fs::remove_file(cache.join(name)).unwrap();
        }
    }

    #[tokio::test]
    async fn only_large_files_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        for (name, size) in [("small", 32 << 20), ("large", (32 << 20) + 1)] {
            std::fs::File::create(cache.join(name)).unwrap().set_len(size).unwrap();
        }
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |progress| told.lock().unwrap().push(progress);
        Digests::load(cache).await.of(["small", "large"].map(|name| cache.join(name)), &tell).await;
        let told: Vec<String> = told.into_inner().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("computing the sha256 of {}", cache.join("large"))]);
    }

    #[tokio::test]
    async fn a_damaged_memory_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::write(cache.join("digests.json"), "{").unwrap();
        std::fs::write(cache.join("a"), "a").unwrap();
        let mut digests = Digests::load(cache).await;
        assert_eq!(digests.of_one(&cache.join("a"), &|_| ()).await.unwrap().sha256, Sha256::of(b"a"));
        assert!(digests.of_one(cache, &|_| ()).await.is_err());
        assert!(digests.of_one(&cache.join("b"), &|_| ()).await.is_err());
    }
}
