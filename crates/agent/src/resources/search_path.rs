//! Folders on the machine's search path. What is there already is not added again, and not removed later.

use k8swin_protocol::resource::{CheckOutcome, SearchPath};

use super::{Prior, absent};
use crate::platform::{Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(wanted: &SearchPath, host: Host<'_>) -> Result<CheckOutcome> {
    let there = has(&host.search_path()?, wanted.folder.as_str());
    Ok(if there { CheckOutcome::InSync } else { absent("not on the machine's search path") })
}

pub(super) fn capture(wanted: &SearchPath, host: Host<'_>) -> Result<Prior> {
    Ok(Prior::SearchPath(has(&host.search_path()?, wanted.folder.as_str())))
}

pub(super) fn apply(wanted: &SearchPath, host: Host<'_>) -> Result<()> {
    let (found, folder) = (host.search_path()?, wanted.folder.as_str());
    if has(&found, folder) { Ok(()) } else { host.set_search_path(&with(&found, folder)) }
}

pub(super) fn take_back(wanted: &SearchPath, host: Host<'_>, was_there: bool) -> Result<()> {
    let (found, folder) = (host.search_path()?, wanted.folder.as_str());
    if was_there || !has(&found, folder) { Ok(()) } else { host.set_search_path(&without(&found, folder)) }
}

/// Whether an entry means this folder: Windows knows no case, and takes quotes and a last backslash.
fn means(entry: &str, folder: &str) -> bool {
    entry.trim().trim_matches('"').trim_end_matches('\\').eq_ignore_ascii_case(folder.trim_end_matches('\\'))
}

fn has(path: &str, folder: &str) -> bool {
    path.split(';').any(|entry| means(entry, folder))
}

fn with(path: &str, folder: &str) -> String {
    match path {
        "" => folder.to_owned(),
        path if path.ends_with(';') => format!("{path}{folder}"),
        path => format!("{path};{folder}"),
    }
}

fn without(path: &str, folder: &str) -> String {
    path.split(';').filter(|entry| !means(entry, folder)).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r"C:\Program Files\Docker";

    #[test]
    fn an_entry_is_known_in_every_spelling() {
        for path in
            [DOCKER, r"a;c:\program files\docker\;b", r#"a;"C:\Program Files\Docker""#, r"; C:\PROGRAM FILES\Docker"]
        {
            assert!(has(path, DOCKER), "{path}");
        }
        for path in ["", ";", r"C:\Program Files\Docker\cli", r"C:\Program Files", r"D:\Program Files\Docker"] {
            assert!(!has(path, DOCKER), "{path}");
        }
        assert_eq!(with("", DOCKER), DOCKER);
        assert_eq!(with(r"%SystemRoot%;", DOCKER), format!("%SystemRoot%;{DOCKER}"));
    }

    #[test]
    fn what_was_added_is_taken_away_and_nothing_else() {
        for path in ["", "a", r"%SystemRoot%\system32;%SystemRoot%", r"a; b ;;c;C:\Docker"] {
            let added = with(path, DOCKER);
            assert!(has(&added, DOCKER) && added.starts_with(path), "{added}");
            assert_eq!(without(&added, DOCKER), path);
        }
    }
}
