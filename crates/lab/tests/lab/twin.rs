//! A lab as a whole: its files, its faults, its end.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8Path;
use k8swin_agent::simulated::Faults;
use k8swin_inventory::cluster::{ArtifactSource, SecretSource, System};
use k8swin_lab::program::{CommandHost as _, CommandLine, Output};
use k8swin_lab::{Lab, LabError, LabOptions};
use k8swin_protocol::bootstrap::{self, Bootstrap, Verb};
use k8swin_protocol::resource::Protection;
use k8swin_protocol::wire::{self, FromAgent, Request, Response, ToAgent};
use k8swin_protocol::{HostPath, Os, Sha256};

use crate::common;

/// Whether a server greets on this port: an SSH server speaks first.
fn greets(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_exact(&mut [0]).is_ok()
}

#[tokio::test]
async fn every_inventory_of_the_repository_has_a_twin() {
    let folder = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories");
    let mut started = 0;
    for entry in folder.read_dir_utf8().unwrap() {
        let file = entry.unwrap().into_path();
        if file.extension() != Some("toml") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let original = k8swin_inventory::parse(&text, &file).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let lab = Lab::start(&text, &file, directory, LabOptions::default()).await.unwrap();
        let twin = common::twin(&lab);
        assert_eq!(twin.hosts.len(), original.hosts.len(), "{file}");
        for (twin, original) in twin.hosts.iter().zip(&original.hosts) {
            assert_eq!((&twin.name, twin.node_address), (&original.name, original.node_address));
            assert_eq!(twin.address, "127.0.0.1");
            assert_eq!(twin.pod_cidr, original.pod_cidr);
            let state = std::fs::read_to_string(directory.join(format!("hosts/{}.json", twin.name))).unwrap();
            serde_json::from_str::<serde_json::Value>(&state).unwrap();
        }
        lab.shutdown().await.unwrap();
        started += 1;
    }
    assert!(started > 0, "there are inventories in {folder}");
}

#[tokio::test]
async fn the_twin_is_reached_with_the_files_beside_it() {
    let running = common::start().await;
    let mut ports = BTreeSet::new();
    for host in &running.cluster.hosts {
        assert!(ports.insert(host.port()));
        assert_eq!(host.api_endpoint.is_some(), host.is_control_plane());
        match &host.system {
            System::Linux(linux) => {
                assert_eq!(linux.ssh.proxy_jump, None);
                let identity = std::fs::read_to_string(linux.ssh.identity.as_ref().unwrap()).unwrap();
                assert!(identity.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
                let known = std::fs::read_to_string(linux.ssh.known_hosts.as_ref().unwrap()).unwrap();
                assert!(known.contains(&format!("[127.0.0.1]:{} ssh-ed25519 ", host.port())));
            }
            System::Windows(windows) => {
                let SecretSource::File(password) = &windows.winrm.password else { panic!("{windows:?}") };
                assert!(std::fs::read_to_string(password).unwrap().len() >= 24);
            }
        }
    }
    let ArtifactSource::Local { path } = &running.cluster.artifacts.source else { panic!() };
    assert!(path.join("linux/kubelet").is_file() && path.join("windows/kubelet.exe").is_file());
    let agents = running.cluster.artifacts.agents.as_ref().unwrap();
    assert!(agents.join("k8swin-agent").is_file() && agents.join("k8swin-agent.exe").is_file());
    assert_eq!(running.lab.hosts().map(|(name, _)| name).collect::<Vec<_>>(), ["lin01", "lin02", "win01", "win02"]);
}

#[tokio::test]
async fn folders_with_other_things_and_bad_inventories_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    std::fs::write(path.join("thesis.txt"), "years of work").unwrap();
    let file = Utf8Path::new("inventory.toml");
    let refused = Lab::start(common::INVENTORY, file, path, LabOptions::default()).await;
    assert!(matches!(refused, Err(LabError::FolderInUse { .. })));
    let invalid = Lab::start("schema = 1\nclutser = 2\n", file, &path.join("new"), LabOptions::default()).await;
    assert!(matches!(&invalid, Err(LabError::Inventory(errors)) if errors.contains("clutser")));
    assert!(!path.join("new").exists());
}

#[tokio::test]
async fn state_files_follow_their_hosts() {
    let running = common::start().await;
    let host = running.lab.host("win01").unwrap().simulated().clone();
    let state = running.file("hosts/win01.json");
    let before = std::fs::read_to_string(&state).unwrap();
    let path = HostPath::new(r"C:\k8swin\bin\marker.exe").unwrap();
    host.write_file(&path, b"x", Protection::Executable).unwrap();
    running.lab.shutdown().await.unwrap();
    let after = std::fs::read_to_string(&state).unwrap();
    assert!(!before.contains("marker.exe"));
    assert!(after.contains("marker.exe"));
}

