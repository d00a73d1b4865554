//! What all commands need: the global options, colours, folders, the inventory, and a run with its renderer.

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::{Cluster, Ignored};
use k8swin_orchestrator::Options;
use k8swin_orchestrator::event::Event;
use k8swin_protocol::SecretBytes;
use k8swin_transport::Secrets;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Colour, Global, Output, Patience};
use crate::failure::Failure;
use crate::render::progress::{Bars, Renderer};
use crate::render::style::Palette;
use crate::render::{self, plain};
use crate::trace::Trace;
use crate::{interrupt, logging};

/// How often what is transient is tried.
const ATTEMPTS: u32 = 3;

/// What all commands need.
pub(crate) struct Context {
    /// The options.
    pub(crate) global: Global,
    /// Colours of standard output.
    pub(crate) stdout: Palette,
    /// Colours of standard error.
    pub(crate) stderr: Palette,
}

/// A valid inventory and where it came from.
pub(crate) struct Inventory {
    /// The file.
    pub(crate) path: Utf8PathBuf,
    /// Its text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) cluster: Cluster,
}

/// How long nodes may take to be Ready, and pods to run: the first minute of a service account included.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(180);

/// What differs between commands that run against hosts.
pub(crate) struct RunSettings {
    /// Preflight checks whose findings do not count.
    pub(crate) ignore: Vec<Ignored>,
    /// Whether the lock is taken from whoever holds it.
    pub(crate) break_lock: bool,
    /// How long hosts are waited for while they change.
    pub(crate) patience: Patience,
    /// How long nodes and pods are waited for.
    pub(crate) ready_within: Duration,
    /// A folder of this process for state and cache, for a cluster that is forgotten afterwards.
    pub(crate) forgotten: Option<Utf8PathBuf>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            ignore: Vec::new(),
            break_lock: false,
            patience: Patience::default(),
            ready_within: READY_WITHIN,
            forgotten: None,
        }
    }
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let palette = |terminal| match global.color {
            Colour::Always => Palette::new(true),
            Colour::Never => Palette::new(false),
            Colour::Auto => Palette::new(terminal && !set("NO_COLOR") && !is_dumb()),
        };
        let (stdout, stderr) = (palette(io::stdout().is_terminal()), palette(io::stderr().is_terminal()));
        Self { global, stdout, stderr }
    }

    /// Whether results are printed as JSON.
    pub(crate) fn json(&self) -> bool {
        self.global.output == Output::Json
    }

    /// Whether somebody can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.global.no_input && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Reads and checks an inventory; prints its warnings.
    pub(crate) fn inventory(&self, path: &Utf8Path) -> Result<Inventory, Failure> {
        let bytes = std::fs::read(path).map_err(|error| {
            let failure = Failure::usage(format!("cannot read the inventory {path}: {error}"));
            match error.kind() {
                io::ErrorKind::NotFound => failure.hint("`k8swin init` writes a new one"),
                _ => failure,
            }
        })?;
        let text = utf8(bytes, path)?;
        let cluster = k8swin_inventory::parse(&text, path)?;
        if !self.global.quiet {
            for warning in &cluster.warnings {
                render::message(&format!("{} {warning}", self.stderr.yellow("warning:")));
            }
        }
        Ok(Inventory { path: path.to_owned(), text, cluster })
    }

    /// Runs a command of the orchestrator against the hosts of a cluster, and renders its events meanwhile.
    pub(crate) async fn run<T>(
        &self,
        inventory: &Inventory,
        settings: RunSettings,
        work: impl AsyncFnOnce(&Options) -> T,
    ) -> Result<T, Failure> {
        let renderer = self.renderer(&inventory.cluster);
        let trace = self.trace(inventory)?;
        let (events, received) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        interrupt::watch(cancel.clone(), self.stderr);
        let forgotten = settings.forgotten;
        let options = Options {
            state_dir: match &forgotten {
                Some(folder) => folder.join("state"),
                None => self.state_dir(inventory),
            },
            cache_dir: match &forgotten {
                Some(folder) => folder.join("cache"),
                None => self.cache_dir()?,
            },
            parallel: self.global.parallel,
            uploads: self.global.uploads,
            max_unavailable: self.global.max_unavailable,
            owner: owner(),
            break_lock: settings.break_lock,
            ignore: settings.ignore,
            cancel,
            events,
            secrets: Arc::new(self.secrets(&renderer)),
            // A simulated host is reached as its inventory says, whatever this user's SSH configuration says of others.
            ssh_config: if forgotten.is_some() { None } else { self.ssh_config() },
            confirm_within: Duration::from_secs(settings.patience.confirm_within.into()),
            restart_within: Duration::from_secs(settings.patience.restart_within.into()),
            ready_within: settings.ready_within,
            attempts: ATTEMPTS,
        };
        let (done, ended) = oneshot::channel();
        let rendering = tokio::spawn(render_events(received, renderer, trace, ended));
        let result = work(&options).await;
        // The renderer prints what is still in the channel and ends, even if a clone of the sender lives on somewhere.
        let _ = done.send(());
        let _ = rendering.await;
        Ok(result)
    }

    /// The timeline of a run, if one is wanted.
    fn trace(&self, inventory: &Inventory) -> Result<Option<Trace>, Failure> {
        let Some(path) = &self.global.trace else { return Ok(None) };
        let hosts = inventory.cluster.hosts.iter().map(|host| host.name.as_str());
        Trace::start(path, &inventory.cluster.name, hosts).map(Some).map_err(Failure::io("write", path))
    }

    /// The folder for a cluster's keys and journal.
    fn state_dir(&self, inventory: &Inventory) -> Utf8PathBuf {
        match &self.global.state_dir {
            Some(folder) => folder.clone(),
            None => {
                let beside = inventory.path.parent().unwrap_or(Utf8Path::new(""));
                beside.join(".k8swin").join(&inventory.cluster.name)
            }
        }
    }

    /// The folder for downloads: XDG's cache folder, or the local application data on Windows.
    pub(crate) fn cache_dir(&self) -> Result<Utf8PathBuf, Failure> {
        if let Some(folder) = &self.global.cache_dir {
            return Ok(folder.clone());
        }
        let base = if cfg!(windows) {
            folder_of("LOCALAPPDATA")
        } else {
            folder_of("XDG_CACHE_HOME").or_else(|| home().map(|home| home.join(".cache")))
        };
        base.map(|base| base.join("k8swin")).ok_or_else(|| {
            Failure::usage("there is no home folder to keep downloads in").hint("give one: `--cache-dir FOLDER`")
        })
    }

    fn ssh_config(&self) -> Option<Utf8PathBuf> {
        match &self.global.ssh_config {
            Some(file) if file == "none" => None,
            Some(file) => Some(file.clone()),
            None => home().map(|home| home.join(".ssh/config")).filter(|file| file.is_file()),
        }
    }

    fn secrets(&self, renderer: &Renderer) -> Secrets {
        if !self.can_ask() {
            return Secrets::without_prompt();
        }
        let pause = renderer.pause();
        Secrets::new(move |question| {
            pause(&|| {
                let answer = dialoguer::Password::new().with_prompt(question).interact().map_err(io::Error::from)?;
                Ok(SecretBytes::new(answer))
            })
        })
    }

    fn renderer(&self, cluster: &Cluster) -> Renderer {
        let names = cluster.hosts.iter().map(|host| host.name.as_str());
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        // Bars and log lines would tear each other apart.
        if io::stderr().is_terminal() && !is_dumb() && !self.global.quiet && self.global.verbose == 0 {
            Renderer::Bars(Bars::new(width, self.stderr))
        } else {
            Renderer::Lines(plain::Lines::new(width, self.global.quiet, self.stderr))
        }
    }
}

