//! The pod adapter is found by name, MAC address or address, and is the same one on every run.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::common::{adapter, exact_release, facts, now, seed};
use k8swin_blueprint::{Pki, blueprint};
use k8swin_inventory::cluster::{AdapterSelector, System};
use k8swin_protocol::facts::{Adapter, DockerNetwork};
use k8swin_protocol::resource::WindowsResource;
use k8swin_protocol::{Facts, HostResources};

const ROUTABLE: &str = "00-15-5d-00-00-01";
const PODS: &str = "00-15-5d-00-00-02";
const PODS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// What the transparent network of win01 is bound to, with these adapters.
fn bound(selector: AdapterSelector, adapters: Vec<Adapter>, network_exists: bool) -> Result<String, String> {
    let mut cluster = seed();
    for host in &mut cluster.hosts {
        if let System::Windows(windows) = &mut host.system {
            windows.pod_adapter = selector.clone();
        }
    }
    let pki = Pki::generate(&cluster, now()).unwrap();
    let mut facts: BTreeMap<_, _> = facts(&cluster).into_iter().filter(|(name, _)| name == "win01").collect();
    let Some(Facts::Windows(windows)) = facts.get_mut("win01") else { panic!("a Windows host") };
    windows.common.adapters = adapters;
    if network_exists {
        let network = DockerNetwork { driver: "transparent".into(), subnet: None };
        windows.docker.as_mut().unwrap().networks.insert("k8swin".into(), network);
    }
    let blueprint = blueprint(&cluster, &facts, &exact_release(&cluster), &pki).map_err(|error| error.to_string())?;
    let HostResources::Windows(planned) = &blueprint.hosts["win01"] else { panic!("a Windows host") };
    let network = planned.iter().find_map(|planned| match &planned.resource {
        WindowsResource::TransparentNetwork(network) => Some(network.adapter.clone()),
        _ => None,
    });
    Ok(network.unwrap())
}

fn routable() -> Adapter {
    adapter("Ethernet", ROUTABLE, &[Ipv4Addr::new(10, 5, 6, 216)], true)
}

fn fresh() -> Vec<Adapter> {
    vec![routable(), adapter("Ethernet 2", PODS, &[PODS_ADDRESS], true)]
}

/// After the network has been made: the address is on the host adapter, which has the MAC address of the one below.
fn taken() -> Vec<Adapter> {
    let gateway = Ipv4Addr::new(192, 168, 1, 1);
    vec![
        adapter("vEthernet (HNSTransparent)", PODS, &[gateway], false),
        routable(),
        adapter("Ethernet 2", PODS, &[], true),
    ]
}

#[test]
fn every_selector_gives_the_same_name_before_and_after() {
    let selectors = [
        AdapterSelector::Name("ethernet 2".into()),
        AdapterSelector::Mac("00-15-5D-00-00-02".into()),
        AdapterSelector::Address(PODS_ADDRESS),
    ];
    for selector in selectors {
        assert_eq!(bound(selector.clone(), fresh(), false).as_deref(), Ok("Ethernet 2"), "{selector}");
        assert_eq!(bound(selector.clone(), taken(), true).as_deref(), Ok("Ethernet 2"), "{selector}");
    }
}

#[test]
fn an_address_that_is_gone_without_a_network_is_not_guessed() {
    let error = bound(AdapterSelector::Address(PODS_ADDRESS), taken(), false).unwrap_err();
    assert!(error.contains("win01") && error.contains("10.9.0.2") && error.contains("`Ethernet 2`"), "{error}");
    let mut three = taken();
    three.push(adapter("Ethernet 3", "00-15-5d-00-00-03", &[], true));
    assert!(bound(AdapterSelector::Address(PODS_ADDRESS), three, true).is_err(), "two candidates");
}

#[test]
fn the_routable_adapter_is_refused() {
    for selector in [AdapterSelector::Name("Ethernet".into()), AdapterSelector::Mac(ROUTABLE.into())] {
        let error = bound(selector, fresh(), false).unwrap_err();
        assert!(error.contains("10.5.6.216") && error.contains("cut the host off"), "{error}");
    }
}
