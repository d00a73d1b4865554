//! Pieces of a stream in, whole lines out.

use k8swin_protocol::wire::MAX_LINE;
use zeroize::Zeroizing;

/// The line has no end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Cuts a stream into lines.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: Zeroizing<Vec<u8>>,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
}

impl Lines {
    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line without its ending; empty lines are left out.
    pub(crate) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, TooLong> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return if self.buffer.len() > MAX_LINE { Err(TooLong) } else { Ok(None) };
            };
            let end = self.searched + found;
            let mut line = Zeroizing::new(self.buffer.drain(..=end).collect::<Vec<u8>>());
            self.searched = 0;
            let length = line.trim_ascii_end().len();
            line.truncate(length);
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// What is left at the end of the stream: a line without its ending.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_back_however_the_stream_is_cut(
            lines in prop::collection::vec("[!-~]([ -~]{0,30}[!-~])?", 0..8),
            cuts in prop::collection::vec(1_usize..20, 1..40),
            ending in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let stream: Vec<u8> = lines.iter().flat_map(|line| format!("{line}{ending}").into_bytes()).collect();
            let (mut rest, mut cutter, mut read) = (stream.as_slice(), Lines::default(), Vec::new());
            for cut in cuts.iter().cycle() {
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                cutter.push(piece);
                while let Some(line) = cutter.next().unwrap() {
                    read.push(String::from_utf8(line.to_vec()).unwrap());
                }
                rest = next;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read, lines);
            prop_assert!(cutter.rest().is_empty());
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE + 1]);
        assert_eq!(lines.next(), Err(TooLong));
    }
}
