//! Whether this machine can build: tools, free disk, and a place that `make` can work in.

use std::env;

use camino::Utf8Path;

use super::{Check, Source};

/// What `make` calls, with Debian's package for each.
const TOOLS: [(&str, &str); 7] = [
    ("make", "make"),
    ("bash", "bash"),
    ("rsync", "rsync"),
    ("gcc", "gcc"),
    ("find", "findutils"),
    ("sed", "sed"),
    ("sort", "coreutils"),
];

/// Free disk with which a first build of any release ends. Its products and Go's cache come to 1.5 to 4.5 GB, the
/// programs to 0.6 GB.
const COLD: u64 = 6_000_000_000;

/// Free disk that no build does without, and with which a further build of the same source ends.
const WARM: u64 = 1_500_000_000;

const DISK: &str = "disk-space";

/// The tools of this machine. `git` counts only where the source needs it.
pub(crate) fn tools(needs_git: bool) -> Check {
    const NAME: &str = "tools";
    let wanted = TOOLS.into_iter().chain(needs_git.then_some(("git", "git")));
    let (missing, there): (Vec<_>, Vec<_>) = wanted.partition(|(program, _)| !is_in_path(program));
    let names = |tools: &[(&str, &str)]| tools.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        return Check::fine(NAME, format!("{} are there", names(&there)));
    }
    let packages = missing.iter().map(|(_, package)| *package).collect::<Vec<_>>().join(" ");
    Check::error(
        NAME,
        format!("missing in PATH: {}", names(&missing)),
        format!("install them: `apt-get install {packages}` on Debian and Ubuntu"),
    )
}

fn is_in_path(program: &str) -> bool {
    let listed = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&listed).any(|folder| folder.join(program).is_file())
}

/// Whether `make` can work below the cache folder, whose variables are lists of words, and whether the cache is no part
/// of the source: it would be copied into itself.
pub(crate) fn place(cache: &Utf8Path, source: &Source) -> Check {
    const NAME: &str = "cache-folder";
    if let Source::Folder(folder) = source
        && cache.starts_with(folder)
    {
        let detail = format!("{cache} lies in the source, {folder}");
        return Check::error(NAME, detail, "choose another folder: `--cache-dir FOLDER`");
    }
    if cache.as_str().contains([' ', '\t', ':', '$', '#', '\'', '"']) {
        let detail = format!("make cannot work in {cache}: its path has characters that mean something to make");
        return Check::error(NAME, detail, "choose another folder: `--cache-dir FOLDER`");
    }
    Check::fine(NAME, format!("builds in {cache}"))
}

/// Whether the disk has room. `warm` is whether the source was built before.
pub(crate) fn disk(cache: &Utf8Path, warm: bool) -> Check {
    match free(cache) {
        Ok(free) => judge_disk(cache, free, warm),
        Err(error) => Check::warning(DISK, format!("how much of the disk is free in {cache} cannot be told: {error}")),
    }
}

/// Judges the free bytes of the cache's disk.
fn judge_disk(cache: &Utf8Path, free: u64, warm: bool) -> Check {
    let gigabytes = |bytes: u64| format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    let detail = format!("{} are free in {cache}", gigabytes(free));
    if free < WARM {
        let remedy = "free some space, or choose another folder: `--cache-dir FOLDER`";
        return Check::error(DISK, format!("{detail}, and a build needs {}", gigabytes(WARM)), remedy);
    }
    if free < COLD && !warm {
        return Check::warning(DISK, format!("{detail}, and a first build can need {}", gigabytes(COLD)));
    }
    Check::fine(DISK, detail)
}

/// Free bytes of the file system that a folder is on.
#[cfg(unix)]
pub(crate) fn free(folder: &Utf8Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder.as_std_path())?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Free bytes of the file system that a folder is on: not known here.
#[cfg(not(unix))]
pub(crate) fn free(_folder: &Utf8Path) -> std::io::Result<u64> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::build::Verdict;

    #[test]
    fn little_disk_is_warned_of_and_too_little_is_refused() {
        let judged = |free, warm| judge_disk("/cache".into(), free, warm).verdict;
        assert_eq!(judged(COLD, false), Verdict::Fine);
        assert_eq!(judged(COLD - 1, false), Verdict::Warning);
        assert_eq!(judged(COLD - 1, true), Verdict::Fine);
        assert_eq!(judged(WARM - 1, true), Verdict::Error);
        assert_eq!(judged(WARM - 1, false), Verdict::Error);
    }

    #[test]
    fn a_folder_that_make_cannot_name_is_refused() {
        let source = Source::Folder("/home/me/kubernetes".into());
        assert_eq!(place("/home/me/.cache/k8swin".into(), &source).verdict, Verdict::Fine);
        assert!(place("/home/me/kubernetes/cache".into(), &source).detail.contains("lies in the source"));
        let refused = place("/home/me/my cache".into(), &source);
        assert_eq!(refused.verdict, Verdict::Error);
        assert!(refused.remedy.unwrap().contains("--cache-dir"));
    }

    #[test]
    fn the_disk_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        assert!(free(folder).unwrap() > 0);
        assert_eq!(disk(&folder.join("gone"), false).verdict, Verdict::Warning);
    }
}
