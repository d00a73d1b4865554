//! The depot's side: a thread for each connection, which gives out one blob as it lies in the file.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use k8swin_protocol::SecretBytes;
use rustls::StreamOwned;

use super::Trouble;
use super::message::{self, Answer};
use super::store::{Good, Goods};
use super::tls::Identity;
use crate::platform::read_fully;

/// Between two looks for a new connection.
const POLL: Duration = Duration::from_millis(5);

/// How long a client may keep a connection without taking anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// At most so many connections at once: more wait to be accepted.
const AT_ONCE: usize = 256;

/// Bytes read from the file at once.
const BUFFER: usize = 128 << 10;

/// An open depot. It closes, with its connections, when it is dropped.
pub(super) struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    identity: Identity,
    peers: Vec<Ipv4Addr>,
    token: SecretBytes,
    goods: Goods,
    closed: AtomicBool,
    /// The connections, to be cut at the end; by a number.
    open: Mutex<Vec<(u64, TcpStream)>>,
}

impl Server {
    /// Begins to accept connections.
    pub(super) fn start(
        listener: TcpListener,
        identity: Identity,
        peers: Vec<Ipv4Addr>,
        token: SecretBytes,
        goods: Goods,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (closed, open) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { identity, peers, token, goods, closed, open });
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new().name("depot".to_owned()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has closed its port, too.
            let _ = thread.join();
        }
        for (_, stream) in self.shared.open().drain(..) {
            // One that is closed already is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(u64, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self, asked: &message::Asked) -> Result<Arc<Good>, Answer> {
        if !same(asked.token.expose(), self.token.expose()) {
            return Err(Answer::Unauthorized);
        }
        let goods = self.goods.lock().unwrap_or_else(PoisonError::into_inner);
        goods.get(&asked.sha256).filter(|good| asked.from <= good.size).cloned().ok_or(Answer::NotFound)
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.closed.load(Ordering::SeqCst) {
        let full = shared.open().len() >= AT_ONCE;
        let (false, Ok((stream, from))) = (full, listener.accept()) else {
            thread::sleep(POLL);
            continue;
        };
        // Strangers are not answered at all.
        let known = matches!(from.ip(), IpAddr::V4(address) if shared.peers.contains(&address));
        let Some(copy) = stream.try_clone().ok().filter(|_| known) else { continue };
        number += 1;
        let (own, serving) = (number, Arc::clone(shared));
        shared.open().push((own, copy));
        let thread = thread::Builder::new().name("depot".to_owned()).spawn(move || {
            // What goes wrong with one connection is the other side's to tell.
            let _ = answer(stream, &serving);
            serving.open().retain(|(number, _)| *number != own);
        });
        if thread.is_err() {
            shared.open().retain(|(number, _)| *number != own);
        }
    }
}

fn answer(stream: TcpStream, shared: &Shared) -> Result<(), Trouble> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(shared.identity.accept()?, stream);
    let found = match message::read_question(&mut stream)? {
        None => Err(Answer::BadRequest),
        Some(asked) => shared.good(&asked).map(|good| (asked.from, good)),
    };
    match found {
        Err(refused) => message::write_answer(&mut stream, &refused)?,
        Ok((from, good)) => give(&mut stream, from, &good, shared)?,
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// Writes what lies in the file: nothing is packed here.
fn give(stream: &mut impl Write, from: u64, good: &Good, shared: &Shared) -> Result<(), Trouble> {
    let (from, mut offset) = good.from(from);
    let length = good.length.saturating_sub(offset);
    message::write_answer(stream, &Answer::Found { from, size: good.size, length })?;
    let mut buffer = vec![0; BUFFER];
    while offset < good.length && !shared.closed.load(Ordering::SeqCst) {
        let read = read_fully(good.file.as_ref(), &mut buffer, offset)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        stream.write_all(bytes)?;
        offset += read as u64;
    }
    Ok(())
}
