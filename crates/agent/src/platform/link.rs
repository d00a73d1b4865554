//! Files and connections that outlive a call of the platform, as a depot and its clients use them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use k8swin_protocol::HostPath;

use super::{PlatformError, Result};

/// A file that many read at once, each at its own place.
pub trait ReadAt: Send + Sync {
    /// Reads from an offset; 0 bytes at the end.
    ///
    /// # Errors
    /// When the system refuses it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// A file that many read at once.
pub type SharedFile = Arc<dyn ReadAt>;

/// Fills a buffer from a file; fewer bytes at its end only.
pub(crate) fn read_fully(file: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..read), rest.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }
}

/// A connection to another host.
pub trait Link: Read + Write + Send {}

impl Link for TcpStream {}

/// Opens a file of this machine.
pub(super) fn open(path: &HostPath) -> Result<SharedFile> {
    let file =
        File::open(path.as_str()).map_err(|error| PlatformError::new(format!("read {path}"), error.to_string()))?;
    Ok(Arc::new(file))
}

/// Listens on a free port of an address of this machine.
pub(super) fn bind(address: Ipv4Addr) -> Result<TcpListener> {
    TcpListener::bind((address, 0))
        .map_err(|error| PlatformError::new(format!("listen at {address}"), error.to_string()))
}

/// Connects to another machine.
pub(crate) fn dial(to: SocketAddrV4, patience: Duration) -> io::Result<Box<dyn Link>> {
    let stream = TcpStream::connect_timeout(&to.into(), patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience * 6))?;
    stream.set_write_timeout(Some(patience * 6))?;
    Ok(Box::new(stream))
}
