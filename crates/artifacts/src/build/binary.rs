//! What a file of machine code is, by its first bytes: ELF or PE, for which processor, with what it needs to start. Pure.
//!
//! Sources: the ELF specification (System V ABI, chapters 4 and 5) and Microsoft's PE format.

use k8swin_protocol::Os;

/// How much of a file is looked at: headers and the list of segments, or the way to the PE header.
pub(crate) const HEAD: u64 = 4096;

/// A program for x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    /// ELF, of Linux.
    Elf {
        /// Whether it brings all it needs, or wants this machine's C library.
        is_static: bool,
    },
    /// PE, of Windows.
    Pe,
}

impl Binary {
    /// `ELF x86-64, static`.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Elf { is_static: true } => "ELF x86-64, static",
            Self::Elf { is_static: false } => "ELF x86-64, dynamic",
            Self::Pe => "PE x86-64",
        }
    }
}

/// Says what a file is that should run on `os`, or why it will not.
pub(crate) fn identify(head: &[u8], os: Os) -> Result<Binary, String> {
    let (found, system) = match head {
        [0x7f, b'E', b'L', b'F', ..] => (elf(head)?, Os::Linux),
        [b'M', b'Z', ..] => (pe(head)?, Os::Windows),
        [] => return Err("it is empty".to_owned()),
        _ => return Err("it is neither ELF nor PE".to_owned()),
    };
    if system == os { Ok(found) } else { Err(format!("it is {}, not a program for {os}", found.describe())) }
}

fn elf(head: &[u8]) -> Result<Binary, String> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const EXECUTABLE: u16 = 2;
    const SHARED: u16 = 3;
    const X86_64: u16 = 62;
    const INTERPRETER: u32 = 3;
    let cut = || "it is cut off within the ELF header".to_owned();
    if head.get(4..6) != Some(&[CLASS_64, LITTLE_ENDIAN]) {
        return Err("it is not 64-bit little-endian ELF".to_owned());
    }
    let machine = half(head, 18).ok_or_else(cut)?;
    if machine != X86_64 {
        return Err(format!("it is ELF for another processor (machine {machine}), not x86-64"));
    }
    let kind = half(head, 16).ok_or_else(cut)?;
    if !matches!(kind, EXECUTABLE | SHARED) {
        return Err(format!("it is ELF, but no program (type {kind})"));
    }
    let segments = long(head, 32).and_then(|offset| usize::try_from(offset).ok()).ok_or_else(cut)?;
    let (size, count) = (half(head, 54).ok_or_else(cut)?, half(head, 56).ok_or_else(cut)?);
    let kind_of = |index: u16| {
        let offset = segments.checked_add(usize::from(index) * usize::from(size))?;
        word(head, offset)
    };
    // A list that goes beyond what is looked at has never been seen of Go's linker, and would say nothing more.
    let is_static = !(0..count).any(|index| kind_of(index) == Some(INTERPRETER));
    Ok(Binary::Elf { is_static })
}

fn pe(head: &[u8]) -> Result<Binary, String> {
    const AMD64: u16 = 0x8664;
    const EXECUTABLE_IMAGE: u16 = 0x0002;
    let none = || "it begins as a DOS program and has no PE header".to_owned();
    let header = word(head, 0x3c).and_then(|offset| usize::try_from(offset).ok()).ok_or_else(none)?;
    let rest = head.get(header..).ok_or_else(none)?;
    if !rest.starts_with(b"PE\0\0") {
        return Err(none());
    }
    let machine = half(rest, 4).ok_or_else(none)?;
    if machine != AMD64 {
        return Err(format!("it is PE for another processor (machine {machine:#06x}), not x86-64"));
    }
    match half(rest, 22) {
        Some(flags) if flags & EXECUTABLE_IMAGE != 0 => Ok(Binary::Pe),
        _ => Err("it is PE, but no program".to_owned()),
    }
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ELF header with one segment.
    fn elf(machine: u16, kind: u16, segment: u32) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&segment.to_le_bytes());
        bytes
    }

    fn pe(machine: u16, flags: u16) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
        bytes[0x96..0x98].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    #[test]
    fn programs_are_known_by_their_headers() {
        assert_eq!(identify(&elf(62, 2, 1), Os::Linux), Ok(Binary::Elf { is_static: true }));
        assert_eq!(identify(&elf(62, 3, 3), Os::Linux), Ok(Binary::Elf { is_static: false }));
        assert_eq!(identify(&pe(0x8664, 0x22), Os::Windows), Ok(Binary::Pe));
    }

    #[test]
    fn what_is_no_program_for_the_system_is_told() {
        let refused = |bytes: &[u8], os| identify(bytes, os).unwrap_err();
        assert_eq!(refused(&elf(62, 2, 1), Os::Windows), "it is ELF x86-64, static, not a program for windows");
        assert_eq!(refused(&pe(0x8664, 2), Os::Linux), "it is PE x86-64, not a program for linux");
        assert!(refused(&elf(183, 2, 1), Os::Linux).contains("machine 183"));
        assert!(refused(&elf(62, 1, 1), Os::Linux).contains("no program"));
        assert!(refused(&pe(0x14c, 2), Os::Windows).contains("0x014c"));
        assert!(refused(&pe(0x8664, 0x2000), Os::Windows).contains("no program"));
        assert!(refused(b"MZ", Os::Windows).contains("no PE header"));
        assert!(refused(&elf(62, 2, 1)[..20], Os::Linux).contains("cut off"));
        assert!(refused(b"", Os::Linux).contains("empty"));
        assert!(refused(b"#!/bin/sh\n", Os::Linux).contains("neither"));
    }

    #[test]
    fn the_test_itself_is_a_program_of_this_machine() {
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
            assert!(identify(&bytes[..HEAD as usize], Os::Linux).is_ok());
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_panic(start in prop_oneof![Just(&b"\x7fELF\x02\x01"[..]), Just(&b"MZ"[..]), Just(&b""[..])],
                               rest in proptest::collection::vec(any::<u8>(), 0..512)) {
            let bytes = [start, &rest].concat();
            let _ = identify(&bytes, Os::Linux);
            let _ = identify(&bytes, Os::Windows);
        }
    }
}
