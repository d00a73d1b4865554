//! Routes as they go over the wire: every host has one to every other host, so that what neighbours in a list share is said
//! once, and a thousand hosts do not say it a million times.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::resource::{LinuxResource, Phase, Planned, Route, WindowsResource};

/// Planned resources in their order.
pub(crate) mod planned {
    use super::*;

    /// A resource that may be a route.
    pub(crate) trait MayBeRoute {
        /// The route.
        fn route(&self) -> Option<&Route>;
        /// A route as such a resource.
        fn of(route: Route) -> Self;
    }

    impl MayBeRoute for LinuxResource {
        fn route(&self) -> Option<&Route> {
            if let Self::Route(route) = self { Some(route) } else { None }
        }

        fn of(route: Route) -> Self {
            Self::Route(route)
        }
    }

    impl MayBeRoute for WindowsResource {
        fn route(&self) -> Option<&Route> {
            if let Self::Route(route) = self { Some(route) } else { None }
        }

        fn of(route: Route) -> Self {
            Self::Route(route)
        }
    }

    /// Routes of one phase that leave from one address, each with where it goes and by which router.
    #[derive(Serialize, Deserialize)]
    struct Routes {
        phase: Phase,
        from: Ipv4Addr,
        to: Vec<(Ipv4Net, Ipv4Addr)>,
    }

    /// What is said at once.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Entry<P> {
        One(P),
        Routes(Routes),
    }

    pub(crate) fn serialize<R, S>(resources: &[Planned<R>], serializer: S) -> Result<S::Ok, S::Error>
    where
        R: MayBeRoute + Serialize,
        S: Serializer,
    {
        let mut all = Vec::new();
        for planned in resources {
            let Some(route) = planned.resource.route() else {
                all.push(Entry::One(planned));
                continue;
            };
            let to = (route.destination, route.via);
            match all.last_mut() {
                Some(Entry::Routes(routes)) if routes.phase == planned.phase && routes.from == route.from => {
                    routes.to.push(to);
                }
                _ => all.push(Entry::Routes(Routes { phase: planned.phase, from: route.from, to: vec![to] })),
            }
        }
        all.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, R, D>(deserializer: D) -> Result<Vec<Planned<R>>, D::Error>
    where
        R: MayBeRoute + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let mut resources = Vec::new();
        for entry in Vec::<Entry<Planned<R>>>::deserialize(deserializer)? {
            match entry {
                Entry::One(planned) => resources.push(planned),
                Entry::Routes(Routes { phase, from, to }) => resources.extend(
                    to.into_iter()
                        .map(|(destination, via)| Planned { phase, resource: R::of(Route { destination, via, from }) }),
                ),
            }
        }
        Ok(resources)
    }
}

/// The entries of a system's table in their order.
pub(crate) mod table {
    use super::*;
    use crate::facts::RouteEntry;

    /// An adapter, and for each route through it where it goes and by which router.
    type Through<A> = (A, Vec<(Ipv4Net, Option<Ipv4Addr>)>);

    pub(crate) fn serialize<S: Serializer>(entries: &[RouteEntry], serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<Through<&str>> = Vec::new();
        for RouteEntry { destination, via, adapter } in entries {
            match all.last_mut() {
                Some((of, to)) if *of == &**adapter => to.push((*destination, *via)),
                _ => all.push((adapter, vec![(*destination, *via)])),
            }
        }
        all.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RouteEntry>, D::Error> {
        let all = Vec::<Through<String>>::deserialize(deserializer)?;
        let of_adapter = |(adapter, to): Through<String>| {
            let adapter: Arc<str> = adapter.into();
            to.into_iter().map(move |(destination, via)| RouteEntry { destination, via, adapter: adapter.clone() })
        };
        Ok(all.into_iter().flat_map(of_adapter).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HostResources;
    use crate::facts::RouteEntry;
    use crate::resource::{ForwardAccept, LinuxResource};

    fn net(number: u8) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, number, 0, 0), 24)
    }

    fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, number)
    }

    proptest! {
        #[test]
        fn resources_come_back_in_their_order(
            some in prop::collection::vec((any::<bool>(), any::<bool>(), any::<u8>(), 0_u8..2), 0..20),
        ) {
            let planned = |(is_route, early, to, from): (bool, bool, u8, u8)| {
                let phase = if early { Phase::Files } else { Phase::LinuxNodes };
                let route = Route { destination: net(to), via: address(to), from: address(from) };
                let other = ForwardAccept { pods: net(to) };
                let resource =
                    if is_route { LinuxResource::Route(route) } else { LinuxResource::ForwardAccept(other) };
                Planned { phase, resource }
            };
            let resources = HostResources::Linux(some.into_iter().map(planned).collect());
            let text = serde_json::to_string(&resources).unwrap();
            prop_assert_eq!(serde_json::from_str::<HostResources>(&text).unwrap(), resources);
        }

        #[test]
        fn a_table_comes_back_in_its_order(
            some in prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>()), "[ab]"), 0..20),
        ) {
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            struct Table(#[serde(with = "table")] Vec<RouteEntry>);
            let entry = |(to, via, adapter): (u8, Option<u8>, String)| {
                RouteEntry { destination: net(to), via: via.map(address), adapter: adapter.into() }
            };
            let table = Table(some.into_iter().map(entry).collect());
            let text = serde_json::to_string(&table).unwrap();
            prop_assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
        }
    }

    #[test]
    fn a_route_to_each_other_host_takes_few_bytes() {
        let to = |number: u8| Planned {
            phase: Phase::LinuxNodes,
            resource: LinuxResource::Route(Route { destination: net(number), via: address(number), from: address(1) }),
        };
        let bytes = |count: u8| {
            serde_json::to_string(&HostResources::Linux((100..100 + count).map(to).collect())).unwrap().len()
        };
        assert!((bytes(101) - bytes(1)) / 100 <= 32, "{}", bytes(101));
    }
}
