//! Bytes that follow a line as they are, for large blobs: base64 within a line makes a third more of them.
//!
//! Whether a host's standard input passes all bytes depends on how the host started the program (design §5), so that it is
//! tried first, once a session: the orchestrator sends [`encode_trial`], and goes on without lines of base64 only when the
//! answer is the digest of what it sent.

use std::io::{self, BufRead, Read as _};

use zeroize::Zeroizing;

use crate::wire::{self, CHUNK, Chunk, Request, ToAgent, WireBytes, WireError};
use crate::{SecretBytes, Sha256};

/// What ends the bytes of a trial, however many arrived: a line of its own in ASCII, which always passes.
const END_OF_TRIAL: &[u8] = b"\nend of all bytes\n";

/// The most bytes that a trial reads until its end.
const LONGEST_TRIAL: usize = 16 << 10;

/// The longest frame of a piece: zstd makes incompressible bytes a little longer.
const LONGEST_FRAME: usize = CHUNK + (CHUNK >> 4);

/// All values, in both orders, so that also each pair that a console might take for one (CR LF) is there.
fn trial() -> Vec<u8> {
    (0..=u8::MAX).chain((0..=u8::MAX).rev()).chain(*b"\r\n\n\r\r\n").collect()
}

/// The line that asks for a trial, with its bytes.
#[must_use]
pub fn encode_trial(id: u64) -> Zeroizing<Vec<u8>> {
    let line = wire::encode(&ToAgent { id, request: Request::TryBytes { arrived: Vec::new() } });
    Zeroizing::new([line.as_bytes(), &trial(), END_OF_TRIAL].concat())
}

/// Whether the answer to a trial says that all bytes arrive.
#[must_use]
pub fn all_arrived(arrived: Sha256) -> bool {
    arrived == Sha256::of(&trial())
}

/// A piece as a line with its bytes after it.
#[must_use]
pub fn encode_piece(id: u64, chunk: Chunk) -> Zeroizing<Vec<u8>> {
    let Chunk { sha256, size, offset, zstd: WireBytes(bytes), store } = chunk;
    let chunk = Chunk { sha256, size, offset, zstd: WireBytes(SecretBytes::new(Vec::new())), store };
    let length = bytes.expose().len();
    let line = wire::encode(&ToAgent { id, request: Request::PutRaw { chunk, length } });
    Zeroizing::new([line.as_bytes(), bytes.expose()].concat())
}

/// Reads what follows the line of a message, if anything: a [`Request::PutRaw`] becomes the [`Request::Put`] that it stands for.
///
/// # Errors
/// When the input ends before, or there is more than any message of ours has. What comes after it is no line then.
pub fn complete(message: ToAgent, input: &mut impl BufRead) -> Result<ToAgent, WireError> {
    let ToAgent { id, request } = message;
    let request = match request {
        Request::PutRaw { chunk, length } => {
            if length > LONGEST_FRAME {
                return Err(WireError::TooLong);
            }
            let mut bytes = vec![0; length];
            input.read_exact(&mut bytes)?;
            Request::Put(Chunk { zstd: WireBytes(SecretBytes::new(bytes)), ..chunk })
        }
        Request::TryBytes { .. } => Request::TryBytes { arrived: read_trial(input)? },
        request => request,
    };
    Ok(ToAgent { id, request })
}

fn read_trial(input: &mut impl BufRead) -> Result<Vec<u8>, WireError> {
    let mut arrived = Vec::new();
    loop {
        let room = (LONGEST_TRIAL - arrived.len()) as u64;
        let read = input.by_ref().take(room).read_until(b'\n', &mut arrived)?;
        if read == 0 {
            let ended = WireError::Io(io::ErrorKind::UnexpectedEof.into());
            return Err(if room == 0 { WireError::TooLong } else { ended });
        }
        // A console may have made another line ending of what comes before the last line.
        if let Some(rest) = arrived.trim_ascii_end().strip_suffix(END_OF_TRIAL.trim_ascii()) {
            let length = rest.strip_suffix(b"\n").map_or(rest.len(), <[u8]>::len);
            arrived.truncate(length);
            return Ok(arrived);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::depot::Store;

    fn read(input: &mut &[u8]) -> Result<ToAgent, WireError> {
        let line = wire::read_line(input)?.unwrap();
        complete(wire::decode(&line)?, input)
    }

    fn chunk(bytes: &[u8]) -> Chunk {
        let zstd = WireBytes(SecretBytes::new(bytes));
        Chunk { sha256: Sha256::of(bytes), size: 9, offset: 3, zstd, store: Store::Staging }
    }

    /// What the agent would answer when its input goes through `mangle`.
    fn arrived(mangle: impl Fn(&[u8]) -> Vec<u8>) -> Sha256 {
        let ping = wire::encode(&ToAgent { id: 2, request: Request::Ping });
        let input = mangle(&[encode_trial(1).as_slice(), ping.as_bytes()].concat());
        let mut input = input.as_slice();
        let Request::TryBytes { arrived } = read(&mut input).unwrap().request else { panic!() };
        assert_eq!(read(&mut input).unwrap().request, Request::Ping, "lines go on after it");
        Sha256::of(&arrived)
    }

    #[test]
    fn a_trial_tells_a_clean_input_from_one_that_changes_bytes() {
        assert!(all_arrived(arrived(<[u8]>::to_vec)));
        let without =
            |unwanted: u8| move |bytes: &[u8]| bytes.iter().copied().filter(|byte| *byte != unwanted).collect();
        assert!(!all_arrived(arrived(without(0x1a))));
        assert!(!all_arrived(arrived(without(0))));
        assert!(!all_arrived(arrived(without(b'\r'))));
        let crlf = |bytes: &[u8]| {
            bytes.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect()
        };
        assert!(!all_arrived(arrived(crlf)));
        assert!(!all_arrived(arrived(|bytes| bytes.iter().map(|byte| byte & 0x7f).collect())));
    }

    #[test]
    fn a_trial_without_an_end_is_an_error() {
        let trial = encode_trial(1);
        let cut = &trial[..trial.len() - 5];
        assert!(matches!(read(&mut &cut[..]), Err(WireError::Io(_))));
        let endless = [&trial[..100], &[b'x'; 2 * LONGEST_TRIAL]].concat();
        assert!(matches!(read(&mut endless.as_slice()), Err(WireError::TooLong)));
    }

    #[test]
    fn a_piece_that_ends_too_soon_or_is_too_long_is_an_error() {
        let piece = encode_piece(1, chunk(b"0123456789"));
        assert!(matches!(read(&mut &piece[..piece.len() - 1]), Err(WireError::Io(_))));
        let piece = encode_piece(1, chunk(&vec![0; LONGEST_FRAME + 1]));
        assert!(matches!(read(&mut piece.as_slice()), Err(WireError::TooLong)));
    }

    proptest! {
        #[test]
        fn pieces_come_back_whatever_their_bytes(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let input: Vec<u8> =
                (1..).zip(&pieces).flat_map(|(id, bytes)| encode_piece(id, chunk(bytes)).to_vec()).collect();
            let mut input = input.as_slice();
            for (id, bytes) in (1..).zip(&pieces) {
                prop_assert_eq!(read(&mut input).unwrap(), ToAgent { id, request: Request::Put(chunk(bytes)) });
            }
            prop_assert!(input.is_empty());
        }
    }
}
