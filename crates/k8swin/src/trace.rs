//! `--trace FILE`: the timeline of a run in the Chrome trace format, which Perfetto (<https://ui.perfetto.dev>) and
//! `chrome://tracing` show: one row for the run and one for each host, with its stages, uploads, resources and waits.
//!
//! The file is a JSON document after every event, so that a run that is killed leaves one, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::time::Instant;

use camino::Utf8Path;
use k8swin_orchestrator::event::Event;
use serde::Serialize;
use serde_json::json;

/// What ends the document. The next record is written over it.
const END: &[u8] = b"\n]\n";

/// A timeline that is written to a file.
pub(crate) struct Trace {
    file: File,
    started: Instant,
    timeline: Timeline,
    /// Why nothing more is written.
    failed: Option<io::Error>,
}

impl Trace {
    /// Starts a timeline of a run on these hosts of `cluster`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn start<'h>(path: &Utf8Path, cluster: &str, hosts: impl Iterator<Item = &'h str>) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(b"[")?;
        file.write_all(END)?;
        let (timeline, records) = Timeline::new(std::process::id(), cluster, hosts);
        let mut trace = Self { file, started: Instant::now(), timeline, failed: None };
        trace.write(&records, true)?;
        Ok(trace)
    }

    /// Something happened. A file that cannot be written any more is told of at the end.
    pub(crate) fn add(&mut self, event: &Event) {
        let records = self.timeline.event(self.now(), event);
        self.write_or_remember(&records);
    }

    /// The run is over.
    ///
    /// # Errors
    /// When the file could not be written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let records = self.timeline.finish(self.now());
        self.write_or_remember(&records);
        self.failed.map_or(Ok(()), Err)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn write_or_remember(&mut self, records: &[Record]) {
        if self.failed.is_none()
            && let Err(error) = self.write(records, false)
        {
            self.failed = Some(error);
        }
    }

    fn write(&mut self, records: &[Record], first: bool) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for (index, record) in records.iter().enumerate() {
            text.extend_from_slice(if first && index == 0 { b"\n" } else { b",\n" });
            serde_json::to_writer(&mut text, record)?;
        }
        text.extend_from_slice(END);
        self.file.seek(SeekFrom::End(-(END.len() as i64)))?;
        // In one piece: whoever reads meanwhile, or after a kill, finds a whole document.
        self.file.write_all(&text)
    }
}

/// One event of the format ("Trace Event Format", Google, 2016).
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Record {
    name: String,
    #[serde(rename = "cat", skip_serializing_if = "str::is_empty")]
    category: &'static str,
    /// `B` and `E`: a span begins and ends; `i`: a moment; `M`: a name.
    #[serde(rename = "ph")]
    phase: &'static str,
    /// Microseconds since the start of the run.
    #[serde(rename = "ts")]
    at: u64,
    pid: u32,
    tid: usize,
    /// How wide a moment is drawn: `t` is its own row.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    args: serde_json::Value,
}

/// What a span is about: its category in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stage,
    Upload,
    Resource,
    Restart,
    Wait,
}

impl Kind {
    fn category(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Upload => "upload",
            Self::Resource => "resource",
            Self::Restart => "restart",
            Self::Wait => "wait",
        }
    }
}

/// Turns events into records. Pure.
struct Timeline {
    pid: u32,
    /// The row of each host.
    rows: BTreeMap<String, usize>,
    /// The open spans of each row, outermost first. Row 0 is the run's.
    open: Vec<Vec<(Kind, String)>>,
}

