//! OpenSSH's patterns (ssh_config(5), PATTERNS): `*`, `?`, and lists with `!`.

/// Whether `text` matches one pattern, in which `*` stands for any characters and `?` for one.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut reached) = (0, 0);
    // Where the last star stood, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while reached < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, reached));
                at += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(reached) => {
                at += 1;
                reached += 1;
            }
            _ => {
                let Some((star_at, stands_to)) = star else { return false };
                star = Some((star_at, stands_to + 1));
                at = star_at + 1;
                reached = stands_to + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

/// Whether `text` matches a list: at least one pattern, and none of those with `!` before them. Letter case is ignored, as
/// these are host names.
pub(super) fn list_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    // Most patterns are names, of which there are as many as hosts.
    let ignoring_case = |pattern: &str| match pattern.contains(['*', '?']) {
        true => matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase()),
        false => pattern.eq_ignore_ascii_case(text),
    };
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(negated) if ignoring_case(negated) => return false,
            Some(_) => {}
            None => found |= ignoring_case(pattern),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_of_the_manual() {
        for (pattern, text, expected) in [
            ("*.co.uk", "www.example.co.uk", true),
            ("*.co.uk", "co.uk", false),
            ("192.168.0.?", "192.168.0.7", true),
            ("192.168.0.?", "192.168.0.17", false),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(list_matches(["!*.dialup.example.com", "*.example.com"], "WWW.example.com"));
        assert!(!list_matches(["*.example.com", "!*.dialup.example.com"], "x.dialup.example.com"));
        assert!(!list_matches(["!a"], "b"), "a negated pattern alone matches nothing");
    }

    /// The same by recursion: slow, and plainly right.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, text) => text.is_none(),
            (Some(('*', rest)), None) => slow(rest, text),
            (Some(('*', rest)), Some((_, shorter))) => slow(rest, text) || slow(pattern, shorter),
            (Some(('?', rest)), Some((_, shorter))) => slow(rest, shorter),
            (Some((c, rest)), Some((d, shorter))) => c == d && slow(rest, shorter),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_one(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), slow(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn a_name_matches_itself_and_not_when_negated(name in "[a-z0-9.-]{1,20}") {
            let negated = format!("!{name}");
            prop_assert!(list_matches([name.as_str()], &name));
            prop_assert!(!list_matches(["*", negated.as_str()], &name));
        }
    }
}
