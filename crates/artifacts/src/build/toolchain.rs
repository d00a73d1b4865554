//! The Go toolchains of this machine, and which of them is taken.

use std::collections::BTreeSet;
use std::env;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::KubernetesMinor;
use tokio::process::Command;

use super::Check;
use super::go::{self, GoVersion, Verdict};
use super::program::ask;

/// A Go that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The `go` program.
    pub(crate) program: Utf8PathBuf,
    /// The folder with `bin/`, `pkg/` and `src/`.
    pub(crate) root: Utf8PathBuf,
    /// What it says of itself: `go1.15.15 linux/amd64`.
    pub(crate) says: String,
    /// The release, if it is one.
    version: Option<GoVersion>,
}

/// What was found where a Go may be.
pub(crate) type Found = (Utf8PathBuf, Result<Toolchain, String>);

/// The Go that was asked for, or else all that can be found: in PATH, and where Go's own archives and Debian's packages
/// put it.
pub(crate) async fn find(asked: Option<&Utf8Path>) -> Vec<Found> {
    let candidates = match asked.map(|path| crate::expand_home(path.to_owned())) {
        Some(path) if path.is_dir() => vec![path.join("bin/go")],
        Some(path) => vec![path],
        None => usual_places(),
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in candidates {
        let real = path.canonicalize_utf8();
        if asked.is_none() && !real.as_ref().is_ok_and(|real| real.is_file() && seen.insert(real.clone())) {
            continue;
        }
        let toolchain = match real {
            Ok(real) => open(real).await,
            Err(error) => Err(error.to_string()),
        };
        found.push((path, toolchain));
    }
    found
}

fn usual_places() -> Vec<Utf8PathBuf> {
    let listed = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&listed).filter_map(|folder| Utf8PathBuf::from_path_buf(folder).ok());
    let mut places: Vec<Utf8PathBuf> = in_path.map(|folder| folder.join("go")).collect();
    places.push("/usr/local/go/bin/go".into());
    let home = env::home_dir().and_then(|home| Utf8PathBuf::from_path_buf(home).ok()).map(|home| home.join("sdk"));
    for folder in [Some(Utf8PathBuf::from("/usr/lib")), home].into_iter().flatten() {
        // A folder that cannot be read has no Go for us.
        let Ok(entries) = folder.read_dir_utf8() else { continue };
        let names = entries.flatten().filter(|entry| entry.file_name().starts_with("go"));
        places.extend(names.map(|entry| entry.path().join("bin/go")).collect::<BTreeSet<_>>());
    }
    places
}

async fn open(program: Utf8PathBuf) -> Result<Toolchain, String> {
    let command = || {
        let mut command = Command::new(&program);
        // What GOROOT, GOFLAGS or a go.mod nearby would say belongs to another Go.
        command.env_clear().env("GOTOOLCHAIN", "local").current_dir("/");
        command.envs(["PATH", "HOME"].into_iter().filter_map(|name| env::var_os(name).map(|value| (name, value))));
        command
    };
    let answer = ask(command().arg("version")).await?;
    let says = answer.strip_prefix("go version ").ok_or_else(|| format!("this is no Go: it answers `{answer}`"))?;
    // A Go that was moved knows its place by its program, except the oldest ones.
    let beside = program.parent().and_then(Utf8Path::parent).map(Utf8Path::to_owned);
    let root = match beside.filter(|root| has_source(root)) {
        Some(root) => root,
        None => Utf8PathBuf::from(ask(command().args(["env", "GOROOT"])).await?),
    };
    if !has_source(&root) {
        return Err(format!(
            "the sources of its standard library are not in {root}/src (Debian has them in a package of their own, \
             golang-1.15-src for 1.15)"
        ));
    }
    let (version, says) = (GoVersion::of_answer(&answer), says.to_owned());
    Ok(Toolchain { program, root, says, version })
}

fn has_source(root: &Utf8Path) -> bool {
    root.join("src/runtime").is_dir()
}

impl Toolchain {
    fn name(&self) -> String {
        self.version.map_or_else(|| self.says.clone(), |version| version.to_string())
    }
}

/// Whether a Go of this machine fits, as far as that can be told without the source.
pub(crate) async fn check(kubernetes: KubernetesMinor, asked: Option<&Utf8Path>) -> Check {
    choose(kubernetes, &find(asked).await, false, |_| true).0
}

