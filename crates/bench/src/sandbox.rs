//! Where the time goes in a run: its timeline, a row for each host.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde_json::Value;

use crate::page::{Results, number};
use crate::plot::{self, Row, Span};

/// Reads the timeline of a first `up` and writes what it shows.
pub(crate) fn run(timeline: &Utf8Path, results: &mut Results) -> Result<(), String> {
    let text = std::fs::read_to_string(timeline).map_err(|error| format!("cannot read {timeline}: {error}"))?;
    let rows = rows(&text);
    if rows.iter().all(|row| row.spans.is_empty()) {
        return Err(format!("{timeline} is no timeline of `k8swin up --trace`"));
    }
    results.heading("Where the time goes in a first `up`", "cargo xtask bench sandbox --timeline FILE");
    results.text(
        "The first `up` of the sandbox (docs/sandbox.md): two Linux hosts with real Docker, etcd and Kubernetes 1.20.2, and two \
         Windows hosts under Wine, all on this machine, whose two cores they share. FILE is the timeline that \
         `cargo xtask e2e --target sandbox` leaves beside the log of its first `up`. Seconds of each stage; a stage of the run begins with \
         the first host that is in it."
            .to_owned(),
    );
    let stages: Vec<&str> = stages(&rows);
    let mut columns = vec!["host"];
    columns.extend(&stages);
    columns.push("in all");
    let table: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let of = |stage: &str| {
                row.spans.iter().filter(|span| span.what == stage).map(|span| span.end - span.begin).sum()
            };
            let seconds: Vec<f64> = stages.iter().map(|stage| of(stage)).collect();
            let shown = |seconds: &f64| if *seconds > 0.0 { number(*seconds) } else { String::new() };
            let all = number(seconds.iter().sum());
            [row.name.clone()].into_iter().chain(seconds.iter().map(shown)).chain([all]).collect()
        })
        .collect();
    results.table(&columns, &table);
    let title = "stages of each host, in seconds since the beginning";
    results.drawing("sandbox.svg", title, plot::spans(title, &rows));
    Ok(())
}

/// The stages in the order in which they first begin.
fn stages(rows: &[Row]) -> Vec<&str> {
    let mut spans: Vec<&Span> = rows.iter().flat_map(|row| &row.spans).collect();
    spans.sort_by(|one, other| one.begin.total_cmp(&other.begin));
    let mut seen = BTreeSet::new();
    spans.into_iter().map(|span| span.what.as_str()).filter(|stage| seen.insert(*stage)).collect()
}

/// The rows of a timeline with their stages, that of all hosts first. What has no end does not count.
fn rows(timeline: &str) -> Vec<Row> {
    let events: Vec<Value> = serde_json::from_str(timeline).unwrap_or_default();
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    let mut open: BTreeMap<(u64, &str), f64> = BTreeMap::new();
    for event in &events {
        let (Some(row), Some(name)) = (event["tid"].as_u64(), event["name"].as_str()) else { continue };
        if name == "thread_name" {
            rows.entry(row).or_default().name = event["args"]["name"].as_str().unwrap_or_default().to_owned();
        }
        let (true, Some(at)) = (event["cat"] == "stage", event["ts"].as_f64()) else { continue };
        if event["ph"] == "B" {
            open.insert((row, name), at / 1e6);
        } else if let Some(begin) = open.remove(&(row, name)) {
            rows.entry(row).or_default().spans.push(Span { what: name.to_owned(), begin, end: at / 1e6 });
        }
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_by_host() {
        let timeline = r#"[
            {"name":"thread_name","ph":"M","ts":0,"tid":0,"args":{"name":"all hosts"}},
            {"name":"thread_name","ph":"M","ts":0,"tid":1,"args":{"name":"lin01"}},
            {"name":"connect","cat":"stage","ph":"B","ts":0,"tid":1},
            {"name":"connect","cat":"stage","ph":"E","ts":1500000,"tid":1},
            {"name":"files","cat":"stage","ph":"B","ts":1500000,"tid":1},
            {"name":"file:/etc/x","cat":"resource","ph":"B","ts":1600000,"tid":1},
            {"name":"file:/etc/x","cat":"resource","ph":"E","ts":1700000,"tid":1},
            {"name":"files","cat":"stage","ph":"E","ts":2000000,"tid":1},
            {"name":"verify","cat":"stage","ph":"B","ts":2000000,"tid":1}
        ]"#;
        let rows = rows(timeline);
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                let spans = row.spans.iter().map(|span| format!("{} {}-{}", span.what, span.begin, span.end));
                (row.name.as_str(), spans.collect::<Vec<_>>().join(", "))
            })
            .collect();
        assert_eq!(told, [("all hosts", String::new()), ("lin01", "connect 0-1.5, files 1.5-2".to_owned())]);
        assert_eq!(stages(&rows), ["connect", "files"]);
    }
}
