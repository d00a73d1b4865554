//! A program that many hosts need, by way of the depot: how long they take it where their own links are the limit.

use std::fmt::Write as _;

use camino::Utf8Path;
use serde_json::Value;

use crate::page::{Results, number};
use crate::process::{self, Cost};
use crate::run::{Settings, host};
use crate::server::{Handle, PROGRAM};
use crate::{stream, timeline};

/// The size of the program.
const SIZE: usize = 20_000_000;

/// Bytes a second that each host takes.
const RATE: usize = 700_000;

/// Many hosts may take so many times as long as the fewest.
const ASKED: f64 = 1.3;

/// An inventory of one control plane, which keeps the depot, and so many Windows hosts.
pub(crate) fn inventory(windows: usize) -> String {
    let mut text = String::from(
        "schema = 1\n[cluster]\nname = \"bench\"\nkubernetes = \"1.5.8\"\npod_cidr = \"10.128.0.0/9\"\nservice_cidr = \"172.30.0.0/16\"\n\
         [defaults.windows]\npassword = { env = \"NOT_NEEDED\" }\npod_adapter = \"Ethernet 2\"\nforwarding = \"per-adapter\"\n",
    );
    for number in 0..=windows {
        let system =
            if number == 0 { "os = \"linux\"\nroles = [\"control-plane\", \"worker\"]" } else { "os = \"windows\"" };
        // Writing into a String cannot fail.
        let _ = write!(text, "[[host]]\nname = \"{}\"\n{system}\naddress = \"10.1.0.{}\"\n", host(number), number + 2);
    }
    text
}

/// What so many hosts took.
struct Point {
    hosts: usize,
    /// Seconds until the program was in the depot.
    sent: f64,
    /// Seconds from the first host's beginning until the last one had it.
    taken: f64,
    /// Packed bytes that went to the depot, or to a host without it.
    sent_bytes: u64,
    /// Packed bytes that the hosts took from there.
    taken_bytes: u64,
    /// All bytes of this machine's line in the whole run, in both directions.
    line: u64,
    ours: Cost,
    /// Seconds of CPU of the simulated hosts.
    theirs: f64,
}

