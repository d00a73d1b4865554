//! The machine's UUID in its SMBIOS tables.

/// The type of the structure that describes the machine.
const SYSTEM_INFORMATION: u8 = 1;

/// The type of the structure that ends the table.
const END: u8 = 127;

/// Where the table begins in what Windows hands out: after its own header (`RawSMBIOSData`).
const TABLE: usize = 8;

/// Where the UUID lies in the machine's structure.
const UUID: usize = 8;

/// The machine's UUID as Windows writes it, in lower case; none where the firmware has not set one.
pub(super) fn uuid(raw: &[u8]) -> Option<String> {
    let mut rest = raw.get(TABLE..)?;
    loop {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == END || length < 4 {
            return None;
        }
        let structure = rest.get(..length)?;
        if kind == SYSTEM_INFORMATION {
            return format(structure.get(UUID..UUID + 16)?);
        }
        // The strings of a structure follow it; two zeros end them.
        let strings = rest.get(length..)?;
        let end = strings.windows(2).position(|pair| pair == [0, 0])?;
        rest = strings.get(end + 2..)?;
    }
}

/// The first three groups are little-endian numbers (SMBIOS 2.6).
fn format(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    if bytes == [0; 16] || bytes == [0xff; 16] {
        return None;
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let groups = [&[d, c, b, a][..], &[f, e], &[h, g], &[i, j], &[k, l, m, n, o, p]];
    Some(groups.map(hex).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(uuid: [u8; 16]) -> Vec<u8> {
        let mut raw = vec![0, 3, 2, 0, 0, 0, 0, 0];
        // BIOS information with two strings comes first on most machines.
        raw.extend([0, 5, 0, 0, 9]);
        raw.extend(b"Vendor\0Version\0\0");
        raw.extend([1, 0x1b, 1, 0, 0, 0, 0, 0]);
        raw.extend(uuid);
        raw.extend([6, 0, 0, 0, 0]);
        raw.extend([127, 4, 2, 0, 0, 0]);
        raw
    }

    #[test]
    fn the_first_groups_are_little_endian() {
        let bytes = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(uuid(&table(bytes)).as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
    }

    #[test]
    fn a_machine_without_one_has_none() {
        assert_eq!(uuid(&table([0; 16])), None);
        assert_eq!(uuid(&table([0xff; 16])), None);
        assert_eq!(uuid(&[]), None);
        assert_eq!(uuid(&table([1; 16])[..20]), None);
    }
}
