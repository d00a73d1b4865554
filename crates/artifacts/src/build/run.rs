//! A build from its first check to the report.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::KubernetesVersion;
use k8swin_protocol::Os;
use tokio::process::Command;

use super::source::{self, Found, Tree};
use super::toolchain::{self, Toolchain};
use super::version::SourceVersion;
use super::work::{self, Log, Work};
use super::{
    BuildError, BuildProgress, BuildRequest, Built, BuiltProgram, Check, Source, Stage, Verdict, binary, cache_of,
    checks, program, results, steps,
};
use crate::Artifact;
use crate::digests::Digests;
use crate::error::io;
use crate::manifest::{Entry, Origin};

/// Builds, or finds what was built before. Programs that were started end when the future is dropped.
///
/// # Errors
/// When this machine or the source is not fit, or the build fails.
pub async fn build(request: &BuildRequest, progress: impl Fn(BuildProgress)) -> Result<Built, BuildError> {
    let started = Instant::now();
    let cache = camino::absolute_utf8(&request.cache).map_err(io("find", &request.cache))?;
    tokio::fs::create_dir_all(&cache).await.map_err(io("create", &cache))?;
    let mut digests = Digests::load(&cache).await;
    let result = run(request, &cache_of(&cache), &mut digests, started, &progress).await;
    digests.save().await?;
    result
}

/// All that is settled before anything is compiled.
struct Prepared {
    tree: Tree,
    toolchain: Toolchain,
    kubernetes: KubernetesVersion,
    version: SourceVersion,
}

async fn run(
    request: &BuildRequest,
    cache: &Utf8Path,
    digests: &mut Digests,
    started: Instant,
    progress: &impl Fn(BuildProgress),
) -> Result<Built, BuildError> {
    let (goes, (source_check, found)) =
        tokio::join!(toolchain::find(request.go.as_deref()), source::find(&request.source, cache));
    let needs_git = matches!(request.source, Source::Git { .. });
    let machine = vec![checks::tools(needs_git), checks::place(cache, &request.source)];
    let tree = match found {
        Found::There(tree) => Some(tree),
        Found::Elsewhere => {
            // What can be known without the source is known before it is fetched.
            let (early, _) = prepare(request, None, &goes);
            let early = [machine.clone(), vec![checks::disk(cache, false), source_check.clone()], early].concat();
            refuse_errors(request.expected(), &early)?;
            let fetching = Running::start(Stage::Fetch, progress);
            let tree = source::fetch(&request.source, cache).await?;
            fetching.end(0);
            Some(tree)
        }
        Found::Nothing => None,
    };
    let said = tree.as_ref().and_then(|tree| tree.version.as_ref()?.release());
    let (settled, prepared) = prepare(request, tree, &goes);
    let settled = [vec![source_check], settled].concat();
    let needed: BTreeSet<(Os, String)> = match &prepared {
        Some(prepared) => needed(prepared.kubernetes, &request.systems),
        None => BTreeSet::new(),
    };
    if let Some(prepared) = &prepared {
        let name = results::name(&prepared.version, &prepared.tree, &prepared.toolchain);
        let folder = results::folder(cache, &name);
        let told = |told| progress(BuildProgress::Artifact(told));
        let programs = results::examine(&folder, &needed, digests, &told).await;
        if programs.len() == needed.len() {
            let warnings = settled.into_iter().filter(|check| check.verdict == Verdict::Warning);
            warnings.for_each(|check| progress(BuildProgress::Checked(check)));
            let finished = Finished { folder, name, programs, log: None };
            return finish(request, cache, prepared, finished, digests, started, progress).await;
        }
    }
    let is_warm = |prepared: &Prepared| work::is_warm(&work::folder(&request.source, &prepared.toolchain, cache));
    let disk = checks::disk(cache, prepared.as_ref().is_some_and(is_warm));
    let all = [machine, vec![disk], settled].concat();
    let kubernetes = request.expected().or(said);
    refuse_errors(kubernetes, &all)?;
    let Some(prepared) = prepared else { return Err(BuildError::Unfit { kubernetes, checks: all }) };
    all.into_iter().for_each(|check| progress(BuildProgress::Checked(check)));
    let finished = compile(request, cache, &prepared, &needed, digests, progress).await?;
    finish(request, cache, &prepared, finished, digests, started, progress).await
}

/// Ends here if one of the checks found an error.
fn refuse_errors(kubernetes: Option<KubernetesVersion>, checks: &[Check]) -> Result<(), BuildError> {
    if checks.iter().any(|check| check.verdict == Verdict::Error) {
        return Err(BuildError::Unfit { kubernetes, checks: checks.to_vec() });
    }
    Ok(())
}

