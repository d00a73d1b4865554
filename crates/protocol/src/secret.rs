//! Bytes that must never be printed, logged or serialised by accident: private keys, passwords, tokens.

use std::fmt;

use zeroize::Zeroizing;

/// Secret bytes. There is no `Serialize` and no `Display`; `Debug` shows the length only; memory is wiped on drop.
/// [`SecretBytes::expose`] is the one way in, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of secret bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself: only for writing it to a protected file, a cipher, or the host's standard input.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<secret, {} bytes>", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", SecretBytes::new("hunter2")), "<secret, 7 bytes>");
    }
}
