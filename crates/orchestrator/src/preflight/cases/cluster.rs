//! What lies between hosts, the plan, and this machine.

use super::*;

pub(super) const CASES: &[Case] = &[
    Case {
        host: "demo",
        check: "machine-identity",
        severity: Error,
        names: &["lin01 and win01", "machine-lin01"],
        remedy: "/etc/machine-id",
        spoil: |sample| sample.windows.common.machine_id = sample.linux.common.machine_id.clone(),
    },
    Case {
        host: "demo",
        check: "mac-addresses",
        severity: Error,
        names: &["lin01 and win01", "00-15-5d-00-00-11"],
        remedy: "MAC addresses of their own",
        spoil: |sample| sample.windows.common.adapters[1].mac = "00-15-5d-00-00-11".into(),
    },
    Case {
        host: "demo",
        check: "next-hops",
        severity: Error,
        names: &["lin01 (10.0.0.11/29)", "win01 (10.0.0.21)"],
        remedy: "one subnet",
        spoil: |sample| sample.linux.common.adapters[0].addresses = vec!["10.0.0.11/29".parse().unwrap()],
    },
    Case {
        host: "demo",
        check: "docker-ranges",
        severity: Error,
        names: &["win01", "`nat` has 172.30.16.0/20", "services have 172.30.0.0/16"],
        remedy: "fixed-cidr",
        spoil: |sample| {
            let networks = &mut sample.windows.docker.as_mut().unwrap().networks;
            networks.get_mut("nat").unwrap().subnet = Some("172.30.16.0/20".parse().unwrap());
        },
    },
    Case {
        host: "demo",
        check: "docker-ranges",
        severity: Error,
        names: &["lin01", "`bridge` has 192.0.0.0/8", "pods have 192.168.0.0/16"],
        remedy: "bip",
        spoil: |sample| {
            let networks = &mut sample.linux.docker.as_mut().unwrap().networks;
            networks.get_mut("bridge").unwrap().subnet = Some("192.0.0.0/8".parse().unwrap());
        },
    },
    Case {
        host: "demo",
        check: "addresses",
        severity: Error,
        names: &["lin01 and win01", "10.0.0.21"],
        remedy: "another address",
        spoil: |sample| sample.linux.common.adapters[0].addresses.push("10.0.0.21/24".parse().unwrap()),
    },
    Case {
        host: "lin01",
        check: "known-identity",
        severity: Error,
        names: &["machine-lin01", "machine-before"],
        remedy: "--ignore lin01:known-identity",
        spoil: |sample| {
            sample.known.insert("lin01".into(), Identity { machine_id: "machine-before".into() });
        },
    },
    Case {
        host: "lin01",
        check: "host-to-host",
        severity: Error,
        names: &["no answer to win01 on port 6443 (API server)"],
        remedy: "open TCP 6443 from win01",
        spoil: |sample| sample.link("win01", "lin01").outcome = Outcome::Silent,
    },
    Case {
        host: "win01",
        check: "host-to-host",
        severity: Error,
        names: &["a refusal to lin01 on port 10250 (kubelet)"],
        remedy: "open TCP 10250 from lin01",
        spoil: |sample| sample.link("lin01", "win01").outcome = Outcome::Refused,
    },
    Case {
        host: "win01",
        check: "mtu",
        severity: Error,
        names: &["large packets are lost"],
        remedy: "fragmentation needed",
        spoil: |sample| sample.link("lin01", "win01").outcome = Outcome::Stalled,
    },
    Case {
        host: "demo",
        check: "mtu",
        severity: Warning,
        names: &["1400 on lin01", "1500 on win01"],
        remedy: "mtu",
        spoil: |sample| {
            sample.linux.common.details.mtus.insert("eth0".into(), 1400);
        },
    },
    Case {
        host: "demo",
        check: "latency",
        severity: Warning,
        names: &["20.0 ms from lin01 to lin02"],
        remedy: "nearer",
        spoil: |sample| {
            let mut other = sample.cluster.hosts[0].clone();
            (other.name, other.node_address) = ("lin02".into(), [10, 0, 0, 12].into());
            sample.cluster.hosts.push(other);
            let outcome = Outcome::Answered { microseconds: 20_000 };
            sample.links.push(Link { outcome, ..link("lin01", "lin02", 2380, Purpose::Etcd) });
        },
    },
    Case {
        host: "demo",
        check: "route-overlap",
        severity: Error,
        names: &["lin01", "192.168.128.0/17", "`tun0`", "pods' range 192.168.0.0/16"],
        remedy: "ip route del 192.168.128.0/17",
        spoil: |sample| route(&mut sample.linux.common, "192.168.128.0/17", None, "tun0"),
    },
    Case {
        host: "demo",
        check: "route-overlap",
        severity: Error,
        names: &["win01", "172.30.4.0/24", "services' range"],
        remedy: "Remove-NetRoute -DestinationPrefix 172.30.4.0/24",
        spoil: |sample| route(&mut sample.windows.common, "172.30.4.0/24", Some([10, 0, 0, 9]), "Ethernet"),
    },
    Case {
        host: "demo",
        check: "classful-network",
        severity: Error,
        names: &["172.30.0.0/16", "win01", "172.30.200.0/24"],
        remedy: "172.30.0.0/16",
        spoil: |sample| {
            sample.cluster.service_cidr = "172.30.0.0/24".parse().unwrap();
            route(&mut sample.windows.common, "172.30.200.0/24", Some([10, 0, 0, 9]), "Ethernet");
        },
    },
    Case {
        host: "demo",
        check: "classful-network",
        severity: Error,
        names: &["the default router 172.30.200.1"],
        remedy: "service_cidr",
        spoil: |sample| {
            sample.cluster.service_cidr = "172.30.0.0/24".parse().unwrap();
            route(&mut sample.windows.common, "0.0.0.0/0", Some([172, 30, 200, 1]), "Ethernet");
        },
    },
    Case {
        host: "demo",
        check: "pod-capacity",
        severity: Warning,
        names: &["/26 has 62 addresses"],
        remedy: "node_pod_prefix",
        spoil: |sample| sample.cluster.node_pod_prefix = 26,
    },
    Case {
        host: "demo",
        check: "pod-capacity",
        severity: Warning,
        names: &["192.168.0.0/23 has 2 subnets, all taken"],
        remedy: "pod_cidr",
        spoil: |sample| sample.cluster.pod_cidr = "192.168.0.0/23".parse().unwrap(),
    },
    Case {
        host: "demo",
        check: "versions",
        severity: Warning,
        names: &["10.0.14393.693 on win01", "10.0.14393.2273 on win02"],
        remedy: "cumulative update",
        spoil: |sample| {
            second_windows(sample, |facts| {
                facts.ubr = 2273;
                facts.details.image_versions.clear();
            });
        },
    },
    Case {
        host: "demo",
        check: "hostnames",
        severity: Warning,
        names: &["win01 and win01.branch have the name win01"],
        remedy: "name of its own",
        // In a domain, a name is the inventory's with something behind it.
        spoil: |sample| {
            sample.windows.common.hostname = "win01".into();
            second_windows(sample, |facts| facts.common.hostname = "win01".into());
            sample.cluster.hosts[2].name = "win01.branch".into();
            sample.others[0].0 = "win01.branch";
        },
    },
    Case {
        host: "this machine",
        check: "artifacts",
        severity: Error,
        names: &["no such folder"],
        remedy: "put it there",
        spoil: |sample| sample.local.programs = Err(trouble("no such folder", Some("put it there"))),
    },
    Case {
        host: "this machine",
        check: "artifact-digests",
        severity: Error,
        names: &["the sha256 is unknown"],
        remedy: "sha256sums",
        spoil: |sample| sample.local.digests = Err(trouble("the sha256 is unknown", None)),
    },
    Case {
        host: "this machine",
        check: "local-disk",
        severity: Error,
        names: &["1 GiB free"],
        remedy: "--cache-dir",
        spoil: |sample| sample.local.disk_free_bytes = Some((2 << 30) - 1),
    },
    Case {
        host: "this machine",
        check: "go-toolchain",
        severity: Error,
        names: &["there is no Go"],
        remedy: "unpack Go 1.7",
        spoil: |sample| sample.local.go = Some(go(Verdict::Error, "there is no Go", Some("unpack Go 1.7"))),
    },
    Case {
        host: "this machine",
        check: "go-toolchain",
        severity: Warning,
        names: &["nothing is known of Go 1.16"],
        remedy: "`go` in [cluster.artifacts]",
        spoil: |sample| sample.local.go = Some(go(Verdict::Warning, "nothing is known of Go 1.16", None)),
    },
    Case {
        host: "this machine",
        check: "local-disk",
        severity: Warning,
        names: &["5 GiB free", "can need 6"],
        remedy: "--cache-dir",
        spoil: |sample| {
            sample.local.go = Some(go(Verdict::Fine, "Go 1.7.6 fits", None));
            sample.local.disk_free_bytes = Some((6 << 30) - 1);
        },
    },
    Case {
        host: "demo",
        check: "certificates",
        severity: Error,
        names: &["ca.crt ended 2 days ago"],
        remedy: "k8swin reset",
        spoil: |sample| {
            sample.certificate_days.insert("ca.crt", -2);
        },
    },
    Case {
        host: "demo",
        check: "certificates",
        severity: Warning,
        names: &["admin.crt ends in 29 days"],
        remedy: "`up` renews it",
        spoil: |sample| {
            sample.certificate_days.insert("admin.crt", 29);
        },
    },
];
