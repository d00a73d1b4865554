//! What `netsh` is asked for: the forms of its arguments that our programs use, and no others.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::rule::Rule;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// An adapter has exactly this address.
    SetAddress {
        /// The adapter's name.
        adapter: String,
        /// The address with its mask.
        address: Ipv4Net,
        /// The router for all else.
        gateway: Option<Ipv4Addr>,
    },
    /// An adapter asks DHCP.
    SetDhcp {
        /// The adapter's name.
        adapter: String,
    },
    /// An adapter has one more address.
    AddAddress {
        /// The adapter's name.
        adapter: String,
        /// The address with its mask, the classful one where none was given (facts B.6).
        address: Ipv4Net,
    },
    /// An adapter has one address less.
    DeleteAddress {
        /// The adapter's name.
        adapter: String,
        /// The address.
        address: Ipv4Addr,
    },
    /// The addresses of an adapter, as text (what kube-proxy asks for; facts B.6).
    ShowAddress {
        /// The adapter's name.
        adapter: String,
    },
    /// A route, now and at boot.
    AddRoute(Route),
    /// A route less, now and at boot.
    DeleteRoute(Route),
    /// Forwarding of an adapter, now and at boot.
    SetForwarding {
        /// The adapter's index.
        index: u32,
        /// On or off.
        on: bool,
    },
    /// What Routing and Remote Access routes: IPv4 between networks, or nothing.
    SetRouter {
        /// Whether it is a LAN router.
        lan_only: bool,
    },
    /// Whether Routing and Remote Access counts as configured.
    SetConfigured {
        /// Whether it does.
        enabled: bool,
    },
    /// What arrives at one address and TCP port goes to another (what kube-proxy 1.5 asks for; facts B.6).
    SetPortProxy {
        /// Where it arrives.
        listen: SocketAddrV4,
        /// Where it goes.
        connect: SocketAddrV4,
    },
    /// A firewall rule more.
    AddRule(Rule),
    /// All firewall rules of a name less.
    DeleteRule {
        /// The name.
        name: String,
    },
}

/// A route in the form of netsh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub prefix: Ipv4Net,
    /// The adapter's index.
    pub index: u32,
    /// By which router.
    pub next_hop: Ipv4Addr,
}

/// Reads the arguments of a call.
///
/// # Errors
/// What about them is not known.
pub fn parse(arguments: &[&str]) -> Result<Request, String> {
    match arguments {
        ["interface", "ipv4", verb, what, rest @ ..] => interface(verb, what, Values::read(rest)?),
        ["interface", "portproxy", "add" | "set", "v4tov4", rest @ ..] => {
            // kube-proxy writes `listenPort` and `listenaddress`.
            let lower: Vec<_> = rest.iter().map(|argument| argument.to_ascii_lowercase()).collect();
            let mut values = Values::read(&lower.iter().map(String::as_str).collect::<Vec<_>>())?;
            let listen =
                SocketAddrV4::new(values.required_parsed("listenaddress")?, values.required_parsed("listenport")?);
            let connect =
                SocketAddrV4::new(values.required_parsed("connectaddress")?, values.required_parsed("connectport")?);
            values.end(Request::SetPortProxy { listen, connect })
        }
        ["ras", "set", "type", rest @ ..] => {
            let mut values = Values::read(rest)?;
            let lan_only = values.one_of("ipv4rtrtype", &[("lanonly", true), ("none", false)])?;
            for (name, known) in [("ipv6rtrtype", "none"), ("rastype", "none")] {
                if let Some(value) = values.take(name)
                    && value != known
                {
                    return Err(format!("{name}={value}"));
                }
            }
            values.end(Request::SetRouter { lan_only })
        }
        ["ras", "set", "conf", rest @ ..] => {
            let mut values = Values::read(rest)?;
            let enabled = values.one_of("confstate", &[("enabled", true), ("disabled", false)])?;
            values.end(Request::SetConfigured { enabled })
        }
        ["advfirewall", "firewall", "add", "rule", rest @ ..] => {
            let mut values = Values::read(rest)?;
            let rule = Rule::read(&mut values)?;
            values.end(Request::AddRule(rule))
        }
        ["advfirewall", "firewall", "delete", "rule", rest @ ..] => {
            let mut values = Values::read(rest)?;
            let name = values.required("name")?;
            if let Some(direction) = values.take("dir")
                && direction != "in"
            {
                return Err(format!("dir={direction}"));
            }
            values.end(Request::DeleteRule { name })
        }
        other => Err(other.join(" ")),
    }
}

fn interface(verb: &str, what: &str, mut values: Values<'_>) -> Result<Request, String> {
    let request = match (verb, what) {
        ("set", "address") => {
            let adapter = values.required("name")?;
            if values.one_of("source", &[("static", true), ("dhcp", false)])? {
                let address = values.address(false)?;
                Request::SetAddress { adapter, address, gateway: values.parsed("gateway")? }
            } else {
                Request::SetDhcp { adapter }
            }
        }
        ("add", "address") => Request::AddAddress { adapter: values.required("name")?, address: values.address(true)? },
        ("delete", "address") => {
            Request::DeleteAddress { adapter: values.required("name")?, address: values.required_parsed("address")? }
        }
        ("show", "address") => Request::ShowAddress { adapter: values.required("name")? },
        ("add" | "delete", "route") => {
            let route = Route {
                prefix: values.required_parsed("prefix")?,
                index: values.required_parsed("interface")?,
                next_hop: values.required_parsed("nexthop")?,
            };
            values.persistent()?;
            if verb == "add" { Request::AddRoute(route) } else { Request::DeleteRoute(route) }
        }
        ("set", "interface") => {
            let index = values.required_parsed("interface")?;
            let on = values.one_of("forwarding", &[("enabled", true), ("disabled", false)])?;
            values.persistent()?;
            Request::SetForwarding { index, on }
        }
        _ => return Err(format!("interface ipv4 {verb} {what}")),
    };
    values.end(request)
}

