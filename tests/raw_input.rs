//! Programs go to a host as bytes where all bytes arrive, and as base64 in lines where a console changes them.

use camino::Utf8Path;
use k8swin_lab::{Lab, LabOptions};
use k8swin_orchestrator::up;
use k8swin_protocol::Sha256;
use tokio::sync::mpsc;

use crate::preflight::options;

const INVENTORY: &str = r#"schema = 1
[cluster]
name = "one"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
[cluster.artifacts]
source = "release"
[defaults.windows]
user = "Administrator"
password = { env = "K8SWIN_WINDOWS_PASSWORD" }
pod_adapter = "Ethernet 2"
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.5.6.1"
[[host]]
name = "win01"
os = "windows"
address = "10.5.6.2"
"#;

/// Only one host needs it, so that it goes over that host's own session.
const PROGRAM: &str = "windows/kubelet.exe";

/// A program that cannot be compressed: its bytes on the way are as many as the way makes of them.
const SIZE: usize = 3_000_000;

/// A number of which each bit depends on all bits of another (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn replace_program(artifacts: &Utf8Path, seed: u64) {
    let bytes: Vec<u8> = (0..SIZE as u64 / 8).flat_map(|number| mixed(seed + number).to_le_bytes()).collect();
    std::fs::write(artifacts.join(PROGRAM), &bytes).unwrap();
    let sums = std::fs::read_to_string(artifacts.join("sha256sums")).unwrap();
    let line = |line: &str| match line.ends_with(PROGRAM) {
        true => format!("{}  {PROGRAM}\n", Sha256::of(&bytes)),
        false => format!("{line}\n"),
    };
    std::fs::write(artifacts.join("sha256sums"), sums.lines().map(line).collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_as_bytes_where_all_arrive_and_as_base64_where_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let lab = Lab::start(INVENTORY, "one.toml".into(), &folder.join("lab"), LabOptions::default()).await.unwrap();
    let file = lab.inventory();
    let cluster = k8swin_inventory::parse(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
    let run = async || {
        let (events, _received) = mpsc::unbounded_channel();
        let summary = up(&cluster, &options(folder, events)).await.unwrap();
        let win01 = &summary.hosts["win01"];
        assert_eq!(win01.error, None);
        win01.changed
    };
    run().await;
    let sent = || lab.hosts().find(|(name, _)| *name == "win01").unwrap().1.counters().bytes_in as usize;
    // WinRM itself makes base64 of all input: four bytes of three.
    let (bytes, lines) = (SIZE * 4 / 3, SIZE * 4 / 3 * 4 / 3);
    for (seed, unclean, expected) in [(1, "", bytes), (2, "text", lines), (3, "control-z", lines)] {
        replace_program(&file.with_file_name("artifacts"), seed);
        let fault = format!("[hosts.win01]\nunclean_input = \"{unclean}\"\n");
        std::fs::write(lab.directory().join("faults.toml"), if unclean.is_empty() { "" } else { &fault }).unwrap();
        let before = sent();
        assert!(run().await > 0, "{unclean}");
        let sent = sent() - before;
        assert!(
            sent > expected && sent < expected + SIZE / 5,
            "{unclean}: {sent} bytes, expected some more than {expected}"
        );
    }
    assert_eq!(run().await, 0);
    lab.shutdown().await.unwrap();
}
