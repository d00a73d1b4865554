//! Whether a host is the machine that the last `up` from here built.

use std::collections::BTreeMap;

use k8swin_inventory::Check;
use k8swin_protocol::facts::CommonFacts;
use serde::{Deserialize, Serialize};

use super::catalogue::ACCEPT_IDENTITY;
use super::{Report, Seen};

/// What tells a machine from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The machine id, or the SMBIOS UUID on Windows.
    pub(crate) machine_id: String,
}

impl Identity {
    /// The machine that these facts are of.
    pub(crate) fn of(common: &CommonFacts) -> Self {
        Self { machine_id: common.machine_id.clone() }
    }
}

/// The machines of a run's hosts, beside those that an earlier run knew and this one has not reached.
pub(crate) fn updated<'a>(
    known: &BTreeMap<String, Identity>,
    built: impl Iterator<Item = (&'a str, &'a CommonFacts)>,
) -> BTreeMap<String, Identity> {
    let mut all = known.clone();
    all.extend(built.map(|(name, common)| (name.to_owned(), Identity::of(common))));
    all
}

pub(super) fn check(seen: &Seen<'_>, known: Option<&Identity>, report: &mut Report<'_>) {
    let found = Identity::of(seen.facts.common());
    match known {
        None => report.ok(Check::KnownIdentity, "no earlier run from here knows it"),
        Some(_) if found.machine_id.is_empty() => {
            report.ok(Check::KnownIdentity, "the host has no identity to compare")
        }
        Some(known) if *known == found => report.ok(Check::KnownIdentity, "the machine that the last `up` built"),
        Some(known) => {
            let detail = format!(
                "this is the machine {}; the last `up` built {} under this name",
                found.machine_id, known.machine_id
            );
            report.error(Check::KnownIdentity, detail, ACCEPT_IDENTITY.with(&[("host", &seen.host.name)]));
        }
    }
}
