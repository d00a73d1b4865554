//! `ProxyJump`: a connection to the next host by way of a channel of this one.
//!
//! libssh2 wants a socket, so the channel is bridged to a pair of sockets of this machine. What crosses them is SSH.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use crate::remote::{Output, Running};

/// What is read from the socket at once.
const PIECE: usize = 32 << 10;

/// A socket whose other end is the channel.
pub(super) async fn bridge(channel: Running) -> io::Result<TcpStream> {
    let (here, there) = pair().await?;
    tokio::spawn(pump(there, channel));
    Ok(here)
}

/// Two connected sockets. Not a Unix pair, as this is to work on Windows too.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (here, (there, peer)) = tokio::try_join!(TcpStream::connect(listener.local_addr()?), listener.accept())?;
    // Somebody else on this machine may have been faster.
    if peer != here.local_addr()? {
        return Err(io::Error::other("another program has connected to the bridge"));
    }
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

async fn pump(socket: TcpStream, channel: Running) {
    let Running { stdin, mut output, guard: _guard } = channel;
    let (mut from_socket, mut to_socket) = socket.into_split();
    let outward = async {
        loop {
            let mut piece = Zeroizing::new(vec![0; PIECE]);
            match from_socket.read(&mut piece).await {
                Ok(length) if length > 0 => {
                    piece.truncate(length);
                    if stdin.send(piece).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let inward = async {
        while let Some(Output::Stdout(piece)) = output.recv().await {
            if to_socket.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    // When either direction has ended, SSH has; dropping the rest ends the other.
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
