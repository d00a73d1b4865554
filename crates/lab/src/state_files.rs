//! `DIR/hosts/NAME.json`: the state of each simulated host as a file, rewritten as the host changes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

/// Changes within this time are one rewrite.
const COALESCE: Duration = Duration::from_millis(20);

/// Gives a host's state as JSON text.
type State = Box<dyn Fn() -> String + Send + Sync>;

/// The state file of one host.
pub(crate) struct StateFile {
    path: Utf8PathBuf,
    state: State,
    /// Set with each change, cleared before the state is read: what is read is never older than the mark.
    changed: AtomicBool,
    writing: Mutex<()>,
}

impl StateFile {
    /// A file that has not been written yet.
    pub(crate) fn new(path: Utf8PathBuf, state: State) -> Arc<Self> {
        Arc::new(Self { path, state, changed: AtomicBool::new(true), writing: Mutex::new(()) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Brings the file up to date, if the host has changed since it was written. When this returns, the file shows all
    /// changes made before the call, whoever wrote them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.changed.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let written = replace(&self.path, (self.state)().as_bytes());
        if written.is_err() {
            self.changed.store(true, Ordering::SeqCst);
        }
        written
    }

    fn flush_or_warn(&self) {
        if let Err(error) = self.flush() {
            tracing::warn!(path = %self.path, %error, "cannot write the state of a simulated host");
        }
    }
}

/// The thread that writes files of changed hosts a moment after the change. It ends when this and every [`Changed`] are
/// gone.
pub(crate) struct StateWriter(mpsc::Sender<Arc<StateFile>>);

/// Tells the writer that a host has changed. Cheap, and safe to call while the host is locked. The host owns this and
/// the file knows the host, hence the weak reference.
pub(crate) struct Changed {
    file: Weak<StateFile>,
    changes: mpsc::Sender<Arc<StateFile>>,
}

impl Changed {
    /// The host has changed.
    pub(crate) fn mark(&self) {
        if let Some(file) = self.file.upgrade()
            && !file.changed.swap(true, Ordering::SeqCst)
        {
            // Without a writer the lab is ending, and its last flush has the change.
            let _ = self.changes.send(file);
        }
    }
}

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub(crate) fn start() -> io::Result<Self> {
        let (changes, changed) = mpsc::channel::<Arc<StateFile>>();
        std::thread::Builder::new().name("lab-state-files".to_owned()).spawn(move || {
            while let Ok(first) = changed.recv() {
                std::thread::sleep(COALESCE);
                first.flush_or_warn();
                changed.try_iter().for_each(|file| file.flush_or_warn());
            }
        })?;
        Ok(Self(changes))
    }

    /// What a host calls when it changes.
    pub(crate) fn watch(&self, file: &Arc<StateFile>) -> Changed {
        Changed { file: Arc::downgrade(file), changes: self.0.clone() }
    }
}

/// Replaces a file in one step, so that a reader sees the old or the new text and nothing between.
pub(crate) fn replace(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_flush_shows_every_change_made_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("a.json")).unwrap();
        let value = Arc::new(AtomicUsize::new(0));
        let shown = Arc::clone(&value);
        let file = StateFile::new(path.clone(), Box::new(move || shown.load(Ordering::SeqCst).to_string()));
        file.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0");
        let writer = StateWriter::start().unwrap();
        let changed = writer.watch(&file);
        for next in 1..50 {
            value.store(next, Ordering::SeqCst);
            changed.mark();
            file.flush().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), next.to_string());
        }
    }

    #[test]
    fn a_change_reaches_the_file_without_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("a.json")).unwrap();
        let file = StateFile::new(path.clone(), Box::new(|| "state".to_owned()));
        file.flush().unwrap();
        std::fs::remove_file(&path).unwrap();
        let writer = StateWriter::start().unwrap();
        writer.watch(&file).mark();
        while !path.exists() {
            std::thread::yield_now();
        }
    }
}
