//! Inbound firewall rules as the registry keeps them: one text each, `v2.26|Action=Allow|Active=TRUE|Dir=In|…|`.
//!
//! The grammar is public (MS-GPFAS 2.2.2). A key that narrows a rule in a way that ours never are makes it another one,
//! and so does a key that is not known: taking a narrower rule for ours would hide that it does not let in what it should.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv4Subnets};
use k8swin_protocol::HostPath;
use k8swin_protocol::resource::{FirewallMatch, FirewallRule};

use super::super::InstalledRule;

/// Protocol numbers, as the Internet has them.
const ICMP: u16 = 1;
const TCP: u16 = 6;

/// What the firewall calls all protocols.
const ANY_PROTOCOL: u16 = 256;

/// Echo requests, with any code.
const ECHO_REQUEST: &str = "8:*";

/// All profiles that there are; a rule that names none is for all of them.
const PROFILES: [&str; 3] = ["Domain", "Private", "Public"];

/// The inbound rule of a name among the texts of the registry. `variable` gives the value of an environment variable,
/// which paths of programs may have.
pub(super) fn find(
    name: &str,
    texts: impl IntoIterator<Item = String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<InstalledRule> {
    let inbound: Vec<_> = texts.into_iter().filter(|text| is_inbound(text, name)).collect();
    match inbound.as_slice() {
        [] => None,
        [only] => Some(match read(name, only, variable) {
            Ok(rule) => InstalledRule::Allows(rule),
            Err(what) => InstalledRule::Other(what),
        }),
        several => Some(InstalledRule::Other(format!("is one of {} rules of that name", several.len()))),
    }
}

/// The keys and values of a rule, behind the version that it begins with.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('|').skip(1).filter(|field| !field.is_empty()).map(|field| field.split_once('=').unwrap_or((field, "")))
}

fn is_inbound(text: &str, name: &str) -> bool {
    let has = |wanted: (&str, &str)| fields(text).any(|field| field == wanted);
    has(("Dir", "In")) && has(("Name", name))
}

