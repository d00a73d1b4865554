//! The cluster's lock on its first control-plane host: who works on the cluster, and when that session last spoke.

use std::sync::atomic::{AtomicU64, Ordering};

use k8swin_protocol::HostPath;
use k8swin_protocol::wire::LockAnswer;
use serde::{Deserialize, Serialize};

use crate::ledger;
use crate::platform::{Permissions, Platform, PlatformError, Result};

/// A holder that was silent for this long has gone.
const STALE_MS: i64 = 30_000;

/// How often a sign of life is written.
const REFRESH_MS: i64 = 5_000;

/// The lock, as one session sees it.
pub(crate) struct Lock {
    session: String,
    held: Option<Record>,
    lost: Option<PlatformError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    owner: String,
    run: String,
    session: String,
    alive_ms: i64,
}

impl Lock {
    /// A session that does not hold the lock. Sessions of one owner are told apart.
    pub(crate) fn new(host: &mut (impl Platform + ?Sized)) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        Self { session: format!("{}-{number}-{}", std::process::id(), host.now_ms()), held: None, lost: None }
    }

    /// Takes the lock, if nobody alive but an earlier session of the same run holds it, or it is to be broken.
    pub(crate) fn acquire(
        &mut self,
        host: &mut (impl Platform + ?Sized),
        owner: String,
        run: String,
        break_lock: bool,
    ) -> Result<LockAnswer> {
        let now = host.now_ms();
        let path = path(host);
        if let Some(record) = read(host)? {
            let silent = now - record.alive_ms;
            // A sign of life from the far future is a clock that was set back.
            let alive = (-STALE_MS..STALE_MS).contains(&silent);
            let own = record.session == self.session || (&record.owner, &record.run) == (&owner, &run);
            if !own && alive && !break_lock {
                let silent_seconds = u64::try_from(silent / 1000).unwrap_or(0);
                return Ok(LockAnswer::Held { owner: record.owner, silent_seconds });
            }
            host.remove_file(&path)?;
        }
        ledger::ensure_folder(host, &host.os().state())?;
        let record = Record { owner, run, session: self.session.clone(), alive_ms: now };
        let permissions = Permissions::secret_file(host.os());
        if host.create_file(&path, &json(&record)?, &permissions)? {
            self.held = Some(record);
            self.lost = None;
            return Ok(LockAnswer::Granted);
        }
        // Somebody was faster.
        let owner = read(host)?.map_or_else(|| "somebody who just took it".to_owned(), |record| record.owner);
        Ok(LockAnswer::Held { owner, silent_seconds: 0 })
    }

    /// Writes a sign of life, if this session holds the lock. Once it was taken away, this fails until it is given back
    /// or acquired again.
    pub(crate) fn refresh(&mut self, host: &mut (impl Platform + ?Sized)) -> Result<()> {
        let now = host.now_ms();
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let Some(held) = &self.held else { return Ok(()) };
        if (0..REFRESH_MS).contains(&(now - held.alive_ms)) {
            return Ok(());
        }
        match read(host)? {
            Some(record) if record.session == self.session => {}
            other => {
                self.held = None;
                let answer = match other {
                    Some(other) => format!("{} took it", other.owner),
                    None => "it is gone".to_owned(),
                };
                let lost = PlatformError::new("keep the cluster's lock", answer)
                    .with_hint("wait until the other run has ended, then run this again");
                self.lost = Some(lost.clone());
                return Err(lost);
            }
        }
        let record = Record { alive_ms: now, ..held.clone() };
        let (path, permissions) = (path(host), Permissions::secret_file(host.os()));
        host.write_file(&path, &json(&record)?, &permissions)?;
        self.held = Some(record);
        Ok(())
    }

    /// Leaves the lock, if this session holds it, to the next session of the same run.
    pub(crate) fn keep_for_run(&mut self) {
        self.held = None;
    }

    /// Gives the lock back, if this session holds it.
    pub(crate) fn release(&mut self, host: &mut (impl Platform + ?Sized)) -> Result<()> {
        self.lost = None;
        if self.held.take().is_none() {
            return Ok(());
        }
        if read(host)?.is_some_and(|record| record.session == self.session) {
            let path = path(host);
            host.remove_file(&path)?;
        }
        ledger::remove_empty_state_folder(host)
    }
}

fn path(host: &(impl Platform + ?Sized)) -> HostPath {
    host.os().state().join("lock.json")
}

/// Who holds the lock. A file that cannot be understood (half written by a full disk) holds nothing.
fn read(host: &mut (impl Platform + ?Sized)) -> Result<Option<Record>> {
    let path = path(host);
    if host.stat(&path)?.is_none() {
        return Ok(None);
    }
    let bytes = host.read_file(&path)?;
    let broken = Record {
        owner: "an unreadable lock".into(),
        run: String::new(),
        session: String::new(),
        alive_ms: i64::MIN / 2,
    };
    Ok(Some(serde_json::from_slice(bytes.expose()).unwrap_or(broken)))
}

fn json(record: &Record) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| PlatformError::new("write the lock", error.to_string()))
}
