//! `build`: what is built, from an inventory, from options, or from both; and how it ends.

use std::cell::RefCell;

use k8swin_artifacts::build::{BuildError, BuildRequest, Source};
use k8swin_inventory::cluster::{ArtifactSource, Os};
use k8swin_orchestrator::RunError;
use tokio_util::sync::CancellationToken;

use crate::arguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::render::build::Renderer;
use crate::report::Report;

/// Builds Kubernetes.
pub(crate) async fn run(context: &Context, arguments: arguments::Build) -> Result<Report, Failure> {
    let request = request(context, arguments)?;
    let cancel = CancellationToken::new();
    interrupt::watch(cancel.clone(), context.stderr);
    let renderer = RefCell::new(Renderer::new(context));
    let building = k8swin_artifacts::build::build(&request, |event| renderer.borrow_mut().show(&event));
    let built: Result<_, BuildError> = tokio::select! {
        biased;
        // With the future goes everything that it started.
        () = cancel.cancelled() => return Err(Failure::from(RunError::Interrupted)),
        built = building => built,
    };
    renderer.borrow_mut().close();
    Ok(Report::Built(built?))
}

fn request(context: &Context, arguments: arguments::Build) -> Result<BuildRequest, Failure> {
    let path = match (&arguments.inventory, &arguments.source) {
        (None, Some(_)) => None,
        (path, _) => Some(path.clone().unwrap_or_else(|| "inventory.toml".into())),
    };
    let cluster = path.as_deref().map(|path| context.inventory(path)).transpose()?.map(|inventory| inventory.cluster);
    let (repository, tag, go) = match (arguments.source, cluster.as_ref().map(|cluster| &cluster.artifacts.source)) {
        (Some(source), Some(ArtifactSource::Build { go, .. })) => (source, None, go.clone()),
        (Some(source), _) => (source, None, None),
        (None, Some(ArtifactSource::Build { repository, tag, go })) => (repository.clone(), tag.clone(), go.clone()),
        (None, _) => {
            return Err(Failure::usage("the inventory does not say what to build")
                .hint("set `source = \"build\"` and `repository` in [cluster.artifacts], or give `--source FOLDER`"));
        }
    };
    let hosts = cluster.iter().flat_map(|cluster| cluster.hosts.iter().map(k8swin_inventory::Host::os));
    let systems = match arguments.os.as_slice() {
        [] if cluster.is_some() => hosts.collect(),
        [] => [Os::Linux, Os::Windows].into(),
        chosen => chosen.iter().copied().collect(),
    };
    Ok(BuildRequest {
        source: Source::new(&repository, arguments.tag.or(tag).as_deref())?,
        kubernetes: arguments.kubernetes.or(cluster.map(|cluster| cluster.kubernetes)),
        go: arguments.go.or(go),
        allow_toolchain: arguments.allow_toolchain,
        systems,
        out: arguments.out,
        cache: context.cache_dir()?,
    })
}
