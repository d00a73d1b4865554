//! Docker's own version ordering, which is not semver (facts D.1).

use std::cmp::Ordering;

/// A Docker version such as `1.12.2-cs2-ws-beta`, `17.03.1-ee-3` or `20.10.24+dfsg1`.
///
/// Ordered by (major, minor, patch) as integers, then pre-releases before releases, then the number of the product build.
/// The text after `-` marks a product build (`cs2`, `ee-3`, `ce`), not a pre-release: `17.03.1-ee-3` is above `17.03.1`.
/// Genuine pre-releases are `-rcN`, `-dev`, `-tpN` and `-beta`; a `-beta` behind a product build, as in
/// `cs2-ws-beta`, is a pre-release of that build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerVersion {
    numbers: [u32; 3],
    build: u32,
    pre_release: bool,
    text: String,
}

impl DockerVersion {
    /// Reads a version; `None` when it does not begin with numbers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let release = text.split('+').next()?;
        let mut parts = release.split(['-', '~']);
        let mut numbers = [0; 3];
        let mut count = 0;
        for number in parts.next()?.trim_start_matches('v').split('.') {
            *numbers.get_mut(count)? = number.parse().ok()?;
            count += 1;
        }
        if count < 2 {
            return None;
        }
        let (mut build, mut pre_release) = (0, false);
        for part in parts {
            let digits = part.trim_start_matches(|character: char| character.is_ascii_alphabetic());
            let word = part.get(..part.len() - digits.len())?;
            match word {
                "cs" | "ee" | "ce" | "" => build = digits.parse().unwrap_or(build),
                "rc" | "tp" | "beta" | "dev" => pre_release = true,
                _ => {}
            }
        }
        Some(Self { numbers, build, pre_release, text: text.to_owned() })
    }

    /// Major and minor number.
    pub(crate) fn major_minor(&self) -> (u32, u32) {
        (self.numbers[0], self.numbers[1])
    }
}

impl Ord for DockerVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |version: &Self| (version.numbers, version.build, !version.pre_release);
        key(self).cmp(&key(other)).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for DockerVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for DockerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_dockers_order() {
        let ascending = [
            "1.12.1",
            "1.12.2-rc1",
            "1.12.2",
            "1.12.2-cs2-ws-beta",
            "1.12.2-cs2",
            "1.13.0-rc4",
            "1.13.0",
            "1.13.1",
            "1.14.0-dev",
            "17.03.1",
            "17.03.1-ee-3",
            "17.06.1-ee-2",
            "17.06.2-ee-13",
            "17.06.2-ee-16",
            "18.03.1-ee-3",
            "18.09.1",
            "19.03.12",
            "20.10.24+dfsg1",
            "23.0.1",
        ];
        let versions: Vec<_> = ascending.iter().map(|text| DockerVersion::parse(text).unwrap()).collect();
        for pair in versions.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "Docker", "1", "1.x", "-ee-3", "1.2.3.4"] {
            assert_eq!(DockerVersion::parse(text), None, "{text}");
        }
    }
}
