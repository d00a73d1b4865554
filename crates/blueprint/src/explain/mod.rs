//! What a resource stands for, as the commands that an admin would type: for reading and comparing with the walkthrough.
//! Nothing here is ever run; the agent calls system interfaces and programs with argument vectors.

mod linux;
mod windows;

use k8swin_protocol::resource::{Content, File};
use k8swin_protocol::{HostResources, ResourceId};

/// The manual commands for each resource, in order. A line that begins with `#` says what no single command does.
#[must_use]
pub fn explain(resources: &HostResources) -> Vec<(ResourceId, Vec<String>)> {
    match resources {
        HostResources::Linux(planned) => {
            planned.iter().map(|planned| (planned.resource.id(), linux::commands(&planned.resource))).collect()
        }
        HostResources::Windows(planned) => {
            planned.iter().map(|planned| (planned.resource.id(), windows::commands(&planned.resource))).collect()
        }
    }
}

/// A file's content in a few words. Bytes of blobs are never shown: they may be keys.
fn describe(file: &File) -> String {
    let shown = match &file.content {
        Content::Text(_) => "",
        Content::Blob(_) => " that travel apart",
    };
    format!("# {}: {} bytes{shown}, sha256 {}", file.path, file.content.size(), file.content.digest())
}
