//! The staging folder: bytes that the orchestrator sent for files to come, one file a blob, named by digest.
//!
//! A piece is taken only where the blob ends so far; any other is answered with how much is there, and the sender goes on
//! from that. What a lost connection leaves is a good beginning; it goes when a run ends as it should.

use std::io::Read as _;

use k8swin_protocol::wire::{CHUNK, Chunk};
use k8swin_protocol::{HostPath, Os, SecretBytes, Sha256};

use crate::platform::{Platform, PlatformError, Result};
use crate::{depot, ledger};

/// The staging folder.
pub(crate) fn folder(os: Os) -> HostPath {
    os.state().join("blobs")
}

/// Where a blob is staged.
pub(crate) fn path(os: Os, sha256: Sha256) -> HostPath {
    folder(os).join(&sha256.to_string())
}

/// Takes a piece; returns how many bytes of the blob are there now.
pub(crate) fn put(host: &mut (impl Platform + ?Sized), chunk: &Chunk) -> Result<u64> {
    let path = path(host.os(), chunk.sha256);
    let there = host.stat(&path)?.map(|stat| stat.size);
    let received = there.unwrap_or(0);
    if chunk.offset != received || (there.is_some() && received == chunk.size) {
        return Ok(received);
    }
    let attempted = || format!("take a piece of the blob {} at {}", chunk.sha256, chunk.offset);
    let bytes = decompress(chunk.zstd.0.expose()).map_err(|answer| {
        PlatformError::new(attempted(), answer).with_hint("use an agent and an orchestrator of one version")
    })?;
    let now = received + bytes.expose().len() as u64;
    if now > chunk.size {
        return Err(PlatformError::new(attempted(), format!("it ends at {now}, beyond the size {}", chunk.size)));
    }
    if there.is_none() {
        ledger::ensure_folder(host, &folder(host.os()))?;
    }
    host.append_file(&path, bytes.expose())?;
    if now == chunk.size {
        let found = host.hash_file(&path)?;
        if found != chunk.sha256 {
            host.remove_file(&path)?;
            return Err(PlatformError::new(
                format!("verify the blob {}", chunk.sha256),
                format!("the bytes that arrived have the digest {found}"),
            )
            .with_hint("run the command again: the blob is sent again"));
        }
    }
    Ok(now)
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
