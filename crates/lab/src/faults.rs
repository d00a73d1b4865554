//! `DIR/faults.toml`: what goes wrong on which simulated host, read again whenever the file changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use camino::Utf8PathBuf;
use k8swin_agent::simulated::{Faults, SimulatedHost};

/// The file as it is written when a lab starts.
pub(crate) const EXAMPLES: &str = r#"# Faults of this lab's hosts. The lab reads this file again when it has changed: at the next connection or command.
# Take the `#` from a table and from the lines that you want.

# [hosts.NAME]
# unreachable = true            # new connections are refused
# slow_ms = 250                 # each answer comes this many milliseconds later
# start_ms = 250                # each program starts this many milliseconds later
# drop_after_bytes = 100000     # connections are cut after this many bytes
# unclean_input = "text"        # input of agents gets carriage returns, or ends at Ctrl-Z ("control-z")
# network_cuts = true           # while pods have a network there, connections are cut and refused
# stays_down = true             # it does not come back from a restart
# disk_full = true              # writes fail
# clock_skew_seconds = 600      # the clock is ahead (or behind, if negative)
# no_docker = true              # there is no Docker
# docker_version = "1.11.0"     # Docker says that it is this version
# docker_stopped = true         # Docker does not run
# docker_range = "172.30.16.0/20"   # Docker's own network has this range
# port_taken = [{ port = 10250, program = "nginx" }]   # something else listens there
# crashing = ["kubelet"]       # these programs end right after each start
# unprivileged = true           # the account may not change the system
# address = "10.5.6.99"         # the routable adapter has another address
# second_address = "10.5.6.216" # the routable adapter has this one as well
# prefix = 30                   # the routable adapter's network is this small
# mac = "00-15-5d-00-00-01"     # the routable adapter's MAC address
# mtu = 1400                    # the routable adapter's largest packet
# machine_id = "0123456789abcdef"   # the machine id, or the SMBIOS UUID
# hostname = "localhost"        # what the host calls itself
# unresolved_name = true        # its own name does not resolve
# clock_unsynchronised = true   # no time service keeps the clock
# memory_mb = 512               # little memory
# other_cluster = "production"  # k8swin built another cluster there
# leftovers = [{ kind = "folder", name = "/var/lib/rancher/k3s", says = "server is in it" }]   # of another installer
# routes = [{ destination = "192.168.128.0/17", via = "10.8.0.1", adapter = "tun0" }]   # of a VPN
# blocked_ports = [6443]        # other hosts cannot connect to these ports
# blocked_hosts = ["win01"]     # no packet passes between this host and those
# lost_routes = ["192.168.1.0/24"]     # it has no such routes, whatever is done
# no_forwarding = true          # it forwards nothing to and from its pods
# images = { "microsoft/iis" = "missing" }   # what is wrong with an image: missing, pulling or silent
# network_delay_ms = 20         # other hosts are far away
# large_packets_lost = true     # small packets pass, large ones do not
# no_depot = true               # this host cannot connect to another's depot
# depot_dies_after_bytes = 1000 # the depot that this host opens ends after so many bytes
# depot_corrupts = true         # the depot that this host opens gives out broken bytes
# link_bytes_per_second = 12500000   # no fault: it takes no more than this from a depot
# distribution = "alpine"       # Linux: the distribution
# kernel = "2.6.32"             # Linux: the kernel
# no_systemd = true             # Linux: another init system
# cgroup_v2 = true              # Linux: control groups of version 2
# cgroup_driver = "none"        # Linux: Docker's driver of control groups
# missing_modules = ["br_netfilter"]   # Linux: the kernel lacks them
# missing_programs = ["conntrack"]     # Linux: they are not installed
# sysctls = { "net.ipv4.conf.all.rp_filter" = "1" }   # Linux: kernel settings
# cni_configurations = ["05-flannel.conflist"]        # Linux: files in /etc/cni/net.d
# firewalls = ["firewalld"]     # Linux: firewalls that are active
# swap = true                   # Linux: swap is active
# windows_build = 10586         # Windows: another build than 14393
# installation_type = "Client"  # Windows: no server
# ubr = 100                     # Windows: the revision of the build
# image_version = "10.0.14393.321"     # Windows: what the base image was made for
# pending_reboot = true         # Windows: a reboot is pending
# one_adapter = true            # Windows: the second adapter is missing
# pod_adapter = "Ethernet 3"    # Windows: the second adapter is called so
# ui_language = "de-DE"         # Windows: the display language
# stopped_services = ["hns"]    # Windows: they do not run
# ipv6_disabled = true          # Windows: IPv6 is switched off
# no_containers = true          # Windows: the feature Containers is missing
# no_nat = true                 # Windows: Docker has no nat network
# firewall_policy = true        # Windows: a group policy makes the host's own firewall rules not count
# max_envelope_size_kb = 100    # Windows: WinRM's limit for messages
# max_shells_per_user = 2       # Windows: WinRM's limit for shells
# routing_installed = true      # Windows: no fault: Routing and Remote Access is installed
# hyper_v = true                # Windows: no fault either: so is Hyper-V
"#;

