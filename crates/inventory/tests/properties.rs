//! Whatever the text, parsing ends with a cluster or errors; whatever the answers, `init` writes what they say.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use camino::Utf8Path;
use k8swin_inventory::cluster::{AdapterSelector, KubernetesMinor, KubernetesVersion, System};
use k8swin_inventory::init::{NewHost, NewInventory, NewSystem, render};
use k8swin_inventory::{network, parse};
use proptest::prelude::*;

const INVENTORIES: [&str; 3] = [
    include_str!("../../../inventories/seed.toml"),
    include_str!("../../../inventories/ha.toml"),
    include_str!("../../../inventories/minimal.toml"),
];

fn file() -> &'static Utf8Path {
    Utf8Path::new("folder/inventory.toml")
}

/// Parses and renders; the result is of no interest.
fn survives(text: &str) {
    if let Err(errors) = parse(text, file()) {
        assert!(!errors.errors().is_empty() && !errors.to_string().is_empty());
        for error in errors.errors() {
            assert!(error.line >= 1 && error.line <= text.split('\n').count(), "{error:?}");
            assert!(error.column >= 1);
        }
    }
}

prop_compose! {
    fn versions()(minor_is_5: bool, patch in 3u32..=8) -> KubernetesVersion {
        let minor = if minor_is_5 { KubernetesMinor::V1_5 } else { KubernetesMinor::V1_20 };
        KubernetesVersion { minor, patch }
    }
}

fn adapters() -> impl Strategy<Value = AdapterSelector> {
    prop_oneof![
        "[ -~äöü网]{0,20}[a-zA-Z网]".prop_map(AdapterSelector::Name),
        // MAC addresses are the hosts' own; they are made unique below.
        Just(AdapterSelector::Mac(String::new())),
    ]
}

