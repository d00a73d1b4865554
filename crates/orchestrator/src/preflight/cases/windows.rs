//! Windows hosts.

use super::*;

pub(super) const CASES: &[Case] = &[
    Case {
        host: "win01",
        check: "windows-build",
        severity: Error,
        names: &["10.0.14300.1000", "needed: 10.0.14393"],
        remedy: "Windows Server 2016",
        spoil: |sample| {
            sample.windows.build = 14300;
            sample.windows.ubr = 1000;
        },
    },
    Case {
        host: "win01",
        check: "windows-edition",
        severity: Error,
        names: &["Windows 10 Pro", "`Client`"],
        remedy: "Windows Server",
        spoil: |sample| {
            sample.windows.product = "Windows 10 Pro".into();
            sample.windows.installation_type = "Client".into();
        },
    },
    Case {
        host: "win01",
        check: "display-language",
        severity: Error,
        names: &["de-DE", "English"],
        remedy: "en-US",
        spoil: |sample| sample.windows.ui_language = "de-DE".into(),
    },
    Case {
        host: "win01",
        check: "pending-reboot",
        severity: Error,
        names: &["servicing, a computer name"],
        remedy: "Restart-Computer",
        spoil: |sample| sample.windows.pending_reboot = vec!["servicing".into(), "a computer name".into()],
    },
    Case {
        host: "win01",
        check: "docker-install",
        severity: Error,
        names: &["no longer names its zip"],
        remedy: "name the zip again",
        spoil: |sample| sample.windows.common.owned.extend([crate::preflight::samples::resource("service:docker")]),
    },
    Case {
        host: "win01",
        check: "docker-install",
        severity: Warning,
        names: &["17.06.2-ee-16", "kept", "18.09.1"],
        remedy: "remove that Docker first",
        spoil: |sample| sample.name_docker("18.09.1"),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["1.11.0"],
        remedy: "another version",
        spoil: |sample| {
            sample.windows.docker = None;
            sample.name_docker("1.11.0");
        },
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["not installed"],
        remedy: "docker = { zip",
        spoil: |sample| sample.windows.docker = None,
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["1.12.1", "needed: 1.12.2-cs2-ws-beta"],
        remedy: "dockerd --unregister-service",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "1.12.1".into(),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Warning,
        names: &["`master`"],
        remedy: "dockerd --unregister-service",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "master".into(),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Warning,
        names: &["23.0.1", "kubelet 1.5.8"],
        remedy: "DOCKER_API_VERSION",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "23.0.1".into(),
    },
    Case {
        host: "win01",
        check: "docker-service",
        severity: Error,
        names: &["does not run"],
        remedy: "Start-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().running = false,
    },
    Case {
        host: "win01",
        check: "feature-containers",
        severity: Warning,
        names: &["not installed"],
        remedy: "`up` installs it",
        spoil: |sample| sample.windows.features = vec![FeatureName::Routing],
    },
    Case {
        host: "win01",
        check: "second-adapter",
        severity: Error,
        names: &["1 network adapter"],
        remedy: "Add-VMNetworkAdapter",
        spoil: |sample| sample.windows.common.adapters[0].physical = false,
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "`Ethernet`, `Public`"],
        remedy: "pod_adapter",
        spoil: |sample| sample.windows.common.adapters[1].name = "Public".into(),
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "not connected"],
        remedy: "Enable-NetAdapter",
        spoil: |sample| {
            sample.windows.common.adapters[1].up = false;
            sample.windows.common.adapters.push(adapter("Ethernet 3", "00-15-5d-00-00-23", "10.9.0.1/24"));
        },
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "10.0.0.21", "cut this connection"],
        remedy: "`Ethernet`, `Ethernet 2`",
        spoil: |sample| {
            let adapters = &mut sample.windows.common.adapters;
            let (one, rest) = adapters.split_first_mut().unwrap();
            std::mem::swap(&mut one.addresses, &mut rest[0].addresses);
        },
    },
    Case {
        host: "win01",
        check: "routing",
        severity: Warning,
        names: &["not installed"],
        remedy: "per-adapter",
        spoil: |sample| {
            sample.windows.rras_running = false;
            sample.windows.features = vec![FeatureName::Containers];
        },
    },
    Case {
        host: "win01",
        check: "hyper-v",
        severity: Warning,
        names: &["vEthernet (HNS Internal NIC)"],
        remedy: "install the role",
        spoil: |sample| sample.windows.hyper_v = false,
    },
    Case {
        host: "win01",
        check: "winrm-envelope",
        severity: Warning,
        names: &["MaxEnvelopeSizekb is 149"],
        remedy: "winrm set",
        spoil: |sample| sample.windows.max_envelope_size_kb = 149,
    },
    Case {
        host: "win01",
        check: "windows-revision",
        severity: Warning,
        names: &["base:1", "10.0.14393.693", "10.0.14393.2273"],
        remedy: "docker pull base:1",
        spoil: |sample| sample.windows.ubr = 2273,
    },
    Case {
        host: "win01",
        check: "windows-revision",
        severity: Warning,
        names: &["10.0.14393.206", "KB3176936"],
        remedy: "cumulative update",
        spoil: |sample| sample.windows.ubr = 206,
    },
    Case {
        host: "win01",
        check: "docker-service",
        severity: Error,
        names: &["does not answer"],
        remedy: "Start-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version.clear(),
    },
    Case {
        host: "win01",
        check: "docker-nat",
        severity: Error,
        names: &["no nat network"],
        remedy: "Restart-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().networks.clear(),
    },
    Case {
        host: "win01",
        check: "hns",
        severity: Error,
        names: &["Host Network Service"],
        remedy: "Start-Service hns",
        spoil: |sample| service(sample, "hns", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "hns",
        severity: Error,
        names: &["IPv6"],
        remedy: "DisabledComponents",
        spoil: |sample| sample.windows.details.ipv6_disabled = true,
    },
    Case {
        host: "win01",
        check: "ip-helper",
        severity: Error,
        names: &["does not run"],
        remedy: "Start-Service iphlpsvc",
        spoil: |sample| service(sample, "iphlpsvc", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "windows-firewall",
        severity: Error,
        names: &["domain"],
        remedy: "gpupdate",
        spoil: |sample| sample.windows.details.firewall[0].local_rules = false,
    },
    Case {
        host: "win01",
        check: "windows-firewall",
        severity: Error,
        names: &["service does not run"],
        remedy: "Start-Service mpssvc",
        spoil: |sample| service(sample, "mpssvc", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "winrm-quotas",
        severity: Warning,
        names: &["MaxShellsPerUser is 2"],
        remedy: "winrm/config/winrs",
        spoil: |sample| sample.windows.details.winrm_quotas.shells_per_user = Some(2),
    },
];
