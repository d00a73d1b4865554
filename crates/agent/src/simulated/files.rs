//! The file system of a simulated host.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use k8swin_protocol::{HostPath, Os, Sha256};

use crate::platform::{FileKind, Permissions, PlatformError, Result, Stat};

/// A tree of files and folders.
pub(super) struct Files {
    os: Os,
    nodes: BTreeMap<HostPath, Node>,
}

pub(super) struct Node {
    pub(super) permissions: Permissions,
    /// None for a folder.
    pub(super) file: Option<Content>,
}

#[derive(Clone)]
pub(super) struct Content {
    pub(super) bytes: Arc<Vec<u8>>,
    sha256: OnceLock<Sha256>,
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), sha256: OnceLock::new() }
    }

    pub(super) fn sha256(&self) -> Sha256 {
        *self.sha256.get_or_init(|| Sha256::of(&self.bytes))
    }
}

impl Files {
    /// A file system with these folders, and those above them.
    pub(super) fn new(os: Os, folders: &[&str]) -> Self {
        let mut files = Self { os, nodes: BTreeMap::new() };
        for folder in folders.iter().filter_map(|folder| HostPath::new(*folder).ok()) {
            files.ensure_folder(&folder);
        }
        files
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&HostPath, &Node)> {
        self.nodes.iter()
    }

    pub(super) fn exists(&self, path: &HostPath) -> bool {
        self.nodes.contains_key(path)
    }

    /// Whether a file, not a folder, lies at a path given as text.
    pub(super) fn is_file(&self, path: &str) -> bool {
        HostPath::new(path).is_ok_and(|path| self.content(&path).is_some())
    }

    pub(super) fn content(&self, path: &HostPath) -> Option<&Content> {
        self.nodes.get(path)?.file.as_ref()
    }

    pub(super) fn text(&self, path: &HostPath) -> Option<String> {
        self.content(path).map(|content| String::from_utf8_lossy(&content.bytes).into_owned())
    }

    pub(super) fn stat(&self, path: &HostPath) -> Option<Stat> {
        self.nodes.get(path).map(|node| Stat {
            kind: if node.file.is_some() { FileKind::File } else { FileKind::Directory },
            size: node.file.as_ref().map_or(0, |content| content.bytes.len() as u64),
            permissions: node.permissions.clone(),
        })
    }

    pub(super) fn names(&self, folder: &HostPath) -> Vec<String> {
        let inside = self.nodes.keys().filter(|path| path.parent().as_ref() == Some(folder));
        inside.map(|path| path.file_name().to_owned()).collect()
    }

    pub(super) fn write(&mut self, path: &HostPath, bytes: Vec<u8>, permissions: Permissions) -> Result<()> {
        self.put(path, Content::new(bytes), permissions)
    }

    pub(super) fn append(&mut self, path: &HostPath, bytes: &[u8]) -> Result<()> {
        if let Some(Node { file: Some(content), .. }) = self.nodes.get_mut(path) {
            Arc::make_mut(&mut content.bytes).extend_from_slice(bytes);
            content.sha256 = OnceLock::new();
            return Ok(());
        }
        let permissions = Permissions::secret_file(self.os);
        self.put(path, Content::new(bytes.to_vec()), permissions)
    }

    pub(super) fn copy(&mut self, from: &HostPath, to: &HostPath, permissions: Permissions) -> Result<()> {
        let content = self.content(from).cloned().ok_or_else(|| self.absent("read", from))?;
        self.put(to, content, permissions)
    }

    pub(super) fn set_permissions(&mut self, path: &HostPath, permissions: Permissions) -> Result<()> {
        let absent = self.absent("set the permissions of", path);
        self.nodes.get_mut(path).ok_or(absent)?.permissions = permissions;
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &HostPath) -> Result<()> {
        match self.nodes.get(path) {
            None => Err(self.absent("remove", path)),
            Some(node) if node.file.is_none() => {
                Err(PlatformError::new(format!("remove {path}"), self.say("Is a directory", "Access is denied.")))
            }
            Some(_) => {
                self.nodes.remove(path);
                Ok(())
            }
        }
    }

    pub(super) fn create_folder(&mut self, path: &HostPath, permissions: Permissions) -> Result<()> {
        self.parent_is_there("create", path)?;
        if self.exists(path) {
            let answer = self.say("File exists", "Cannot create a file when that file already exists.");
            return Err(PlatformError::new(format!("create {path}"), answer));
        }
        self.nodes.insert(path.clone(), Node { permissions, file: None });
        Ok(())
    }

    pub(super) fn remove_folder(&mut self, path: &HostPath) -> Result<()> {
        if !self.exists(path) {
            return Err(self.absent("remove", path));
        }
        if !self.names(path).is_empty() {
            let answer = self.say("Directory not empty", "The directory is not empty.");
            return Err(PlatformError::new(format!("remove {path}"), answer));
        }
        self.nodes.remove(path);
        Ok(())
    }

    pub(super) fn remove_tree(&mut self, path: &HostPath) {
        self.nodes.retain(|found, _| found != path && !below(found, path));
    }

    /// Creates a folder with those above it, as programs do.
    pub(super) fn ensure_folder(&mut self, path: &HostPath) {
        if let Some(parent) = path.parent() {
            self.ensure_folder(&parent);
        }
        let permissions = Permissions::public_directory(self.os);
        self.nodes.entry(path.clone()).or_insert(Node { permissions, file: None });
    }

    fn put(&mut self, path: &HostPath, content: Content, permissions: Permissions) -> Result<()> {
        self.parent_is_there("write", path)?;
        if self.nodes.get(path).is_some_and(|node| node.file.is_none()) {
            let answer = self.say("Is a directory", "Access is denied.");
            return Err(PlatformError::new(format!("write {path}"), answer));
        }
        self.nodes.insert(path.clone(), Node { permissions, file: Some(content) });
        Ok(())
    }

    fn parent_is_there(&self, verb: &str, path: &HostPath) -> Result<()> {
        match path.parent() {
            Some(parent) if self.nodes.get(&parent).is_none_or(|node| node.file.is_some()) => {
                Err(self.absent(verb, path))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn absent(&self, verb: &str, path: &HostPath) -> PlatformError {
        let answer = self.say("No such file or directory", "The system cannot find the path specified.");
        PlatformError::new(format!("{verb} {path}"), answer)
    }

    fn say(&self, linux: &str, windows: &str) -> String {
        match self.os {
            Os::Linux => linux.to_owned(),
            Os::Windows => windows.to_owned(),
        }
    }
}

fn below(path: &HostPath, folder: &HostPath) -> bool {
    let mut above = path.parent();
    while let Some(parent) = above {
        if parent == *folder {
            return true;
        }
        above = parent.parent();
    }
    false
}
