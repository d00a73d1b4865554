//! Prerequisites of a Linux host.

use k8swin_inventory::Cluster;
use k8swin_inventory::cluster::{Host, KubernetesMinor};
use k8swin_protocol::facts::LinuxFacts;

use super::{Report, common};
use crate::docker_version::DockerVersion;

/// What kube-proxy (iptables mode) and the kubelet call.
const PROGRAMS: [&str; 4] = ["iptables", "conntrack", "mount", "ip"];

pub(super) fn check(cluster: &Cluster, host: &Host, facts: &LinuxFacts, report: &mut Report<'_>) {
    report.ok("kernel", facts.kernel.clone());

    if facts.systemd {
        report.ok("systemd", "runs");
    } else {
        report.error("systemd", "systemd is not the init system", "use a distribution with systemd");
    }

    let missing: Vec<_> =
        PROGRAMS.into_iter().filter(|program| !facts.programs.iter().any(|found| found == program)).collect();
    if missing.is_empty() {
        report.ok("programs", PROGRAMS.join(", "));
    } else {
        report.error(
            "programs",
            format!("missing: {}", missing.join(", ")),
            "install them: packages iptables, conntrack (conntrack-tools), mount (util-linux), iproute2",
        );
    }

    docker(cluster, facts, report);

    if facts.swap_bytes == 0 {
        report.ok("swap", "off");
    } else {
        report.warning(
            "swap",
            format!("{} MiB in use as swap; the kubelet's memory accounting is wrong with it", facts.swap_bytes >> 20),
            "`swapoff -a`, and take it out of /etc/fstab",
        );
    }

    let mut needed = vec![(10250, "unit:kubelet"), (10249, "unit:kube-proxy")];
    if host.is_control_plane() {
        needed.extend([
            (2379, "unit:etcd"),
            (2380, "unit:etcd"),
            (cluster.api_port, "unit:kube-apiserver"),
            (10251, "unit:kube-scheduler"),
            (10252, "unit:kube-controller-manager"),
        ]);
    }
    common::ports(&facts.common, &needed, report);
}

fn docker(cluster: &Cluster, facts: &LinuxFacts, report: &mut Report<'_>) {
    const INSTALL: &str = "install it: package docker.io (Debian, Ubuntu) or docker-ce";
    let Some(docker) = &facts.docker else {
        report.error("docker", "Docker is not installed", INSTALL);
        return;
    };
    if !docker.running {
        report.error(
            "docker",
            format!("Docker {} does not run", docker.version),
            "start it: `systemctl enable --now docker`",
        );
        return;
    }
    let Some(version) = DockerVersion::parse(&docker.version) else {
        report.warning("docker", format!("`{}` is not a version we know to read", docker.version), INSTALL);
        return;
    };
    // 1.5 was validated with 1.10.3 to 1.12.3 (facts B.3); 29 wants clients with a newer API than 1.5 has (facts D.1).
    let (minimum, maximum) = match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => ((1, 10), (20, 10)),
        KubernetesMinor::V1_20 => ((1, 13), (28, 99)),
    };
    let found = version.major_minor();
    let detail = format!("Docker {version}, cgroup driver {}", docker.cgroup_driver);
    if found < minimum {
        report.error("docker", format!("{detail}; needed: {}.{} or later", minimum.0, minimum.1), INSTALL);
    } else if found > maximum {
        report.warning(
            "docker",
            format!("{detail} is newer than any that a kubelet {} was seen to work with", cluster.kubernetes),
            format!("install Docker {}.{} or earlier", maximum.0, maximum.1),
        );
    } else {
        report.ok("docker", detail);
    }
}
