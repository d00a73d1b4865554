//! The source line that an error shows: short, free of control characters, and without secrets.

use std::ops::Range;

/// A part of a source line with a caret under what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// In characters of `text`.
    caret: Range<usize>,
}

/// Longest excerpt, in characters: it fits a terminal with its margin.
const WIDTH: usize = 100;
/// Longest source line that is shown at all, in bytes: looking for secrets takes time, and nobody wrote this by hand.
const LONGEST_LINE: usize = 4096;

impl Excerpt {
    /// The carets, with the spaces before them.
    pub(crate) fn caret(&self) -> String {
        format!("{}{}", " ".repeat(self.caret.start), "^".repeat(self.caret.len().max(1)))
    }

    /// The line of `text` at `line` (a byte range without its end of line) that contains the start of `span`.
    /// None inside a multi-line string: it may be a password, and nothing on its line says so.
    pub(crate) fn new(text: &str, line: Range<usize>, span: Range<usize>) -> Option<Self> {
        if line.len() > LONGEST_LINE {
            return None;
        }
        let before = text.get(..line.start)?;
        let quotes = before.matches("\"\"\"").count() + before.matches("'''").count();
        if quotes % 2 == 1 {
            return None;
        }
        let source = text.get(line.clone())?;
        let byte_start = span.start.clamp(line.start, line.end) - line.start;
        let byte_end = span.end.clamp(line.start, line.end) - line.start;
        let start = source.get(..byte_start)?.chars().count();
        let length = source.get(byte_start..byte_end.max(byte_start)).map_or(0, |part| part.chars().count());

        let mut shown: Vec<char> = source.chars().map(printable).collect();
        hide_credentials(&mut shown);
        let mut caret = start..start + length;
        if let Some(secret) = secret_start(source) {
            shown.truncate(secret);
            shown.push('…');
            caret = caret.start.min(secret)..caret.end.min(secret + 1);
        }

        let first = caret.start.saturating_sub(WIDTH / 2).min(shown.len().saturating_sub(WIDTH));
        let cut: String = shown.iter().skip(first).take(WIDTH).collect();
        let length = cut.trim_end().chars().count();
        let text = cut.trim_end().to_owned();
        let start = (caret.start - first).min(length);
        let end = caret.end.saturating_sub(first).clamp(start, length.max(start));
        Some(Self { text, caret: start..end })
    }
}

fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

/// Hides `user:password` in addresses such as `https://user:password@host`, without moving what follows.
fn hide_credentials(line: &mut [char]) {
    let mut from = 0;
    while let Some(found) = line.get(from..).and_then(|rest| rest.windows(3).position(|part| part == [':', '/', '/'])) {
        let authority = from + found + 3;
        let end = line
            .iter()
            .skip(authority)
            .position(|character| matches!(character, '/' | '"' | '\'' | ' '))
            .map_or(line.len(), |length| authority + length);
        if let Some(part) = line.get_mut(authority..end)
            && let Some(at) = part.iter().rposition(|character| *character == '@')
        {
            part.iter_mut().take(at).for_each(|character| *character = '*');
        }
        from = authority;
    }
}

/// Where the value of a key that looks like a password begins, in characters. Unknown and misspelt keys count too:
/// `pasword = "…"` is an error, and must not print the password.
fn secret_start(line: &str) -> Option<usize> {
    line.match_indices('=').find_map(|(equals, _)| {
        let key = line.get(..equals)?.trim_end();
        let key = key.rsplit([',', '{', '[', ' ', '\t']).next()?;
        let secret = key.split('.').any(|part| looks_secret(part.trim_matches(['"', '\''])));
        secret.then(|| line.get(..=equals).map_or(0, |kept| kept.chars().count() + 1))
    })
}

fn looks_secret(key: &str) -> bool {
    const LONGEST: usize = 64;
    let key = key.to_ascii_lowercase();
    if key.len() > LONGEST || ["pass", "pwd", "secret", "token"].iter().any(|word| key.contains(word)) {
        return true;
    }
    ["password", "passphrase"].iter().any(|word| strsim::jaro_winkler(&key, word) >= 0.75)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, part: &str) -> Excerpt {
        let start = text.find(part).unwrap();
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        Excerpt::new(text, line_start..line_end, start..start + part.len()).unwrap()
    }

    #[test]
    fn caret_stands_under_the_part() {
        let shown = excerpt("a = 1\nkey = \"ä\" x", "x");
        assert_eq!(format!("{}\n{}", shown.text, shown.caret()), "key = \"ä\" x\n          ^");
    }

    #[test]
    fn long_lines_are_cut_around_the_part() {
        let text = format!("{}here{}", "a".repeat(1000), "b".repeat(1000));
        let shown = excerpt(&text, "here");
        assert_eq!(shown.text.chars().count(), WIDTH);
        assert_eq!(Excerpt::new(&"a".repeat(10_000), 0..10_000, 5..6), None);
        assert_eq!(shown.caret().find('^').map(|at| &shown.text[at..at + 4]), Some("here"));
    }

    #[test]
    fn no_secret_is_shown() {
        for line in [
            "password = \"hunter2\"",
            "pasword=\"hunter2\"",
            "Passwort = 'hunter2",
            "passphrase = { value = \"hunter2\" }",
            "\"password\".plain = \"hunter2\"",
            "host = [{ name = \"x\", password = \"hunter2\" }]",
            "mirror = \"https://me:hunter2@mirror.example/\"",
            "api_token = \"hunter2\"",
        ] {
            let shown = Excerpt::new(line, 0..line.len(), 0..line.len()).unwrap();
            assert!(!shown.text.contains("hunter2"), "{}", shown.text);
            assert!(shown.caret().chars().count() <= shown.text.chars().count(), "{}", shown.text);
        }
        let inside = "password = \"\"\"\nhunter2\n\"\"\"";
        assert_eq!(Excerpt::new(inside, 15..22, 15..22), None);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(excerpt("\tname = \"\u{1b}[31m\"", "name").text, " name = \"\u{fffd}[31m\"");
    }
}
