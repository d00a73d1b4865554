//! What an earlier run made on a host, as its agent tells it.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::resource::ResourceId;

/// The identities of the resources that an earlier run made. Routes, of which there are as many as hosts, lie apart, by where
/// they go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    routes: BTreeSet<Ipv4Net>,
    others: BTreeSet<ResourceId>,
}

impl Owned {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len() + self.others.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is among them: `unit:kubelet`.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        match ResourceId::destination(id) {
            Some(destination) => self.routes.contains(&destination),
            None => self.others.contains(id),
        }
    }

    /// Whether there is one whose identity begins so, of those that are no routes: `feature:`.
    #[must_use]
    pub fn has_kind(&self, beginning: &str) -> bool {
        self.others.iter().any(|id| id.as_str().starts_with(beginning))
    }

    /// Where the routes go.
    #[must_use]
    pub fn routes(&self) -> &BTreeSet<Ipv4Net> {
        &self.routes
    }

    /// Adds one.
    pub fn insert(&mut self, id: ResourceId) {
        if let Some(destination) = ResourceId::destination(id.as_str()) {
            self.routes.insert(destination);
        } else {
            self.others.insert(id);
        }
    }
}

impl Extend<ResourceId> for Owned {
    fn extend<I: IntoIterator<Item = ResourceId>>(&mut self, ids: I) {
        ids.into_iter().for_each(|id| self.insert(id));
    }
}

impl FromIterator<ResourceId> for Owned {
    fn from_iter<I: IntoIterator<Item = ResourceId>>(ids: I) -> Self {
        let mut owned = Self::default();
        owned.extend(ids);
        owned
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::LinuxResource;
    use crate::resource::{KernelModule, Route};

    #[test]
    fn routes_and_others_are_found_again() {
        let destination = "10.1.2.0/24".parse().unwrap();
        let via = Ipv4Addr::new(10, 0, 0, 2);
        let resources = [
            LinuxResource::Route(Route { destination, via, from: via }),
            LinuxResource::KernelModule(KernelModule { name: "br_netfilter".into() }),
        ];
        let owned: Owned = resources.iter().map(LinuxResource::id).collect();
        assert!(resources.iter().all(|resource| owned.contains(resource.id().as_str())));
        assert_eq!((owned.len(), owned.routes().first()), (2, Some(&destination)));
        assert!(!owned.contains("route:10.1.3.0/24") && !owned.contains("kernel-module:other"));
        assert!(owned.has_kind("kernel-module:") && !owned.has_kind("route:"));
        let text = serde_json::to_string(&owned).unwrap();
        assert_eq!(serde_json::from_str::<Owned>(&text).unwrap(), owned);
    }
}
