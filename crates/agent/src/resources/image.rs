//! The pause image, built on the node so that it fits the host's revision (facts D.5).

use k8swin_protocol::resource::{CheckOutcome, PauseImage};

use super::{absent, changed};
use crate::platform::{Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(image: &PauseImage, host: Host<'_>) -> Result<CheckOutcome> {
    let Some(found) = host.image(&image.tag)? else { return Ok(absent("absent")) };
    Ok(match found.base {
        Some(base) if base == image.base => CheckOutcome::InSync,
        Some(base) => changed(format!("built from {base}, expected {}", image.base)),
        None => changed("not built by k8swin"),
    })
}

pub(super) fn take_back(image: &PauseImage, host: Host<'_>, prior: Option<&str>) -> Result<()> {
    let found = host.image(&image.tag)?;
    match prior {
        Some(before) if found.as_ref().is_none_or(|found| found.id != before) => host.tag_image(before, &image.tag),
        None if found.is_some() => host.remove_image(&image.tag),
        _ => Ok(()),
    }
}
