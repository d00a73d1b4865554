//! What a timeline of `k8swin --trace` says of files on their way.

use std::collections::BTreeMap;

use serde_json::Value;

/// A file that was on its way to a host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Upload {
    /// The file, and where it came from, as the timeline names it.
    pub(crate) what: String,
    /// Seconds since the beginning of the run.
    pub(crate) begin: f64,
    /// The same.
    pub(crate) end: f64,
}

/// All uploads that have ended, in the order of their ends; nothing where this is no timeline.
pub(crate) fn uploads(trace: &str) -> Vec<Upload> {
    let events: Vec<Value> = serde_json::from_str(trace).unwrap_or_default();
    let mut open: BTreeMap<u64, (&str, f64)> = BTreeMap::new();
    let mut uploads = Vec::new();
    for event in events.iter().filter(|event| event["cat"] == "upload") {
        let row = event["tid"].as_u64();
        let (Some(row), Some(what), Some(at)) = (row, event["name"].as_str(), event["ts"].as_f64()) else { continue };
        // A host does one thing at a time.
        if event["ph"] == "B" {
            open.insert(row, (what, at));
        } else if let Some((what, since)) = open.remove(&row) {
            uploads.push(Upload { what: what.to_owned(), begin: since / 1e6, end: at / 1e6 });
        }
    }
    uploads
}

/// Those of a file, however it came, or where it came from: its name may end with ` (for all)`, which is the way to the depot,
/// or ` from the depot`.
pub(crate) fn of<'u>(uploads: &'u [Upload], end: &str) -> Vec<&'u Upload> {
    uploads.iter().filter(|upload| upload.what.ends_with(end)).collect()
}

/// From the first beginning to the last end, in seconds; nothing without uploads.
pub(crate) fn span(uploads: &[&Upload]) -> Option<f64> {
    let begin = uploads.iter().map(|upload| upload.begin).reduce(f64::min)?;
    let end = uploads.iter().map(|upload| upload.end).reduce(f64::max)?;
    Some(end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hosts that take a file while a third one keeps it.
    const TRACE: &str = r#"[
        {"name":"binaries","cat":"stage","ph":"B","ts":5,"tid":1},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe (for all)","cat":"upload","ph":"B","ts":500000,"tid":1},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe (for all)","cat":"upload","ph":"E","ts":900000,"tid":1},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe from the depot","cat":"upload","ph":"B","ts":1000000,"tid":2},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe from the depot","cat":"upload","ph":"B","ts":1500000,"tid":3},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe from the depot","cat":"upload","ph":"E","ts":3500000,"tid":2},
        {"name":"file:C:\\k8swin\\bin\\kubelet.exe from the depot","cat":"upload","ph":"E","ts":4000000,"tid":3}
    ]"#;

    #[test]
    fn uploads_of_hosts_at_the_same_time_are_told_apart() {
        let uploads = uploads(TRACE);
        let pulls = of(&uploads, "kubelet.exe from the depot");
        let seconds: Vec<_> = pulls.iter().map(|upload| upload.end - upload.begin).collect();
        assert_eq!(seconds, [2.5, 2.5]);
        assert_eq!(span(&pulls), Some(3.0));
        assert_eq!(span(&of(&uploads, "kubelet.exe (for all)")), Some(0.4));
        assert_eq!(span(&of(&uploads, "kubelet.exe")), None);
    }

    #[test]
    fn what_is_no_timeline_has_no_uploads() {
        assert_eq!(uploads("[]"), []);
        assert_eq!(uploads("{"), []);
    }
}
