//! Where the source comes from: a folder of this machine, or a tag of a git repository, fetched into the cache.

use std::env;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;
use tokio::process::Command;

use super::program::ask;
use super::version::SourceVersion;
use super::{BuildError, Check, tree};
use crate::download::without_credentials;
use crate::error::io;

/// The name of the check in what is told.
const CHECK: &str = "source";

/// Where the source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder, as it is.
    Folder(Utf8PathBuf),
    /// A tag of a git repository.
    Git {
        /// The URL.
        url: String,
        /// The tag.
        tag: String,
    },
}

impl Source {
    /// Of a folder or git URL, and a tag: `repository` and `tag` of an inventory.
    ///
    /// # Errors
    /// When it is a URL without a tag.
    pub fn new(repository: &str, tag: Option<&str>) -> Result<Self, BuildError> {
        let is_remote = repository.contains("://")
            || repository.split_once(':').is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
        match (is_remote, tag) {
            (true, Some(tag)) => Ok(Self::Git { url: repository.to_owned(), tag: tag.to_owned() }),
            (true, None) => Err(BuildError::Source(format!(
                "{} needs a tag that says what to build",
                without_credentials(repository)
            ))),
            // However the folder is written and from wherever, it is the same source.
            (false, tag) => {
                let folder = crate::expand_home(repository.into());
                let folder = camino::absolute_utf8(&folder).map_err(io("find", &folder))?;
                Ok(match tag {
                    Some(tag) => Self::Git { url: format!("file://{folder}"), tag: tag.to_owned() },
                    None => Self::Folder(folder),
                })
            }
        }
    }

    /// For people, without credentials.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Folder(folder) => folder.to_string(),
            Self::Git { url, tag } => format!("{} {tag}", without_credentials(url)),
        }
    }

    /// Names its folders in the cache.
    pub(crate) fn digest(&self) -> Sha256 {
        match self {
            Self::Folder(folder) => Sha256::of_parts([b"folder".as_slice(), folder.as_str().as_bytes()]),
            Self::Git { url, tag } => Sha256::of_parts([b"git".as_slice(), url.as_bytes(), tag.as_bytes()]),
        }
    }

    /// The version that the tag names, if it does.
    pub(crate) fn tagged(&self) -> Option<SourceVersion> {
        match self {
            Self::Folder(_) => None,
            Self::Git { tag, .. } => SourceVersion::of_git(tag, "", false),
        }
    }
}

/// A source that is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Where it lies.
    pub(crate) folder: Utf8PathBuf,
    /// What it is, to the last bit: `commit …` or `tree …`.
    pub(crate) state: String,
    /// The version, if it says one.
    pub(crate) version: Option<SourceVersion>,
    /// The time of the commit in seconds since 1970: as build date it makes equal builds equal to the last bit.
    pub(crate) date: Option<String>,
}

/// What is known of a source without fetching it.
pub(crate) enum Found {
    /// It is there.
    There(Tree),
    /// It is to be fetched.
    Elsewhere,
    /// There is nothing to build.
    Nothing,
}

/// Looks for a source; `cache` is the builder's folder in the cache.
pub(crate) async fn find(source: &Source, cache: &Utf8Path) -> (Check, Found) {
    match source {
        Source::Folder(folder) => match open_folder(folder, cache).await {
            Ok(tree) => (Check::fine(CHECK, format!("{folder} is {}", described(&tree))), Found::There(tree)),
            Err(answer) => {
                let remedy = "name the top folder of Kubernetes' source: the one with Makefile, cmd/ and hack/";
                (Check::error(CHECK, format!("{folder}: {answer}"), remedy), Found::Nothing)
            }
        },
        Source::Git { url, tag } => find_git(source, url, tag, &clone_folder(source, cache)).await,
    }
}

async fn find_git(source: &Source, url: &str, tag: &str, clone: &Utf8Path) -> (Check, Found) {
    let shown = source.shown();
    let here = match clone.join(".git").exists() {
        true => open_clone(clone).await.ok(),
        false => None,
    };
    let there = remote_commit(url, tag).await;
    match (here, there) {
        (Some(tree), Ok(commit)) if tree.state == state(&commit) => {
            (Check::fine(CHECK, format!("{shown} is {}", described(&tree))), Found::There(tree))
        }
        (_, Ok(commit)) => (Check::fine(CHECK, format!("{shown} is commit {commit}")), Found::Elsewhere),
        (Some(tree), Err(answer)) => {
            let told = format!("{shown} cannot be asked, and what was fetched before is taken: {answer}");
            (Check::warning(CHECK, told), Found::There(tree))
        }
        (None, Err(answer)) => {
            let remedy = "check the URL, the tag, network and proxy (HTTPS_PROXY)";
            (Check::error(CHECK, format!("{shown}: {answer}"), remedy), Found::Nothing)
        }
    }
}

/// Fetches a tag into the cache.
pub(crate) async fn fetch(source: &Source, cache: &Utf8Path) -> Result<Tree, BuildError> {
    let Source::Git { url, tag } = source else {
        return Err(BuildError::Source("a folder is not fetched".to_owned()));
    };
    let folder = clone_folder(source, cache);
    let new = Utf8PathBuf::from(format!("{folder}.{}", std::process::id()));
    if let Some(parent) = folder.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(io("create", parent))?;
    }
    let mut command = git();
    command.args(["clone", "--quiet", "--depth=1", "--config=advice.detachedHead=false"]);
    command.arg(format!("--branch={tag}")).arg("--").arg(url).arg(&new);
    let failed = |answer: String| BuildError::Fetch { source_name: source.shown(), answer };
    let cloned = ask(&mut command).await;
    if let Err(answer) = cloned {
        // Most often there is nothing to delete.
        let _ = tokio::fs::remove_dir_all(&new).await;
        return Err(failed(answer.replace(url, &without_credentials(url))));
    }
    if folder.exists() {
        tokio::fs::remove_dir_all(&folder).await.map_err(io("delete", &folder))?;
    }
    tokio::fs::rename(&new, &folder).await.map_err(io("rename", &new))?;
    open_clone(&folder).await.map_err(failed)
}

