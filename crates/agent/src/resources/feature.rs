//! Windows features. They stay on removal: other software may have come to use them, and removal reboots.

use k8swin_protocol::resource::{CheckOutcome, WindowsFeature};

use super::{Applied, absent, changed};
use crate::platform::{FeatureState, PlatformError, Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(feature: &WindowsFeature, host: Host<'_>) -> Result<CheckOutcome> {
    Ok(match host.feature(feature.name)? {
        FeatureState::Installed => CheckOutcome::InSync,
        FeatureState::AfterReboot => changed("installed, takes effect with the next boot"),
        FeatureState::Absent => absent("not installed"),
    })
}

pub(super) fn apply(feature: &WindowsFeature, host: Host<'_>) -> Result<Applied> {
    if host.feature(feature.name)? == FeatureState::Absent {
        host.install_feature(feature.name)?;
    }
    match host.feature(feature.name)? {
        FeatureState::Installed => Ok(Applied::Now),
        FeatureState::AfterReboot => Ok(Applied::AfterReboot(format!("the feature {} was installed", feature.name))),
        FeatureState::Absent => Err(PlatformError::new(
            format!("install the feature {}", feature.name),
            "Windows reported success, but it is not installed",
        )
        .with_hint("look at Get-WindowsFeature and C:\\Windows\\Logs\\CBS\\CBS.log on the host")),
    }
}
