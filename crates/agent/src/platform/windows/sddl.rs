//! Access lists in SDDL, which is the same on Windows of any language.

use super::super::AccessList;

/// SYSTEM and Administrators have full access, nothing is inherited.
pub(super) const RESTRICTED_FILE: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// The same for a folder, whose content inherits it.
pub(super) const RESTRICTED_DIRECTORY: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// What an access list, as Windows writes it (`D:PAI(A;;FA;;;SY)(A;;FA;;;BA)`), is to us.
pub(super) fn classify(sddl: &str, directory: bool) -> AccessList {
    let other = || AccessList::Other(sddl.to_owned());
    let Some(body) = sddl.strip_prefix("D:") else { return other() };
    let (flags, entries) = body.split_at(body.find('(').unwrap_or(body.len()));
    let protected = flags.contains('P') && !flags.contains("NO_ACCESS_CONTROL");
    let Some(entries) = entries.split_terminator(')').map(Entry::parse).collect::<Option<Vec<_>>>() else {
        return other();
    };
    if protected {
        let inheritance = if directory { "OICI" } else { "" };
        let has = |trustee: &str| entries.iter().any(|entry| entry.grants_all(trustee, inheritance));
        return if entries.len() == 2 && has("SY") && has("BA") { AccessList::Restricted } else { other() };
    }
    let inherited = !entries.is_empty() && entries.iter().all(|entry| entry.flags.contains("ID"));
    if inherited { AccessList::Inherited } else { other() }
}

/// What an access list of Wine is to us. Wine keeps permission bits of Linux instead of lists and makes a list of them:
/// SYSTEM, the one account that there is, who is the administrator, and everybody as far as the bits say so. It knows no
/// inheritance: what everybody may read is what a file gets by itself.
pub(super) fn classify_wine(sddl: &str) -> AccessList {
    const ACCOUNT: &str = "S-1-5-21-0-0-0-1000";
    let other = || AccessList::Other(sddl.to_owned());
    let entries = sddl.strip_prefix("D:").unwrap_or_default();
    let Some(entries) = entries.split_terminator(')').map(Entry::parse).collect::<Option<Vec<_>>>() else {
        return other();
    };
    let allows = |entry: &Entry<'_>| entry.kind == "A";
    if !entries.iter().all(allows) || !entries.iter().any(|entry| entry.trustee == ACCOUNT) {
        return other();
    }
    let others: Vec<_> = entries.iter().filter(|entry| !["SY", "BA", ACCOUNT].contains(&entry.trustee)).collect();
    match others.as_slice() {
        [] => AccessList::Restricted,
        [everybody] if everybody.trustee == "WD" => AccessList::Inherited,
        _ => other(),
    }
}

/// One entry of an access list.
struct Entry<'a> {
    kind: &'a str,
    flags: &'a str,
    rights: &'a str,
    trustee: &'a str,
}

impl<'a> Entry<'a> {
    /// Parses `(A;OICI;FA;;;SY` (the closing parenthesis is gone).
    fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.strip_prefix('(')?.split(';');
        let (kind, flags, rights) = (fields.next()?, fields.next()?, fields.next()?);
        let (_object, _inherited_object) = (fields.next()?, fields.next()?);
        let trustee = fields.next()?;
        fields.next().is_none().then_some(Self { kind, flags, rights, trustee })
    }

    /// `FA` and `0x1f01ff` are the same rights: all.
    fn grants_all(&self, trustee: &str, inheritance: &str) -> bool {
        let all = self.rights == "FA" || self.rights.eq_ignore_ascii_case("0x1f01ff");
        self.kind == "A" && self.trustee == trustee && all && self.flags == inheritance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_set_is_what_we_recognise() {
        // As Windows gives it back: it adds AI.
        assert_eq!(classify("D:PAI(A;;FA;;;SY)(A;;FA;;;BA)", false), AccessList::Restricted);
        assert_eq!(classify("D:PAI(A;;0x1f01ff;;;BA)(A;;FA;;;SY)", false), AccessList::Restricted);
        assert_eq!(classify(RESTRICTED_FILE, false), AccessList::Restricted);
        assert_eq!(classify(RESTRICTED_DIRECTORY, true), AccessList::Restricted);
    }

    #[test]
    fn a_list_with_only_inherited_entries_is_inherited() {
        assert_eq!(classify("D:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)", false), AccessList::Inherited);
    }

    #[test]
    fn wine_tells_bits() {
        let private = "D:(A;;FA;;;SY)(A;;FA;;;S-1-5-21-0-0-0-1000)";
        assert_eq!(classify_wine(private), AccessList::Restricted);
        assert_eq!(classify_wine(&format!("{private}(A;;0x1200a9;;;WD)")), AccessList::Inherited);
        for other in ["D:", "D:(A;;FA;;;SY)", "D:(A;;FA;;;S-1-5-21-0-0-0-1000)(A;;FR;;;BU)"] {
            assert_eq!(classify_wine(other), AccessList::Other(other.into()));
        }
    }

    #[test]
    fn anything_more_or_less_is_another_list() {
        for (sddl, directory) in [
            ("D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;BU)", false),
            ("D:PAI(A;;FA;;;SY)", false),
            ("D:PAI(A;;FA;;;SY)(A;;FR;;;BA)", false),
            ("D:PAI(A;;FA;;;SY)(D;;FA;;;BA)", false),
            ("D:AI(A;;FA;;;SY)(A;;FA;;;BA)", false),
            ("D:AI(A;ID;FA;;;SY)(A;;FA;;;BA)", false),
            // Its content would not be protected.
            ("D:PAI(A;;FA;;;SY)(A;;FA;;;BA)", true),
            ("D:NO_ACCESS_CONTROL", false),
            ("D:P", false),
            ("D:", false),
            ("", false),
            ("D:P(A;;FA", false),
        ] {
            assert_eq!(classify(sddl, directory), AccessList::Other(sddl.to_owned()), "{sddl}");
        }
    }
}
