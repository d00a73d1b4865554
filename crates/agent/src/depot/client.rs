//! Taking blobs from another host's depot into the staging folder.

use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::time::Duration;

use k8swin_protocol::Sha256;
use k8swin_protocol::depot::{Pull, Pulled};
use k8swin_protocol::digest::Hasher;
use k8swin_protocol::resource::Blob;
use rustls::StreamOwned;

use super::message::{self, Answer, Asked};
use super::store::{HEADER, lengths};
use super::{Trouble, tls};
use crate::blobs::{self, decompress};
use crate::ledger;
use crate::platform::{Platform, PlatformError, Result};

/// How long the depot may take to answer. It is near.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much is written into the file at once.
const WRITTEN: usize = 1 << 20;

/// Why a blob did not come.
enum Stop {
    /// The depot, which another way may do without.
    Depot(Trouble),
    /// This host.
    Host(PlatformError),
}

impl<T: Into<Trouble>> From<T> for Stop {
    fn from(trouble: T) -> Self {
        Self::Depot(trouble.into())
    }
}

/// Takes all blobs that are not staged yet. `tell` is told how much of each is there; an error of it ends the work.
///
/// # Errors
/// When this host cannot keep them. What is wrong with the depot is in the result.
pub(crate) fn pull<P: Platform + ?Sized>(
    host: &mut P,
    wanted: &Pull,
    tell: &mut dyn FnMut(&mut P, Sha256, u64) -> Result<()>,
) -> Result<Pulled> {
    let mut pulled = Pulled::default();
    for blob in &wanted.blobs {
        match pull_one(host, wanted, *blob, &mut pulled.received, tell) {
            Ok(()) => {}
            Err(Stop::Host(error)) => return Err(error),
            Err(Stop::Depot(trouble)) => {
                pulled.trouble = Some(trouble.to_string());
                break;
            }
        }
    }
    Ok(pulled)
}

fn pull_one<P: Platform + ?Sized>(
    host: &mut P,
    wanted: &Pull,
    blob: Blob,
    received: &mut u64,
    tell: &mut dyn FnMut(&mut P, Sha256, u64) -> Result<()>,
) -> std::result::Result<(), Stop> {
    let path = blobs::path(host.os(), blob.sha256);
    let mut there = host.stat(&path).map_err(Stop::Host)?.map_or(0, |stat| stat.size);
    if there == blob.size && there > 0 {
        return Ok(());
    }
    let mut hasher = Hasher::default();
    if there > blob.size {
        host.remove_file(&path).map_err(Stop::Host)?;
        there = 0;
    } else if there > 0 {
        blobs::hash_into(&mut hasher, host, &path).map_err(Stop::Host)?;
    }

    // When the work on it begins is worth knowing, too.
    if there < blob.size {
        tell(host, blob.sha256, there).map_err(Stop::Host)?;
    }
    let stream = host.dial(SocketAddrV4::new(wanted.address, wanted.depot.port), PATIENCE)?;
    let mut stream = StreamOwned::new(tls::connect(wanted.depot.key)?, stream);
    let asked = Asked { token: wanted.token.0.clone(), sha256: blob.sha256, from: there };
    message::write_question(&mut stream, &asked)?;
    let mut skipped = match message::read_answer(&mut stream)? {
        Answer::Found { from, size, .. } if size == blob.size && from <= there => {
            usize::try_from(there - from).unwrap_or(usize::MAX)
        }
        Answer::Found { .. } => return Err(Trouble::said("the depot answers another range than was asked for").into()),
        Answer::Unauthorized => return Err(Trouble::said("the depot refuses this run's token").into()),
        Answer::NotFound => return Err(Trouble::said(format!("the depot does not have {}", blob.sha256)).into()),
        Answer::BadRequest => return Err(Trouble::said("the depot does not understand the question").into()),
    };
    ledger::ensure_folder(host, &blobs::folder(host.os())).map_err(Stop::Host)?;
    let mut waiting = Vec::with_capacity(WRITTEN);
    loop {
        match read_record(&mut stream, received) {
            Ok(bytes) => {
                let skip = skipped.min(bytes.len());
                skipped -= skip;
                let bytes = bytes.get(skip..).unwrap_or_default();
                hasher.update(bytes);
                waiting.extend_from_slice(bytes);
            }
            Err(trouble) => {
                // What came is a good beginning for whatever brings the rest.
                if !waiting.is_empty() {
                    host.append_file(&path, &waiting).map_err(Stop::Host)?;
                }
                return Err(trouble.into());
            }
        }
        let now = there + waiting.len() as u64;
        if now > blob.size {
            return Err(Trouble::said("the depot sends more than the size of the blob").into());
        }
        if waiting.len() >= WRITTEN || now == blob.size {
            host.append_file(&path, &waiting).map_err(Stop::Host)?;
            there = now;
            waiting.clear();
            tell(host, blob.sha256, there).map_err(Stop::Host)?;
        }
        if there == blob.size {
            break;
        }
    }
    let found = hasher.finish();
    if found != blob.sha256 {
        host.remove_file(&path).map_err(Stop::Host)?;
        return Err(Trouble::said(format!("the bytes for {} have the digest {found}", blob.sha256)).into());
    }
    Ok(())
}

/// The unpacked bytes of the next record.
fn read_record(stream: &mut impl Read, received: &mut u64) -> std::result::Result<Vec<u8>, Trouble> {
    let ended = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Trouble::said("the depot ended in the middle"),
        _ => Trouble::Connection(error),
    };
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).map_err(ended)?;
    let (unpacked, packed) =
        lengths(head).ok_or_else(|| Trouble::said("the depot sends something else than records"))?;
    let mut frame = vec![0; packed];
    stream.read_exact(&mut frame).map_err(ended)?;
    *received += (HEADER + packed) as u64;
    let bytes = decompress(&frame).map_err(Trouble::said)?;
    if bytes.expose().len() != unpacked {
        return Err(Trouble::said("a record is not as long as it says"));
    }
    Ok(bytes.expose().to_vec())
}
