//! Folders.

use k8swin_protocol::resource::{CheckOutcome, Directory};

use super::{Context, Prior, absent, changed};
use crate::platform::{FileKind, Permissions, Platform, PlatformError, Result};

pub(super) fn check(
    directory: &Directory,
    host: &mut (impl Platform + ?Sized),
    context: &Context,
) -> Result<CheckOutcome> {
    let Some(stat) = host.stat(&directory.path)? else { return Ok(absent("absent")) };
    if stat.kind != FileKind::Directory {
        return Ok(changed("something else than a folder is in its place"));
    }
    Ok(match stat.permissions.difference(&wanted(directory, host)) {
        Some(difference) => changed(difference),
        // Whether it was empty must be known before programs write into it.
        None if directory.purge && !context.recorded => changed("there before k8swin, which has not noted it yet"),
        None => CheckOutcome::InSync,
    })
}

pub(super) fn capture(directory: &Directory, host: &mut (impl Platform + ?Sized)) -> Result<Prior> {
    match host.stat(&directory.path)? {
        None => Ok(Prior::Directory(None)),
        Some(stat) if stat.kind == FileKind::Directory => {
            let empty = directory.purge && host.list_directory(&directory.path)?.is_empty();
            let permissions = stat.permissions;
            Ok(if empty { Prior::EmptyDirectory(permissions) } else { Prior::Directory(Some(permissions)) })
        }
        Some(_) => Err(PlatformError::new(format!("create {}", directory.path), "something else is in its place")
            .with_hint("move it away and run this again")),
    }
}

pub(super) fn apply(directory: &Directory, host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let wanted = wanted(directory, host);
    match host.stat(&directory.path)? {
        None => host.create_directory(&directory.path, &wanted),
        Some(_) => host.set_permissions(&directory.path, &wanted),
    }
}

/// A folder that k8swin made goes when it is empty, or with all that programs of the cluster wrote into it when it is
/// purged. One that was there before only gets its permissions back.
pub(super) fn take_back(
    directory: &Directory,
    host: &mut (impl Platform + ?Sized),
    prior: Option<&Permissions>,
) -> Result<()> {
    let Some(stat) = host.stat(&directory.path)? else { return Ok(()) };
    match prior {
        Some(permissions) if stat.permissions != *permissions => host.set_permissions(&directory.path, permissions),
        Some(_) => Ok(()),
        None if stat.kind != FileKind::Directory => Ok(()),
        None if directory.purge => host.remove_tree(&directory.path),
        None if host.list_directory(&directory.path)?.is_empty() => host.remove_directory(&directory.path),
        None => Ok(()),
    }
}

/// A folder that was there and empty, such as one that a disk is mounted on, stays, without what programs of the cluster wrote
/// into it.
pub(super) fn empty(
    directory: &Directory,
    host: &mut (impl Platform + ?Sized),
    permissions: &Permissions,
) -> Result<()> {
    let path = &directory.path;
    if host.stat(path)?.is_none_or(|stat| stat.kind != FileKind::Directory) {
        return Ok(());
    }
    for name in host.list_directory(path)? {
        let path = path.join(&name);
        match host.stat(&path)? {
            Some(stat) if stat.kind == FileKind::Directory => host.remove_tree(&path)?,
            Some(_) => host.remove_file(&path)?,
            None => {}
        }
    }
    take_back(directory, host, Some(permissions))
}

fn wanted(directory: &Directory, host: &(impl Platform + ?Sized)) -> Permissions {
    Permissions::of(host.os(), directory.protection, FileKind::Directory)
}
