//! Progress as bars: on a terminal, one line for each host that is at work.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use k8swin_orchestrator::event::{Event, Stage};
use k8swin_protocol::{ResourceId, SecretBytes};

use crate::render::message;
use crate::render::plain::Lines;
use crate::render::style::{Palette, count, size};

/// How progress is shown.
pub(crate) enum Renderer {
    /// As bars.
    Bars(Bars),
    /// As lines.
    Lines(Lines),
}

/// Runs a question while nothing else is drawn.
pub(crate) type Pause = Box<dyn Fn(&Question<'_>) -> io::Result<SecretBytes> + Send + Sync>;

/// A question to the person at the terminal.
pub(crate) type Question<'a> = dyn Fn() -> io::Result<SecretBytes> + 'a;

impl Renderer {
    /// Shows an event.
    pub(crate) fn show(&mut self, event: &Event) {
        match self {
            Self::Bars(bars) => bars.show(event),
            Self::Lines(lines) => {
                if let Some(text) = lines.text(event) {
                    message(&text);
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn close(&mut self) {
        if let Self::Bars(bars) = self {
            bars.close();
        }
    }

    /// For questions in the midst of a run.
    pub(crate) fn pause(&self) -> Pause {
        match self {
            Self::Bars(bars) => {
                let all = bars.all.clone();
                Box::new(move |question| all.suspend(question))
            }
            Self::Lines(_) => Box::new(|question| question()),
        }
    }
}

/// Bars on standard error.
pub(crate) struct Bars {
    all: MultiProgress,
    stage: ProgressBar,
    hosts: HashMap<String, HostBar>,
    lines: Lines,
    width: usize,
    /// How many hosts are done with each stage: hosts go on by themselves.
    done: HashMap<Stage, usize>,
}

struct HostBar {
    bar: ProgressBar,
    stage: Stage,
    steps: usize,
    /// After a restart of the host, resources end a second time: each counts once.
    ended: HashSet<ResourceId>,
}

impl Bars {
    /// Bars with a column for host names of that width.
    pub(crate) fn new(width: usize, palette: Palette) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let stage = all.add(ProgressBar::new_spinner());
        stage.enable_steady_tick(Duration::from_millis(120));
        // What is worth keeping scrolls by above the bars, as the same lines that pipes get.
        Self {
            all,
            stage,
            hosts: HashMap::new(),
            lines: Lines::new(width, false, palette),
            width,
            done: HashMap::new(),
        }
    }

    fn show(&mut self, event: &Event) {
        let text = self.lines.text(event);
        match event {
            Event::StageStarted(stage) => {
                self.done.remove(stage);
                self.stage.set_message(stage.to_string());
            }
            Event::HostStage { host, stage, steps } => {
                let bar = self.host(host);
                (bar.stage, bar.steps, bar.ended) = (*stage, *steps, HashSet::new());
                bar.say("");
            }
            Event::Started { host, resource, .. } => self.host(host).say(resource.as_str()),
            Event::Ended { host, resource, .. } => {
                let bar = self.host(host);
                bar.ended.insert(resource.clone());
                bar.say("");
            }
            Event::Sent { host, what, done, total } => {
                self.host(host).say(&format!("{what}: {} of {}", size(*done), size(*total)));
            }
            Event::HostDone { host, stage } => {
                self.remove(host);
                let done = self.done.entry(*stage).or_default();
                *done += 1;
                self.stage.set_message(format!("{stage}: {} done", count(*done, "host")));
            }
            Event::HostFailed { host, .. } => {
                self.remove(host);
                self.keep(text);
            }
            Event::Rebooting { host, .. } => {
                self.host(host).say("restarts");
                self.keep(text);
            }
            Event::Retrying { .. } | Event::Note { .. } => self.keep(text),
        }
    }

    /// Prints lines above the bars.
    fn keep(&self, text: Option<String>) {
        // A terminal that is gone takes nothing any more.
        let _ = text.map(|text| self.all.println(text));
    }

    fn host(&mut self, host: &str) -> &mut HostBar {
        let (all, width) = (&self.all, self.width);
        self.hosts.entry(host.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::no_length());
            if let Ok(style) = ProgressStyle::with_template("{prefix}  {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(format!("  {host:<width$}"));
            HostBar { bar, stage: Stage::Connect, steps: 0, ended: HashSet::new() }
        })
    }

    fn remove(&mut self, host: &str) {
        if let Some(bar) = self.hosts.remove(host) {
            bar.bar.finish_and_clear();
            self.all.remove(&bar.bar);
        }
    }

    fn close(&mut self) {
        for (_, bar) in self.hosts.drain() {
            bar.bar.finish_and_clear();
        }
        self.stage.finish_and_clear();
        // The same: there may be no terminal any more.
        let _ = self.all.clear();
    }
}

impl HostBar {
    fn say(&self, text: &str) {
        let steps = if self.steps > 0 { format!("{}/{}", self.ended.len(), self.steps) } else { String::new() };
        self.bar.set_message(format!("{:<19}  {steps:>7}  {text}", self.stage.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn bars_come_and_go_with_their_hosts() {
        let mut bars = Bars::new(5, Palette::new(false));
        bars.all.set_draw_target(ProgressDrawTarget::hidden());
        for event in samples::events() {
            bars.show(&event);
            if let Event::HostStage { host, .. } = &event {
                assert!(bars.hosts.contains_key(host));
            }
        }
        assert!(bars.hosts.is_empty(), "{:?}", bars.hosts.keys());
        bars.close();
        assert!(bars.stage.is_finished());
    }

    #[test]
    fn a_question_is_asked_while_bars_are_shown() {
        let renderer = Renderer::Bars(Bars::new(5, Palette::new(false)));
        let answer = renderer.pause()(&|| Ok(SecretBytes::new("answer"))).unwrap();
        assert_eq!(answer.expose(), b"answer");
    }
}
