//! The journal: what was done to which host and when, one JSON line each, appended in the state folder.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::state::StateDir;
use crate::{Options, RunError};

/// Tells the world what happens, and writes down what changed hosts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Teller {
    events: mpsc::UnboundedSender<Event>,
    journal: Option<Arc<Mutex<File>>>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl Teller {
    /// For commands that change nothing: no journal.
    pub(crate) fn silent(options: &Options) -> Self {
        Self { events: options.events.clone(), journal: None }
    }

    /// For commands that change hosts.
    pub(crate) fn with_journal(options: &Options, state: &StateDir, command: &str) -> Result<Self, RunError> {
        let path = state.journal()?;
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(|source| RunError::State {
            action: "open",
            path,
            source,
        })?;
        let teller = Self { events: options.events.clone(), journal: Some(Arc::new(Mutex::new(file))) };
        teller.write(None, "run started", None, Some(&format!("{command} by {}", options.owner)));
        Ok(teller)
    }

    /// Something happened.
    pub(crate) fn tell(&self, event: Event) {
        match &event {
            Event::StageStarted(stage) => self.write(None, "stage", None, Some(&stage.to_string())),
            Event::Started { host, resource, difference } => {
                self.write(Some(host), "started", Some(resource.as_str()), Some(difference));
            }
            Event::Ended { host, resource, changed: true } => {
                self.write(Some(host), "changed", Some(resource.as_str()), None);
            }
            Event::Rebooting { host, reason } => self.write(Some(host), "reboot", None, Some(reason)),
            Event::HostFailed { host, failure, .. } => {
                self.write(Some(host), "failed", None, Some(&failure.to_string()));
            }
            _ => {}
        }
        // A renderer that is gone is no reason to stop working on hosts.
        let _ = self.events.send(event);
    }

    /// The run has ended.
    pub(crate) fn ended(&self, how: &str) {
        self.write(None, "run ended", None, Some(how));
    }

    fn write(&self, host: Option<&str>, what: &'static str, resource: Option<&str>, detail: Option<&str>) {
        let Some(journal) = &self.journal else { return };
        let line = Line { at: Timestamp::now().to_string(), host, what, resource, detail };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        let written = journal.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write the journal");
        }
    }
}
