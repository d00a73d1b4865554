//! The host agents: `k8swin-agent` for Linux and `k8swin-agent.exe` for Windows.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Os;

use crate::digests::Digests;
use crate::error::{ArtifactError, io};
use crate::{Artifact, Progress};

/// The agents for these operating systems: each the first one of the folders that may have it.
pub(crate) async fn find(
    configured: Option<&Utf8Path>,
    systems: &BTreeSet<Os>,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<BTreeMap<Os, Artifact>, ArtifactError> {
    let executable = std::env::current_exe().ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    let folders = folders(configured, executable.as_deref());
    let mut agents = BTreeMap::new();
    let mut missing = Vec::new();
    for &os in systems {
        match folders.iter().map(|folder| folder.join(file_name(os))).find(|path| path.is_file()) {
            Some(path) => {
                agents.insert(os, digests.of_one(&path, progress).await.map_err(io("read", &path))?);
            }
            None => missing.push(file_name(os)),
        }
    }
    if missing.is_empty() { Ok(agents) } else { Err(ArtifactError::Agents { missing, folders }) }
}

fn file_name(os: Os) -> &'static str {
    match os {
        Os::Linux => "k8swin-agent",
        Os::Windows => "k8swin-agent.exe",
    }
}

/// Where agents may be: the configured folder; else `target/dist` of the checkout that the program runs from; else
/// beside the program, and in `agents/` beside it. In a checkout only `target/dist` counts: the agent beside a program
/// that cargo built is for this machine alone, not the portable one that hosts need.
fn folders(configured: Option<&Utf8Path>, executable: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
    if let Some(folder) = configured {
        return vec![folder.to_owned()];
    }
    let Some(beside) = executable.and_then(Utf8Path::parent) else { return Vec::new() };
    match beside.ancestors().find(|folder| folder.file_name() == Some("target")) {
        Some(target) => vec![target.join("dist")],
        None => vec![beside.to_owned(), beside.join("agents")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_folder_is_the_only_one() {
        assert_eq!(folders(Some("agents".into()), Some("/usr/bin/k8swin".into())), ["agents"]);
    }

    #[test]
    fn an_installed_program_has_its_agents_beside_it() {
        assert_eq!(folders(None, Some("/opt/k8swin/k8swin".into())), ["/opt/k8swin", "/opt/k8swin/agents"]);
    }

    #[test]
    fn a_checkout_has_them_in_its_dist_folder() {
        for program in ["/src/target/release/k8swin", "/src/target/debug/deps/tests-1", "/src/target/dist/k8swin"] {
            assert_eq!(folders(None, Some(program.into())), ["/src/target/dist"]);
        }
    }

    #[tokio::test]
    async fn missing_agents_are_named_together_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let mut digests = Digests::load(path).await;
        let both = [Os::Linux, Os::Windows].into();
        let error = find(Some(path), &both, &mut digests, &|_| ()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("k8swin-agent and k8swin-agent.exe not found; looked in {path}"));
        assert!(error.hint().unwrap().contains("cargo xtask dist"));

        std::fs::write(path.join("k8swin-agent"), "agent").unwrap();
        let found = find(Some(path), &[Os::Linux].into(), &mut digests, &|_| ()).await.unwrap();
        assert_eq!(found[&Os::Linux].size, 5);
    }
}
