//! Agents of older versions, which lie beside this one after an upgrade.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ledger::Ledger;
use crate::platform::{Platform, PlatformError, Result};
use crate::resources::Resource;

/// How the name of every agent begins; a digest follows (`Os::agent`).
const PREFIX: &str = "k8swin-agent-";

/// Removes them, as far as nothing that is owned refers to them. Windows does not delete a program that runs: the next run
/// tries again.
pub(crate) fn remove_old<R: Resource + Serialize + DeserializeOwned>(host: &mut R::Platform) -> Result<()> {
    let own = host.own_executable()?.path;
    let folder = host.os().bin();
    if host.stat(&folder)?.is_none() {
        return Ok(());
    }
    let ledger = Ledger::<R>::load(host)?;
    let owned = serde_json::to_string(&ledger)
        .map_err(|error| PlatformError::new("look for agents that are in use", error.to_string()))?;
    for name in host.list_directory(&folder)? {
        let path = folder.join(&name);
        if name.starts_with(PREFIX) && path != own && !owned.contains(&name) {
            // Somebody may be using it right now.
            let _ = host.remove_file(&path);
        }
    }
    Ok(())
}
