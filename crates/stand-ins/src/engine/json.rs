//! How the engine shows what it has.

use serde_json::{Value, json};

use super::state::{Activity, Container, Image, Network, State};
use super::{API_VERSION, VERSION};

/// A time as Docker writes it; its zero for none.
fn time(milliseconds: Option<i64>) -> String {
    let time = milliseconds.and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok());
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

pub(super) fn version() -> Value {
    json!({
        "Version": VERSION, "ApiVersion": API_VERSION, "MinAPIVersion": "1.21", "Os": "windows", "Arch": "amd64",
        "GitCommit": "stand-in", "GoVersion": "none", "KernelVersion": "10.0 14393 (stand-in)",
        "BuildTime": "2018-01-01T00:00:00Z",
    })
}

pub(super) fn info(state: &State, host: &str, now_ms: i64) -> Value {
    let running = state.containers.iter().filter(|container| container.activity == Activity::Running).count();
    json!({
        "ID": "STAND:IN", "Name": host, "ServerVersion": VERSION, "Driver": "windowsfilter",
        "Containers": state.containers.len(), "ContainersRunning": running, "ContainersPaused": 0,
        "ContainersStopped": state.containers.len() - running, "Images": state.images.len(),
        "OSType": "windows", "OperatingSystem": "Windows Server 2016 (stand-in for Docker)", "Architecture": "x86_64",
        "KernelVersion": "10.0 14393 (stand-in)", "NCPU": 2, "MemTotal": 4_294_967_296_u64, "SystemTime": time(Some(now_ms)),
        "DockerRootDir": r"C:\ProgramData\docker", "CgroupDriver": "", "Isolation": "process", "LoggingDriver": "json-file",
        "Plugins": {"Volume": ["local"], "Network": ["nat", "transparent"], "Authorization": null},
        "RegistryConfig": {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []},
        "DriverStatus": [["Windows", ""]], "SecurityOptions": [], "Labels": [], "Debug": false, "LiveRestoreEnabled": false,
    })
}

pub(super) fn network(network: &Network) -> Value {
    let config = json!({"Subnet": network.subnet, "Gateway": network.gateway});
    let hns = network.id.get(..32).unwrap_or_default();
    let mut options = json!(network.options);
    if let Some(options) = options.as_object_mut() {
        options.insert("com.docker.network.windowsshim.hnsid".into(), hns.into());
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": time(Some(network.created_ms)), "Scope": "local",
        "Driver": network.driver, "EnableIPv6": false, "Internal": false, "Attachable": false, "Containers": {},
        "IPAM": {"Driver": "windows", "Options": null, "Config": [config]}, "Options": options, "Labels": network.labels,
    })
}

pub(super) fn image_in_list(image: &Image) -> Value {
    json!({
        "Id": format!("sha256:{}", image.id), "ParentId": "", "RepoTags": image.tags, "RepoDigests": [],
        "Created": image.created_ms / 1000, "Size": 1, "VirtualSize": 1, "SharedSize": -1, "Containers": -1,
        "Labels": image.labels,
    })
}

pub(super) fn image(image: &Image) -> Value {
    json!({
        "Id": format!("sha256:{}", image.id), "RepoTags": image.tags, "RepoDigests": [], "Parent": "", "Comment": "",
        "Created": time(Some(image.created_ms)), "DockerVersion": VERSION, "Author": "", "Architecture": "amd64",
        "Os": "windows", "OsVersion": "10.0.14393.2273", "Size": 1, "VirtualSize": 1,
        "Config": {"Labels": image.labels, "User": "", "Cmd": ["cmd"], "Env": [], "Entrypoint": null},
        "RootFS": {"Type": "layers", "Layers": []}, "GraphDriver": {"Name": "windowsfilter", "Data": {}},
    })
}

fn networks(container: &Container, state: &State) -> Value {
    let Some(name) = &container.network else { return json!({}) };
    let network = state.networks.iter().find(|network| network.name == *name);
    let address = container.address.map_or_else(String::new, |address| address.to_string());
    let gateway = network.and_then(|network| network.gateway).map_or_else(String::new, |gateway| gateway.to_string());
    json!({name.as_str(): {
        "NetworkID": network.map(|network| &network.id), "EndpointID": container.id, "IPAddress": address,
        "IPPrefixLen": network.and_then(|network| network.subnet).map_or(0, |subnet| subnet.prefix_len()),
        "Gateway": gateway, "MacAddress": "", "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
    }})
}

fn words(container: &Container) -> Vec<String> {
    let list = |name: &str| container.config.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let words = list("Entrypoint").into_iter().chain(list("Cmd"));
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn state_word(container: &Container) -> &'static str {
    match container.activity {
        Activity::Created => "created",
        Activity::Running => "running",
        Activity::Exited => "exited",
    }
}

pub(super) fn container_in_list(container: &Container, state: &State) -> Value {
    let status = match container.activity {
        Activity::Created => "Created".to_owned(),
        Activity::Running => "Up 1 second".to_owned(),
        Activity::Exited => format!("Exited ({}) 1 second ago", container.exit_code),
    };
    json!({
        "Id": container.id, "Names": [format!("/{}", container.name)], "Image": container.config.get("Image"),
        "ImageID": format!("sha256:{}", container.image), "Command": words(container).join(" "),
        "Created": container.created_ms / 1000, "Ports": [], "Labels": labels(container), "State": state_word(container),
        "Status": status, "Mounts": [],
        "HostConfig": {"NetworkMode": container.config.pointer("/HostConfig/NetworkMode")},
        "NetworkSettings": {"Networks": networks(container, state)},
    })
}

/// The labels that a container was created with.
pub(super) fn labels(container: &Container) -> Value {
    container.config.get("Labels").filter(|labels| labels.is_object()).cloned().unwrap_or_else(|| json!({}))
}

pub(super) fn container(container: &Container, state: &State) -> Value {
    let running = container.activity == Activity::Running;
    let words = words(container);
    let mut config = container.config.clone();
    let host_config = config.as_object_mut().and_then(|config| {
        config.remove("NetworkingConfig");
        config.remove("HostConfig")
    });
    let network_settings = networks(container, state);
    let first = network_settings.as_object().and_then(|networks| networks.values().next());
    json!({
        "Id": container.id, "Name": format!("/{}", container.name), "Created": time(Some(container.created_ms)),
        "Path": words.first(), "Args": words.get(1..), "Image": format!("sha256:{}", container.image),
        "State": {
            "Status": state_word(container), "Running": running, "Paused": false, "Restarting": false, "OOMKilled": false,
            "Dead": false, "Pid": if running { 4242 } else { 0 }, "ExitCode": container.exit_code, "Error": "",
            "StartedAt": time(container.started_ms), "FinishedAt": time(container.finished_ms),
        },
        "RestartCount": 0, "Driver": "windowsfilter", "Platform": "windows", "MountLabel": "", "ProcessLabel": "",
        "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "", "LogPath": "", "AppArmorProfile": "", "ExecIDs": null,
        "HostConfig": host_config.unwrap_or_else(|| json!({})), "Mounts": [], "Config": config,
        "GraphDriver": {"Name": "windowsfilter", "Data": {"dir": r"C:\ProgramData\docker\windowsfilter"}},
        "NetworkSettings": {
            "Bridge": "", "SandboxID": container.id, "Ports": {},
            "IPAddress": first.and_then(|network| network.get("IPAddress")),
            "Gateway": first.and_then(|network| network.get("Gateway")),
            "Networks": network_settings,
        },
    })
}
