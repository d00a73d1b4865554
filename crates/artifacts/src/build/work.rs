//! The folder that is built in: a copy of the source, so that the source stays as it is, kept for the next build.

use std::collections::VecDeque;
use std::env;
use std::fs::{File, TryLockError};
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::{Os, Sha256};
use tokio::process::Command;

use super::program::{ask, follow};
use super::source::{Source, Tree};
use super::steps::{self, Step};
use super::toolchain::Toolchain;
use super::tree::NOT_SOURCE;
use super::version::SourceVersion;
use super::{BuildError, BuildProgress};
use crate::ArtifactError;
use crate::digests::replace;
use crate::error::io;

/// How many lines of a failed build are shown.
const LAST_LINES: usize = 15;

/// The folder for one source and one Go.
pub(crate) struct Work {
    folder: Utf8PathBuf,
    /// Held for as long as this value lives.
    _lock: File,
}

/// Where one source is built with one Go.
pub(crate) fn folder(source: &Source, toolchain: &Toolchain, cache: &Utf8Path) -> Utf8PathBuf {
    let key = Sha256::of_parts([source.digest().to_string().as_bytes(), toolchain.says.as_bytes()]);
    cache.join("work").join(key.short())
}

/// Whether something was built there before.
pub(crate) fn is_warm(folder: &Utf8Path) -> bool {
    folder.join("tree/_output/local").is_dir()
}

impl Work {
    /// Opens the folder for this process alone.
    pub(crate) fn open(folder: Utf8PathBuf) -> Result<Self, BuildError> {
        std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(BuildError::Busy { folder }),
            Err(TryLockError::Error(error)) => Err(io("lock", &path)(error).into()),
        }
    }

    fn tree(&self) -> Utf8PathBuf {
        self.folder.join("tree")
    }

    /// What the tree is a copy of; not there while a build is under way.
    fn stamp(&self) -> Utf8PathBuf {
        self.folder.join("state")
    }

    fn version_file(&self) -> Utf8PathBuf {
        self.folder.join("version")
    }

    /// A program that was built.
    pub(crate) fn product(&self, os: Os, name: &str) -> Utf8PathBuf {
        self.tree().join("_output/local/bin").join(steps::platform(os)).join(name)
    }

    /// Whether the copy is one of that source, and the last build in it ended well.
    pub(crate) async fn is_copy_of(&self, tree: &Tree) -> bool {
        tokio::fs::read_to_string(self.stamp()).await.is_ok_and(|state| state == tree.state)
    }

    /// Copies the source. What an interrupted build or one of another state of the source generated may be half written
    /// or out of date without looking so; only Go's own cache, which checks what it has, is kept.
    pub(crate) async fn copy(&self, source: &Tree) -> Result<(), BuildError> {
        let tree = self.tree();
        self.forget().await?;
        tokio::fs::create_dir_all(&tree).await.map_err(io("create", &tree))?;
        for path in outdated(&tree).await? {
            remove(&path).await?;
        }
        let mut command = Command::new("rsync");
        command.args(["--archive", "--delete"]).args(NOT_SOURCE.map(|name| format!("--exclude=/{name}")));
        command.arg("--").arg(format!("{}/", source.folder)).arg(format!("{tree}/"));
        let failed = |answer| BuildError::Copy { from: source.folder.clone(), to: tree.clone(), answer };
        ask(&mut command).await.map_err(failed)?;
        Ok(())
    }

    /// From here on the tree is no copy of anything, until [`Work::finish`].
    pub(crate) async fn begin(&self, version: &SourceVersion) -> Result<(), BuildError> {
        self.forget().await?;
        Ok(replace(&self.version_file(), version.file().as_bytes()).await?)
    }

    /// A build has ended well: the next one goes on from here.
    pub(crate) async fn finish(&self, tree: &Tree) -> Result<(), BuildError> {
        Ok(replace(&self.stamp(), tree.state.as_bytes()).await?)
    }

    async fn forget(&self) -> Result<(), ArtifactError> {
        remove(&self.stamp()).await
    }

    /// Runs one step. All that it prints goes to the log.
    pub(crate) async fn run(
        &self,
        step: &Step,
        tree: &Tree,
        toolchain: &Toolchain,
        log: &mut Log,
        progress: &impl Fn(BuildProgress),
    ) -> Result<usize, BuildError> {
        let mut command = Command::new("make");
        command.args(&step.arguments).current_dir(self.tree());
        self.environment(&mut command, tree, toolchain)?;
        command.envs(step.environment.iter().copied());
        log.line(&format!("==> {}: make {}", step.stage, step.arguments.join(" ")));
        let mut packages = 0;
        let followed = follow(&mut command, |line| {
            log.line(line);
            if let Some(name) = steps::package(line) {
                packages += 1;
                progress(BuildProgress::Package { number: packages, name: name.to_owned() });
            }
        });
        let status = followed.await.map_err(io("run make in", &self.tree()))?;
        if status.success() {
            return Ok(packages);
        }
        Err(BuildError::Make { stage: step.stage, status: status.to_string(), last: log.last(), log: log.path.clone() })
    }

    /// What `make` finds around it: the same whatever the user's Go settings are.
    fn environment(&self, command: &mut Command, tree: &Tree, toolchain: &Toolchain) -> Result<(), BuildError> {
        let bin = toolchain.root.join("bin");
        let listed = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(bin.into_std_path_buf()).chain(env::split_paths(&listed));
        let path = env::join_paths(folders)
            .map_err(|error| io("use", &toolchain.root)(std::io::Error::other(error.to_string())))?;
        command.env_clear().env("PATH", path);
        // Go wants a home folder for a cache that Kubernetes' scripts then put elsewhere.
        command.env("HOME", env::var_os("HOME").unwrap_or_else(|| self.folder.clone().into_os_string()));
        command.envs(env::var_os("TMPDIR").map(|folder| ("TMPDIR", folder)));
        command.env("LC_ALL", "C").env("GOROOT", &toolchain.root).env("GOTOOLCHAIN", "local");
        // All that is needed lies in vendor/.
        command.env("GOPROXY", "off").env("KUBE_GIT_VERSION_FILE", self.version_file());
        command.envs(tree.date.as_ref().map(|date| ("SOURCE_DATE_EPOCH", date)));
        Ok(())
    }
}

