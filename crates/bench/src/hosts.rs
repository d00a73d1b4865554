//! What a run costs as hosts grow: the first `up`, the second one, which finds nothing to do, and `preflight`.

use std::fmt::Write as _;

use camino::Utf8Path;

use crate::page::{Results, number};
use crate::plot;
use crate::process::{self, Cost};
use crate::run::{Settings, host};
use crate::server::{Handle, Traffic};

/// An inventory of so many hosts, Linux and Windows in turns, the first of them the control plane. All are in one network of
/// 10.1.0.0/16; the range of pods has a /24 for each.
pub(crate) fn inventory(hosts: usize) -> String {
    let mut text = String::from(
        "schema = 1\n[cluster]\nname = \"bench\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.128.0.0/9\"\nservice_cidr = \"172.30.0.0/16\"\n\
         [defaults.windows]\npassword = { env = \"NOT_NEEDED\" }\npod_adapter = \"Ethernet 2\"\nforwarding = \"per-adapter\"\n",
    );
    for number in 0..hosts {
        let os = if number % 2 == 0 { "linux" } else { "windows" };
        let roles = if number == 0 { "roles = [\"control-plane\", \"worker\"]\n" } else { "" };
        let (third, last) = (number / 250, number % 250 + 2);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "[[host]]\nname = \"{}\"\nos = \"{os}\"\naddress = \"10.1.{third}.{last}\"\n{roles}",
            host(number)
        );
    }
    text
}

/// One command on so many hosts.
struct Point {
    hosts: usize,
    latency: u64,
    command: &'static str,
    cost: Cost,
    traffic: Traffic,
}

/// Measures and writes the results.
pub(crate) fn run(settings: &Settings, results: &mut Results) -> Result<(), String> {
    let sizes: &[usize] = if settings.quick { &[3, 10, 30] } else { &[3, 10, 30, 100, 300, 1000] };
    let mut points = Vec::new();
    for hosts in sizes.iter().filter(|hosts| **hosts <= settings.most_hosts) {
        measure(settings, *hosts, &mut points)?;
    }
    results.heading("A run as hosts grow", "cargo xtask bench hosts");
    results.text(
        "Simulated hosts, half Linux and half Windows, in a lab that is a process of its own on the same machine and takes its \
         CPU, too. Each answer of a host comes 0 or 20 ms later. The first `up` is measured without delay. Every host has a route to \
         every other one, tries to reach it in `preflight`, and reaches its pod in `up`, so that 1000 hosts have a million of each. Bytes \
         are those over this machine's line to all hosts, not those that hosts take from each other; the programs are small \
         stand-ins. Requests are HTTP requests of the Windows hosts."
            .to_owned(),
    );
    let rows: Vec<_> = points.iter().map(row).collect();
    results.table(
        &[
            "hosts",
            "delay",
            "command",
            "s",
            "CPU s",
            "CPU ms/host",
            "peak MiB",
            "KiB/host",
            "connections/host",
            "requests/Windows host",
            "kB/host",
        ],
        &rows,
    );
    let commands = [("first up", 0), ("second up", 0), ("second up", 20), ("preflight", 20)];
    let series: Vec<_> = commands
        .into_iter()
        .map(|(command, latency)| {
            let of = points.iter().filter(|point| point.command == command && point.latency == latency);
            let points = of.map(|point| (point.hosts.to_string(), point.cost.seconds)).collect();
            plot::Series { name: format!("{command}, {latency} ms"), points }
        })
        .collect();
    results.plot("hosts.svg", "seconds of a command (logarithmic)", "hosts", &series);
    Ok(())
}

fn row(point: &Point) -> Vec<String> {
    let Point { hosts, latency, command, cost, traffic } = point;
    let (each, windows) = (*hosts as f64, (*hosts / 2).max(1) as f64);
    vec![
        hosts.to_string(),
        format!("{latency} ms"),
        (*command).to_owned(),
        number(cost.seconds),
        number(cost.cpu),
        number(cost.cpu * 1000.0 / each),
        number(cost.peak_mib),
        number(cost.peak_mib * 1024.0 / each),
        number(traffic.connections as f64 / each),
        number(traffic.requests as f64 / windows),
        number(traffic.bytes as f64 / 1000.0 / each),
    ]
}

fn measure(settings: &Settings, hosts: usize, points: &mut Vec<Point>) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Utf8Path::from_path(folder.path()).ok_or("the temporary folder's name is not UTF-8")?;
    let mut server = Handle::start(&inventory(hosts), &folder.join("server"))?;
    let names: Vec<_> = (0..hosts).map(host).collect();
    let mut one = |server: &mut Handle, latency, command: &'static str, arguments: &[&str]| -> Result<(), String> {
        eprintln!("{hosts} hosts, {latency} ms: {command}");
        let before = server.traffic()?;
        let mut process = settings.k8swin(folder);
        process.args(arguments).arg(&server.ready.inventory).arg("--quiet");
        let cost = process::measure(&mut process)?.cost;
        let after = server.traffic()?;
        let traffic = Traffic {
            connections: after.connections - before.connections,
            requests: after.requests - before.requests,
            bytes: after.bytes - before.bytes,
            ..Traffic::default()
        };
        points.push(Point { hosts, latency, command, cost, traffic });
        Ok(())
    };
    one(&mut server, 0, "first up", &["up"])?;
    for latency in [0, 20] {
        server.slow(latency, 0, names.iter().map(String::as_str))?;
        one(&mut server, latency, "second up", &["up"])?;
        one(&mut server, latency, "preflight", &["preflight"])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_hosts_are_a_valid_inventory() {
        let cluster = k8swin_inventory::parse(&inventory(1000), "inventory.toml".into()).unwrap();
        assert_eq!(cluster.hosts.len(), 1000);
        assert_eq!(cluster.control_planes().count(), 1);
    }
}
