//! The cluster of the walkthrough with a dozen things wrong: one run finds all, and its remedies make it fit.

use serde_json::Value;

use crate::support::Lab;

/// Something that is wrong: the host, the fault, the check that must find it, and a part of the command that cures it.
type Wrong = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const WRONG: &[Wrong] = &[
    ("lin01", "swap = true", "swap", "swapoff -a"),
    ("lin01", "cgroup_v2 = true", "cgroups", "systemd.unified_cgroup_hierarchy=0"),
    ("lin01", "missing_programs = [\"conntrack\"]", "programs", "apt-get install iptables conntrack"),
    ("lin01", "docker_stopped = true", "docker", "systemctl enable --now docker"),
    ("lin01", "leftovers = [{ kind = \"unit\", name = \"k3s\", says = \"/etc/systemd/system/k3s.service\" }]", "leftovers", "k3s-uninstall.sh"),
    ("win01", "ui_language = \"de-DE\"", "display-language", "Set-WinSystemLocale en-US"),
    ("win01", "pending_reboot = true", "pending-reboot", "Restart-Computer"),
    ("win01", "stopped_services = [\"iphlpsvc\"]", "ip-helper", "Start-Service iphlpsvc"),
    ("win01", "clock_skew_seconds = -900", "clock", "w32tm /resync"),
    ("win02", "port_taken = [{ port = 10250, program = \"w3wp.exe\" }]", "ports", "Stop-Process"),
    ("win02", "firewall_policy = true", "windows-firewall", "gpupdate /force"),
    ("win02", "docker_stopped = true", "docker-service", "Start-Service docker"),
];

/// What the walkthrough's hosts lack to begin with: the command that brings it, and how it shows.
const BROUGHT: [(&str, &str); 2] = [
    ("Install-WindowsFeature RemoteAccess, Routing", "routing_installed = true"),
    ("Install-WindowsFeature Hyper-V", "hyper_v = true"),
];

fn write(lab: &Lab, lines: &[(String, String)]) {
    let table = |host: &str| {
        let lines = lines.iter().filter(|(of, _)| of == host).map(|(_, line)| format!("{line}\n"));
        format!("[hosts.{host}]\n{}", lines.collect::<String>())
    };
    lab.faults(&["lin01", "win01", "win02"].map(table).concat());
}

fn bad(document: &Value) -> Vec<&Value> {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().filter(|finding| finding["severity"] != "ok").collect()
}

#[test]
fn a_dozen_things_are_found_in_one_run_and_the_printed_remedies_make_the_hosts_fit() {
    let lab = Lab::of("seed.toml");
    let mut lines: Vec<_> = WRONG.iter().map(|(host, fault, ..)| ((*host).to_owned(), (*fault).to_owned())).collect();
    write(&lab, &lines);
    let first = lab.json(&["preflight"]).exits(3).document();
    for (host, fault, check, _) in WRONG {
        let found = bad(&first).into_iter().any(|finding| finding["host"] == *host && finding["check"] == *check);
        assert!(found, "{fault} of {host} is not found by {check}: {:#?}", bad(&first));
    }

    // What a person does: types what is printed, on the host that it is printed for.
    for finding in bad(&first) {
        let host = finding["host"].as_str().unwrap();
        for command in finding["commands"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let cured = |(of, line): &(String, String)| {
                let cure = WRONG.iter().find(|(wrong, fault, ..)| wrong == of && fault == line);
                of == host && cure.is_some_and(|(.., cure)| command.contains(cure))
            };
            lines.retain(|line| !cured(line));
            for (brings, shows) in BROUGHT {
                if command.contains(brings) {
                    lines.push((host.to_owned(), shows.to_owned()));
                }
            }
        }
    }
    write(&lab, &lines);
    let second = lab.json(&["preflight"]).exits(0).document();
    assert!(bad(&second).is_empty(), "{:#?}", bad(&second));
}
