//! What must be known of a private key file before libssh2 is given it: whether it needs a passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh2::ErrorCode;
use zeroize::Zeroizing;

/// The first bytes of OpenSSH's own format (PROTOCOL.key).
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// libssh2's numbers for a key that it cannot make sense of.
const UNREADABLE: [i32; 3] = [-1, -16, -48];

/// Whether a private key is encrypted, in OpenSSH's format or in PEM.
pub(super) fn is_encrypted(text: &str) -> bool {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("\nProc-Type: 4,ENCRYPTED") {
        return true;
    }
    let body: Zeroizing<String> = Zeroizing::new(text.lines().filter(|line| !line.starts_with("-----")).collect());
    let Ok(bytes) = STANDARD.decode(body.trim().as_bytes()).map(Zeroizing::new) else { return false };
    // After the magic, the cipher's name: `none` where there is none.
    bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<4>()).is_some_and(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        rest.get(..length) != Some(b"none")
    })
}

/// Whether libssh2 failed on the key itself, before the host was asked.
pub(super) fn could_not_be_opened(error: &ssh2::Error) -> bool {
    matches!(error.code(), ErrorCode::Session(code) if UNREADABLE.contains(&code))
}

/// The key of a line as in `id_ed25519.pub`, as SSH encodes it.
pub(super) fn public_blob(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.split_ascii_whitespace().nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn openssh(cipher: &str) -> String {
        let length = u32::try_from(cipher.len()).unwrap().to_be_bytes();
        let body = STANDARD.encode([MAGIC, &length, cipher.as_bytes(), b"rest of the key"].concat());
        let (first, second) = body.split_at(20);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{first}\n{second}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    #[test]
    fn encryption_is_told_by_the_file() {
        assert!(!is_encrypted(&openssh("none")));
        assert!(is_encrypted(&openssh("aes256-ctr")));
        assert!(is_encrypted("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is_encrypted("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n"));
        assert!(!is_encrypted("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = is_encrypted(&text);
            let _ = public_blob(&text);
        }
    }
}