/// The rule that a text stands for; the error says what about it no rule of ours has.
fn read(
    name: &str,
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> std::result::Result<FirewallRule, String> {
    let (mut active, mut allows, mut protocol) = (false, false, None);
    let (mut ports, mut icmp, mut program) = (Vec::new(), Vec::new(), None);
    let (mut profiles, mut remote) = (Vec::new(), Vec::new());
    for (key, value) in fields(text) {
        let unknown = || format!("has a condition that k8swin does not set ({key}={value})");
        match key {
            "Action" => allows = value == "Allow",
            "Active" => active = value == "TRUE",
            "Profile" => profiles.push(value),
            "Protocol" => protocol = Some(value.parse::<u16>().map_err(|_| unknown())?),
            "LPort" => ports.push(value.parse::<u16>().map_err(|_| unknown())?),
            "ICMP4" => icmp.push(value),
            "RA4" => remote.extend(ranges(value).ok_or_else(unknown)?),
            "App" => program = Some(HostPath::new(expand(value, &variable)).map_err(|_| unknown())?),
            // These do not narrow it; `Edge` is about traffic that arrives through a tunnel.
            "Dir" | "Name" | "Desc" | "EmbedCtxt" | "Edge" => {}
            _ => return Err(unknown()),
        }
    }
    if !active {
        return Err("is disabled".to_owned());
    }
    if !allows {
        return Err("does not allow, but blocks".to_owned());
    }
    if !profiles.is_empty() && !PROFILES.iter().all(|profile| profiles.contains(profile)) {
        return Err(format!("is only for the profile {}", profiles.join(", ")));
    }
    let allow = match (protocol, ports.as_slice(), icmp.as_slice(), program) {
        (Some(TCP), [port], [], None) => FirewallMatch::TcpPort(*port),
        (Some(ICMP), [], [ECHO_REQUEST], None) => FirewallMatch::IcmpEcho,
        (None | Some(ANY_PROTOCOL), [], [], Some(program)) => FirewallMatch::Program(program),
        (None | Some(ANY_PROTOCOL), [], [], None) => FirewallMatch::Any,
        _ => return Err("lets in something that no rule of k8swin lets in".to_owned()),
    };
    Ok(FirewallRule { name: name.to_owned(), allow, remote })
}

/// The addresses of one entry: one address, a prefix, one with a mask, or a range. Names such as `LocalSubnet` are none.
fn ranges(value: &str) -> Option<Vec<Ipv4Net>> {
    if let Some((first, last)) = value.split_once('-') {
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
        return (first <= last).then(|| Ipv4Subnets::new(first, last, 0).collect());
    }
    let Some((address, length)) = value.split_once('/') else {
        return value.parse().ok().map(|address: Ipv4Addr| vec![address.into()]);
    };
    let address = address.parse().ok()?;
    let net = match length.parse::<Ipv4Addr>() {
        Ok(mask) => Ipv4Net::with_netmask(address, mask),
        Err(_) => Ipv4Net::new(address, length.parse().ok()?),
    };
    Some(vec![net.ok()?.trunc()])
}

/// A path with its variables (`%SystemDrive%`) replaced; unknown ones stay as they are.
fn expand(path: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let (mut expanded, mut rest) = (String::new(), path);
    while let Some((before, (name, after))) =
        rest.split_once('%').and_then(|(before, behind)| Some((before, behind.split_once('%')?)))
    {
        expanded.push_str(before);
        match variable(name) {
            Some(value) => expanded.push_str(&value),
            None => expanded.extend(["%", name, "%"]),
        }
        rest = after;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "k8swin kubelet";

    fn look(texts: &[&str]) -> Option<InstalledRule> {
        let variable = |name: &str| name.eq_ignore_ascii_case("SystemDrive").then(|| "C:".to_owned());
        find(NAME, texts.iter().map(|text| (*text).to_owned()), variable)
    }

    fn rule(rest: &str) -> Option<InstalledRule> {
        look(&[&format!("v2.26|Action=Allow|Active=TRUE|Dir=In|{rest}Name={NAME}|")])
    }

    fn allows(allow: FirewallMatch, remote: &[&str]) -> Option<InstalledRule> {
        let remote = remote.iter().map(|range| range.parse().unwrap()).collect();
        Some(InstalledRule::Allows(FirewallRule { name: NAME.into(), allow, remote }))
    }

    #[track_caller]
    fn is_other(found: Option<InstalledRule>, what: &str) {
        match found {
            Some(InstalledRule::Other(said)) => assert!(said.contains(what), "{said}"),
            found => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_rule_is_found_among_others() {
        let ours = format!(
            "v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=10250|RA4=10.0.0.0/255.255.0.0|Name={NAME}|"
        );
        let outbound = ours.replace("Dir=In", "Dir=Out");
        let others = ours.replace(NAME, "k8swin kubelet 2");
        let system = "v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=1|Profile=Public|ICMP4=8:*|\
                      Name=@FirewallAPI.dll,-28543|Desc=@FirewallAPI.dll,-28547|EmbedCtxt=@FirewallAPI.dll,-28502|";
        let expected = allows(FirewallMatch::TcpPort(10250), &["10.0.0.0/16"]);
        assert_eq!(look(&[system, &outbound, &ours, &others, ""]), expected);
        assert_eq!(look(&[system, &outbound, &others, "v2.26", "|", "nonsense"]), None);
        is_other(look(&[&ours, &ours]), "one of 2 rules");
    }

    #[test]
    fn what_a_rule_lets_in() {
        let program = FirewallMatch::Program(HostPath::new(r"C:\k8swin\bin\kube-proxy.exe").unwrap());
        assert_eq!(rule(r"App=C:\k8swin\bin\kube-proxy.exe|"), allows(program.clone(), &[]));
        assert_eq!(rule(r"App=%systemdrive%\k8swin\bin\kube-proxy.exe|"), allows(program, &[]));
        assert_eq!(rule("Protocol=1|ICMP4=8:*|"), allows(FirewallMatch::IcmpEcho, &[]));
        assert_eq!(rule(""), allows(FirewallMatch::Any, &[]));
        assert_eq!(rule("Protocol=256|Edge=TRUE|Desc=x|"), allows(FirewallMatch::Any, &[]));
        for other in ["Protocol=17|LPort=53|", "Protocol=6|", "Protocol=6|LPort=1|LPort=2|", "Protocol=1|ICMP4=3:*|"] {
            is_other(rule(other), "no rule of k8swin");
        }
    }

    #[test]
    fn remote_addresses_in_each_form() {
        let remote = "RA4=10.5.6.215|RA4=10.1.0.0/16|RA4=10.2.3.4/255.255.255.0|RA4=10.3.0.0-10.3.255.255|";
        let expected = ["10.5.6.215/32", "10.1.0.0/16", "10.2.3.0/24", "10.3.0.0/16"];
        assert_eq!(rule(remote), allows(FirewallMatch::Any, &expected));
        let expected = ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"];
        assert_eq!(rule("RA4=10.0.0.1-10.0.0.4|"), allows(FirewallMatch::Any, &expected));
        for other in ["LocalSubnet", "10.0.0.9-10.0.0.1", "10.0.0.0/255.0.255.0", "10.0.0.0/33", "fe80::1", ""] {
            is_other(rule(&format!("RA4={other}|")), "RA4=");
        }
    }

    #[test]
    fn a_rule_that_does_less_is_another_one() {
        is_other(look(&[&format!("v2.26|Action=Allow|Active=FALSE|Dir=In|Name={NAME}|")]), "disabled");
        is_other(look(&[&format!("v2.26|Action=Block|Active=TRUE|Dir=In|Name={NAME}|")]), "blocks");
        is_other(rule("Profile=Domain|Profile=Private|"), "only for the profile Domain, Private");
        assert_eq!(rule("Profile=Domain|Profile=Public|Profile=Private|"), allows(FirewallMatch::Any, &[]));
        for narrower in ["Svc=docker", "LA4=10.0.0.1", "RA42=LocalSubnet", "LPort=RPC", "Protocol=x", "NewKey"] {
            is_other(rule(&format!("{narrower}|")), narrower);
        }
        is_other(rule(r"App=System|"), "App=System");
    }

    fn any_match() -> impl Strategy<Value = FirewallMatch> {
        prop_oneof![
            any::<u16>().prop_map(FirewallMatch::TcpPort),
            "[a-z][a-z0-9 -]{0,20}[a-z]"
                .prop_map(|name| FirewallMatch::Program(HostPath::new(format!(r"C:\k8swin\{name}.exe")).unwrap())),
            Just(FirewallMatch::IcmpEcho),
            Just(FirewallMatch::Any),
        ]
    }

    /// The text that Windows keeps for a rule, with each range in one of the forms that it may take.
    fn text(rule: &FirewallRule, form: u8) -> String {
        let allow = match &rule.allow {
            FirewallMatch::TcpPort(port) => format!("Protocol=6|LPort={port}|"),
            FirewallMatch::Program(program) => format!("App={program}|"),
            FirewallMatch::IcmpEcho => "Protocol=1|ICMP4=8:*|".to_owned(),
            FirewallMatch::Any => String::new(),
        };
        let remote = rule.remote.iter().map(|range| match form {
            0 => format!("RA4={range}|"),
            1 => format!("RA4={}/{}|", range.addr(), range.netmask()),
            _ => format!("RA4={}-{}|", range.network(), range.broadcast()),
        });
        let remote: String = remote.collect();
        format!("v2.26|Action=Allow|Active=TRUE|Dir=In|{allow}{remote}Name={}|", rule.name)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            allow in any_match(),
            remote in prop::collection::vec((any::<u32>(), 0..=32_u8), 0..5),
            form in 0..3_u8,
        ) {
            let range = |(address, length): (u32, u8)| Ipv4Net::new(address.into(), length).unwrap().trunc();
            let rule = FirewallRule { name: NAME.into(), allow, remote: remote.into_iter().map(range).collect() };
            prop_assert_eq!(look(&[&text(&rule, form)]), Some(InstalledRule::Allows(rule)));
        }

        #[test]
        fn any_text_is_read(texts in prop::collection::vec(".*", 0..4)) {
            let texts: Vec<_> = texts.iter().map(|rest| format!("v2|Dir=In|Name={NAME}|{rest}")).collect();
            let found = look(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(found.is_some(), !texts.is_empty());
        }
    }
}
