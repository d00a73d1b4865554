//! `sha256sums`: the format of `sha256sum`, one `<64 hexadecimal digits>  <path>` a line. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8swin_protocol::Sha256;

use crate::error::Problem;

/// The name of the file in its folder.
pub(crate) const FILE: &str = "sha256sums";

/// Digests by path, which has forward slashes and is relative to the folder of `sha256sums`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(BTreeMap<String, Sha256>);

impl Sums {
    /// Reads all lines, or says what is wrong with each bad one. Empty lines mean nothing; `*` before a path (binary
    /// mode) and `./` mean nothing either.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut sums = BTreeMap::new();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            match parse_line(line) {
                Ok((path, digest)) => {
                    if sums.insert(path.clone(), digest).is_some_and(|earlier| earlier != digest) {
                        problems.push(Problem::BadLine {
                            line: number,
                            reason: format!("{path} has another digest on an earlier line"),
                        });
                    }
                }
                Err(reason) => problems.push(Problem::BadLine { line: number, reason }),
            }
        }
        if problems.is_empty() { Ok(Self(sums)) } else { Err(problems) }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Sha256> {
        self.0.get(path).copied()
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn insert(&mut self, path: String, digest: Sha256) {
        self.0.insert(path, digest);
    }

    /// The text that [`Sums::parse`] reads.
    pub(crate) fn render(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (path, digest)| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{digest}  {path}");
            text
        })
    }
}

fn parse_line(line: &str) -> Result<(String, Sha256), String> {
    let (digest, path) = line.split_once(' ').ok_or("expected `<sha256>  <path>`")?;
    let digest = digest.parse::<Sha256>().map_err(|error| error.to_string())?;
    let path = path.strip_prefix([' ', '*']).unwrap_or(path);
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.is_empty() { Err("the path is missing".to_owned()) } else { Ok((path.to_owned(), digest)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_and_binary_mode_are_read() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let sums = Sums::parse(&format!("{a}  linux/kubelet\r\n\n{b} *./windows/kubelet.exe\n")).unwrap();
        assert_eq!(sums.get("linux/kubelet"), Some(a));
        assert_eq!(sums.get("windows/kubelet.exe"), Some(b));
        assert_eq!(sums.get("kubelet"), None);
    }

    #[test]
    fn all_bad_lines_are_reported() {
        let digest = Sha256::of(b"a");
        let problems = Sums::parse(&format!("zz  a\n{digest}\n{digest}  b\n{}  b\n", Sha256::of(b"c"))).unwrap_err();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "sha256sums line 1: `zz` is not a SHA-256 digest: expected 64 hexadecimal digits",
                "sha256sums line 2: expected `<sha256>  <path>`",
                "sha256sums line 4: b has another digest on an earlier line",
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_back(entries in proptest::collection::btree_map("[a-z][a-z0-9/.-]{0,20}", any::<u64>(), 0..8)) {
            let mut sums = Sums::default();
            for (path, seed) in entries {
                sums.insert(path, Sha256::of(&seed.to_le_bytes()));
            }
            prop_assert_eq!(Sums::parse(&sums.render()), Ok(sums));
        }

        #[test]
        fn garbage_is_no_panic(text in ".*") {
            let _ = Sums::parse(&text);
        }
    }
}