/// What lies in a tree that a build must not go on from.
async fn outdated(tree: &Utf8Path) -> Result<Vec<Utf8PathBuf>, ArtifactError> {
    let mut outdated = vec![tree.join(".make")];
    let mut folder = tree.join("_output");
    // Of `_output/local/go/cache` only what is beside it on the way down.
    for kept in ["local", "go", "cache"] {
        let Ok(mut entries) = tokio::fs::read_dir(&folder).await else { break };
        while let Some(entry) = entries.next_entry().await.map_err(io("read", &folder))? {
            if entry.file_name() != kept
                && let Ok(path) = Utf8PathBuf::from_path_buf(entry.path())
            {
                outdated.push(path);
            }
        }
        folder.push(kept);
    }
    Ok(outdated)
}

/// Deletes a file or folder, if it is there.
async fn remove(path: &Utf8Path) -> Result<(), ArtifactError> {
    let removed = match tokio::fs::symlink_metadata(path).await {
        Ok(metadata) if metadata.is_dir() => tokio::fs::remove_dir_all(path).await,
        Ok(_) => tokio::fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("delete", path)(error)),
        _ => Ok(()),
    }
}

/// The output of a build.
pub(crate) struct Log {
    path: Utf8PathBuf,
    file: File,
    last: VecDeque<String>,
}

impl Log {
    /// A new log in place of an older one.
    pub(crate) fn create(path: Utf8PathBuf) -> Result<Self, ArtifactError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        let file = File::create(&path).map_err(io("create", &path))?;
        Ok(Self { path, file, last: VecDeque::with_capacity(LAST_LINES) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }

    fn line(&mut self, line: &str) {
        // A full disk ends the build by itself, and says so.
        let _ = writeln!(self.file, "{line}");
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> (tempfile::TempDir, Work) {
        let folder = tempfile::tempdir().unwrap();
        let work = Work::open(Utf8PathBuf::from_path_buf(folder.path().join("work")).unwrap()).unwrap();
        (folder, work)
    }

    fn write(path: &Utf8Path, content: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[tokio::test]
    async fn only_gos_own_cache_outlives_another_source() {
        let (folder, work) = work();
        let source = Utf8PathBuf::from_path_buf(folder.path().join("source")).unwrap();
        write(&source.join("Makefile"), "all:\n");
        write(&source.join("_output/mine"), "the user's own build");
        let tree = Tree { folder: source, state: "tree 1".into(), version: None, date: None };
        for old in ["_output/bin/deepcopy-gen", "_output/local/go/pkg/a", ".make/x", "zz_generated.go"] {
            write(&work.tree().join(old), "old");
        }
        write(&work.tree().join("_output/local/go/cache/ab/x"), "kept");
        work.copy(&tree).await.unwrap();
        assert!(work.tree().join("Makefile").is_file());
        assert!(work.tree().join("_output/local/go/cache/ab/x").is_file());
        for old in ["_output/bin", "_output/mine", "_output/local/go/pkg", ".make", "zz_generated.go"] {
            assert!(!work.tree().join(old).exists(), "{old}");
        }
    }

    #[tokio::test]
    async fn a_tree_is_a_copy_only_when_its_build_has_ended_well() {
        let (folder, work) = work();
        let source = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let tree = Tree { folder: source, state: "tree 1".into(), version: None, date: None };
        assert!(!work.is_copy_of(&tree).await);
        work.finish(&tree).await.unwrap();
        assert!(work.is_copy_of(&tree).await);
        assert!(!work.is_copy_of(&Tree { state: "tree 2".into(), ..tree.clone() }).await);
        work.begin(&SourceVersion::asked("1.5.8".parse().unwrap())).await.unwrap();
        assert!(!work.is_copy_of(&tree).await);
    }

    #[test]
    fn two_processes_do_not_build_in_one_folder() {
        let (_folder, work) = work();
        assert!(matches!(Work::open(work.folder.clone()), Err(BuildError::Busy { .. })));
    }

    #[test]
    fn the_last_lines_of_a_log_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("logs/build.log")).unwrap();
        let mut log = Log::create(path.clone()).unwrap();
        (1..=40).for_each(|number| log.line(&number.to_string()));
        assert_eq!(log.last().first().map(String::as_str), Some("26"));
        assert_eq!(log.last().len(), LAST_LINES);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 40);
    }
}
