//! Passwords and passphrases: from the environment, a file, a prompt, or the inventory itself.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::SecretSource;
use k8swin_protocol::SecretBytes;
use zeroize::Zeroizing;

type Prompt = dyn Fn(&str) -> io::Result<SecretBytes> + Send + Sync;

/// Finds secrets. Shared by all connections of a run, so that the same question is asked once.
pub struct Secrets {
    prompt: Option<Box<Prompt>>,
    answers: Mutex<HashMap<String, Result<SecretBytes, SecretError>>>,
}

/// A secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or is empty.
    #[error("the environment variable {0} is not set")]
    Environment(String),
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {cause}")]
    File {
        /// Which.
        path: Utf8PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The first line of the file is empty.
    #[error("the first line of {0} is empty")]
    Empty(Utf8PathBuf),
    /// Everybody on this machine can read the file.
    #[error("everybody on this machine can read {path} (mode {mode:04o})")]
    Exposed {
        /// Which.
        path: Utf8PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is nobody to ask, or no answer.
    #[error("the {question} was asked for, and not answered: {cause}")]
    Prompt {
        /// What was asked.
        question: String,
        /// Why there is no answer.
        cause: String,
    },
}

impl SecretError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Environment(name) => format!("export {name} before running k8swin"),
            Self::File { .. } | Self::Empty(_) => "its first line is to be the secret".to_owned(),
            Self::Exposed { path, .. } => format!("chmod 600 {path}"),
            Self::Prompt { .. } => {
                "run k8swin on a terminal, or name an environment variable (`{ env = \"…\" }`) or a file \
                 (`{ file = \"…\" }`) in the inventory"
                    .to_owned()
            }
        }
    }
}

impl Secrets {
    /// Secrets whose questions are answered by `prompt`, which is called with the text of the question, once for each
    /// distinct one, and may block.
    #[must_use]
    pub fn new(prompt: impl Fn(&str) -> io::Result<SecretBytes> + Send + Sync + 'static) -> Self {
        Self { prompt: Some(Box::new(prompt)), answers: Mutex::default() }
    }

    /// Secrets without anybody to ask.
    #[must_use]
    pub fn without_prompt() -> Self {
        Self { prompt: None, answers: Mutex::default() }
    }

    /// Finds a secret; `question` is what it is, for people: `password of root`. May block, for a person's answer even.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn resolve(&self, source: &SecretSource, question: &str) -> Result<SecretBytes, SecretError> {
        match source {
            SecretSource::Literal(secret) => Ok(secret.clone()),
            SecretSource::Env(name) => match std::env::var_os(name).filter(|value| !value.is_empty()) {
                Some(value) => Ok(SecretBytes::new(value.into_encoded_bytes())),
                None => Err(SecretError::Environment(name.clone())),
            },
            SecretSource::File(path) => first_line(path),
            SecretSource::Prompt => self.ask(question),
        }
    }

    fn ask(&self, question: &str) -> Result<SecretBytes, SecretError> {
        // Held while the question is open: the other hosts that want the same answer wait for it here.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(question) {
            return answer.clone();
        }
        let failed = |cause: String| SecretError::Prompt { question: question.to_owned(), cause };
        let answer = match &self.prompt {
            Some(prompt) => prompt(question).map_err(|error| failed(error.to_string())),
            None => Err(failed("there is no terminal".to_owned())),
        };
        answers.insert(question.to_owned(), answer.clone());
        answer
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("prompt", &self.prompt.is_some()).finish_non_exhaustive()
    }
}

fn first_line(path: &Utf8Path) -> Result<SecretBytes, SecretError> {
    let unreadable = |error: io::Error| SecretError::File { path: path.to_owned(), cause: error.to_string() };
    refuse_exposed(path).map_err(unreadable)??;
    let bytes = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.strip_suffix(b"\r").unwrap_or(line) {
        b"" => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(SecretBytes::new(secret)),
    }
}

#[cfg(unix)]
fn refuse_exposed(path: &Utf8Path) -> io::Result<Result<(), SecretError>> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Pipes and devices (`<(pass show …)`) have permissions that say nothing.
    let exposed = metadata.is_file() && mode & 0o004 != 0;
    Ok(if exposed { Err(SecretError::Exposed { path: path.to_owned(), mode }) } else { Ok(()) })
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Utf8Path) -> io::Result<Result<(), SecretError>> {
    Ok(Ok(()))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, SecretSource) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("secret")).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, SecretSource::File(path))
    }

    fn resolve(source: &SecretSource) -> Result<Vec<u8>, SecretError> {
        Secrets::without_prompt().resolve(source, "password of root").map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn the_first_line_of_a_file_is_the_secret() {
        for (content, secret) in [("hunter2", "hunter2"), ("a b \r\nrest", "a b "), ("x\n", "x")] {
            let (_folder, source) = file(content, 0o600);
            assert_eq!(resolve(&source).unwrap(), secret.as_bytes());
        }
        let (_folder, source) = file("\nhunter2", 0o600);
        assert!(matches!(resolve(&source), Err(SecretError::Empty(_))));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_refused_with_the_remedy() {
        let (_folder, source) = file("hunter2", 0o644);
        let error = resolve(&source).unwrap_err();
        assert!(matches!(error, SecretError::Exposed { mode: 0o644, .. }));
        assert!(error.hint().starts_with("chmod 600 /"), "{}", error.hint());
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_missing_variable_or_file_is_named() {
        let error = resolve(&SecretSource::Env("K8SWIN_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert!(error.to_string().contains("K8SWIN_NO_SUCH_VARIABLE"));
        let error = resolve(&SecretSource::File("/no/such/file".into())).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"));
        let path = std::env::var("PATH").unwrap();
        assert_eq!(resolve(&SecretSource::Env("PATH".into())).unwrap(), path.as_bytes());
    }

    #[test]
    fn a_question_is_asked_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let secrets = Secrets::new(move |question| {
            counter.fetch_add(1, Ordering::Relaxed);
            if question.ends_with("root") { Ok(SecretBytes::new("x")) } else { Err(io::Error::other("no answer")) }
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(secrets.resolve(&SecretSource::Prompt, "password of root").is_ok()));
                scope.spawn(|| assert!(secrets.resolve(&SecretSource::Prompt, "password of admin").is_err()));
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
