//! `kubeconfig`: printed, written to a file, or merged into the user's own.

use std::env;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_orchestrator as orchestrator;

use crate::arguments;
use crate::context::{Context, RunSettings, home};
use crate::failure::Failure;
use crate::kubeconfig::{self, MergeError};
use crate::report::Report;

/// The administrator's kubeconfig.
pub(crate) async fn run(context: &Context, arguments: arguments::Kubeconfig) -> Result<Report, Failure> {
    let inventory = context.inventory(&arguments.inventory.path)?;
    let work = async |options: &_| orchestrator::kubeconfig(&inventory.cluster, options).await;
    let config = context.run(&inventory, RunSettings::default(), work).await??;
    if let Some(path) = arguments.out {
        kubeconfig::write_private(&path, config.expose()).map_err(Failure::io("write", &path))?;
        let text = format!("the kubeconfig is in {path}: `kubectl --kubeconfig {path} get nodes`");
        return Ok(Report::Written { path, text });
    }
    if !arguments.merge {
        return Ok(Report::Kubeconfig(config));
    }
    let path = own_kubeconfig()?;
    let name = arguments.context.unwrap_or_else(|| inventory.cluster.name.clone());
    let merged = match read(&path)? {
        Some(own) => kubeconfig::merge(&own, config.expose(), &name),
        None => kubeconfig::merge("", config.expose(), &name),
    }
    .map_err(|error| refused(&path, &error))?;
    kubeconfig::write_private(&path, merged.expose()).map_err(Failure::io("write", &path))?;
    let text = format!("{path} has the context `{name}` now, and it is the current one: `kubectl get nodes`");
    Ok(Report::Written { path, text })
}

fn refused(path: &Utf8Path, error: &MergeError) -> Failure {
    let failure = Failure::failed(format!("cannot merge into {path}: {error}"));
    match error {
        MergeError::OtherCluster { .. } => failure.hint("choose another name with `--context NAME`"),
        MergeError::Unreadable(_) | MergeError::NotAConfig(_) => {
            failure.hint("the file is left as it is; `--out FILE` writes a kubeconfig of its own")
        }
        MergeError::Unwritable(_) => failure,
    }
}

fn read(path: &Utf8Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("read", path)(error)),
    }
}

/// The first file of `$KUBECONFIG`, else `~/.kube/config`, as kubectl has it.
fn own_kubeconfig() -> Result<Utf8PathBuf, Failure> {
    let listed = env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = env::split_paths(&listed).find(|path| !path.as_os_str().is_empty()) {
        return Utf8PathBuf::from_path_buf(first)
            .map_err(|path| Failure::usage(format!("the path {} in KUBECONFIG is not UTF-8", path.display())));
    }
    home().map(|home| home.join(".kube/config")).ok_or_else(|| {
        Failure::usage("there is no home folder with a .kube/config").hint("set KUBECONFIG, or use `--out FILE`")
    })
}
