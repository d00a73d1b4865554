//! Progress as lines: for logs, pipes and quiet terminals.

use std::collections::HashMap;
use std::fmt::Write as _;

use k8swin_orchestrator::event::{Event, Stage};

use crate::render::style::{Palette, size};

/// Transfers smaller than this are told once, when they are done.
const LARGE: u64 = 8 << 20;

/// Turns events into lines.
pub(crate) struct Lines {
    width: usize,
    quiet: bool,
    palette: Palette,
    stages: HashMap<String, Stage>,
    /// Quarters of a transfer that have been told.
    quarters: HashMap<(String, String), u64>,
}

impl Lines {
    /// Lines with a column for host names of that width; only what goes wrong if `quiet`.
    pub(crate) fn new(width: usize, quiet: bool, palette: Palette) -> Self {
        Self { width, quiet, palette, stages: HashMap::new(), quarters: HashMap::new() }
    }

    /// The text for an event: one line or more, or none.
    pub(crate) fn text(&mut self, event: &Event) -> Option<String> {
        if let Event::HostStage { host, stage, .. } = event {
            self.stages.insert(host.clone(), *stage);
            return None;
        }
        if self.quiet && !matches!(event, Event::HostFailed { .. } | Event::Rebooting { .. }) {
            return None;
        }
        Some(match event {
            Event::StageStarted(stage) => self.palette.bold(&format!("==> {stage}")),
            Event::Started { host, resource, difference } => {
                self.line(host, None, &format!("started {resource} ({difference})"))
            }
            Event::Ended { host, resource, changed: true } => self.line(host, None, &format!("changed {resource}")),
            Event::Sent { host, what, done, total } => {
                let text = self.transfer(host, what, *done, *total)?;
                self.line(host, None, &text)
            }
            Event::Rebooting { host, reason } => {
                self.line(host, None, &self.palette.yellow(&format!("restarts: {reason}")))
            }
            Event::Retrying { host, cause } => {
                self.line(host, None, &self.palette.yellow(&format!("tries again: {cause}")))
            }
            Event::HostDone { host, stage: Stage::Connect } => self.line(host, Some(Stage::Connect), "connected"),
            Event::HostFailed { host, stage, failure } => {
                let mut text = self.line(host, Some(*stage), &self.palette.red(&format!("failed: {failure}")));
                if let Some(hint) = &failure.hint {
                    // Writing into a String cannot fail.
                    let _ = write!(text, "\n{}", self.line(host, Some(*stage), &format!("hint: {hint}")));
                }
                text
            }
            Event::Note { host: Some(host), text } => self.line(host, None, text),
            Event::Note { host: None, text } => text.clone(),
            Event::Ended { changed: false, .. } | Event::HostDone { .. } | Event::HostStage { .. } => return None,
        })
    }

    fn line(&self, host: &str, stage: Option<Stage>, text: &str) -> String {
        let stage = stage.or_else(|| self.stages.get(host).copied()).map(|stage| stage.to_string()).unwrap_or_default();
        format!("{host:<width$}  {stage:<19}  {text}", width = self.width)
    }

    /// Small transfers are told when they are done, large ones at each quarter.
    fn transfer(&mut self, host: &str, what: &str, done: u64, total: u64) -> Option<String> {
        if done >= total {
            self.quarters.remove(&(host.to_owned(), what.to_owned()));
            return Some(format!("sent {what} ({})", size(total)));
        }
        let quarter = (total >= LARGE).then(|| done / (total / 4))?;
        let told = self.quarters.entry((host.to_owned(), what.to_owned())).or_default();
        if quarter <= *told {
            return None;
        }
        *told = quarter;
        Some(format!("sends {what}: {} %", quarter * 25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn rendered(quiet: bool) -> String {
        let mut lines = Lines::new(5, quiet, Palette::new(false));
        let text: Vec<String> = samples::events().iter().filter_map(|event| lines.text(event)).collect();
        text.join("\n")
    }

    #[test]
    fn a_run_as_lines() {
        insta::assert_snapshot!(rendered(false));
    }

    #[test]
    fn quiet_tells_what_goes_wrong_and_what_takes_long() {
        insta::assert_snapshot!(rendered(true));
    }

    #[test]
    fn a_large_transfer_is_told_at_each_quarter() {
        let mut lines = Lines::new(5, false, Palette::new(false));
        let total = 100_000_000;
        let sent = |done| Event::Sent { host: "win01".into(), what: "kubelet.exe".into(), done, total };
        let told = (0..=100).filter_map(|percent| lines.text(&sent(total / 100 * percent))).count();
        assert_eq!(told, 4);
    }
}