/// Runs a command of a Windows host to its end: output, error output, exit code.
async fn run(lab: &Lab, command: &str, arguments: &[&str], input: &[u8]) -> (String, String, i32) {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let mut program = lab.host("win01").unwrap().start(CommandLine { command: command.to_owned(), arguments });
    // A program that does not read its input may have ended.
    let _ = program.stdin.send(input.to_vec().into()).await;
    drop(program.stdin);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(output) = program.output.recv().await {
        match output {
            Output::Stdout(bytes) => stdout.extend(bytes),
            Output::Stderr(bytes) => stderr.extend(bytes),
            Output::Exit(code) => {
                return (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), code);
            }
        }
    }
    panic!("the program was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_hosts_run_commands_as_cmd_does() {
    let running = common::start().await;
    let lab = &running.lab;
    assert_eq!(run(lab, "hostname", &[], b"").await, ("win01\r\n".into(), String::new(), 0));
    let version = "\r\nMicrosoft Windows [Version 10.0.14393]\r\n";
    assert_eq!(run(lab, "cmd /c ver", &[], b"").await.0, version);
    assert_eq!(run(lab, "cmd", &["/c", "ver"], b"").await.0, version);
    assert_eq!(run(lab, "whoami", &[], b"").await.0, "win01\\administrator\r\n");
    let (_, unknown, code) = run(lab, "Get-Service", &["kubelet"], b"").await;
    assert!(unknown.starts_with("'Get-Service' is not recognized as an internal or external command,\r\n"));
    assert!(unknown.contains("k8swin lab: "));
    assert_eq!(code, 1);
    assert_eq!(run(lab, "type", &[r"C:\nothing"], b"").await.2, 1);
    let missing = run(lab, r"C:\k8swin\bin\k8swin-agent-0.exe", &["serve"], b"").await;
    assert!(missing.1.contains("is not recognized"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_windows_host_takes_the_agent_from_powershell_and_runs_it() {
    let running = common::start().await;
    let agent = std::fs::read(running.file("agents/k8swin-agent.exe")).unwrap();
    let sha256 = Sha256::of(&agent);
    let path = Os::Windows.agent(sha256);
    let mut upload = Bootstrap { verb: Verb::Put, sha256, path: path.clone() }.header();
    upload.push_str(&format!("{}\r\n.\r\n", STANDARD.encode(&agent)));
    let arguments = bootstrap::powershell_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let put = run(&running.lab, bootstrap::POWERSHELL_PROGRAM, &arguments, upload.as_bytes()).await;
    assert_eq!(put, (String::new(), String::new(), 0));
    let bye = wire::encode(&ToAgent { id: 7, request: Request::Bye { clear_staging: true } });
    let (output, errors, code) = run(&running.lab, path.as_str(), &["serve"], bye.as_bytes()).await;
    assert_eq!((errors.as_str(), code), ("", 0));
    let last = wire::decode::<FromAgent>(output.lines().last().unwrap().as_bytes()).unwrap();
    assert_eq!(last, FromAgent::Reply { id: 7, response: Response::Done });

    // The same script with other text is not the bootstrap.
    let other = run(&running.lab, bootstrap::POWERSHELL_PROGRAM, &["-EncodedCommand", "AAAA"], b"").await;
    assert_eq!(other.2, 1);
    // A full disk is said in the script's own way.
    let faults = Faults { disk_full: true, ..Faults::default() };
    running.lab.host("win01").unwrap().simulated().set_faults(faults);
    let full = run(&running.lab, bootstrap::POWERSHELL_PROGRAM, &arguments, upload.as_bytes()).await;
    assert_eq!((full.1.lines().count(), full.2), (1, 1), "{full:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_take_effect_when_their_file_changes() {
    let running = common::start().await;
    let (one, other) = (running.port("lin01"), running.port("lin02"));
    let faults = running.file("faults.toml");
    assert!(std::fs::read_to_string(&faults).unwrap().contains("# [hosts.NAME]"));
    let greet = |port| async move { tokio::task::spawn_blocking(move || greets(port)).await.unwrap() };
    assert!(greet(one).await);
    std::fs::write(&faults, "[hosts.lin01]\nunreachable = true\n[hosts.win01]\nwindows_build = 10586\n").unwrap();
    assert!(!greet(one).await);
    assert!(greet(other).await);
    assert_eq!(running.lab.host("win01").unwrap().simulated().faults().windows_build, Some(10586));
    std::fs::write(&faults, "[hosts.lin01]\nunreachible = true\n").unwrap();
    assert!(greet(one).await, "a fault that cannot be read is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_answers_when_the_lab_has_ended() {
    let running = common::start().await;
    let port = running.port("lin01");
    running.lab.shutdown().await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_hosts_fit_into_one_process() {
    let mut text = String::from(
        "schema = 1\n[cluster]\nname = \"large\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.32.0.0/12\"\n\
         service_cidr = \"172.30.0.0/16\"\n[defaults.windows]\npassword = \"prompt\"\n",
    );
    for number in 0..500 {
        let address = format!("192.168.{}.{}", number / 250, number % 250 + 1);
        let system = match number {
            0 => "os = \"linux\"\nroles = [\"control-plane\"]",
            number if number % 2 == 0 => "os = \"linux\"",
            _ => "os = \"windows\"\npod_adapter = \"Ethernet 2\"",
        };
        text.push_str(&format!("[[host]]\nname = \"host{number}\"\naddress = \"{address}\"\n{system}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let directory = Utf8Path::from_path(folder.path()).unwrap();
    let file = Utf8Path::new("inventory.toml");
    let lab = Lab::start(&text, file, directory, LabOptions::default()).await.unwrap();
    let ports: Vec<u16> = common::twin(&lab).hosts.iter().map(k8swin_inventory::Host::port).collect();
    let answered =
        tokio::task::spawn_blocking(move || ports.into_iter().step_by(2).filter(|&port| greets(port)).count());
    assert_eq!(answered.await.unwrap(), 250);
    lab.shutdown().await.unwrap();
}
