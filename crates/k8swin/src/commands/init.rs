//! `init`: a new inventory from options, or from answers on a terminal.

use camino::Utf8Path;
use dialoguer::{Confirm, Input};
use k8swin_inventory::init::{NewHost, NewInventory, NewSystem, cluster_name};

use crate::arguments::{self, kubernetes_version, linux_host, windows_host};
use crate::commands::unanswered;
use crate::context::Context;
use crate::failure::Failure;
use crate::report::Report;

/// Writes a new inventory.
pub(crate) fn run(context: &Context, arguments: arguments::Init) -> Result<Report, Failure> {
    let arguments::Init { name, kubernetes, linux, windows, pod_cidr, service_cidr, out, force } = arguments;
    refuse_existing(&out, force)?;
    let hosts = [linux, windows].concat();
    let mut new = NewInventory { name, kubernetes, pod_cidr, service_cidr, hosts };
    if new.hosts.is_empty() {
        if !context.can_ask() {
            return Err(Failure::usage("an inventory needs hosts, and there is nobody to ask for them here")
                .hint("name them: `--linux lin01=10.5.6.215,control-plane --windows win01=10.5.6.216`"));
        }
        ask(&mut new).map_err(|error| unanswered(error.into()))?;
    }
    let text = complete(new, &out)?;
    write(&out, &text, force)?;
    let next = if out == "inventory.toml" { String::new() } else { format!(" {out}") };
    let text = format!("wrote {out}; next: read it, then `k8swin rehearse{next}` and `k8swin preflight{next}`");
    Ok(Report::Written { path: out, text })
}

/// The text of a valid inventory. The first Linux host is the control plane if none is named.
fn complete(mut new: NewInventory, file: &Utf8Path) -> Result<String, Failure> {
    let is_control_plane = |host: &NewHost| matches!(host.system, NewSystem::Linux { control_plane: true, .. });
    if !new.hosts.iter().any(is_control_plane) {
        let first = new.hosts.iter_mut().find_map(|host| match &mut host.system {
            NewSystem::Linux { control_plane, .. } => Some(control_plane),
            NewSystem::Windows { .. } => None,
        });
        match first {
            Some(control_plane) => *control_plane = true,
            None => {
                return Err(Failure::usage("the control plane runs on Linux, and there is no Linux host")
                    .hint("add one: `--linux lin01=10.5.6.215,control-plane`"));
            }
        }
    }
    let text = k8swin_inventory::init::render(&new);
    k8swin_inventory::parse(&text, file)?;
    Ok(text)
}

fn refuse_existing(path: &Utf8Path, force: bool) -> Result<(), Failure> {
    if !force && path.exists() {
        return Err(Failure::usage(format!("{path} is there already and is left as it is"))
            .hint("write elsewhere with `--out FILE`, or overwrite it with `--force`"));
    }
    Ok(())
}

fn write(path: &Utf8Path, text: &str, force: bool) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    // `create_new` also holds against a file that came to be while questions were answered.
    options.write(true).create(force).truncate(force).create_new(!force);
    let mut file = options.open(path).map_err(Failure::io("create", path))?;
    file.write_all(text.as_bytes()).map_err(Failure::io("write", path))
}

fn ask(new: &mut NewInventory) -> dialoguer::Result<()> {
    let name = Input::new().with_prompt("Name of the cluster").default(new.name.clone());
    new.name = name.validate_with(|text: &String| cluster_name(text).map(drop)).interact_text()?;
    let version = Input::new().with_prompt("Kubernetes version").default(new.kubernetes.to_string());
    let version = version.validate_with(|text: &String| kubernetes_version(text).map(drop)).interact_text()?;
    if let Ok(version) = kubernetes_version(&version) {
        new.kubernetes = version;
    }
    new.pod_cidr = Input::new().with_prompt("Range of all pods").default(new.pod_cidr).interact_text()?;
    new.service_cidr =
        Input::new().with_prompt("Range of service addresses").default(new.service_cidr).interact_text()?;
    hosts(new, "Linux host, the control plane: NAME=ADDRESS", linux_host)?;
    while Confirm::new().with_prompt("Another Linux host?").default(false).interact()? {
        hosts(new, "Linux host: NAME=ADDRESS[,control-plane]", linux_host)?;
    }
    let (mut question, mut default) = ("A Windows host?", true);
    while Confirm::new().with_prompt(question).default(default).interact()? {
        hosts(new, "Windows host: NAME=ADDRESS[,ADAPTER]", windows_host)?;
        (question, default) = ("Another Windows host?", false);
    }
    Ok(())
}

fn hosts(new: &mut NewInventory, prompt: &str, read: fn(&str) -> Result<NewHost, String>) -> dialoguer::Result<()> {
    let text: String =
        Input::new().with_prompt(prompt).validate_with(|text: &String| read(text).map(drop)).interact_text()?;
    new.hosts.extend(read(&text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Causes;

    fn new(hosts: Vec<NewHost>) -> NewInventory {
        NewInventory {
            name: "demo".into(),
            kubernetes: kubernetes_version("1.5.8").unwrap(),
            pod_cidr: "192.168.0.0/16".parse().unwrap(),
            service_cidr: "172.30.0.0/16".parse().unwrap(),
            hosts,
        }
    }

    #[test]
    fn the_first_linux_host_is_the_control_plane_unless_another_is_named() {
        let hosts = |second: &str| {
            vec![
                windows_host("win01=10.5.6.216").unwrap(),
                linux_host("lin01=10.5.6.215").unwrap(),
                linux_host(second).unwrap(),
            ]
        };
        let control_planes = |second: &str| -> Vec<String> {
            let text = complete(new(hosts(second)), "inventory.toml".into()).unwrap();
            let cluster = k8swin_inventory::parse(&text, "inventory.toml".into()).unwrap();
            cluster.control_planes().map(|host| host.name.clone()).collect()
        };
        assert_eq!(control_planes("lin02=10.5.6.217"), ["lin01"]);
        assert_eq!(control_planes("lin02=10.5.6.217,control-plane"), ["lin02"]);
    }

    #[test]
    fn without_linux_and_with_collisions_nothing_is_written() {
        let windows = || windows_host("win01=10.5.6.216").unwrap();
        assert!(complete(new(vec![windows()]), "inventory.toml".into()).is_err());
        let twice = vec![linux_host("lin01=10.5.6.215").unwrap(), linux_host("lin01=10.5.6.217").unwrap()];
        let failure = complete(new(twice), "inventory.toml".into()).unwrap_err();
        assert!(matches!(failure.causes, Causes::Inventory(_)));
    }

    #[test]
    fn an_existing_file_is_left_alone_without_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("inventory.toml");
        write(&path, "mine, and longer", false).unwrap();
        assert!(refuse_existing(&path, false).is_err());
        assert!(write(&path, "new", false).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine, and longer");
        write(&path, "new", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