impl Timeline {
    fn new<'h>(pid: u32, cluster: &str, hosts: impl Iterator<Item = &'h str>) -> (Self, Vec<Record>) {
        let mut timeline = Self { pid, rows: BTreeMap::new(), open: vec![Vec::new()] };
        let mut records = vec![
            timeline.record("process_name", "", "M", 0, 0, json!({ "name": format!("k8swin {cluster}") })),
            timeline.record("thread_name", "", "M", 0, 0, json!({ "name": "all hosts" })),
        ];
        for host in hosts {
            timeline.row(host, &mut records);
        }
        (timeline, records)
    }

    fn event(&mut self, at: u64, event: &Event) -> Vec<Record> {
        let mut records = Vec::new();
        let out = &mut records;
        match event {
            Event::StageStarted(stage) => {
                self.close(0, at, 0, out);
                self.begin(0, at, Kind::Stage, stage.to_string(), json!(null), out);
            }
            Event::HostStage { host, stage, steps } => {
                let row = self.row(host, out);
                let name = stage.to_string();
                // A host that is told to be in its stage again is in it still.
                if self.outermost(row) == Some((Kind::Stage, name.as_str())) {
                    self.close_inner(row, at, out);
                    return records;
                }
                self.close(row, at, 0, out);
                let args = if *steps > 0 { json!({ "steps": steps }) } else { json!(null) };
                self.begin(row, at, Kind::Stage, name, args, out);
            }
            Event::Started { host, resource, difference } => {
                let row = self.row(host, out);
                self.close_inner(row, at, out);
                let args = json!({ "difference": difference });
                self.begin(row, at, Kind::Resource, resource.to_string(), args, out);
            }
            Event::Ended { host, resource, .. } => {
                let row = self.row(host, out);
                // What was as desired was looked at in no time that is known.
                if self.is_open(row, Kind::Resource, resource.as_str()) {
                    self.close_inner(row, at, out);
                }
            }
            Event::Sent { host, what, done, total } => {
                let row = self.row(host, out);
                if !self.is_open(row, Kind::Upload, what) {
                    self.close_inner(row, at, out);
                    let args = json!({ "bytes": total, "there": done });
                    self.begin(row, at, Kind::Upload, what.clone(), args, out);
                }
                if done >= total {
                    self.close_inner(row, at, out);
                }
            }
            Event::Rebooting { host, reason } => {
                let row = self.row(host, out);
                self.close_inner(row, at, out);
                self.begin(row, at, Kind::Restart, "restarts".to_owned(), json!({ "reason": reason }), out);
            }
            Event::Retrying { host, cause } => {
                let row = self.row(host, out);
                out.push(self.moment("tries again", at, row, json!({ "cause": cause })));
            }
            Event::HostDone { host, .. } => {
                let row = self.row(host, out);
                self.close(row, at, 0, out);
                self.begin(row, at, Kind::Wait, "waits for other hosts".to_owned(), json!(null), out);
            }
            Event::HostFailed { host, failure, .. } => {
                let row = self.row(host, out);
                self.close(row, at, 0, out);
                out.push(self.moment("failed", at, row, json!({ "failure": failure.to_string() })));
            }
            Event::Note { host, text } => {
                let row = host.as_ref().map_or(0, |host| self.row(host, out));
                out.push(self.moment("note", at, row, json!({ "text": text })));
            }
        }
        records
    }

    /// Ends all spans.
    fn finish(&mut self, at: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for row in 0..self.open.len() {
            self.close(row, at, 0, &mut records);
        }
        records
    }

    /// The row of a host, with its name in the file.
    fn row(&mut self, host: &str, out: &mut Vec<Record>) -> usize {
        if let Some(row) = self.rows.get(host) {
            return *row;
        }
        let row = self.open.len();
        self.open.push(Vec::new());
        self.rows.insert(host.to_owned(), row);
        out.push(self.record("thread_name", "", "M", 0, row, json!({ "name": host })));
        out.push(self.record("thread_sort_index", "", "M", 0, row, json!({ "sort_index": row })));
        row
    }

    fn is_open(&self, row: usize, kind: Kind, name: &str) -> bool {
        let last = self.open.get(row).and_then(|spans| spans.last());
        last.is_some_and(|(of, called)| *of == kind && called == name)
    }

    fn outermost(&self, row: usize) -> Option<(Kind, &str)> {
        let (kind, name) = self.open.get(row)?.first()?;
        Some((*kind, name))
    }

    fn begin(&mut self, row: usize, at: u64, kind: Kind, name: String, args: serde_json::Value, out: &mut Vec<Record>) {
        out.push(self.record(&name, kind.category(), "B", at, row, args));
        if let Some(spans) = self.open.get_mut(row) {
            spans.push((kind, name));
        }
    }

    /// Ends what is open within a stage: a host does one thing at a time.
    fn close_inner(&mut self, row: usize, at: u64, out: &mut Vec<Record>) {
        let in_stage = self.outermost(row).is_some_and(|(kind, _)| kind == Kind::Stage);
        self.close(row, at, usize::from(in_stage), out);
    }

    /// Ends spans, innermost first, until `left` are open.
    fn close(&mut self, row: usize, at: u64, left: usize, out: &mut Vec<Record>) {
        while let Some(spans) = self.open.get_mut(row)
            && spans.len() > left
            && let Some((kind, name)) = spans.pop()
        {
            out.push(self.record(&name, kind.category(), "E", at, row, json!(null)));
        }
    }

    fn moment(&self, name: &str, at: u64, row: usize, args: serde_json::Value) -> Record {
        Record { scope: Some("t"), ..self.record(name, "moment", "i", at, row, args) }
    }

    fn record(
        &self,
        name: &str,
        category: &'static str,
        phase: &'static str,
        at: u64,
        row: usize,
        args: serde_json::Value,
    ) -> Record {
        Record { name: name.to_owned(), category, phase, at, pid: self.pid, tid: row, scope: None, args }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use k8swin_orchestrator::event::Stage;
    use serde_json::Value;

    use super::*;
    use crate::render::samples;

    fn read(path: &Utf8Path) -> Vec<Value> {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Every span ends, in the row and the order in which it began.
    fn assert_nested(records: &[Value]) {
        let mut open: BTreeMap<u64, Vec<(&str, u64)>> = BTreeMap::new();
        for record in records {
            let (name, at) = (record["name"].as_str().unwrap(), record["ts"].as_u64().unwrap());
            let spans = open.entry(record["tid"].as_u64().unwrap()).or_default();
            match record["ph"].as_str().unwrap() {
                "B" => spans.push((name, at)),
                "E" => {
                    let (began, since) = spans.pop().unwrap();
                    assert_eq!(began, name);
                    assert!(since <= at);
                }
                _ => {}
            }
        }
        assert!(open.values().all(Vec::is_empty), "{open:?}");
    }

    fn path(folder: &tempfile::TempDir) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(folder.path().join("trace.json")).unwrap()
    }

    #[test]
    fn a_run_is_a_document_after_every_event_and_its_spans_nest() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder);
        let mut trace = Trace::start(&path, "demo", ["lin01", "win01"].into_iter()).unwrap();
        let mut last = read(&path).len();
        for event in samples::events() {
            trace.add(&event);
            let now = read(&path).len();
            assert!(now >= last);
            last = now;
        }
        trace.finish().unwrap();
        let records = read(&path);
        assert_nested(&records);
        for host in ["lin01", "win01"] {
            assert!(records.iter().any(|record| record["ph"] == "M" && record["args"]["name"] == host));
        }
        let stages = samples::events().into_iter().filter_map(|event| match event {
            Event::HostStage { stage, .. } => Some(stage.to_string()),
            _ => None,
        });
        for stage in stages {
            assert!(records.iter().any(|record| record["ph"] == "B" && record["name"] == stage), "{stage}");
        }
    }

    #[test]
    fn an_upload_is_a_span_within_its_stage_and_a_wait_lies_between_stages() {
        let host = || "win01".to_owned();
        let (mut timeline, _) = Timeline::new(1, "demo", ["win01"].into_iter());
        let sent = |done| Event::Sent { host: host(), what: "kubelet.exe".into(), done, total: 10 };
        let events = [
            Event::HostStage { host: host(), stage: Stage::Check, steps: 3 },
            sent(0),
            sent(5),
            sent(10),
            Event::HostDone { host: host(), stage: Stage::Check },
            Event::HostStage { host: host(), stage: Stage::Verify, steps: 0 },
        ];
        let mut records: Vec<_> = (1..).zip(&events).flat_map(|(at, event)| timeline.event(at, event)).collect();
        records.extend(timeline.finish(9));
        let told: Vec<_> = records.iter().map(|record| (record.phase, record.name.as_str(), record.at)).collect();
        assert_eq!(
            told,
            [
                ("B", "check", 1),
                ("B", "kubelet.exe", 2),
                ("E", "kubelet.exe", 4),
                ("E", "check", 5),
                ("B", "waits for other hosts", 5),
                ("E", "waits for other hosts", 6),
                ("B", "verify", 6),
                ("E", "verify", 9),
            ]
        );
    }

    #[test]
    fn a_host_that_is_told_to_be_in_its_stage_again_is_in_one_span() {
        let (mut timeline, _) = Timeline::new(1, "demo", ["lin01"].into_iter());
        let sent = |what: &str, done| Event::Sent { host: "lin01".into(), what: what.into(), done, total: 10 };
        let stage = || Event::HostStage { host: "lin01".into(), stage: Stage::Ship, steps: 0 };
        let events = [stage(), sent("one", 0), sent("one", 10), stage(), sent("two", 0), sent("two", 7), stage()];
        let mut records: Vec<_> = (1..).zip(&events).flat_map(|(at, event)| timeline.event(at, event)).collect();
        records.extend(timeline.finish(9));
        let told: Vec<_> = records.iter().map(|record| (record.phase, record.name.as_str(), record.at)).collect();
        let ship = "programs to the hosts";
        assert_eq!(
            told,
            [("B", ship, 1), ("B", "one", 2), ("E", "one", 3), ("B", "two", 5), ("E", "two", 7), ("E", ship, 9)]
        );
    }

    #[test]
    fn a_failure_ends_the_spans_of_its_host_and_of_no_other() {
        let (mut timeline, _) = Timeline::new(1, "demo", ["a", "b"].into_iter());
        for host in ["a", "b"] {
            timeline.event(1, &Event::HostStage { host: host.into(), stage: Stage::Check, steps: 0 });
        }
        let failure = k8swin_protocol::wire::Failure { attempted: "write".into(), answer: "full".into(), hint: None };
        let records = timeline.event(2, &Event::HostFailed { host: "a".into(), stage: Stage::Check, failure });
        assert_eq!(records.iter().map(|record| record.phase).collect::<Vec<_>>(), ["E", "i"]);
        assert_eq!(timeline.finish(3).len(), 1);
    }
}
