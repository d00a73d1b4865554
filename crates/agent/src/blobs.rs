//! The staging folder: bytes that the orchestrator sent for files to come, one file a blob, named by digest.
//!
//! A piece is taken only where the blob ends so far; any other is answered with how much is there, and the sender goes on
//! from that. What a lost connection leaves is a good beginning; it goes when a run ends as it should.

use std::io::Read as _;

use k8swin_protocol::digest::Hasher;
use k8swin_protocol::wire::{CHUNK, Chunk};
use k8swin_protocol::{HostPath, Os, SecretBytes, Sha256};

use crate::platform::{Platform, PlatformError, Result, read_fully};
use crate::{depot, ledger};

/// Bytes that are read at once of what an earlier session left.
const READ: usize = 1 << 20;

/// The staging folder.
pub(crate) fn folder(os: Os) -> HostPath {
    os.state().join("blobs")
}

/// Where a blob is staged.
pub(crate) fn path(os: Os, sha256: Sha256) -> HostPath {
    folder(os).join(&sha256.to_string())
}

/// Takes pieces of blobs, whose digests are computed while they come.
#[derive(Default)]
pub(crate) struct Staging {
    /// The blob whose piece was taken last, until it is whole.
    filling: Option<Filling>,
}

/// A blob that is not whole yet.
struct Filling {
    sha256: Sha256,
    /// How many of its bytes are there, all of which the hasher has taken.
    there: u64,
    hasher: Hasher,
}

impl Staging {
    /// Takes a piece; returns how many bytes of the blob are there now.
    pub(crate) fn put(&mut self, host: &mut (impl Platform + ?Sized), chunk: &Chunk) -> Result<u64> {
        let path = path(host.os(), chunk.sha256);
        let there = host.stat(&path)?.map(|stat| stat.size);
        let received = there.unwrap_or(0);
        if chunk.offset != received || (there.is_some() && received == chunk.size) {
            return Ok(received);
        }
        let attempted = || format!("take a piece of the blob {} at {}", chunk.sha256, chunk.offset);
        let bytes = decompress(chunk.zstd.0.expose()).map_err(|answer| no_piece(attempted(), answer))?;
        let now = received + bytes.expose().len() as u64;
        if now > chunk.size {
            return Err(PlatformError::new(attempted(), format!("it ends at {now}, beyond the size {}", chunk.size)));
        }
        let mut filling = self.go_on(host, &path, chunk.sha256, received)?;
        if there.is_none() {
            ledger::ensure_folder(host, &folder(host.os()))?;
        }
        host.append_file(&path, bytes.expose())?;
        filling.hasher.update(bytes.expose());
        if now < chunk.size {
            self.filling = Some(Filling { there: now, ..filling });
            return Ok(now);
        }
        let found = filling.hasher.finish();
        if found != chunk.sha256 {
            host.remove_file(&path)?;
            return Err(wrong_digest(chunk.sha256, found));
        }
        Ok(now)
    }

    /// The digest so far of a blob of which `there` bytes are there: known from its last piece, or read from what an earlier session
    /// left.
    fn go_on(
        &mut self,
        host: &mut (impl Platform + ?Sized),
        path: &HostPath,
        sha256: Sha256,
        there: u64,
    ) -> Result<Filling> {
        let known = self.filling.take().filter(|filling| filling.sha256 == sha256 && filling.there == there);
        if let Some(filling) = known {
            return Ok(filling);
        }
        let mut hasher = Hasher::default();
        if there > 0 {
            hash_into(&mut hasher, host, path)?;
        }
        Ok(Filling { sha256, there, hasher })
    }
}

/// Has `hasher` take all bytes of a file.
pub(crate) fn hash_into(hasher: &mut Hasher, host: &mut (impl Platform + ?Sized), path: &HostPath) -> Result<()> {
    let file = host.open_shared(path)?;
    let (mut buffer, mut offset) = (vec![0; READ], 0);
    loop {
        let read = read_fully(file.as_ref(), &mut buffer, offset)
            .map_err(|error| PlatformError::new(format!("read {path}"), error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}

/// A piece that cannot be unpacked.
pub(crate) fn no_piece(attempted: String, answer: String) -> PlatformError {
    PlatformError::new(attempted, answer).with_hint("use an agent and an orchestrator of one version")
}

/// A blob whose bytes are others than its name says.
pub(crate) fn wrong_digest(sha256: Sha256, found: Sha256) -> PlatformError {
    let answer = format!("the bytes that arrived have the digest {found}");
    PlatformError::new(format!("verify the blob {sha256}"), answer)
        .with_hint("run the command again: the blob is sent again")
}

/// Removes what is staged.
pub(crate) fn clean(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let folder = folder(host.os());
    if host.stat(&folder)?.is_some() {
        host.remove_tree(&folder)?;
    }
    depot::clean(host)?;
    ledger::remove_empty_state_folder(host)
}

/// The bytes of one piece: a zstd frame of at most [`CHUNK`] bytes.
pub(crate) fn decompress(frame: &[u8]) -> std::result::Result<SecretBytes, String> {
    if frame.is_empty() {
        return Ok(SecretBytes::new(Vec::new()));
    }
    let decoder = ruzstd::decoding::StreamingDecoder::new(frame).map_err(|error| format!("no zstd frame: {error}"))?;
    let mut bytes = Vec::with_capacity(CHUNK);
    let mut bounded = decoder.take(CHUNK as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| format!("a broken zstd frame: {error}"))?;
    if bytes.len() > CHUNK {
        return Err(format!("a piece of more than {CHUNK} bytes"));
    }
    Ok(SecretBytes::new(bytes))
}