fn clone_folder(source: &Source, cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("sources").join(source.digest().short())
}

/// A folder is what its files are, whatever git says of it.
async fn open_folder(folder: &Utf8Path, cache: &Utf8Path) -> Result<Tree, String> {
    let folder = folder.canonicalize_utf8().map_err(|error| error.to_string())?;
    is_kubernetes(&folder)?;
    tokio::fs::create_dir_all(cache).await.map_err(|error| format!("cannot create {cache}: {error}"))?;
    let digest = tree::digest(&folder, &cache.join("trees.json")).await.map_err(|error| error.to_string())?;
    let version = version_of(&folder).await;
    Ok(Tree { state: format!("tree {digest}"), version, date: None, folder })
}

async fn open_clone(folder: &Utf8Path) -> Result<Tree, String> {
    is_kubernetes(folder)?;
    let commit = ask(git_in(folder).args(["rev-parse", "HEAD"])).await?;
    let date = ask(git_in(folder).args(["show", "--no-patch", "--format=%ct", "HEAD"])).await.ok();
    Ok(Tree { state: state(&commit), version: version_of(folder).await, date, folder: folder.to_owned() })
}

fn is_kubernetes(folder: &Utf8Path) -> Result<(), String> {
    for name in ["Makefile", "cmd/kubelet"] {
        if !folder.join(name).exists() {
            return Err(format!("this is no source of Kubernetes: there is no {name}"));
        }
    }
    Ok(())
}

fn state(commit: &str) -> String {
    format!("commit {commit}")
}

fn described(tree: &Tree) -> String {
    let version = tree.version.as_ref().map_or("of a version that it does not say", SourceVersion::as_str);
    format!("{version}, {}", tree.state)
}

/// What the source says of itself: by git, or by what git wrote into it when it was exported.
async fn version_of(folder: &Utf8Path) -> Option<SourceVersion> {
    if folder.join(".git").exists()
        && let Ok(commit) = ask(git_in(folder).args(["rev-parse", "HEAD^{commit}"])).await
    {
        let described = ask(git_in(folder).args(["describe", "--tags", "--match=v*", "--abbrev=14"])).await.ok()?;
        let changes = ask(git_in(folder).args(["status", "--porcelain"])).await.ok()?;
        return SourceVersion::of_git(&described, &commit, !changes.is_empty());
    }
    let read = async |name| tokio::fs::read_to_string(folder.join(name)).await.ok();
    let exported = read("hack/lib/version.sh").await.and_then(|script| SourceVersion::of_export(&script));
    match exported {
        Some(version) => Some(version),
        None => SourceVersion::of_go(&read("pkg/version/base.go").await?),
    }
}

/// The commit of a tag, or of a branch of that name.
async fn remote_commit(url: &str, tag: &str) -> Result<String, String> {
    let names = [format!("refs/tags/{tag}^{{}}"), format!("refs/tags/{tag}"), format!("refs/heads/{tag}")];
    let answer = ask(git().args(["ls-remote", "--", url]).args(&names))
        .await
        .map_err(|answer| answer.replace(url, &without_credentials(url)))?;
    let find = |name: &String| {
        answer
            .lines()
            .find_map(|line| line.split_once('\t').filter(|(_, found)| found == name).map(|(commit, _)| commit))
    };
    names.iter().find_map(find).map(str::to_owned).ok_or_else(|| format!("it has no tag {tag}"))
}

/// `git` as the user has it, which asks nobody for passwords.
fn git() -> Command {
    let mut command = Command::new("git");
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    if env::var_os("GIT_SSH_COMMAND").is_none() && env::var_os("GIT_SSH").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
    }
    command
}

fn git_in(folder: &Utf8Path) -> Command {
    let mut command = git();
    command.arg("-C").arg(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_urls_are_told_apart() {
        let source = |repository, tag| Source::new(repository, tag).unwrap();
        assert_eq!(source("/src/kubernetes", None), Source::Folder("/src/kubernetes".into()));
        let github = "https://github.com/kubernetes/kubernetes";
        assert_eq!(source(github, Some("v1.5.8")).shown(), format!("{github} v1.5.8"));
        assert!(matches!(source("git@example.com:k8s.git", Some("v1.5.8")), Source::Git { .. }));
        let local = source("/src/kubernetes", Some("v1.5.8"));
        assert_eq!(local, Source::Git { url: "file:///src/kubernetes".into(), tag: "v1.5.8".into() });
        assert_eq!(local.tagged().and_then(|version| version.release()), "1.5.8".parse().ok());
    }

    #[test]
    fn a_url_needs_a_tag_and_keeps_its_password_to_itself() {
        let error = Source::new("https://me:hunter2@example.com/k.git", None).unwrap_err();
        assert_eq!(error.to_string(), "https://example.com/k.git needs a tag that says what to build");
        assert!(error.hint().unwrap().contains("--tag"));
    }

    #[tokio::test]
    async fn a_folder_without_kubernetes_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (check, found) = find(&Source::Folder(folder.to_owned()), &folder.join("cache")).await;
        assert!(check.detail.contains("this is no source of Kubernetes: there is no Makefile"), "{}", check.detail);
        assert!(matches!(found, Found::Nothing));
        let (check, _) = find(&Source::Folder(folder.join("gone")), folder).await;
        assert!(check.detail.contains("No such file or directory"), "{}", check.detail);
    }
}
