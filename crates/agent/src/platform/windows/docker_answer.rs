//! Docker's answers, and what we make of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::Adapter;
use serde::Deserialize;

use super::super::{DockerNetworkState, Image};

/// The option of Docker's Windows driver that names the adapter (facts D.3).
pub(super) const INTERFACE_OPTION: &str = "com.docker.network.windowsshim.interface";

/// The label in which an image of ours names its base.
pub(super) const BASE_LABEL: &str = "k8swin.base";

/// What HNS calls the host's adapter of a transparent network; a further one may have a number (facts D.3).
const HOST_ADAPTER: &str = "vEthernet (HNSTransparent)";

/// A network of `docker network inspect`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedNetwork {
    name: String,
    driver: String,
    #[serde(rename = "IPAM", default)]
    ipam: Ipam,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    #[serde(default)]
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: Option<String>,
    gateway: Option<String>,
}

impl InspectedNetwork {
    /// Its name, and what we compare.
    pub(super) fn into_state(self) -> (String, DockerNetworkState) {
        let config = self.ipam.config.unwrap_or_default().into_iter().next();
        let (subnet, gateway) = config.map_or((None, None), |config| (config.subnet, config.gateway));
        let state = DockerNetworkState {
            driver: self.driver,
            subnet: subnet.and_then(|subnet| subnet.parse::<Ipv4Net>().ok()),
            gateway: gateway.and_then(|gateway| gateway.parse::<Ipv4Addr>().ok()),
            adapter: self.options.unwrap_or_default().remove(INTERFACE_OPTION),
        };
        (self.name, state)
    }
}

/// An image of `docker inspect`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedImage {
    id: String,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl InspectedImage {
    /// What we compare.
    pub(super) fn into_image(self) -> Image {
        let labels = self.config.and_then(|config| config.labels);
        Image { id: self.id, base: labels.and_then(|mut labels| labels.remove(BASE_LABEL)) }
    }
}

/// An image of `docker inspect`, as the Windows version goes that it was made for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedVersion {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    os_version: Option<String>,
}

impl InspectedVersion {
    /// Each of its tags with the version; nothing for an image that names none.
    pub(super) fn by_tag(self) -> impl Iterator<Item = (String, String)> {
        let version = self.os_version.filter(|version| !version.is_empty());
        self.repo_tags.unwrap_or_default().into_iter().filter_map(move |tag| Some((tag, version.clone()?)))
    }
}

/// The host's adapter of a transparent network that is bound to the adapter `bound`: where there are several, the one with
/// the hardware address of `bound`, which an external switch gives to the host's side.
pub(super) fn pick_adapter(adapters: &[Adapter], bound: Option<&str>) -> Result<Option<String>, String> {
    let candidates: Vec<_> = adapters.iter().filter(|adapter| adapter.name.starts_with(HOST_ADAPTER)).collect();
    match candidates.as_slice() {
        [] => return Ok(None),
        [only] => return Ok(Some(only.name.clone())),
        _ => {}
    }
    let mac = adapters.iter().find(|adapter| Some(adapter.name.as_str()) == bound).map(|adapter| &adapter.mac);
    let mut same = candidates.iter().filter(|candidate| Some(&candidate.mac) == mac);
    match (same.next(), same.next()) {
        (Some(found), None) => Ok(Some(found.name.clone())),
        _ => {
            let names: Vec<_> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
            Err(format!("it may be any of {}", names.join(", ")))
        }
    }
}

/// A pause image: a program that waits for ever, and is in every base image.
pub(super) fn dockerfile(base: &str) -> String {
    format!("FROM {base}\nCMD [\"cmd\", \"/S\", \"/C\", \"ping -t 127.0.0.1 > nul\"]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, mac: &str) -> Adapter {
        Adapter { name: name.into(), mac: mac.into(), addresses: Vec::new(), up: true, physical: false }
    }

    #[test]
    fn the_pause_image_is_made_from_the_base_that_is_named() {
        assert!(dockerfile("k8swin/base:1").starts_with("FROM k8swin/base:1\nCMD ["));
    }

    #[test]
    fn a_transparent_network_is_read() {
        let json = r#"[{"Name": "pods", "Id": "1f", "Scope": "local", "Driver": "transparent",
            "IPAM": {"Driver": "windows", "Options": {}, "Config": [{"Subnet": "192.168.1.0/24", "Gateway": "192.168.1.1"}]},
            "Options": {"com.docker.network.windowsshim.hnsid": "c0ffee",
                        "com.docker.network.windowsshim.interface": "Ethernet 2"}},
            {"Name": "none", "Driver": "null", "IPAM": {"Config": null}, "Options": null}]"#;
        let found: Vec<InspectedNetwork> = serde_json::from_str(json).unwrap();
        let found: Vec<_> = found.into_iter().map(InspectedNetwork::into_state).collect();
        let expected = DockerNetworkState {
            driver: "transparent".into(),
            subnet: Some("192.168.1.0/24".parse().unwrap()),
            gateway: Some([192, 168, 1, 1].into()),
            adapter: Some("Ethernet 2".into()),
        };
        assert_eq!(found.first(), Some(&("pods".to_owned(), expected)));
        assert_eq!(found.last().map(|found| found.1.subnet), Some(None));
    }

    #[test]
    fn the_windows_version_of_an_image_is_told_by_its_tags() {
        let json = r#"[{"RepoTags": ["base:1", "base:2"], "OsVersion": "10.0.14393.2273"}, {"RepoTags": ["linux:1"]},
            {"RepoTags": null, "OsVersion": "10.0.14393.1"}]"#;
        let found: Vec<InspectedVersion> = serde_json::from_str(json).unwrap();
        let found: Vec<_> = found.into_iter().flat_map(InspectedVersion::by_tag).collect();
        let version = || "10.0.14393.2273".to_owned();
        assert_eq!(found, [("base:1".to_owned(), version()), ("base:2".to_owned(), version())]);
    }

    #[test]
    fn an_image_of_others_has_no_base() {
        let json = r#"[{"Id": "sha256:1", "Config": {"Labels": {"k8swin.base": "microsoft/nanoserver"}}},
            {"Id": "sha256:2", "Config": {"Labels": null}}, {"Id": "sha256:3"}]"#;
        let found: Vec<InspectedImage> = serde_json::from_str(json).unwrap();
        let bases: Vec<_> = found.into_iter().map(|image| image.into_image().base).collect();
        assert_eq!(bases, [Some("microsoft/nanoserver".to_owned()), None, None]);
    }

    #[test]
    fn among_several_host_adapters_the_hardware_address_decides() {
        let (first, second) = ("vEthernet (HNSTransparent)", "vEthernet (HNSTransparent) 2");
        let bound = adapter("Ethernet 2", "00-15-5d-00-00-02");
        let one = [adapter(first, "00-15-5d-00-00-09")];
        assert_eq!(pick_adapter(&one, Some("Ethernet 2")), Ok(Some(first.to_owned())));
        let two = [adapter(first, "00-15-5d-00-00-01"), adapter(second, "00-15-5d-00-00-02"), bound];
        assert_eq!(pick_adapter(&two, Some("Ethernet 2")), Ok(Some(second.to_owned())));
        assert!(pick_adapter(&two, Some("Ethernet 3")).is_err());
        assert!(pick_adapter(&two, None).is_err());
        assert_eq!(pick_adapter(&[], None), Ok(None));
    }
}