/// Measures and writes the results.
pub(crate) fn run(settings: &Settings, results: &mut Results) -> Result<(), String> {
    let (program, content) = stream::program(settings, SIZE)?;
    let sizes: &[usize] = if settings.quick { &[5, 20] } else { &[5, 20, 50] };
    let points = sizes.iter().map(|hosts| measure(settings, *hosts, &content)).collect::<Result<Vec<_>, _>>()?;
    results.heading("A program for many hosts, by the depot", "cargo xtask bench depot");
    results.text(format!(
        "`up` after the kubelet's program of all Windows hosts has become another one: {} MB of `{}`. It goes once to the first \
         control plane and is taken from there by all hosts at once, each of which takes {} kB of packed bytes a second: so slow \
         are the simulated links. The time is that from the first host's beginning until the last one has it. The lab, whose CPU \
         has all hosts' unpacking and digests in it, is a process of its own on the same machine.",
        SIZE / 1_000_000,
        program.file_name().unwrap_or("a program"),
        RATE / 1000,
    ));
    let fewest = points.first().map_or(0.0, |point| point.taken);
    let rows: Vec<_> = points.iter().map(|point| row(point, fewest)).collect();
    results.table(
        &[
            "hosts",
            "s to the depot",
            "s to all hosts",
            &format!("times that of {} hosts", sizes.first().copied().unwrap_or_default()),
            "MB of programs sent from here",
            "MB over this machine's line",
            "MB taken from the depot",
            "k8swin CPU s",
            "k8swin MiB",
            "lab CPU s",
        ],
        &rows,
    );
    if let (Some(few), Some(many)) = (points.first(), points.last()) {
        results.text(format!(
            "Asked is that many hosts take at most {ASKED} times as long as {}: {} take {} times as long. Programs of {} MB are sent \
             from here for {} hosts, and of {} MB for {}; the rest of the line is each host's own conversation.",
            few.hosts,
            many.hosts,
            number(many.taken / few.taken),
            megabytes(few.sent_bytes),
            few.hosts,
            megabytes(many.sent_bytes),
            many.hosts,
        ));
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    number(bytes as f64 / 1e6)
}

fn row(point: &Point, fewest: f64) -> Vec<String> {
    let Point { hosts, sent, taken, sent_bytes, taken_bytes, line, ours, theirs } = point;
    vec![
        hosts.to_string(),
        number(*sent),
        number(*taken),
        number(taken / fewest),
        megabytes(*sent_bytes),
        megabytes(*line),
        megabytes(*taken_bytes),
        number(ours.cpu),
        number(ours.peak_mib),
        number(*theirs),
    ]
}

fn measure(settings: &Settings, hosts: usize, content: &[u8]) -> Result<Point, String> {
    eprintln!("{hosts} hosts take a program from the depot");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Utf8Path::from_path(folder.path()).ok_or("the temporary folder's name is not UTF-8")?;
    let mut server = Handle::start(&inventory(hosts), &folder.join("server"))?;
    let up = || {
        let mut command = settings.k8swin(folder);
        command.args(["up", server.ready.inventory.as_str(), "--quiet", "--output", "json", "--trace"]);
        command.arg(folder.join("trace.json"));
        command
    };
    let (mut first, mut second) = (up(), up());
    process::measure(&mut first)?;
    server.replace_program(content.get(..SIZE).unwrap_or_default())?;
    let slow = |number| format!("[hosts.{}]\nlink_bytes_per_second = {RATE}\n", host(number));
    server.faults(&(1..=hosts).map(slow).collect::<String>())?;
    let (before, cpu) = (server.traffic()?, server.cpu());
    let ended = process::measure(&mut second)?;
    let (after, theirs) = (server.traffic()?, server.cpu() - cpu);
    let trace = std::fs::read_to_string(folder.join("trace.json")).map_err(|error| error.to_string())?;
    let uploads = timeline::uploads(&trace);
    let (sending, pulls) =
        (timeline::of(&uploads, &format!("{PROGRAM} (for all)")), timeline::of(&uploads, &from_depot()));
    if pulls.len() != hosts {
        return Err(format!("{} of {hosts} hosts took the program from the depot", pulls.len()));
    }
    let document: Value = serde_json::from_str(&ended.stdout).map_err(|error| format!("k8swin's document: {error}"))?;
    Ok(Point {
        hosts,
        sent: timeline::span(&sending).ok_or("the timeline does not tell of the way to the depot")?,
        taken: timeline::span(&pulls).ok_or("the timeline does not tell of the way from the depot")?,
        sent_bytes: sum(&document, "sent_bytes"),
        taken_bytes: sum(&document, "pulled_bytes"),
        line: after.bytes - before.bytes,
        ours: ended.cost,
        theirs,
    })
}

/// How a timeline's names of pulls of the program end.
pub(crate) fn from_depot() -> String {
    format!("{PROGRAM} from the depot")
}

/// A number of all hosts of a document together.
fn sum(document: &Value, key: &str) -> u64 {
    let hosts = document["hosts"].as_object();
    hosts.into_iter().flatten().filter_map(|(_, host)| host[key].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_hosts_are_a_valid_inventory_with_one_that_keeps_the_depot() {
        let cluster = k8swin_inventory::parse(&inventory(50), "inventory.toml".into()).unwrap();
        assert_eq!((cluster.hosts.len(), cluster.control_planes().count()), (51, 1));
    }

    #[test]
    fn numbers_of_all_hosts_are_added() {
        let document = serde_json::json!({ "hosts": { "a": { "sent_bytes": 3 }, "b": {}, "c": { "sent_bytes": 4 } } });
        assert_eq!(sum(&document, "sent_bytes"), 7);
    }
}
