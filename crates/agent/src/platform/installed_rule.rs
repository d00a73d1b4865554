//! An inbound firewall rule of a Windows host, compared by what it lets in.

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{FirewallMatch, FirewallRule};

/// An inbound firewall rule that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledRule {
    /// One that says what a rule of ours can say.
    Allows(FirewallRule),
    /// Another one of that name, by what is different about it: `is disabled`.
    Other(String),
}

impl InstalledRule {
    /// How it differs from the wanted one, for people.
    #[must_use]
    pub fn difference(&self, wanted: &FirewallRule) -> Option<String> {
        let ranges = |rule: &FirewallRule| Ipv4Net::aggregate(&rule.remote);
        match self {
            Self::Other(what) => Some(what.clone()),
            Self::Allows(found) if !lets_in_the_same(&found.allow, &wanted.allow) => {
                Some("lets something else in".to_owned())
            }
            Self::Allows(found) if ranges(found) != ranges(wanted) => Some("lets others in".to_owned()),
            Self::Allows(_) => None,
        }
    }
}

/// Windows keeps the case of a path as it was given, and does not mind it.
fn lets_in_the_same(found: &FirewallMatch, wanted: &FirewallMatch) -> bool {
    match (found, wanted) {
        (FirewallMatch::Program(found), FirewallMatch::Program(wanted)) => {
            found.as_str().eq_ignore_ascii_case(wanted.as_str())
        }
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::HostPath;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_compared_by_what_they_let_in() {
        let rule = |allow, remote: &[&str]| FirewallRule {
            name: "k8swin".into(),
            allow,
            remote: remote.iter().map(|range| net(range)).collect(),
        };
        let program = |path: &str| FirewallMatch::Program(HostPath::new(path).unwrap());
        let wanted = rule(program(r"C:\k8swin\bin\kube-proxy.exe"), &["10.0.0.0/16", "10.5.6.215/32"]);
        let found = |allow, remote: &[&str]| InstalledRule::Allows(rule(allow, remote)).difference(&wanted);
        let same = program(r"c:\K8SWIN\bin\kube-proxy.exe");
        assert_eq!(found(same.clone(), &["10.5.6.215/32", "10.0.128.0/17", "10.0.0.0/17"]), None);
        assert_eq!(found(same, &["10.0.0.0/16"]).as_deref(), Some("lets others in"));
        assert_eq!(found(FirewallMatch::Any, &["10.0.0.0/16"]).as_deref(), Some("lets something else in"));
        assert_eq!(InstalledRule::Other("is disabled".into()).difference(&wanted).as_deref(), Some("is disabled"));
    }
}