/// The mask that Windows takes where none is given: that of the address' class (facts B.6).
fn classful(address: Ipv4Addr) -> Result<Ipv4Net, String> {
    let length = match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        [192..=223, ..] => 24,
        _ => return Err(format!("address={address}")),
    };
    Ipv4Net::new(address, length).map_err(|error| error.to_string())
}

/// Arguments of the form `name=value`.
pub(super) struct Values<'a> {
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Values<'a> {
    fn read(arguments: &[&'a str]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for argument in arguments {
            let (name, value) = argument.split_once('=').ok_or_else(|| (*argument).to_owned())?;
            if values.insert(name, value).is_some() {
                return Err(format!("{name}= twice"));
            }
        }
        Ok(Self { values })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).map(str::to_owned)
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String, String> {
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(|| format!("{name}= is missing"))
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        self.take(name).map(|text| text.parse().map_err(|_| format!("{name}={text}"))).transpose()
    }

    fn required_parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.parsed(name)?.ok_or_else(|| format!("{name}= is missing"))
    }

    pub(super) fn one_of<T: Copy>(&mut self, name: &str, known: &[(&str, T)]) -> Result<T, String> {
        let value = self.required(name)?;
        let found = known.iter().find(|(text, _)| *text == value);
        found.map(|found| found.1).ok_or_else(|| format!("{name}={value}"))
    }

    fn address(&mut self, may_lack_mask: bool) -> Result<Ipv4Net, String> {
        let address = self.required_parsed("address")?;
        match self.parsed::<Ipv4Addr>("mask")? {
            Some(mask) => Ipv4Net::with_netmask(address, mask).map_err(|_| format!("mask={mask}")),
            None if may_lack_mask => classful(address),
            None => Err("mask= is missing".to_owned()),
        }
    }

    /// Routes and settings of ours are for every boot; netsh's own default.
    fn persistent(&mut self) -> Result<(), String> {
        match self.take("store").as_deref() {
            None | Some("persistent") => Ok(()),
            Some(other) => Err(format!("store={other}")),
        }
    }

    fn end<T>(self, request: T) -> Result<T, String> {
        match self.values.into_iter().next() {
            None => Ok(request),
            Some((name, value)) => Err(format!("{name}={value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, String> {
        parse(&text.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_understood() {
        let adapter = "vEthernet(HNS)".to_owned();
        assert_eq!(
            read("interface ipv4 set address name=vEthernet(HNS) source=static address=192.168.1.1 mask=255.255.255.0"),
            Ok(Request::SetAddress {
                adapter: adapter.clone(),
                address: "192.168.1.1/24".parse().unwrap(),
                gateway: None
            })
        );
        assert_eq!(
            read("interface ipv4 set address name=vEthernet(HNS) source=dhcp"),
            Ok(Request::SetDhcp { adapter: adapter.clone() })
        );
        // kube-proxy gives no mask.
        assert_eq!(
            read("interface ipv4 add address name=vEthernet(HNS) address=10.96.0.1"),
            Ok(Request::AddAddress { adapter, address: "10.96.0.1/8".parse().unwrap() })
        );
    }

    #[test]
    fn routes_and_forwarding_are_understood() {
        let route =
            Route { prefix: "192.168.2.0/24".parse().unwrap(), index: 5, next_hop: Ipv4Addr::new(10, 5, 6, 217) };
        assert_eq!(
            read("interface ipv4 add route prefix=192.168.2.0/24 interface=5 nexthop=10.5.6.217 store=persistent"),
            Ok(Request::AddRoute(route))
        );
        assert_eq!(
            read("interface ipv4 set interface interface=5 forwarding=enabled store=persistent"),
            Ok(Request::SetForwarding { index: 5, on: true })
        );
        assert_eq!(
            read("ras set type ipv4rtrtype=lanonly ipv6rtrtype=none rastype=none"),
            Ok(Request::SetRouter { lan_only: true })
        );
        assert_eq!(read("ras set conf confstate=disabled"), Ok(Request::SetConfigured { enabled: false }));
    }

    #[test]
    fn forwarding_of_ports_is_understood_as_kube_proxy_writes_it() {
        let text = "interface portproxy set v4tov4 listenPort=443 connectaddress=10.5.6.216 connectPort=50123 \
                    listenaddress=172.30.0.1";
        let expected = Request::SetPortProxy {
            listen: "172.30.0.1:443".parse().unwrap(),
            connect: "10.5.6.216:50123".parse().unwrap(),
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            "int ip set address name=a source=dhcp",
            "interface ipv4 set address name=a source=static address=10.0.0.1",
            "interface ipv4 set address name=a source=static address=10.0.0.1 mask=255.0.255.0",
            "interface ipv4 set address name=a source=static address=10.0.0.1 mask=255.0.0.0 metric=1",
            "interface ipv4 add route prefix=192.168.2.0/24 interface=Ethernet nexthop=10.5.6.217",
            "interface ipv4 add route prefix=192.168.2.0/24 interface=5 nexthop=10.5.6.217 store=active",
            "interface ipv4 set interface interface=5 forwarding=yes",
            "ras set type ipv4rtrtype=lanandra",
            "advfirewall set allprofiles state off",
            "interface portproxy set v4tov4 listenPort=443 connectaddress=10.5.6.216 connectPort=50123",
            "interface portproxy show v4tov4",
            "",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
