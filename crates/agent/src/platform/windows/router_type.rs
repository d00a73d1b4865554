//! What Routing and Remote Access is set up as, by two values of the registry.

/// `RouterType`: IPv4 routing between the adapters of a host, alone or with dialled connections (MS-RRASM 2.2.3.4.1).
const IPV4_ROUTER: u32 = 0x2 | 0x4;

/// `ConfigurationFlags`: it was configured at all; `RouterType` has a default before that.
const CONFIGURED: u32 = 0x1;

/// What Routing and Remote Access is set up as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouterType {
    /// Nothing.
    None,
    /// A router between the adapters of the host, perhaps among other things.
    LanRouter,
    /// Something of the admin's own: remote access, or a router for IPv6 only.
    Other,
}

impl RouterType {
    /// By the values `RouterType` and `ConfigurationFlags`; absent ones are 0.
    pub(super) fn of(router_type: u32, configuration_flags: u32) -> Self {
        match router_type {
            _ if configuration_flags & CONFIGURED == 0 => Self::None,
            0 => Self::None,
            kind if kind & IPV4_ROUTER != 0 => Self::LanRouter,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_nobody_configured_is_nothing() {
        assert_eq!(RouterType::of(7, 0), RouterType::None);
        assert_eq!(RouterType::of(0, 1), RouterType::None);
    }

    #[test]
    fn a_router_may_be_more_than_that() {
        for router in [2, 4, 6, 7, 0x12] {
            assert_eq!(RouterType::of(router, 1), RouterType::LanRouter);
        }
        for other in [1, 8, 0x10] {
            assert_eq!(RouterType::of(other, 1), RouterType::Other);
        }
    }
}
