//! Which piece of a blob is sent next: several are on their way at once, and a host that has another part than was thought
//! is followed. Pure.

use std::collections::VecDeque;

use k8swin_protocol::wire::CHUNK;

/// How many pieces of a blob are on their way at once, those that are being packed included. An answer takes two round trips
/// over WinRM, during which a host takes two or three envelopes; a program's piece is half of one.
const PIECES_IN_FLIGHT: usize = 16;

/// How often in a row the host may be somewhere else than it was last.
const PATIENCE: u32 = 4;

/// The sending of one blob.
pub(crate) struct Upload {
    size: u64,
    /// Where the next piece begins.
    next: u64,
    /// Where each piece on its way ends.
    in_flight: VecDeque<u64>,
    /// How many bytes are on the host, once it has said so.
    there: Option<u64>,
    /// The host did not take a piece: nothing more is sent until all answers are there.
    astray: bool,
    /// How often the host did not take a piece since its blob last grew.
    detours: u32,
}

/// A piece of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Its bytes. A blob of no bytes is one piece of none.
    pub(crate) length: u64,
}

/// The host takes none of what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stuck;

impl Upload {
    /// A blob of `size` bytes, of which the host may have a part.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, next: 0, in_flight: VecDeque::new(), there: None, astray: false, detours: 0 }
    }

    /// The piece to send now, which is then on its way; `None` when an answer must be waited for first.
    pub(crate) fn send(&mut self) -> Option<Piece> {
        // The first answer tells what an earlier attempt left on the host; until then no second piece is worth sending.
        let window = if self.there.is_none() { 1 } else { PIECES_IN_FLIGHT };
        let first_of_nothing = self.size == 0 && self.there.is_none();
        let more = self.next < self.size || first_of_nothing;
        if self.astray || self.in_flight.len() >= window || !more {
            return None;
        }
        let piece = Piece { offset: self.next, length: (self.size - self.next).min(CHUNK as u64) };
        self.next += piece.length;
        self.in_flight.push_back(self.next);
        Some(piece)
    }

    /// How many pieces are on their way, those that are being packed included.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The host has answered the oldest piece on its way: `there` bytes are on it now. Whether that is all, and nothing
    /// is on its way any more.
    ///
    /// # Errors
    /// When the host did not take the pieces that it asked for, again and again.
    pub(crate) fn answered(&mut self, there: u64) -> Result<bool, Stuck> {
        let taken = self.in_flight.pop_front() == Some(there);
        if self.there.is_none_or(|before| there > before) {
            self.detours = 0;
        }
        self.there = Some(there);
        self.astray |= !taken;
        if !self.in_flight.is_empty() {
            return Ok(false);
        }
        if there >= self.size {
            return Ok(true);
        }
        if self.astray {
            self.astray = false;
            self.detours += 1;
            if self.detours > PATIENCE {
                return Err(Stuck);
            }
            self.next = there;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = CHUNK as u64;

    /// What the agent does (crates/agent, blobs): a piece is taken only where the blob ends so far.
    fn take(there: &mut u64, piece: Piece) -> u64 {
        if piece.offset == *there {
            *there += piece.length;
        }
        *there
    }

    /// Sends a blob to a host that has `there` bytes of it; gives every piece that was sent.
    fn run(size: u64, mut there: u64) -> Vec<Piece> {
        let (mut upload, mut line, mut sent) = (Upload::new(size), VecDeque::new(), Vec::new());
        loop {
            while let Some(piece) = upload.send() {
                line.push_back(take(&mut there, piece));
                sent.push(piece);
            }
            assert!(line.len() <= PIECES_IN_FLIGHT);
            if upload.answered(line.pop_front().expect("neither a piece nor an answer")).unwrap() {
                assert_eq!(there, size);
                assert!(line.is_empty());
                return sent;
            }
        }
    }

    #[test]
    fn every_byte_is_sent_once_to_a_host_that_has_none() {
        for size in [1, PIECE - 1, PIECE, PIECE + 1, 100 * PIECE + 7] {
            let sent = run(size, 0);
            assert_eq!(sent.iter().map(|piece| piece.length).sum::<u64>(), size, "{size}");
        }
        assert_eq!(run(0, 0), [Piece { offset: 0, length: 0 }]);
    }

    #[test]
    fn only_what_is_missing_is_sent_to_a_host_that_has_a_part() {
        let size = 500 * PIECE;
        for there in [1, PIECE + 5, 40 * PIECE, 499 * PIECE, size - 1] {
            let sent = run(size, there);
            let (question, rest) = sent.split_first().unwrap();
            assert_eq!(question.offset, 0, "the first piece asks what is there");
            assert_eq!(rest.first().unwrap().offset, there);
            assert_eq!(rest.iter().map(|piece| piece.length).sum::<u64>(), size - there, "{there}");
        }
        assert_eq!(run(size, size).len(), 1, "a blob that is there is not sent again");
    }

    #[test]
    fn several_pieces_are_on_their_way_at_once() {
        let mut upload = Upload::new(100 * PIECE);
        assert!(upload.send().is_some() && upload.send().is_none());
        assert_eq!(upload.answered(PIECE), Ok(false));
        let more: Vec<_> = std::iter::from_fn(|| upload.send()).collect();
        assert_eq!(more.len(), PIECES_IN_FLIGHT);
        assert_eq!(more.last().unwrap().offset, PIECE * PIECES_IN_FLIGHT as u64);
    }

    #[test]
    fn a_host_that_loses_what_it_had_is_followed_and_one_that_takes_nothing_is_given_up() {
        let mut upload = Upload::new(100 * PIECE);
        upload.send().unwrap();
        assert_eq!(upload.answered(PIECE), Ok(false));
        while upload.send().is_some() {}
        // Somebody cleared the staging folder: all of them find nothing to continue.
        for _ in 0..PIECES_IN_FLIGHT {
            assert_eq!(upload.send(), None, "nothing is sent while the host is astray");
            assert_eq!(upload.answered(0), Ok(false));
        }
        assert_eq!(upload.send().map(|piece| piece.offset), Some(0));

        let mut stubborn = Upload::new(10);
        let answers = std::iter::from_fn(|| {
            stubborn.send();
            Some(stubborn.answered(0))
        });
        assert_eq!(answers.take(10).find(Result::is_err), Some(Err(Stuck)));
    }
}