/// What the source settles: the version, and the Go that fits it.
fn prepare(request: &BuildRequest, tree: Option<Tree>, goes: &[toolchain::Found]) -> (Vec<Check>, Option<Prepared>) {
    let Some(tree) = tree else {
        // Without a source, what was asked for tells which Go is missing as well.
        let choose = |kubernetes: KubernetesVersion| {
            toolchain::choose(kubernetes.minor, goes, request.allow_toolchain, |_| true).0
        };
        return (request.expected().map(choose).into_iter().collect(), None);
    };
    let (version_check, settled) = settle_version(request.kubernetes, tree.version.as_ref());
    let Some((kubernetes, version)) = settled else { return (vec![version_check], None) };
    let has = |file: &str| tree.folder.join(file).is_file();
    let (go_check, toolchain) = toolchain::choose(kubernetes.minor, goes, request.allow_toolchain, has);
    let prepared = toolchain.filter(|_| version_check.verdict != Verdict::Error).map(|toolchain| Prepared {
        tree,
        toolchain,
        kubernetes,
        version,
    });
    (vec![version_check, go_check], prepared)
}

/// The release, and the version that is stamped into the programs.
fn settle_version(
    asked: Option<KubernetesVersion>,
    found: Option<&SourceVersion>,
) -> (Check, Option<(KubernetesVersion, SourceVersion)>) {
    const NAME: &str = "version";
    const REMEDY: &str = "say which one it is: `--kubernetes 1.5.8`, or `kubernetes` in the inventory";
    match (asked, found) {
        (Some(asked), None) => {
            let detail = format!("the source does not say its version and is taken for {asked}");
            (Check::warning(NAME, detail), Some((asked, SourceVersion::asked(asked))))
        }
        (Some(asked), Some(found)) if found.release() != Some(asked) => {
            let detail = format!("the source is {}, and {asked} was asked for", found.as_str());
            let remedy = "name another tag or folder, or ask for the version that it is";
            // The Go for it can be told all the same.
            (Check::error(NAME, detail, remedy), Some((asked, found.clone())))
        }
        (_, Some(found)) => match found.release() {
            Some(release) => (Check::fine(NAME, found.as_str().to_owned()), Some((release, found.clone()))),
            None => {
                let detail = format!("the source is {}, and release profiles exist for 1.5 and 1.20", found.as_str());
                (Check::error(NAME, detail, "name another tag or folder"), None)
            }
        },
        (None, None) => (Check::error(NAME, "the source does not say its version".to_owned(), REMEDY), None),
    }
}

fn needed(kubernetes: KubernetesVersion, systems: &BTreeSet<Os>) -> BTreeSet<(Os, String)> {
    let of = |&os: &Os| steps::programs(kubernetes.minor, os).into_iter().map(move |name| (os, name));
    systems.iter().flat_map(of).collect()
}

/// The programs and where they are.
struct Finished {
    folder: Utf8PathBuf,
    name: String,
    programs: Vec<(Os, String, Artifact, Entry)>,
    log: Option<Utf8PathBuf>,
}

async fn compile(
    request: &BuildRequest,
    cache: &Utf8Path,
    prepared: &Prepared,
    needed: &BTreeSet<(Os, String)>,
    digests: &mut Digests,
    progress: &impl Fn(BuildProgress),
) -> Result<Finished, BuildError> {
    let Prepared { tree, toolchain, kubernetes, version } = prepared;
    let work = Work::open(work::folder(&request.source, toolchain, cache))?;
    let name = results::name(version, tree, toolchain);
    let mut log = Log::create(cache.join("logs").join(format!("{name}.log")))?;
    if !work.is_copy_of(tree).await {
        let copying = Running::start(Stage::Copy, progress);
        work.copy(tree).await?;
        if let Source::Folder(_) = request.source {
            let (_, again) = source::find(&request.source, cache).await;
            if !matches!(again, Found::There(again) if again.state == tree.state) {
                return Err(BuildError::Changed { folder: tree.folder.clone() });
            }
        }
        copying.end(0);
    }
    let compiling = Instant::now();
    work.begin(version).await?;
    for step in steps::steps(kubernetes.minor, &request.systems) {
        let stage = Running::start(step.stage, progress);
        let packages = work.run(&step, tree, toolchain, &mut log, progress).await?;
        stage.end(packages);
    }
    let took_ms = milliseconds(compiling.elapsed());
    let examining = Running::start(Stage::Examine, progress);
    let origin = Origin::Build {
        source: request.source.shown(),
        state: tree.state.clone(),
        kubernetes: version.as_str().to_owned(),
        go: toolchain.says.clone(),
        took_ms,
    };
    let mut programs = Vec::new();
    for (os, file) in needed {
        let path = work.product(*os, file);
        let told = |told| progress(BuildProgress::Artifact(told));
        let examined = examine(&path, *os, version).await;
        let failed = |reason| BuildError::Program { program: path.clone(), reason, log: log.path().to_owned() };
        let (format, ran) = examined.map_err(failed)?;
        let artifact = digests.of_one(&path, &told).await.map_err(io("read", &path))?;
        let (sha256, size) = (artifact.sha256, artifact.size);
        let entry = Entry { sha256, size, format: Some(format), version: ran, origin: origin.clone() };
        programs.push((*os, file.clone(), artifact, entry));
    }
    let folder = results::folder(cache, &name);
    results::add(&folder, &programs).await?;
    work.finish(tree).await?;
    let told = |told| progress(BuildProgress::Artifact(told));
    let programs = results::examine(&folder, needed, digests, &told).await;
    examining.end(0);
    Ok(Finished { folder, name, programs, log: Some(log.path().to_owned()) })
}

