//! What a depot holds: each blob as one file of records, which are the pieces as they came, compressed.
//!
//! A record is the length of its bytes unpacked, their length packed (four bytes each, little-endian), and the zstd frame. So a
//! blob is given out from any record on without being packed or unpacked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8swin_protocol::digest::Hasher;
use k8swin_protocol::wire::{CHUNK, Chunk};
use k8swin_protocol::{HostPath, Os, Sha256};

use crate::blobs::{self, decompress};
use crate::ledger;
use crate::platform::{Platform, PlatformError, ReadAt, Result, SharedFile, read_fully};

/// Bytes before the frame of a record.
pub(super) const HEADER: usize = 8;

/// The most that a frame can be: zstd makes what it cannot compress a little longer.
pub(super) const LONGEST_FRAME: usize = CHUNK + CHUNK / 64 + 1024;

/// The folder.
fn folder(os: Os) -> HostPath {
    os.state().join("depot")
}

pub(super) fn path(os: Os, sha256: Sha256) -> HostPath {
    folder(os).join(&sha256.to_string())
}

/// Removes all that a depot holds.
pub(super) fn clean(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let folder = folder(host.os());
    if host.stat(&folder)?.is_some() {
        host.remove_tree(&folder)?;
    }
    Ok(())
}

/// The header of a record.
pub(super) fn header(unpacked: usize, packed: usize) -> [u8; HEADER] {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let [[a, b, c, d], [e, f, g, h]] = [length(unpacked), length(packed)];
    [a, b, c, d, e, f, g, h]
}

/// The lengths that a header tells: unpacked and packed. `None` for lengths that no record of ours has.
pub(super) fn lengths(header: [u8; HEADER]) -> Option<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = header;
    let [unpacked, packed] = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
    let (unpacked, packed) = (usize::try_from(unpacked).ok()?, usize::try_from(packed).ok()?);
    (unpacked <= CHUNK && packed <= LONGEST_FRAME).then_some((unpacked, packed))
}

/// Where a record begins: in the blob, and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    unpacked: u64,
    packed: u64,
}

/// A whole blob, to be given out.
pub(super) struct Good {
    pub(super) file: SharedFile,
    /// Its bytes, unpacked.
    pub(super) size: u64,
    /// Its bytes in the file.
    pub(super) length: u64,
    marks: Vec<Mark>,
}

impl Good {
    /// The last record that begins at or before that byte of the blob: where it begins in the blob, and in the file.
    pub(super) fn from(&self, unpacked: u64) -> (u64, u64) {
        let after = self.marks.partition_point(|mark| mark.unpacked <= unpacked);
        let mark = after.checked_sub(1).and_then(|last| self.marks.get(last));
        mark.map_or((0, 0), |mark| (mark.unpacked, mark.packed))
    }
}

/// What can be given out, as the session and the connections share it.
pub(super) type Goods = Arc<Mutex<BTreeMap<Sha256, Arc<Good>>>>;

/// What is being stocked, and what can be given out.
#[derive(Default)]
pub(super) struct Shelf {
    filling: BTreeMap<Sha256, Filling>,
    goods: Goods,
}

/// A blob that is not whole yet.
#[derive(Default)]
struct Filling {
    hasher: Hasher,
    unpacked: u64,
    packed: u64,
    marks: Vec<Mark>,
}

impl Filling {
    fn add(&mut self, bytes: &[u8], packed: usize) {
        self.marks.push(Mark { unpacked: self.unpacked, packed: self.packed });
        self.hasher.update(bytes);
        self.unpacked += bytes.len() as u64;
        self.packed += (HEADER + packed) as u64;
    }
}

impl Shelf {
    /// What can be given out.
    pub(super) fn goods(&self) -> &Goods {
        &self.goods
    }

    /// Takes a piece, as [`blobs::Staging::put`] does; returns how many bytes of the blob, unpacked, are there now.
    pub(super) fn put(&mut self, host: &mut (impl Platform + ?Sized), chunk: &Chunk) -> Result<u64> {
        if let Some(good) = self.goods.lock().unwrap_or_else(PoisonError::into_inner).get(&chunk.sha256) {
            return Ok(good.size);
        }
        let path = path(host.os(), chunk.sha256);
        let filling = match self.filling.remove(&chunk.sha256) {
            Some(filling) => filling,
            None => recover(host, &path, chunk.size)?,
        };
        let filling = self.filling.entry(chunk.sha256).or_insert(filling);
        let whole = filling.unpacked == chunk.size && !filling.marks.is_empty();
        if !whole && chunk.offset != filling.unpacked {
            return Ok(filling.unpacked);
        }
        if !whole {
            let attempted = || format!("stock a piece of the blob {} at {}", chunk.sha256, chunk.offset);
            let frame = chunk.zstd.0.expose();
            let bytes = decompress(frame).map_err(|answer| blobs::no_piece(attempted(), answer))?;
            let bytes = bytes.expose();
            if filling.unpacked + bytes.len() as u64 > chunk.size || frame.len() > LONGEST_FRAME {
                return Err(PlatformError::new(attempted(), format!("it goes beyond the size {}", chunk.size)));
            }
            ledger::ensure_folder(host, &folder(host.os()))?;
            let mut record = header(bytes.len(), frame.len()).to_vec();
            record.extend_from_slice(frame);
            host.append_file(&path, &record)?;
            filling.add(bytes, frame.len());
        }
        let there = filling.unpacked;
        if there == chunk.size {
            self.finish(host, &path, chunk)?;
        }
        Ok(there)
    }

    fn finish(&mut self, host: &mut (impl Platform + ?Sized), path: &HostPath, chunk: &Chunk) -> Result<()> {
        let Some(Filling { hasher, unpacked, packed, marks }) = self.filling.remove(&chunk.sha256) else {
            return Ok(());
        };
        let found = hasher.finish();
        if found != chunk.sha256 {
            host.remove_file(path)?;
            return Err(blobs::wrong_digest(chunk.sha256, found));
        }
        let good = Good { file: host.open_shared(path)?, size: unpacked, length: packed, marks };
        self.goods.lock().unwrap_or_else(PoisonError::into_inner).insert(chunk.sha256, Arc::new(good));
        Ok(())
    }
}

/// What an earlier attempt left of a blob. What cannot be read goes.
fn recover(host: &mut (impl Platform + ?Sized), path: &HostPath, size: u64) -> Result<Filling> {
    if host.stat(path)?.is_none() {
        return Ok(Filling::default());
    }
    let file = host.open_shared(path)?;
    match read_records(file.as_ref(), size) {
        Some(filling) => Ok(filling),
        None => {
            drop(file);
            host.remove_file(path)?;
            Ok(Filling::default())
        }
    }
}

/// All records of a file; `None` when it does not end with a whole one, or holds more than it should.
fn read_records(file: &dyn ReadAt, size: u64) -> Option<Filling> {
    let mut filling = Filling::default();
    loop {
        let mut head = [0; HEADER];
        match read_fully(file, &mut head, filling.packed).ok()? {
            0 => return (filling.unpacked <= size).then_some(filling),
            HEADER => {}
            _ => return None,
        }
        let (unpacked, packed) = lengths(head)?;
        let mut frame = vec![0; packed];
        if read_fully(file, &mut frame, filling.packed + HEADER as u64).ok()? != packed {
            return None;
        }
        let bytes = decompress(&frame).ok()?;
        if bytes.expose().len() != unpacked {
            return None;
        }
        filling.add(bytes.expose(), packed);
    }
}
