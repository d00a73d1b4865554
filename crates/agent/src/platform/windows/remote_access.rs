//! Routing and Remote Access as a LAN router (facts E): set up by `netsh`, looked up in the registry.

use windows_registry::LOCAL_MACHINE;

use super::super::{PlatformError, Result};
use super::router_type::RouterType;
use super::{netsh, netsh_arguments};

const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\RemoteAccess\Parameters";

fn router_type() -> RouterType {
    let value = |name| LOCAL_MACHINE.open(PARAMETERS).and_then(|key| key.get_u32(name)).unwrap_or(0);
    RouterType::of(value("RouterType"), value("ConfigurationFlags"))
}

/// Whether it is set up as a LAN router.
pub(super) fn is_lan_router() -> bool {
    router_type() == RouterType::LanRouter
}

/// Sets it up as a LAN router and nothing else, or as nothing. What the admin set up otherwise is not touched.
pub(super) fn set_lan_router(on: bool) -> Result<()> {
    let attempted = format!("set up Routing and Remote Access as {}", if on { "a LAN router" } else { "nothing" });
    if on && router_type() == RouterType::Other {
        return Err(PlatformError::new(attempted, "it is set up for something else on this host")
            .with_hint("add LAN routing to it by hand, or use forwarding = \"per-adapter\" in the inventory"));
    }
    netsh::run(&attempted, &netsh_arguments::set_router_type(on))?;
    netsh::run(&attempted, &netsh_arguments::set_router_configured(on))?;
    let wanted = if on { RouterType::LanRouter } else { RouterType::None };
    netsh::confirm(&attempted, || {
        let found = router_type();
        Ok((found != wanted).then(|| format!("its RouterType says {found:?}, expected {wanted:?}")))
    })
}