prop_compose! {
    fn hosts()(
        names in prop::collection::btree_set("[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", 1..8),
        kinds in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), adapters()), 8),
    ) -> Vec<NewHost> {
        let names: BTreeSet<String> = names;
        names
            .into_iter()
            .zip(kinds)
            .zip(1u8..)
            .map(|((name, (windows, control_plane, worker, by_name, adapter)), number)| {
                let node = Ipv4Addr::new(10, 5, 6, number);
                let system = if windows && number > 1 {
                    let pod_adapter = match adapter {
                        AdapterSelector::Mac(_) => AdapterSelector::Mac(format!("00-15-5d-00-00-{number:02x}")),
                        other => other,
                    };
                    NewSystem::Windows { pod_adapter }
                } else {
                    NewSystem::Linux { control_plane: control_plane || number == 1, worker }
                };
                let (address, node_address) =
                    if by_name { (format!("{name}.example"), Some(node)) } else { (node.to_string(), None) };
                NewHost { name, address, node_address, system }
            })
            .collect()
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_survived(text: String) {
        survives(&text);
    }

    #[test]
    fn toml_like_text_is_survived(text in "([a-z_.]{1,12}|[=\"'\\[\\]{},#\n\r\t \\\\-]|[0-9.:/]{1,10}|host|cluster|\\[\\[host\\]\\]\n|é){0,60}") {
        survives(&text);
    }

    #[test]
    fn damaged_inventories_are_survived(
        which in 0usize..3,
        at in any::<prop::sample::Index>(),
        length in 0usize..40,
        insert in "[a-z0-9=\"{}\\[\\].\n#/-]{0,12}",
    ) {
        let text: Vec<char> = INVENTORIES[which].chars().collect();
        let at = at.index(text.len());
        let damaged: String =
            text[..at].iter().copied().chain(insert.chars()).chain(text[at..].iter().skip(length).copied()).collect();
        survives(&damaged);
    }

    #[test]
    fn literal_passwords_are_never_told(
        key in "(password|passphrase|pasword|Password|host_password|pass)",
        before in "[ \t]{0,3}",
        after in "[ \t]{0,3}",
        rest in "(\"|'|\"\"|\\\\q\"|\" x = 1|)",
        table in prop::sample::select(vec!["[[host]]\n", "[defaults.linux]\n", "[defaults.windows]\n", "[cluster]\n", ""]),
    ) {
        let text = format!("{table}{key}{before}={after}\"correct-horse{rest}\n");
        if let Err(errors) = parse(&text, file()) {
            prop_assert!(!format!("{errors} {errors:?}").contains("horse"), "{errors}");
        }
    }

    #[test]
    fn what_init_writes_says_the_answers(
        name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?",
        kubernetes in versions(),
        pod_prefix in 12u8..=24,
        hosts in hosts(),
    ) {
        let pod_prefix = if pod_prefix > 20 { 20 } else { pod_prefix };
        let new = NewInventory {
            name,
            kubernetes,
            pod_cidr: ipnet::Ipv4Net::new(Ipv4Addr::new(100, 64, 0, 0), pod_prefix).unwrap(),
            service_cidr: "172.30.0.0/16".parse().unwrap(),
            hosts,
        };
        let text = render(&new);
        let cluster = match parse(&text, file()) {
            Ok(cluster) => cluster,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}\n{text}"))),
        };
        prop_assert_eq!(&cluster.name, &new.name);
        prop_assert_eq!(cluster.kubernetes, new.kubernetes);
        prop_assert_eq!((cluster.pod_cidr, cluster.service_cidr), (new.pod_cidr, new.service_cidr));
        prop_assert_eq!(cluster.hosts.len(), new.hosts.len());
        for (host, new) in cluster.hosts.iter().zip(&new.hosts) {
            prop_assert_eq!((&host.name, &host.address), (&new.name, &new.address));
            prop_assert_eq!(Some(host.node_address), new.node_address.or_else(|| new.address.parse().ok()));
            match (&host.system, &new.system) {
                (System::Linux(linux), NewSystem::Linux { control_plane, worker }) => {
                    prop_assert_eq!(linux.control_plane, *control_plane);
                    prop_assert_eq!(linux.worker, *worker || !*control_plane);
                }
                (System::Windows(windows), NewSystem::Windows { pod_adapter }) => {
                    prop_assert_eq!(&windows.pod_adapter, pod_adapter);
                }
                systems => return Err(TestCaseError::fail(format!("{systems:?}"))),
            }
        }
        for (index, host) in cluster.hosts.iter().enumerate() {
            let apart = |other: &k8swin_inventory::Host| !network::overlap(host.pod_cidr, other.pod_cidr);
            prop_assert!(cluster.hosts.iter().skip(index + 1).all(apart));
        }
    }
}

#[test]
fn init_writes_a_teaching_inventory() {
    let linux = NewHost {
        name: "lin01".into(),
        address: "10.5.6.215".into(),
        node_address: None,
        system: NewSystem::Linux { control_plane: true, worker: true },
    };
    let windows = NewHost {
        name: "win01".into(),
        address: "win01.example.com".into(),
        node_address: Some(Ipv4Addr::new(10, 5, 6, 216)),
        system: NewSystem::Windows { pod_adapter: AdapterSelector::Name("Ethernet \"2\"".into()) },
    };
    let new = NewInventory {
        name: "demo".into(),
        kubernetes: KubernetesVersion { minor: KubernetesMinor::V1_5, patch: 8 },
        pod_cidr: "192.168.0.0/16".parse().unwrap(),
        service_cidr: "172.30.0.0/16".parse().unwrap(),
        hosts: vec![linux.clone(), windows],
    };
    let text = render(&new);
    assert!(parse(&text, file()).is_ok(), "{text}");
    insta::assert_snapshot!(text);

    let small = NewInventory { pod_cidr: "192.168.7.0/26".parse().unwrap(), hosts: vec![linux], ..new };
    let cluster = parse(&render(&small), file()).unwrap();
    assert_eq!((cluster.node_pod_prefix, cluster.hosts[0].pod_cidr), (26, small.pod_cidr));
}