/// The text of an inventory. TOML is UTF-8; Windows' PowerShell and Notepad write UTF-16 unless told otherwise.
fn utf8(bytes: Vec<u8>, path: &Utf8Path) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(good).filter(|&&byte| byte == b'\n').count();
        let utf16 = error.as_bytes().starts_with(&[0xff, 0xfe]) || error.as_bytes().starts_with(&[0xfe, 0xff]);
        let found = if utf16 { "this is UTF-16" } else { "this is not UTF-8 text" };
        Failure::usage(format!("the inventory is not valid\n\n{path}:{line}: {found}"))
            .hint("is this the right file? An inventory is TOML: save it as UTF-8")
    })
}

async fn render_events(
    mut received: mpsc::UnboundedReceiver<Event>,
    mut renderer: Renderer,
    mut trace: Option<Trace>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut log = plain::Lines::new(0, false, Palette::new(false));
    loop {
        tokio::select! {
            biased;
            event = received.recv() => match event {
                Some(event) => show(&event, &mut renderer, trace.as_mut(), &mut log),
                None => break,
            },
            _ = &mut ended => break,
        }
    }
    received.close();
    while let Some(event) = received.recv().await {
        show(&event, &mut renderer, trace.as_mut(), &mut log);
    }
    renderer.close();
    if let Some(Err(error)) = trace.map(Trace::finish) {
        render::message(&format!("warning: the timeline is not whole: {error}"));
    }
}

fn show(event: &Event, renderer: &mut Renderer, trace: Option<&mut Trace>, log: &mut plain::Lines) {
    if let Some(trace) = trace {
        trace.add(event);
    }
    renderer.show(event);
    if let Some(text) = log.text(event) {
        tracing::info!(target: logging::EVENTS, "{text}");
    }
}

/// Who works here, for whoever finds the lock taken.
fn owner() -> String {
    let first =
        |names: [&str; 2]| names.into_iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    let user = first(["USER", "USERNAME"]).unwrap_or_else(|| "somebody".to_owned());
    let machine = first(["HOSTNAME", "COMPUTERNAME"])
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{user}@{machine}")
}

/// The home folder of this user.
pub(crate) fn home() -> Option<Utf8PathBuf> {
    env::home_dir().and_then(|home| Utf8PathBuf::from_path_buf(home).ok()).filter(|home| home.is_absolute())
}

/// The folder that an environment variable names. XDG wants relative ones ignored.
fn folder_of(variable: &str) -> Option<Utf8PathBuf> {
    env::var(variable).ok().map(Utf8PathBuf::from).filter(|folder| folder.is_absolute())
}

fn set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_its_line_and_a_remedy() {
        let refused = |bytes: &[u8]| utf8(bytes.to_vec(), "inventory.toml".into()).unwrap_err();
        let garbage = refused(b"schema = 1\n\n\x80\n");
        assert!(garbage.message.contains("inventory.toml:3: this is not UTF-8"), "{}", garbage.message);
        assert!(garbage.hint.is_some_and(|hint| hint.contains("save it as UTF-8")));
        assert!(refused(b"\xff\xfes\0").message.contains("inventory.toml:1: this is UTF-16"));
        assert_eq!(utf8(b"schema = 1".to_vec(), "inventory.toml".into()).unwrap(), "schema = 1");
    }
}
