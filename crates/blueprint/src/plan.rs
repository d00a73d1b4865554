//! Collects the resources of one host in the order in which they are applied: what both operating systems have in common.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::resource::{Blob, Content, Directory, File, Planned, Protection, Route};
use k8swin_protocol::{HostPath, LinuxResource, Phase, SecretBytes, Sha256, WindowsResource};

use crate::pki::{Pki, host_stem};
use crate::release::{Program, Release};
use crate::{BlueprintError, api_server, kubeconfig, paths};

/// Resources of either operating system that are files and folders.
pub(crate) trait FileSystemResource {
    /// A folder.
    fn directory(directory: Directory) -> Self;
    /// A file.
    fn file(file: File) -> Self;
}

impl FileSystemResource for LinuxResource {
    fn directory(directory: Directory) -> Self {
        Self::Directory(directory)
    }

    fn file(file: File) -> Self {
        Self::File(file)
    }
}

impl FileSystemResource for WindowsResource {
    fn directory(directory: Directory) -> Self {
        Self::Directory(directory)
    }

    fn file(file: File) -> Self {
        Self::File(file)
    }
}

/// The plan of one host, as it grows.
pub(crate) struct HostPlan<'a, R> {
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// The host.
    pub(crate) host: &'a Host,
    /// All keys and certificates.
    pub(crate) pki: &'a Pki,
    /// The resources so far.
    pub(crate) planned: Vec<Planned<R>>,
    /// The bytes of its secret files.
    pub(crate) secrets: BTreeMap<Sha256, SecretBytes>,
    /// The files so far.
    files: Vec<File>,
}

impl<'a, R: FileSystemResource> HostPlan<'a, R> {
    /// Nothing yet.
    pub(crate) fn new(cluster: &'a Cluster, host: &'a Host, pki: &'a Pki) -> Self {
        Self { cluster, host, pki, planned: Vec::new(), secrets: BTreeMap::new(), files: Vec::new() }
    }

    /// Adds a resource.
    pub(crate) fn push(&mut self, phase: Phase, resource: R) {
        self.planned.push(Planned { phase, resource });
    }

    /// Adds a folder.
    pub(crate) fn directory(&mut self, path: HostPath, protection: Protection) {
        self.push(Phase::Binaries, R::directory(Directory { path, protection, purge: false }));
    }

    /// Adds a folder that programs of the cluster write into.
    pub(crate) fn data_directory(&mut self, path: HostPath, protection: Protection) {
        self.push(Phase::Binaries, R::directory(Directory { path, protection, purge: true }));
    }

    /// Adds the agent and all programs that the host needs. Returns where the agent is.
    pub(crate) fn programs(&mut self, release: &Release) -> Result<HostPath, BlueprintError> {
        let os = self.host.os();
        let agent = *release.agents.get(&os).ok_or(BlueprintError::NoAgent { os })?;
        let path = os.agent(agent.sha256);
        self.program(path.clone(), agent);
        for program in Program::ALL {
            if program.needed_on(self.cluster.kubernetes.minor, self.host) {
                let name = program.file_name(os);
                let blob = release.programs.get(&(os, program));
                let blob = *blob.ok_or_else(|| BlueprintError::NoProgram { os, program: name.clone() })?;
                self.program(os.bin().join(&name), blob);
            }
        }
        Ok(path)
    }

    fn program(&mut self, path: HostPath, blob: Blob) {
        let content = Content::Blob(blob);
        self.file(Phase::Binaries, File { path, content, protection: Protection::Executable });
    }

    /// What every node has: its certificates, and the kubeconfigs of kubelet and kube-proxy.
    pub(crate) fn node_files(&mut self) -> Result<(), BlueprintError> {
        self.pki_file("ca.crt", "ca.crt")?;
        for name in ["kubelet", "kubelet-client"] {
            self.pair(name, &host_stem(&self.host.name, name))?;
        }
        self.pair("kube-proxy", "kube-proxy")?;
        self.kubeconfig("kubelet", &format!("system:node:{}", self.host.name), "kubelet-client")?;
        self.kubeconfig("kube-proxy", "system:kube-proxy", "kube-proxy")
    }

