//! A command that could not do what it was asked: what is printed, as text or JSON, and the exit code.

use std::io;

use camino::Utf8Path;
use k8swin_artifacts::build::{BuildError, Check};
use k8swin_inventory::{InventoryError, InventoryErrors};
use k8swin_lab::LabError;
use k8swin_orchestrator::report::Finding;
use k8swin_orchestrator::{RunError, RunExit};

use crate::exit::Exit;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What stopped the command, one by one.
    pub(crate) causes: Causes,
}

/// What stopped a command, where it is a list.
#[derive(Debug, Default)]
pub(crate) enum Causes {
    /// It is no list.
    #[default]
    None,
    /// What preflight found.
    Findings(Vec<Finding>),
    /// What a build needs of this machine.
    Build(Vec<Check>),
    /// The errors of the inventory.
    Inventory(Vec<InventoryError>),
}

impl Failure {
    /// A failure of the work itself.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message.into())
    }

    /// A failure of what was asked.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message.into())
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For `map_err`: an I/O error with what was tried, and on what.
    pub(crate) fn io(action: &str, path: &Utf8Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::failed(format!("cannot {action} {path}: {error}"))
    }

    fn new(exit: Exit, message: String) -> Self {
        Self { message, hint: None, exit, causes: Causes::None }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match error.exit() {
            RunExit::Failed => Exit::Failed,
            RunExit::Preflight => Exit::Preflight,
            RunExit::Interrupted => Exit::Interrupted,
        };
        let causes = match error.findings() {
            [] => Causes::None,
            findings => Causes::Findings(findings.to_vec()),
        };
        Self { hint: error.hint(), causes, ..Self::new(exit, error.to_string()) }
    }
}

impl From<InventoryErrors> for Failure {
    fn from(errors: InventoryErrors) -> Self {
        let message = format!("the inventory is not valid\n\n{errors}\n");
        Self { causes: Causes::Inventory(errors.errors().to_vec()), ..Self::usage(message) }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let exit = match &error {
            BuildError::Source(_) => Exit::Usage,
            BuildError::Unfit { .. } => Exit::Preflight,
            _ => Exit::Failed,
        };
        let causes = match error.checks() {
            [] => Causes::None,
            checks => Causes::Build(checks.to_vec()),
        };
        Self { hint: error.hint(), causes, ..Self::new(exit, error.to_string()) }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Inventory(_) | LabError::FolderInUse { .. } | LabError::Running { .. } => {
                Self::usage(error.to_string())
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_errors_keep_their_exit_code_and_findings() {
        let failure = Failure::from(RunError::Preflight(Vec::new()));
        assert_eq!(failure.exit, Exit::Preflight);
        assert!(failure.hint.is_some());
        assert_eq!(Failure::from(RunError::Interrupted).exit, Exit::Interrupted);
        let unknown = RunError::NoCluster { state_dir: "state".into(), host: "lin01".into() };
        assert_eq!(Failure::from(unknown).exit, Exit::Failed);
    }

    #[test]
    fn an_invalid_inventory_is_a_usage_error_with_every_error() {
        let errors = k8swin_inventory::parse("schema = 1\nbogus = 2\n", "inventory.toml".into()).unwrap_err();
        let failure = Failure::from(errors);
        assert_eq!(failure.exit, Exit::Usage);
        let Causes::Inventory(errors) = &failure.causes else { panic!("{failure:?}") };
        assert!(errors.iter().any(|error| error.line == 2));
        assert!(failure.message.contains("inventory.toml:2"), "{}", failure.message);
    }
}
