//! Kernel modules and kernel settings, now and at boot.

use k8swin_protocol::HostPath;
use k8swin_protocol::resource::{CheckOutcome, KernelModule, Sysctl};

use super::{FilePrior, Prior, absent, changed, file};
use crate::platform::{LinuxPlatform, PlatformError, Result};

type Host<'a> = &'a mut (dyn LinuxPlatform + Send);

/// The file that loads a module at boot.
pub(super) fn module_file(module: &KernelModule) -> HostPath {
    below("/etc/modules-load.d", &format!("k8swin-{}.conf", file_name(&module.name)))
}

/// The file that sets a kernel setting at boot.
pub(super) fn sysctl_file(sysctl: &Sysctl) -> HostPath {
    below("/etc/sysctl.d", &format!("99-k8swin-{}.conf", file_name(&sysctl.key)))
}

pub(super) fn check_module(module: &KernelModule, host: Host<'_>) -> Result<CheckOutcome> {
    if !host.module_loaded(&module.name)? {
        return Ok(absent("not loaded"));
    }
    Ok(match file::text_difference(&module_file(module), &module_text(module), host)? {
        Some(difference) => changed(format!("not loaded at boot: {difference}")),
        None => CheckOutcome::InSync,
    })
}

pub(super) fn capture_module(module: &KernelModule, host: Host<'_>) -> Result<Prior> {
    let loaded = host.module_loaded(&module.name)?;
    Ok(Prior::KernelModule { file: file::capture(&module_file(module), host)?, loaded })
}

pub(super) fn apply_module(module: &KernelModule, host: Host<'_>) -> Result<()> {
    file::put_text(&module_file(module), &module_text(module), host)?;
    if host.module_loaded(&module.name)? { Ok(()) } else { host.load_module(&module.name) }
}

/// A module that something uses by now stays until the next boot, at which it is no longer loaded.
pub(super) fn take_back_module(module: &KernelModule, host: Host<'_>, prior: &FilePrior, loaded: bool) -> Result<()> {
    file::restore(&module_file(module), host, prior)?;
    match (loaded, host.module_loaded(&module.name)?) {
        (true, false) => host.load_module(&module.name),
        (false, true) => host.unload_module(&module.name).map(drop),
        _ => Ok(()),
    }
}

pub(super) fn check_sysctl(sysctl: &Sysctl, host: Host<'_>) -> Result<CheckOutcome> {
    let Some(value) = host.sysctl(&sysctl.key)? else {
        return Ok(absent("this kernel does not have it (yet)"));
    };
    if !same(&value, &sysctl.value) {
        return Ok(changed(format!("{}, expected {}", value.trim(), sysctl.value)));
    }
    Ok(match file::text_difference(&sysctl_file(sysctl), &sysctl_text(sysctl), host)? {
        Some(difference) => changed(format!("not set at boot: {difference}")),
        None => CheckOutcome::InSync,
    })
}

pub(super) fn capture_sysctl(sysctl: &Sysctl, host: Host<'_>) -> Result<Prior> {
    let value = host.sysctl(&sysctl.key)?;
    Ok(Prior::Sysctl { file: file::capture(&sysctl_file(sysctl), host)?, value })
}

pub(super) fn apply_sysctl(sysctl: &Sysctl, host: Host<'_>) -> Result<()> {
    let value = host.sysctl(&sysctl.key)?.ok_or_else(|| {
        PlatformError::new(format!("set {}", sysctl.key), "this kernel does not have it")
            .with_hint("is the kernel module that brings it loaded?")
    })?;
    file::put_text(&sysctl_file(sysctl), &sysctl_text(sysctl), host)?;
    if same(&value, &sysctl.value) { Ok(()) } else { host.set_sysctl(&sysctl.key, &sysctl.value) }
}

pub(super) fn take_back_sysctl(sysctl: &Sysctl, host: Host<'_>, prior: &FilePrior, value: Option<&str>) -> Result<()> {
    file::restore(&sysctl_file(sysctl), host, prior)?;
    match (value, host.sysctl(&sysctl.key)?) {
        (Some(before), Some(now)) if !same(before, &now) => host.set_sysctl(&sysctl.key, before.trim()),
        _ => Ok(()),
    }
}

/// The kernel separates several values by tabs, people by spaces.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

fn module_text(module: &KernelModule) -> String {
    format!("{}\n", module.name)
}

fn sysctl_text(sysctl: &Sysctl) -> String {
    format!("{} = {}\n", sysctl.key, sysctl.value)
}

fn file_name(name: &str) -> String {
    name.replace('/', "-")
}

fn below(folder: &str, name: &str) -> HostPath {
    #[expect(clippy::expect_used, reason = "the folders are constants and absolute")]
    HostPath::new(folder).expect("an absolute path").join(name)
}