    /// Adds a certificate and its key: `name` on the host, `stem` among the cluster's files.
    pub(crate) fn pair(&mut self, name: &str, stem: &str) -> Result<(), BlueprintError> {
        self.pki_file(&format!("{name}.crt"), &format!("{stem}.crt"))?;
        self.pki_file(&format!("{name}.key"), &format!("{stem}.key"))
    }

    /// Adds a file of the PKI. Keys are secret, certificates and public keys are not.
    pub(crate) fn pki_file(&mut self, name: &str, source: &str) -> Result<(), BlueprintError> {
        let bytes = self.pki.file(source)?;
        let path = paths::pki(self.host.os(), name);
        if source.ends_with(".key") {
            self.secret(path, bytes);
        } else {
            self.public(path, self.pki.public_text(source)?);
        }
        Ok(())
    }

    /// Adds a kubeconfig for a component of this host, which names its certificate by path.
    pub(crate) fn kubeconfig(&mut self, component: &str, user: &str, pair: &str) -> Result<(), BlueprintError> {
        let server = api_server::url(self.cluster, self.host);
        let text = kubeconfig::of_component(self.cluster, self.host.os(), &server, user, pair)?;
        self.public(paths::kubeconfig(self.host.os(), component), text);
        Ok(())
    }

    /// Adds a file that everybody may read.
    pub(crate) fn public(&mut self, path: HostPath, text: String) {
        let content = Content::Text(text);
        self.file(Phase::Files, File { path, content, protection: Protection::Public });
    }

    /// Adds a secret file. Its bytes travel apart.
    pub(crate) fn secret(&mut self, path: HostPath, bytes: &SecretBytes) {
        let blob = Blob { sha256: Sha256::of(bytes.expose()), size: bytes.expose().len() as u64 };
        self.secrets.insert(blob.sha256, bytes.clone());
        let content = Content::Blob(blob);
        self.file(Phase::Files, File { path, content, protection: Protection::Secret });
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, phase: Phase, file: File) {
        self.files.push(file.clone());
        self.push(phase, R::file(file));
    }

    /// The digest of everything that a service reads at its start: its definition, every planned file that the definition
    /// names, and every planned file that those files name, such as the keys in a kubeconfig. Nobody keeps a list of
    /// them by hand, so that none can be forgotten.
    pub(crate) fn inputs(&self, definition: &str) -> Sha256 {
        self.inputs_and(definition, &[])
    }

    /// As [`Self::inputs`], for the service that keeps `routes` and these other resources in place.
    pub(crate) fn inputs_of_network(&self, definition: &str, others: &[R], routes: &[Route]) -> Sha256
    where
        R: Debug,
    {
        // There is one to every other host: as text they would take longer than all else in the plan.
        let mut kept = format!("{others:?}").into_bytes();
        for Route { destination, via, from } in routes {
            kept.extend(destination.addr().octets());
            kept.push(destination.prefix_len());
            kept.extend(via.octets());
            kept.extend(from.octets());
        }
        self.inputs_and(definition, &kept)
    }

    fn inputs_and(&self, definition: &str, more: &[u8]) -> Sha256 {
        let mut read: BTreeMap<&HostPath, Sha256> = BTreeMap::new();
        let mut texts = vec![definition];
        while let Some(text) = texts.pop() {
            for file in self.files.iter().filter(|file| names(text, &file.path)) {
                if read.insert(&file.path, file.content.digest()).is_none()
                    && let Content::Text(text) = &file.content
                {
                    texts.push(text);
                }
            }
        }
        let mut parts = vec![[definition.as_bytes(), more].concat()];
        let files = read.into_iter().flat_map(|(path, digest)| [path.to_string(), digest.to_string()]);
        parts.extend(files.map(String::into_bytes));
        Sha256::of_parts(parts.iter().map(Vec::as_slice))
    }
}

/// Whether a text names this path, plain or as a JSON string (where the backslashes of Windows are doubled).
fn names(text: &str, path: &HostPath) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || "._-/\\".contains(next));
    let is_in = |path: &str| text.match_indices(path).any(|(at, found)| text.get(at + found.len()..).is_some_and(ends));
    let path = path.as_str();
    is_in(path) || (path.contains('\\') && is_in(&path.replace('\\', r"\\")))
}
