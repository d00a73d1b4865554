//! What the tests of the lab share.

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::Cluster;
use k8swin_lab::{Lab, LabOptions};
use tempfile::TempDir;

/// One control plane, one Linux worker that is reached with `sudo`, two Windows hosts, one of
/// them in a domain.
pub(crate) const INVENTORY: &str = r#"
schema = 1
[cluster]
name = "demo"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
[defaults.windows]
user = "Administrator"
password = { env = "NOT_NEEDED_BY_A_LAB" }
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.5.6.215"
[[host]]
name = "lin02"
os = "linux"
user = "admin"
proxy_jump = "bastion.example.org"
address = "10.5.6.217"
[[host]]
name = "win01"
os = "windows"
address = "10.5.6.216"
pod_adapter = "Ethernet 2"
[[host]]
name = "win02"
os = "windows"
user = 'CORP\admin'
transport = "http"
address = "10.5.6.218"
pod_adapter = "Ethernet 2"
"#;

/// A lab in a folder of its own.
pub(crate) struct Running {
    /// The lab.
    pub(crate) lab: Lab,
    /// The twin's inventory, as a client reads it.
    pub(crate) cluster: Cluster,
    _folder: TempDir,
}

/// Starts a lab of [`INVENTORY`].
pub(crate) async fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("lab");
    let lab = Lab::start(INVENTORY, Utf8Path::new("inventory.toml"), &path, LabOptions::default()).await.unwrap();
    let cluster = twin(&lab);
    Running { lab, cluster, _folder: folder }
}

/// The inventory that a lab wrote.
pub(crate) fn twin(lab: &Lab) -> Cluster {
    let file = lab.inventory();
    k8swin_inventory::parse(&std::fs::read_to_string(&file).unwrap(), &file).unwrap()
}

impl Running {
    /// A file of the lab's folder.
    pub(crate) fn file(&self, name: &str) -> Utf8PathBuf {
        self.lab.directory().join(name)
    }

    /// The port of a host's SSH or WinRM server.
    pub(crate) fn port(&self, host: &str) -> u16 {
        self.cluster.host(host).unwrap().port()
    }
}
