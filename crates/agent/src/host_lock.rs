//! One agent at work on a host: waiting for the host's lock.

use std::thread;
use std::time::{Duration, Instant};

use crate::platform::{HostLock, Platform, PlatformError, Result};

/// How long another agent is waited for: longer than it may wait for the confirmation of a network change by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How often the lock, and what other processes of the host write, is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Takes the lock, waiting for it for a while; `alive` is called meanwhile.
///
/// # Errors
/// When another agent keeps it, which is then named, or when `alive` fails.
pub(crate) fn wait<P: Platform + ?Sized>(
    host: &mut P,
    doing: &str,
    patience: Duration,
    mut alive: impl FnMut(&mut P) -> Result<()>,
) -> Result<Box<dyn Send>> {
    let since = Instant::now();
    loop {
        match host.try_lock(doing)? {
            HostLock::Taken(lock) => return Ok(lock),
            HostLock::Busy(holder) if since.elapsed() >= patience => return Err(busy(doing, &holder, patience)),
            HostLock::Busy(_) => {}
        }
        alive(host)?;
        thread::sleep(POLL);
    }
}

/// The error of one who waited in vain.
pub(crate) fn busy(doing: &str, holder: &str, waited: Duration) -> PlatformError {
    let answer = format!("another agent is at work on this host: {holder}; waited {} s for it", waited.as_secs());
    PlatformError::new(doing, answer).with_hint("wait until it has ended, or end that process, then run this again")
}