/// What tells one version of the file from another.
type Stamp = (SystemTime, u64);

/// The file and the hosts that it is about.
pub(crate) struct FaultsFile {
    path: Utf8PathBuf,
    hosts: BTreeMap<String, SimulatedHost>,
    seen: Mutex<Option<Stamp>>,
}

impl FaultsFile {
    /// The file at `path`, which has been written with [`EXAMPLES`]: no faults.
    pub(crate) fn new(path: Utf8PathBuf, hosts: BTreeMap<String, SimulatedHost>) -> Self {
        let seen = Mutex::new(stamp(&path));
        Self { path, hosts, seen }
    }

    /// Gives the hosts their faults if the file has changed. What cannot be read is reported and changes nothing.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if *seen == now {
            return;
        }
        *seen = now;
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => return tracing::warn!(path = %self.path, %error, "cannot read the faults of this lab"),
        };
        let (mut faults, problems) = parse(&text);
        for problem in problems {
            tracing::warn!("{}: {problem}", self.path);
        }
        let Some(faults) = &mut faults else { return };
        for (name, host) in &self.hosts {
            host.set_faults(faults.remove(name).unwrap_or_default());
        }
        for name in faults.keys() {
            tracing::warn!("{}: there is no host `{name}` in this lab", self.path);
        }
    }
}

fn stamp(path: &camino::Utf8Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The faults by host (none when the text is no TOML at all), and what is wrong with the text.
fn parse(text: &str) -> (Option<BTreeMap<String, Faults>>, Vec<String>) {
    let top = match text.parse::<toml::Table>() {
        Ok(top) => top,
        Err(error) => return (None, vec![error.to_string()]),
    };
    let mut problems = Vec::new();
    let mut faults = BTreeMap::new();
    for (key, value) in top {
        let toml::Value::Table(hosts) = value else {
            problems.push(format!("`{key}` is not a table [hosts.NAME]"));
            continue;
        };
        if key != "hosts" {
            problems.push(format!("unknown table [{key}]: expected [hosts.NAME]"));
            continue;
        }
        for (name, value) in hosts {
            match value.try_into::<Faults>() {
                Ok(of_host) => {
                    faults.insert(name, of_host);
                }
                Err(error) => problems.push(format!("[hosts.{name}]: {}", error.to_string().trim_end())),
            }
        }
    }
    (Some(faults), problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_say_nothing_until_they_are_uncommented_and_then_name_every_fault() {
        assert_eq!(parse(EXAMPLES), (Some(BTreeMap::new()), Vec::new()));
        let (_, table) = EXAMPLES.split_once("\n\n").unwrap();
        let (faults, problems) = parse(&table.replace("# [", "[").replace("\n# ", "\n"));
        assert_eq!(problems, Vec::<String>::new());
        let toml::Value::Table(shown) = toml::Value::try_from(&faults.unwrap()["NAME"]).unwrap() else { panic!() };
        let names = |text: &str| text.lines().filter_map(|l| l.strip_prefix("# ")?.split_once(" =")).count();
        assert_eq!(shown.len(), names(table));
        assert_ne!(toml::Value::Table(shown), toml::Value::try_from(Faults::default()).unwrap());
    }

    #[test]
    fn mistakes_are_named_and_do_not_hide_the_rest() {
        let (faults, problems) = parse("[hosts.a]\nunreachable = true\n[hosts.b]\nunreachible = true\n[host.c]\n");
        assert!(faults.unwrap()["a"].unreachable);
        assert!(problems.iter().any(|problem| problem.contains("[hosts.b]") && problem.contains("unreachible")));
        assert!(problems.iter().any(|problem| problem.contains("unknown table [host]")));
        assert_eq!(parse("]").0, None);
    }
}
