//! Broken inventories: exit 2, line and remedy, at once.

use std::fs;

use crate::support::{Run, inventory, k8swin};

/// Rehearses this inventory, which must be refused before that. (`up` would refuse it as well; but should a test's inventory
/// turn out to be valid, only a rehearsal is sure to stay on this machine.)
#[track_caller]
fn refused(text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inventory.toml");
    fs::write(&file, text).unwrap();
    let run = Run::new(k8swin().arg("rehearse").arg(&file).output().unwrap()).exits(2);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    let json = Run::new(k8swin().arg("rehearse").arg(&file).args(["-o", "json"]).output().unwrap()).exits(2);
    assert_eq!(json.document()["result"], "failed");
    assert!(!folder.path().join(".k8swin").exists(), "a refused inventory left a state folder");
    run.stderr
}

/// The walkthrough's inventory with one text replaced.
#[track_caller]
fn seed_with(from: &str, to: &str) -> Vec<u8> {
    let text = fs::read_to_string(inventory("seed.toml")).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[track_caller]
fn shows(stderr: &str, texts: &[&str]) {
    for text in texts {
        assert!(stderr.contains(text), "`{text}` is not in\n{stderr}");
    }
}

#[test]
fn unknown_key() {
    shows(&refused(&seed_with("pod_cidr =", "pod_cird =")), &["inventory.toml:", "pod_cird", "pod_cidr"]);
}

#[test]
fn several_errors_at_once() {
    let text = String::from_utf8(seed_with("pod_cidr =", "pod_cird =")).unwrap().replacen(
        "service_cidr =",
        "service_cird =",
        1,
    );
    shows(&refused(text.as_bytes()), &["pod_cird", "service_cird"]);
}

#[test]
fn overlapping_ranges() {
    shows(&refused(&seed_with("172.30.0.0/16", "192.168.128.0/17")), &["service_cidr", "192.168.0.0/16"]);
}

#[test]
fn two_hosts_with_one_address() {
    shows(&refused(&seed_with("\"10.5.6.218\"", "\"10.5.6.216\"")), &["inventory.toml:61", "10.5.6.216", "win01"]);
}

#[test]
fn a_service_range_whose_classful_net_swallows_the_nodes() {
    shows(&refused(&seed_with("172.30.0.0/16", "10.96.0.0/12")), &["10.0.0.0/8", "service_cidr"]);
}

#[test]
fn no_control_plane() {
    shows(&refused(&seed_with("\"control-plane\", \"worker\"", "\"worker\"")), &["control-plane"]);
}

#[test]
fn a_windows_control_plane() {
    let text = String::from_utf8(fs::read(inventory("minimal.toml")).unwrap()).unwrap();
    let text = text.replacen("os = \"windows\"", "os = \"windows\"\nroles = [\"control-plane\"]", 1);
    shows(&refused(text.as_bytes()), &["Windows", "control-plane"]);
}

#[test]
fn bad_toml_and_garbage() {
    shows(&refused(b"[cluster\nname = 1"), &["inventory.toml:1"]);
    let mut garbage = vec![b'['; 5 << 20];
    for (position, byte) in garbage.iter_mut().enumerate() {
        *byte = b"[]={}\"#\n\0\xff"[position * 7 % 10];
    }
    refused(&garbage);
    refused(&b"a = 1\n".repeat(900_000));
}

#[test]
fn a_missing_inventory_is_a_usage_error_with_a_remedy() {
    let run = Run::new(k8swin().args(["rehearse", "/nonexistent/inventory.toml"]).output().unwrap()).exits(2);
    shows(&run.stderr, &["/nonexistent/inventory.toml", "k8swin init"]);
}

#[test]
fn an_unsupported_release_is_refused_by_name() {
    shows(&refused(&seed_with("1.5.8", "1.33.0")), &["1.33.0", "1.5", "1.20"]);
}
