//! Bytes of this machine that go to hosts: keys from memory, programs from files.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use camino::Utf8PathBuf;
use k8swin_protocol::SecretBytes;

/// Where the bytes of a blob are on this machine.
#[derive(Clone)]
pub(crate) enum BlobSource {
    /// In memory: keys.
    Memory(SecretBytes),
    /// In a file: programs, which are read piece by piece.
    File(Utf8PathBuf),
}

impl BlobSource {
    /// `length` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<SecretBytes> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let piece = bytes.expose().get(start..).and_then(|rest| rest.get(..length));
                piece.map(SecretBytes::new).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut piece = vec![0; length];
                file.read_exact(&mut piece)?;
                Ok(SecretBytes::new(piece))
            }
        }
    }
}
