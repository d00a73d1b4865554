//! Control groups: each host has its own in every hierarchy, since hosts that share one would end each other's processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The mounted hierarchies, of either version.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter_map(|fields| match fields.as_slice() {
            [_, path, kind, ..] if kind.starts_with("cgroup") => Some(PathBuf::from(path)),
            _ => None,
        })
        .collect()
}

/// Removes groups with all below them; their last processes go in a moment.
pub(crate) fn remove(groups: &[PathBuf]) {
    for group in groups {
        for _ in 0..100 {
            if !group.is_dir() || remove_tree(group).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The files in a group are not removed, only the groups.
fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
