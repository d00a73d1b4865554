//! A firewall rule: its arguments for `netsh`, and the text under which Windows keeps it in the registry.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::request::Values;

/// The registry key of the rules, below `HKEY_LOCAL_MACHINE`.
pub const RULES: &str = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";

/// The version of the text that Windows Server 2016 writes.
const VERSION: &str = "v2.26";

/// An inbound rule that allows, for all profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What of which protocol.
    pub protocol: Protocol,
    /// From where; none means from anywhere.
    pub remote: Vec<Ipv4Net>,
    /// For which program.
    pub program: Option<String>,
}

/// What of which protocol is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// All.
    Any,
    /// TCP, to one port or to all.
    Tcp(Option<u16>),
    /// ICMPv4 messages of a type.
    IcmpType(u8),
}

impl Rule {
    pub(super) fn read(values: &mut Values<'_>) -> Result<Self, String> {
        let name = values.required("name")?;
        for (argument, known) in [("dir", "in"), ("action", "allow"), ("enable", "yes"), ("profile", "any")] {
            values.one_of(argument, &[(known, ())])?;
        }
        let port = values.parsed("localport")?;
        let protocol = match (values.required("protocol")?.as_str(), port) {
            ("any", None) => Protocol::Any,
            ("tcp", port) => Protocol::Tcp(port),
            ("icmpv4:8,any", None) => Protocol::IcmpType(8),
            (protocol, _) => return Err(format!("protocol={protocol}")),
        };
        let remote = match values.take("remoteip").as_deref() {
            None | Some("any") => Vec::new(),
            Some(list) => list.split(',').map(net).collect::<Result<_, _>>()?,
        };
        Ok(Self { name, protocol, remote, program: values.take("program") })
    }

    /// The text in the registry.
    #[must_use]
    pub fn text(&self) -> String {
        let mut fields = vec![VERSION.to_owned(), "Action=Allow".into(), "Active=TRUE".into(), "Dir=In".into()];
        match self.protocol {
            Protocol::Any => {}
            Protocol::Tcp(port) => {
                fields.push("Protocol=6".into());
                fields.extend(port.map(|port| format!("LPort={port}")));
            }
            Protocol::IcmpType(kind) => {
                fields.push("Protocol=1".into());
                fields.push(format!("ICMP4={kind}:*"));
            }
        }
        fields.extend(self.remote.iter().map(|net| match net.prefix_len() {
            32 => format!("RA4={}", net.addr()),
            _ => format!("RA4={}/{}", net.network(), net.netmask()),
        }));
        fields.extend(self.program.iter().map(|program| format!("App={program}")));
        fields.push(format!("Name={}", self.name));
        fields.join("|") + "|"
    }
}

/// The name in the text of a rule, which may be one of others.
#[must_use]
pub fn name_of(text: &str) -> Option<&str> {
    text.split('|').find_map(|field| field.strip_prefix("Name="))
}

/// An address, or a range as `10.5.6.0/24` or `10.5.6.0/255.255.255.0`.
fn net(text: &str) -> Result<Ipv4Net, String> {
    let unknown = || format!("remoteip={text}");
    match text.split_once('/') {
        None => text.parse::<Ipv4Addr>().map(Ipv4Net::from).map_err(|_| unknown()),
        Some((address, mask)) if mask.contains('.') => {
            let (address, mask) = (address.parse::<Ipv4Addr>(), mask.parse::<Ipv4Addr>());
            let (Ok(address), Ok(mask)) = (address, mask) else { return Err(unknown()) };
            Ipv4Net::with_netmask(address, mask).map_err(|_| unknown())
        }
        Some(_) => text.parse().map_err(|_| unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Request, parse};
    use super::*;

    fn rule(arguments: &[&str]) -> Result<Rule, String> {
        let usual = ["advfirewall", "firewall", "add", "rule", "dir=in", "action=allow", "enable=yes", "profile=any"];
        match parse(&[&usual, arguments].concat())? {
            Request::AddRule(rule) => Ok(rule),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_have_the_text_that_windows_gives_them() {
        let kubelet = rule(&["name=k8swin kubelet", "protocol=tcp", "localport=10250", "remoteip=10.5.6.215"]).unwrap();
        assert_eq!(
            kubelet.text(),
            "v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=10250|RA4=10.5.6.215|Name=k8swin kubelet|"
        );
        let proxy = rule(&[
            "name=k8swin kube-proxy",
            "protocol=any",
            "remoteip=192.168.0.0/16,10.5.6.0/255.255.255.0",
            r"program=C:\k8swin\bin\kube-proxy.exe",
        ]);
        assert_eq!(
            proxy.unwrap().text(),
            "v2.26|Action=Allow|Active=TRUE|Dir=In|RA4=192.168.0.0/255.255.0.0|RA4=10.5.6.0/255.255.255.0|\
             App=C:\\k8swin\\bin\\kube-proxy.exe|Name=k8swin kube-proxy|"
        );
        let ping = rule(&["name=k8swin ping", "protocol=icmpv4:8,any"]).unwrap();
        assert_eq!(ping.text(), "v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=1|ICMP4=8:*|Name=k8swin ping|");
        assert_eq!(name_of(&ping.text()), Some("k8swin ping"));
        assert_eq!(name_of("nonsense"), None);
    }

    #[test]
    fn rules_of_another_kind_are_refused() {
        for arguments in [
            &["protocol=tcp"][..],
            &["name=a", "protocol=udp", "localport=53"],
            &["name=a", "protocol=tcp", "localport=80,81"],
            &["name=a", "protocol=any", "localport=80"],
            &["name=a", "protocol=any", "remoteip=localsubnet"],
            &["name=a", "protocol=any", "security=authenticate"],
        ] {
            assert!(rule(arguments).is_err(), "{arguments:?}");
        }
    }
}
