//! A folder with `linux/`, `windows/` and `sha256sums`: every file that is needed is verified against the latter.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use k8swin_protocol::Os;

use crate::digests::Digests;
use crate::error::{ArtifactError, Problem};
use crate::sums::{self, Sums};
use crate::{Artifact, Progress};

/// Verified programs by operating system and file name.
pub(crate) type Programs = BTreeMap<(Os, String), Artifact>;

/// The needed programs of the folder, or all that is wrong with it.
pub(crate) async fn verified(
    folder: &Utf8Path,
    needed: &BTreeSet<(Os, String)>,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<Programs, ArtifactError> {
    let (programs, problems) = examine(folder, needed, digests, progress).await;
    if problems.is_empty() { Ok(programs) } else { Err(ArtifactError::Folder { folder: folder.to_owned(), problems }) }
}

/// The needed programs that are there and as they should be, and what is wrong with the others.
pub(crate) async fn examine(
    folder: &Utf8Path,
    needed: &BTreeSet<(Os, String)>,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> (Programs, Vec<Problem>) {
    if needed.is_empty() {
        return (Programs::new(), Vec::new());
    }
    let path = folder.join(sums::FILE);
    let (sums, mut problems) = match tokio::fs::read_to_string(&path).await.map(|text| Sums::parse(&text)) {
        Ok(Ok(sums)) => (Some(sums), Vec::new()),
        Ok(Err(problems)) => (None, problems),
        Err(error) => (None, vec![Problem::NoSums { answer: error.to_string() }]),
    };
    let mut found = digests.of(needed.iter().map(|program| folder.join(relative(program))), progress).await;
    let mut programs = Programs::new();
    for program in needed {
        let file = relative(program);
        let actual = match found.remove(&folder.join(&file)) {
            Some(Ok(actual)) => actual,
            Some(Err(error)) => {
                problems.push(Problem::Unreadable { file, answer: error.to_string() });
                continue;
            }
            None => continue,
        };
        // Without sums there is one problem already, which need not be repeated for each file.
        match sums.as_ref().map(|sums| sums.get(&file)) {
            Some(Some(expected)) if expected == actual.sha256 => {
                programs.insert(program.clone(), actual);
            }
            Some(Some(expected)) => problems.push(Problem::Differs { file, expected, actual: actual.sha256 }),
            Some(None) => problems.push(Problem::NotListed { file }),
            None => {}
        }
    }
    (programs, problems)
}

/// The path of a program in its folder, as `sha256sums` writes it.
pub(crate) fn relative((os, name): &(Os, String)) -> String {
    format!("{os}/{name}")
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::Sha256;

    use super::*;

    fn needed() -> BTreeSet<(Os, String)> {
        [(Os::Linux, "etcd"), (Os::Linux, "kubelet"), (Os::Windows, "kubelet.exe")]
            .map(|(os, name)| (os, name.to_owned()))
            .into()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    async fn verify(folder: &tempfile::TempDir) -> Result<Programs, ArtifactError> {
        let cache = tempfile::tempdir().unwrap();
        let mut digests = Digests::load(Utf8Path::from_path(cache.path()).unwrap()).await;
        verified(Utf8Path::from_path(folder.path()).unwrap(), &needed(), &mut digests, &|_| ()).await
    }

    #[tokio::test]
    async fn a_complete_folder_is_taken() {
        let sums: String =
            needed().iter().map(|p| format!("{}  {}\n", Sha256::of(p.1.as_bytes()), relative(p))).collect();
        let folder = folder(&[
            ("sha256sums", &sums),
            ("linux/etcd", "etcd"),
            ("linux/kubelet", "kubelet"),
            ("windows/kubelet.exe", "kubelet.exe"),
        ]);
        let programs = verify(&folder).await.unwrap();
        assert_eq!(programs.keys().cloned().collect::<BTreeSet<_>>(), needed());
        assert_eq!(programs[&(Os::Linux, "etcd".to_owned())].size, 4);
    }

    #[tokio::test]
    async fn all_problems_are_listed_at_once() {
        let sums = format!("{}  linux/kubelet\n", Sha256::of(b"the official one"));
        let folder =
            folder(&[("sha256sums", &sums), ("linux/kubelet", "another"), ("windows/kubelet.exe", "unlisted")]);
        let error = verify(&folder).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\n  linux/etcd: No such file or directory"), "{text}");
        assert!(text.contains(&format!("\n  linux/kubelet: sha256 is {}, expected", Sha256::of(b"another"))), "{text}");
        assert!(text.contains("\n  windows/kubelet.exe: not listed in sha256sums"), "{text}");
        assert!(error.hint().unwrap().contains("sha256sum linux/* windows/*"));
    }

    #[tokio::test]
    async fn missing_sums_are_one_problem_beside_the_missing_files() {
        let folder = folder(&[("linux/kubelet", "kubelet"), ("linux/etcd", "etcd")]);
        let ArtifactError::Folder { problems, .. } = verify(&folder).await.unwrap_err() else { panic!() };
        assert!(matches!(
            problems.as_slice(),
            [Problem::NoSums { .. }, Problem::Unreadable { file, .. }] if file == "windows/kubelet.exe"
        ));
    }
}
