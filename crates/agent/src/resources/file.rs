//! Files, and what the kinds that write files share: backups of what was there, and its return.

use k8swin_protocol::resource::{CheckOutcome, Content, File};
use k8swin_protocol::{HostPath, Sha256};

use super::{FilePrior, absent, changed};
use crate::ledger;
use crate::platform::{FileKind, Permissions, Platform, PlatformError, Result, Stat};

pub(super) fn check(file: &File, host: &mut (impl Platform + ?Sized)) -> Result<CheckOutcome> {
    let Some(stat) = host.stat(&file.path)? else { return Ok(absent("absent")) };
    if stat.kind != FileKind::File {
        return Ok(changed("something else than a file is in its place"));
    }
    if !holds(&file.content, &file.path, &stat, host)? {
        return Ok(changed("other content"));
    }
    Ok(match stat.permissions.difference(&wanted(file, host)) {
        Some(difference) => changed(difference),
        None => CheckOutcome::InSync,
    })
}

/// Whether the bytes of a file must come from elsewhere before it can be applied.
pub(crate) fn lacks_bytes(file: &File, host: &mut (impl Platform + ?Sized)) -> Result<bool> {
    Ok(match host.stat(&file.path)? {
        Some(stat) if stat.kind == FileKind::File => !holds(&file.content, &file.path, &stat, host)?,
        _ => true,
    })
}

/// Whether a file with that digest and size lies at `path`.
pub(crate) fn lies_at(path: &HostPath, sha256: Sha256, size: u64, host: &mut (impl Platform + ?Sized)) -> Result<bool> {
    Ok(match host.stat(path)? {
        Some(stat) if stat.kind == FileKind::File && stat.size == size => host.hash_file(path)? == sha256,
        _ => false,
    })
}

pub(super) fn apply(file: &File, host: &mut (impl Platform + ?Sized), copies: &[HostPath]) -> Result<()> {
    let wanted = wanted(file, host);
    if !lacks_bytes(file, host)? {
        return host.set_permissions(&file.path, &wanted);
    }
    let blob = match &file.content {
        Content::Text(text) => return host.write_file(&file.path, text.as_bytes(), &wanted),
        Content::Blob(blob) => blob,
    };
    for copy in copies {
        if lies_at(copy, blob.sha256, blob.size, host)? {
            return host.copy_file(copy, &file.path, &wanted);
        }
    }
    Err(PlatformError::new(format!("write {}", file.path), format!("its bytes ({}) are not on the host", blob.sha256))
        .with_hint("run the command again: what is missing is sent again"))
}

/// What lies at `path`; a file is copied into the backup folder, readable by administrators only.
pub(super) fn capture(path: &HostPath, host: &mut (impl Platform + ?Sized)) -> Result<FilePrior> {
    let Some(stat) = host.stat(path)? else { return Ok(FilePrior::Absent) };
    if stat.kind != FileKind::File {
        return Err(PlatformError::new(format!("write {path}"), "a folder or a link is in its place")
            .with_hint("move it away and run this again"));
    }
    let sha256 = host.hash_file(path)?;
    let backup = backup_of(sha256, host);
    if !lies_at(&backup, sha256, stat.size, host)? {
        ledger::ensure_folder(host, &ledger::backup_folder(host.os()))?;
        let permissions = Permissions::secret_file(host.os());
        host.copy_file(path, &backup, &permissions)?;
    }
    Ok(FilePrior::Present { sha256, permissions: stat.permissions })
}

/// Restores what lay at `path`.
pub(super) fn restore(path: &HostPath, host: &mut (impl Platform + ?Sized), prior: &FilePrior) -> Result<()> {
    host.discard_unfinished(path)?;
    let stat = host.stat(path)?;
    match (prior, stat) {
        (FilePrior::Absent, None) => Ok(()),
        (FilePrior::Absent, Some(stat)) if stat.kind == FileKind::Directory => Ok(()),
        (FilePrior::Absent, Some(_)) => host.remove_file(path),
        (FilePrior::Present { sha256, permissions }, stat) => {
            let same = match &stat {
                Some(stat) if stat.kind == FileKind::File => host.hash_file(path)? == *sha256,
                _ => false,
            };
            match stat {
                Some(stat) if same && stat.permissions == *permissions => Ok(()),
                Some(_) if same => host.set_permissions(path, permissions),
                _ => host.copy_file(&backup_of(*sha256, host), path, permissions),
            }
        }
    }
}

/// Writes a small public file if it is not there as it should be. Whether it had to.
pub(super) fn put_text(path: &HostPath, text: &str, host: &mut (impl Platform + ?Sized)) -> Result<bool> {
    let permissions = Permissions::of(host.os(), k8swin_protocol::resource::Protection::Public, FileKind::File);
    if text_difference(path, text, host)?.is_none() {
        return Ok(false);
    }
    host.write_file(path, text.as_bytes(), &permissions)?;
    Ok(true)
}

/// How a small public file differs from what it should be.
pub(super) fn text_difference(
    path: &HostPath,
    text: &str,
    host: &mut (impl Platform + ?Sized),
) -> Result<Option<String>> {
    let permissions = Permissions::of(host.os(), k8swin_protocol::resource::Protection::Public, FileKind::File);
    let Some(stat) = host.stat(path)? else { return Ok(Some(format!("{path} is absent"))) };
    if stat.kind != FileKind::File || !lies_at(path, Sha256::of(text.as_bytes()), text.len() as u64, host)? {
        return Ok(Some(format!("{path} has other content")));
    }
    Ok(stat.permissions.difference(&permissions).map(|difference| format!("{path}: {difference}")))
}

fn holds(content: &Content, path: &HostPath, stat: &Stat, host: &mut (impl Platform + ?Sized)) -> Result<bool> {
    Ok(stat.size == content.size() && host.hash_file(path)? == content.digest())
}

fn wanted(file: &File, host: &(impl Platform + ?Sized)) -> Permissions {
    Permissions::of(host.os(), file.protection, FileKind::File)
}

fn backup_of(sha256: Sha256, host: &(impl Platform + ?Sized)) -> HostPath {
    ledger::backup_folder(host.os()).join(&sha256.to_string())
}
