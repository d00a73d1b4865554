//! Connections between simulated hosts that carry bytes: loopback, as fast and as reliable as the hosts' faults let it be.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::platform::Link;

/// What a host has had to do with depots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Depots that it opened.
    pub depots: u64,
    /// Connections to depots that it opened.
    pub pulls: u64,
    /// Bytes that came over them, encrypted.
    pub pulled: u64,
}

/// The same, as it is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) depots: AtomicU64,
    pub(super) pulls: AtomicU64,
    pub(super) pulled: Arc<AtomicU64>,
}

impl Counts {
    pub(super) fn now(&self) -> Transfers {
        Transfers {
            depots: self.depots.load(Ordering::Relaxed),
            pulls: self.pulls.load(Ordering::Relaxed),
            pulled: self.pulled.load(Ordering::Relaxed),
        }
    }
}

/// How many do something at once, and how many did at most.
#[derive(Default)]
pub(super) struct Peak {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    /// One more, until the value is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Present {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Present(Arc::clone(self))
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// One that does it.
pub(super) struct Present(Arc<Peak>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection from one simulated host to another.
pub(super) struct SimulatedLink {
    pub(super) stream: TcpStream,
    /// Bytes a second that the receiving host takes.
    pub(super) rate: Option<u64>,
    /// Bytes that the other host still gives before it dies.
    pub(super) life: Option<Arc<AtomicI64>>,
    pub(super) pulled: Arc<AtomicU64>,
    pub(super) _present: Present,
    pub(super) pace: Pace,
}

/// How far a connection is with what it may take.
pub(super) struct Pace {
    since: Instant,
    taken: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), taken: 0 }
    }
}

impl Pace {
    /// So many bytes have been taken: waits until they may have.
    fn take(&mut self, bytes: u64, rate: u64) {
        self.taken += bytes;
        let due = Duration::from_secs_f64(self.taken as f64 / rate.max(1) as f64);
        thread::sleep(due.saturating_sub(self.since.elapsed()));
    }
}

impl Read for SimulatedLink {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.pulled.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(life) = &self.life
            && life.fetch_sub(i64::try_from(read).unwrap_or(i64::MAX), Ordering::SeqCst) < 0
        {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(rate) = self.rate {
            self.pace.take(read as u64, rate);
        }
        Ok(read)
    }
}

impl Write for SimulatedLink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Link for SimulatedLink {}
