//! All that is rendered, and the order of all resources, for the delivered inventories and both releases.

use crate::common::{INVENTORIES, VERSIONS, cluster, planned, seed};
use k8swin_blueprint::explain;
use k8swin_protocol::HostResources;
use k8swin_protocol::resource::{Content, LinuxResource, WindowsResource};

/// Order and identity of a host's resources. Names of agents carry their digests, which are those of made-up programs.
fn ids(resources: &HostResources) -> String {
    resources.ids().map(|(phase, id)| format!("{phase:?} {id}\n")).collect()
}

/// Texts of a host that hold no certificate, and the definitions of its services and its network.
fn rendered(resources: &HostResources) -> String {
    let mut text = String::new();
    let mut add = |title: &str, body: &str| text.push_str(&format!("=== {title}\n{}\n", body.trim_end()));
    match resources {
        HostResources::Linux(planned) => {
            for planned in planned {
                let id = planned.resource.id().to_string();
                match &planned.resource {
                    LinuxResource::File(file) => match &file.content {
                        Content::Text(body) if !id.ends_with(".crt") && !id.ends_with(".pub") => add(&id, body),
                        _ => {}
                    },
                    LinuxResource::SystemdUnit(unit) => add(&id, &unit.unit),
                    LinuxResource::Directory(_) => {}
                    other => add(&id, &serde_json::to_string(other).unwrap()),
                }
            }
        }
        HostResources::Windows(planned) => {
            for planned in planned {
                let id = planned.resource.id().to_string();
                match &planned.resource {
                    WindowsResource::File(file) => match &file.content {
                        Content::Text(body) if !id.ends_with(".crt") => add(&id, body),
                        _ => {}
                    },
                    WindowsResource::Directory(_) => {}
                    WindowsResource::Service(service) => {
                        let mut value = serde_json::to_value(service).unwrap();
                        value["inputs"] = "…".into();
                        add(&id, &serde_json::to_string_pretty(&value).unwrap());
                    }
                    other => add(&id, &serde_json::to_string(other).unwrap()),
                }
            }
        }
    }
    text
}

#[test]
fn resources_in_their_order() {
    for inventory in INVENTORIES {
        for version in VERSIONS {
            let (blueprint, _) = planned(&cluster(inventory, version));
            let hosts = blueprint.hosts.iter().map(|(name, resources)| format!("=== {name}\n{}", ids(resources)));
            insta::assert_snapshot!(format!("ids-{inventory}-{version}"), hosts.collect::<String>());
        }
    }
}

#[test]
fn rendered_files_and_services() {
    let shown = [("seed", vec!["lin01", "win01"]), ("ha", vec!["control03", "worker01", "win03"])];
    for (inventory, hosts) in shown {
        for version in VERSIONS {
            let (blueprint, _) = planned(&cluster(inventory, version));
            for host in hosts.iter().copied() {
                insta::assert_snapshot!(format!("{inventory}-{version}-{host}"), rendered(&blueprint.hosts[host]));
            }
        }
    }
}

#[test]
fn explanations_are_the_walkthrough() {
    let (blueprint, _) = planned(&seed());
    for (host, resources) in &blueprint.hosts {
        let digest = |line: &str| line.split_once(" bytes").is_some_and(|_| line.starts_with('#'));
        let lines = explain(resources).into_iter().flat_map(|(id, lines)| {
            std::iter::once(format!("{id}\n"))
                .chain(lines.into_iter().filter(move |line| !digest(line)).map(|line| format!("    {line}\n")))
        });
        insta::assert_snapshot!(format!("explain-seed-{host}"), lines.collect::<String>());
    }
}
