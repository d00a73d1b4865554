//! What has been built, in the cache: a folder for each source, version and Go, in the form of a local folder.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::KubernetesVersion;
use k8swin_protocol::{Os, Sha256};

use super::source::{Source, Tree};
use super::toolchain::Toolchain;
use super::version::SourceVersion;
use crate::digests::{Digests, replace};
use crate::error::{ArtifactError, io};
use crate::local::{self, Programs};
use crate::manifest::{Entry, Manifest};
use crate::sums::{self, Sums};
use crate::{Artifact, Progress};

/// Counts up when the same source and Go are built in another way than before.
const RECIPE: &str = "1";

/// The name of a result: what it depends on, all of it.
pub(crate) fn name(version: &SourceVersion, tree: &Tree, toolchain: &Toolchain) -> String {
    let parts = [RECIPE, version.as_str(), &tree.state, tree.date.as_deref().unwrap_or_default(), &toolchain.says];
    format!("{}-{}", version.as_str(), Sha256::of_parts(parts.map(str::as_bytes)).short())
}

/// The folder of a result; `cache` is the builder's folder in the cache.
pub(crate) fn folder(cache: &Utf8Path, name: &str) -> Utf8PathBuf {
    cache.join("results").join(name)
}

/// Puts programs that were built into a folder, beside what is there: copies, sums, and the manifest at last.
pub(crate) async fn add(folder: &Utf8Path, programs: &[(Os, String, Artifact, Entry)]) -> Result<(), ArtifactError> {
    let mut entries = BTreeMap::new();
    let mut copied = Vec::new();
    for (os, name, artifact, entry) in programs {
        let path = local::relative(&(*os, name.clone()));
        copy(&artifact.path, &folder.join(&path)).await?;
        copied.push((path.clone(), artifact.sha256));
        entries.insert(path, entry.clone());
    }
    add_sums(folder, copied).await?;
    Manifest::add(folder, entries).await
}

async fn add_sums(folder: &Utf8Path, programs: Vec<(String, Sha256)>) -> Result<(), ArtifactError> {
    let path = folder.join(sums::FILE);
    let mut sums = match tokio::fs::read_to_string(&path).await {
        Ok(text) => {
            Sums::parse(&text).map_err(|problems| ArtifactError::Folder { folder: folder.to_owned(), problems })?
        }
        Err(_) => Sums::default(),
    };
    for (path, sha256) in programs {
        sums.insert(path, sha256);
    }
    replace(&path, sums.render().as_bytes()).await
}

async fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), ArtifactError> {
    if let Some(folder) = to.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(io("create", folder))?;
    }
    let temporary = Utf8PathBuf::from(format!("{to}.{}", std::process::id()));
    tokio::fs::copy(from, &temporary).await.map_err(io("copy", from))?;
    tokio::fs::rename(&temporary, to).await.map_err(io("replace", to))
}

/// The programs of a result that are there and as they should be, with what the manifest says of them.
pub(crate) async fn examine(
    folder: &Utf8Path,
    needed: &BTreeSet<(Os, String)>,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Vec<(Os, String, Artifact, Entry)> {
    let (programs, _) = local::examine(folder, needed, digests, progress).await;
    let mut manifest = Manifest::read(folder).await;
    let with_entry = |((os, name), artifact): ((Os, String), Artifact)| {
        let entry = manifest.programs.remove(&local::relative(&(os, name.clone())))?;
        (entry.sha256 == artifact.sha256).then_some((os, name, artifact, entry))
    };
    programs.into_iter().filter_map(with_entry).collect()
}

/// Copies programs of a result into a folder of the user, whose other files and sums stay as they are. What is there
/// already is not copied again.
pub(crate) async fn export(
    out: &Utf8Path,
    programs: &[(Os, String, Artifact, Entry)],
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<(), ArtifactError> {
    let paths = programs.iter().map(|(os, name, ..)| out.join(local::relative(&(*os, name.clone()))));
    let found = digests.of(paths.filter(|path| path.is_file()), progress).await;
    let is_there = |(os, name, artifact, _): &&(Os, String, Artifact, Entry)| {
        let path = out.join(local::relative(&(*os, name.clone())));
        found.get(&path).is_some_and(|there| there.as_ref().is_ok_and(|there| there.sha256 == artifact.sha256))
    };
    let (there, missing): (Vec<_>, Vec<_>) = programs.iter().partition(is_there);
    let missing: Vec<_> = missing.into_iter().cloned().collect();
    let sums = there.iter().map(|(os, name, artifact, _)| (local::relative(&(*os, name.clone())), artifact.sha256));
    tokio::fs::create_dir_all(out).await.map_err(io("create", out))?;
    add_sums(out, sums.collect()).await?;
    add(out, &missing).await
}

/// Remembers what was built last for a source and a version.
pub(crate) async fn remember(
    source: &Source,
    version: KubernetesVersion,
    cache: &Utf8Path,
    name: &str,
) -> Result<(), ArtifactError> {
    let path = pointer(source, version, cache);
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(io("create", folder))?;
    }
    replace(&path, name.as_bytes()).await
}

/// The programs that were built last for a source and a version.
pub(crate) async fn latest(
    source: &Source,
    version: KubernetesVersion,
    needed: &BTreeSet<(Os, String)>,
    cache: &Utf8Path,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<Programs, ArtifactError> {
    let not_built = || ArtifactError::NotBuilt { source_name: source.shown(), version: version.to_string() };
    let name = tokio::fs::read_to_string(pointer(source, version, cache)).await.map_err(|_| not_built())?;
    let folder = folder(cache, &name);
    let (programs, problems) = local::examine(&folder, needed, digests, progress).await;
    if problems.is_empty() { Ok(programs) } else { Err(ArtifactError::BadBuild { folder, problems }) }
}

fn pointer(source: &Source, version: KubernetesVersion, cache: &Utf8Path) -> Utf8PathBuf {
    let version = version.to_string();
    let key = Sha256::of_parts([source.digest().to_string().as_bytes(), version.as_bytes()]);
    cache.join("latest").join(key.short())
}