/// Takes the first Go whose programs work, else the first of which nothing is known, else one that is refused if
/// `allowed`. `has` tells whether the source has a file.
pub(crate) fn choose(
    kubernetes: KubernetesMinor,
    found: &[Found],
    allowed: bool,
    has: impl Fn(&str) -> bool,
) -> (Check, Option<Toolchain>) {
    const NAME: &str = "go";
    let judged: Vec<(&Toolchain, Verdict)> = found
        .iter()
        .filter_map(|(_, toolchain)| toolchain.as_ref().ok())
        .map(|toolchain| (toolchain, go::judge(kubernetes, toolchain.version, &has)))
        .collect();
    let first = |wanted: fn(&Verdict) -> bool| judged.iter().find(|(_, verdict)| wanted(verdict));
    let taken = first(|verdict| *verdict == Verdict::Fits)
        .or_else(|| first(|verdict| matches!(verdict, Verdict::Untried(_))))
        .or_else(|| first(|_| true).filter(|_| allowed));
    if let Some((toolchain, verdict)) = taken {
        let told = format!("{} ({})", toolchain.name(), toolchain.program);
        let check = match verdict {
            Verdict::Fits => Check::fine(NAME, format!("{told} fits Kubernetes {}", kubernetes.as_str())),
            Verdict::Untried(why) | Verdict::Refused(why) => Check::warning(NAME, format!("{told}: {why}")),
        };
        return (check, Some((*toolchain).clone()));
    }
    let mut lines: Vec<String> = judged
        .iter()
        .map(|(toolchain, verdict)| match verdict {
            Verdict::Refused(why) | Verdict::Untried(why) => {
                format!("{} ({}) is refused: {why}", toolchain.name(), toolchain.program)
            }
            Verdict::Fits => toolchain.name(),
        })
        .collect();
    lines.extend(found.iter().filter_map(|(path, toolchain)| match toolchain {
        Ok(_) => None,
        Err(error) => Some(format!("{path}: {error}")),
    }));
    let detail = if lines.is_empty() { "there is no Go on this machine".to_owned() } else { lines.join("\n") };
    (Check::error(NAME, detail, go::remedy(kubernetes)), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Verdict as Judgement;

    const V1_20: KubernetesMinor = KubernetesMinor::V1_20;

    fn found(version: &str) -> Found {
        let program = Utf8PathBuf::from(format!("/opt/{version}/bin/go"));
        let says = format!("{version} linux/amd64");
        let toolchain = Toolchain {
            program: program.clone(),
            root: format!("/opt/{version}").into(),
            version: GoVersion::of_answer(&format!("go version {says}")),
            says,
        };
        (program, Ok(toolchain))
    }

    fn chosen(versions: &[&str], allowed: bool) -> (Check, Option<String>) {
        let found: Vec<Found> = versions.iter().map(|version| found(version)).collect();
        let (check, toolchain) = choose(V1_20, &found, allowed, |_| false);
        (check, toolchain.map(|toolchain| toolchain.says))
    }

    #[test]
    fn the_first_that_fits_is_taken_wherever_it_stands() {
        let (check, taken) = chosen(&["go1.19.8", "go1.16", "go1.15.15", "go1.15.2"], false);
        assert_eq!(taken.as_deref(), Some("go1.15.15 linux/amd64"));
        assert_eq!(check.verdict, Judgement::Fine);
    }

    #[test]
    fn one_of_which_nothing_is_known_is_better_than_one_that_is_broken() {
        let (check, taken) = chosen(&["go1.19.8", "go1.16"], false);
        assert_eq!(taken.as_deref(), Some("go1.16 linux/amd64"));
        assert_eq!(check.verdict, Judgement::Warning);
    }

    #[test]
    fn a_broken_one_is_refused_by_name_and_taken_on_demand() {
        let (check, taken) = chosen(&["go1.19.8"], false);
        assert_eq!(taken, None);
        assert!(check.detail.contains("Go 1.19.8 (/opt/go1.19.8/bin/go) is refused"), "{}", check.detail);
        assert!(check.detail.contains("JSON PATCH"), "{}", check.detail);
        assert!(check.remedy.unwrap().contains("go1.15.15.linux-amd64.tar.gz"));
        let (check, taken) = chosen(&["go1.19.8"], true);
        assert_eq!(taken.as_deref(), Some("go1.19.8 linux/amd64"));
        assert_eq!(check.verdict, Judgement::Warning);
    }

    #[test]
    fn no_go_at_all_is_told_with_the_remedy() {
        let (check, taken) = choose(V1_20, &[], true, |_| false);
        assert_eq!((taken, check.detail.as_str()), (None, "there is no Go on this machine"));
        let broken = [(Utf8PathBuf::from("/opt/go"), Err("No such file or directory".to_owned()))];
        let (check, _) = choose(V1_20, &broken, true, |_| false);
        assert_eq!(check.detail, "/opt/go: No such file or directory");
    }
}
