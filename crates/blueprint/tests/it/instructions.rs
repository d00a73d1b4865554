//! What planning costs in instructions of the processor, which are the same at every run: so many for a host, and so many for each
//! route to another one. valgrind counts them, in a process of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use k8swin_blueprint::{Blueprint, Pki, blueprint};
use k8swin_inventory::Cluster;
use k8swin_protocol::SecretBytes;
use k8swin_protocol::wire::WireBytes;

use crate::common::{facts, now, release};

/// Names the file with the keys of the cluster to be planned; its number of hosts comes before it.
const ORDER: &str = "K8SWIN_PLAN_COUNTED";

/// Instructions for one more host, apart from its routes, without optimisation: 5.5 million.
const OF_A_HOST: u64 = 11_000_000;
/// Instructions for a route from one host to another: 2,800.
const OF_A_ROUTE: u64 = 5_600;

/// Linux and Windows in turns; the first one is the control plane.
fn cluster_of(hosts: usize) -> Cluster {
    let mut text = String::from(
        "schema = 1\n[cluster]\nname = \"counted\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.128.0.0/9\"\nservice_cidr = \"172.30.0.0/16\"\n\
         [defaults.windows]\npassword = { env = \"NOT_NEEDED\" }\npod_adapter = \"Ethernet 2\"\n",
    );
    for number in 0..hosts {
        let os = if number % 2 == 0 { "linux" } else { "windows" };
        let roles = if number == 0 { "roles = [\"control-plane\", \"worker\"]\n" } else { "" };
        write!(text, "[[host]]\nname = \"host{number}\"\nos = \"{os}\"\naddress = \"10.1.0.{}\"\n{roles}", number + 2)
            .unwrap();
    }
    k8swin_inventory::parse(&text, "counted.toml".into()).unwrap()
}

/// What is counted: a function with a name that valgrind finds.
#[inline(never)]
fn planned_while_counted(cluster: &Cluster, pki: &Pki) -> Blueprint {
    blueprint(cluster, &facts(cluster), &release(), pki).unwrap()
}

#[test]
#[ignore = "it is run by the test below, in a process of its own"]
fn plan_as_ordered() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (hosts, keys) = order.split_once(' ').unwrap();
    let keys: BTreeMap<String, WireBytes> = serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
    let files: BTreeMap<String, SecretBytes> = keys.into_iter().map(|(name, bytes)| (name, bytes.0)).collect();
    let cluster = cluster_of(hosts.parse().unwrap());
    let planned = planned_while_counted(&cluster, &Pki::from_files(files).unwrap());
    assert_eq!(planned.hosts.len(), cluster.hosts.len());
}

/// The instructions that planning so many hosts takes.
fn counted(hosts: usize, folder: &Path) -> u64 {
    let pki = Pki::generate(&cluster_of(hosts), now()).unwrap();
    let files: BTreeMap<_, _> =
        pki.files().iter().map(|(name, bytes)| (name.clone(), WireBytes(bytes.clone()))).collect();
    let (keys, counts) = (folder.join(format!("keys{hosts}.json")), folder.join(format!("counts{hosts}")));
    std::fs::write(&keys, serde_json::to_vec(&files).unwrap()).unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*planned_while_counted*"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "instructions::plan_as_ordered", "--ignored", "--test-threads=1"])
        .env(ORDER, format!("{hosts} {}", keys.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = std::fs::read_to_string(counts).unwrap();
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

#[test]
fn planning_takes_so_many_instructions_for_a_host_and_for_a_route() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions are not counted: there is no valgrind");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [ten, thirty, fifty] = [10, 30, 50].map(|hosts| counted(hosts, folder.path()));
    // Once for all, a times the hosts, b times their routes, of which each has one to every other host: solved for b and a.
    let of_a_route = (fifty + ten).saturating_sub(2 * thirty) / (50 * 49 + 10 * 9 - 2 * 30 * 29);
    let of_a_host = ((thirty - ten) / 20).saturating_sub(of_a_route * (30 * 29 - 10 * 9) / 20);
    let told = format!("{of_a_host} instructions for a host, {of_a_route} for a route");
    assert!(of_a_host < OF_A_HOST && of_a_route < OF_A_ROUTE, "{told}");
    assert!(of_a_host > OF_A_HOST / 4 && of_a_route > OF_A_ROUTE / 4, "the bounds are too wide: {told}");
}
