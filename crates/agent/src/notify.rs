//! Tells systemd that a service of `Type=notify` has started (sd_notify(3)).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that the service is ready, where somebody wants to know. A message that cannot be sent is a start that systemd
/// ends after its time limit, with a line in the journal.
pub fn notify_ready() {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET") {
        let _ = send(socket.as_bytes(), b"READY=1");
    }
}

/// A name that begins with `@` is one of the abstract namespace, all others are paths.
fn send(socket: &[u8], message: &[u8]) -> io::Result<usize> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn both_kinds_of_sockets_hear_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), b"READY=1").unwrap();
        assert_eq!(received(&socket), b"READY=1");
        let name = format!("k8swin-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(format!("@{name}").as_bytes(), b"READY=1").unwrap();
        assert_eq!(received(&socket), b"READY=1");
        assert!(send(b"/nowhere/notify", b"READY=1").is_err());
    }
}