/// What a program is, and the version that it prints where it can run here.
async fn examine(path: &Utf8Path, os: Os, version: &SourceVersion) -> Result<(String, Option<String>), String> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    file.take(binary::HEAD).read_to_end(&mut head).map_err(|error| format!("it cannot be read: {error}"))?;
    let format = binary::identify(&head, os)?.describe().to_owned();
    let runs_here = cfg!(all(target_os = "linux", target_arch = "x86_64")) && os == Os::Linux;
    if !runs_here {
        return Ok((format, None));
    }
    // kubectl alone has a command of its own for it.
    let arguments: &[&str] =
        if path.file_name() == Some("kubectl") { &["version", "--client"] } else { &["--version"] };
    let answer = program::ask(Command::new(path).args(arguments).env_clear().env("HOME", "/")).await?;
    let said = answer
        .split(|character: char| character.is_whitespace() || matches!(character, '"' | ','))
        .find(|word| *word == version.as_str());
    match said {
        Some(said) => Ok((format, Some(said.to_owned()))),
        None => Err(format!(
            "it says it is `{}` instead of {}",
            answer.lines().next().unwrap_or_default(),
            version.as_str()
        )),
    }
}

async fn finish(
    request: &BuildRequest,
    cache: &Utf8Path,
    prepared: &Prepared,
    finished: Finished,
    digests: &mut Digests,
    started: Instant,
    progress: &impl Fn(BuildProgress),
) -> Result<Built, BuildError> {
    let Finished { mut folder, name, programs, log } = finished;
    results::remember(&request.source, prepared.kubernetes, cache, &name).await?;
    let build_ms = programs.iter().find_map(|(.., entry)| match &entry.origin {
        Origin::Build { took_ms, .. } => Some(*took_ms),
        Origin::Release { .. } => None,
    });
    if let Some(out) = &request.out {
        results::export(out, &programs, digests, &|told| progress(BuildProgress::Artifact(told))).await?;
        folder = out.clone();
    }
    let programs = programs.into_iter().map(|(os, name, artifact, entry)| BuiltProgram {
        artifact: Artifact { path: folder.join(crate::local::relative(&(os, name.clone()))), ..artifact },
        os,
        name,
        format: entry.format,
        version: entry.version,
    });
    Ok(Built {
        kubernetes: prepared.kubernetes,
        source: request.source.shown(),
        state: prepared.tree.state.clone(),
        go: prepared.toolchain.says.clone(),
        programs: programs.collect(),
        folder,
        cached: log.is_none(),
        took: started.elapsed(),
        build_took: Duration::from_millis(build_ms.unwrap_or_default()),
        log,
    })
}

/// A stage that is told when it begins and when it has ended.
struct Running<'p, P: Fn(BuildProgress)> {
    stage: Stage,
    since: Instant,
    progress: &'p P,
}

impl<'p, P: Fn(BuildProgress)> Running<'p, P> {
    fn start(stage: Stage, progress: &'p P) -> Self {
        progress(BuildProgress::Started(stage));
        Self { stage, since: Instant::now(), progress }
    }

    fn end(self, packages: usize) {
        (self.progress)(BuildProgress::Ended { stage: self.stage, packages, took: self.since.elapsed() });
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
