//! Fills in the text templates of `templates/`. Values come in typed; nothing is escaped for HTML.

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

/// A template and the name that errors give it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Template {
    /// A systemd service.
    Unit,
    /// A kubeconfig.
    Kubeconfig,
    /// The CNI configuration for Kubernetes 1.5.
    Cni15,
    /// The CNI configuration list for Kubernetes 1.20.
    Cni120,
}

impl Template {
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Unit => ("unit.service", include_str!("../../../templates/unit.service")),
            Self::Kubeconfig => ("kubeconfig.yaml", include_str!("../../../templates/kubeconfig.yaml")),
            Self::Cni15 => ("cni-1.5.conf", include_str!("../../../templates/cni-1.5.conf")),
            Self::Cni120 => ("cni-1.20.conflist", include_str!("../../../templates/cni-1.20.conflist")),
        }
    }
}

/// A template could not be filled in: a fault of this program, not of the inventory.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the template `{template}`: {reason}. This is a fault of k8swin itself: please report it")]
pub struct RenderError {
    /// The template's file name.
    template: &'static str,
    /// What the template engine said; it names variables, never their values.
    reason: String,
}

/// Fills in a template.
pub(crate) fn render(template: Template, values: &impl Serialize) -> Result<String, RenderError> {
    let (name, text) = template.text();
    let fault = |error: tera::Error| RenderError { template: name, reason: error.to_string() };
    let mut engine = Tera::default();
    engine.autoescape_on(Vec::<&str>::new());
    engine.register_filter("json", json);
    engine.add_raw_template(name, text).map_err(fault)?;
    engine.render(name, &Context::from_serialize(values).map_err(fault)?).map_err(fault)
}

/// A JSON string, which is also a double-quoted YAML string: backslashes of Windows paths survive both.
fn json(text: &str, _: Kwargs, _: &State<'_>) -> String {
    serde_json::Value::from(text).to_string()
}
