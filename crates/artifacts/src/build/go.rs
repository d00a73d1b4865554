//! Which Go builds which Kubernetes, as data: a Go that compiles is not yet one whose programs work. Pure.
//!
//! Sources: facts C.1 (trap 2, official builders) and the project's trials; the Go 1.8 limit is kubernetes#38380.

use std::fmt;

use k8swin_inventory::cluster::KubernetesMinor;

/// A release of Go 1: `go1.15.15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoVersion {
    minor: u32,
    patch: u32,
}

impl GoVersion {
    const fn new(minor: u32) -> Self {
        Self { minor, patch: 0 }
    }

    /// Reads what `go version` prints: `go version go1.15.15 linux/amd64`. A development version has no number.
    pub(crate) fn of_answer(answer: &str) -> Option<Self> {
        let release = answer.strip_prefix("go version ")?.split_whitespace().next()?.strip_prefix("go1.")?;
        let (minor, patch) = release.split_once('.').unwrap_or((release, "0"));
        Some(Self { minor: leading(minor)?, patch: leading(patch)? })
    }
}

/// The number that a text begins with: `15rc1` is 15.
fn leading(text: &str) -> Option<u32> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Go 1.{}", self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

/// What is known of Go releases for one Kubernetes minor.
struct Window {
    /// What its releases were built with, for people.
    built_with: &'static str,
    /// The first Go that will do.
    first: GoVersion,
    /// Why an older one will not.
    older: &'static str,
    /// From some release on something breaks. The last that applies is told.
    breaks: &'static [Break],
    /// The minors of Go whose programs were seen to work.
    seen: &'static [u32],
}

/// From that Go on the programs are broken, or `make` refuses.
struct Break {
    from: GoVersion,
    why: &'static str,
    /// A file of the source that shows that it has been cured.
    cure: Option<Cure>,
}

/// What cures a break.
struct Cure {
    file: &'static str,
    what: &'static str,
}

const V1_5: Window = Window {
    built_with: "1.7.4 to 1.7.6",
    first: GoVersion::new(7),
    older: "the walkthrough and all releases of 1.5 use Go 1.7",
    breaks: &[
        Break {
            from: GoVersion::new(8),
            why: "its kube-apiserver panics at its start: from Go 1.8 on url.Parse refuses `127.0.0.1:8080` \
                  (kubernetes#38380)",
            cure: None,
        },
        Break {
            from: GoVersion::new(10),
            why: "make refuses it, because it compares versions as texts and 1.10 sorts before 1.6; what it would \
                  build is broken besides: kube-apiserver panics at its start (kubernetes#38380)",
            cure: None,
        },
    ],
    seen: &[7],
};

const V1_20: Window = Window {
    built_with: "1.15",
    first: GoVersion::new(15),
    older: "make refuses it: Kubernetes 1.20 requires Go 1.15.0 or newer",
    breaks: &[Break {
        from: GoVersion::new(18),
        why: "its kube-apiserver crashes at the first JSON PATCH: reflect2 1.0.1, which the source brings along, reads \
              what Go 1.18 arranged anew",
        cure: Some(Cure {
            file: "vendor/github.com/modern-go/reflect2/go_above_118.go",
            what: "reflect2 1.0.2 or newer in the source's vendor/github.com/modern-go/reflect2 cures it",
        }),
    }],
    seen: &[15, 19],
};

fn window(kubernetes: KubernetesMinor) -> &'static Window {
    match kubernetes {
        KubernetesMinor::V1_5 => &V1_5,
        KubernetesMinor::V1_20 => &V1_20,
    }
}

/// What is to be expected of a Go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its programs work.
    Fits,
    /// Nobody wrote down how its programs do.
    Untried(String),
    /// Its programs are broken, or none come out.
    Refused(String),
}

/// Judges a Go for a Kubernetes minor. `has` tells whether the source has a file.
pub(crate) fn judge(kubernetes: KubernetesMinor, go: Option<GoVersion>, has: impl Fn(&str) -> bool) -> Verdict {
    let window = window(kubernetes);
    let Some(go) = go else {
        return Verdict::Untried("it is no release, so nothing is known of it".to_owned());
    };
    if go < window.first {
        return Verdict::Refused(window.older.to_owned());
    }
    let open = |broken: &&Break| go >= broken.from && !broken.cure.as_ref().is_some_and(|cure| has(cure.file));
    if let Some(broken) = window.breaks.iter().rfind(open) {
        let cure = broken.cure.as_ref().map(|cure| format!(" ({})", cure.what)).unwrap_or_default();
        return Verdict::Refused(format!("{}{cure}", broken.why));
    }
    if window.seen.contains(&go.minor) {
        return Verdict::Fits;
    }
    let kubernetes = kubernetes.as_str();
    Verdict::Untried(format!("whether Kubernetes {kubernetes} works when built with it is not known"))
}

/// Where a Go that fits comes from.
pub(crate) fn remedy(kubernetes: KubernetesMinor) -> String {
    let (release, debian) = match kubernetes {
        KubernetesMinor::V1_5 => ("1.7.6", ""),
        KubernetesMinor::V1_20 => ("1.15.15", ", or the packages golang-1.15-go and golang-1.15-src of Debian 11"),
    };
    format!(
        "Kubernetes {} is built with Go {}: unpack https://go.dev/dl/go{release}.linux-amd64.tar.gz{debian} into any \
         folder, and name it with `--go FOLDER`, or `go = \"FOLDER\"` in [cluster.artifacts]; `--allow-toolchain` \
         takes another Go all the same",
        kubernetes.as_str(),
        window(kubernetes).built_with,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn go(text: &str) -> Option<GoVersion> {
        GoVersion::of_answer(&format!("go version {text} linux/amd64"))
    }

    fn refused(kubernetes: KubernetesMinor, version: &str) -> Option<String> {
        match judge(kubernetes, go(version), |_| false) {
            Verdict::Refused(why) => Some(why),
            Verdict::Fits | Verdict::Untried(_) => None,
        }
    }

    #[test]
    fn what_go_says_of_itself_is_read() {
        for (text, shown) in [
            ("go1.7", "Go 1.7"),
            ("go1.15.15", "Go 1.15.15"),
            ("go1.22rc1", "Go 1.22"),
            ("go1.20.5-custom", "Go 1.20.5"),
        ] {
            assert_eq!(go(text).unwrap().to_string(), shown);
        }
        for strange in ["devel", "go2.0", "", "go1.", "go1.x"] {
            assert_eq!(go(strange), None, "{strange}");
        }
        assert_eq!(GoVersion::of_answer("gcc 12"), None);
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(go("go1.9.7") < go("go1.10") && go("go1.15.2") < go("go1.15.15"));
    }

    #[test]
    fn kubernetes_1_5_is_built_with_go_1_7_alone() {
        let judge = |version| judge(KubernetesMinor::V1_5, go(version), |_| true);
        assert_eq!(judge("go1.7.6"), Verdict::Fits);
        assert!(refused(KubernetesMinor::V1_5, "go1.6.4").unwrap().contains("Go 1.7"));
        assert!(refused(KubernetesMinor::V1_5, "go1.8.3").unwrap().contains("url.Parse"));
        assert!(refused(KubernetesMinor::V1_5, "go1.10").unwrap().contains("compares versions as texts"));
    }

    #[test]
    fn kubernetes_1_20_needs_a_cure_from_go_1_18_on() {
        let judge = |version, cured| judge(KubernetesMinor::V1_20, go(version), |_| cured);
        assert_eq!(judge("go1.15.15", false), Verdict::Fits);
        assert!(matches!(judge("go1.16", false), Verdict::Untried(_)));
        let why = refused(KubernetesMinor::V1_20, "go1.19.8").unwrap();
        assert!(why.contains("JSON PATCH") && why.contains("reflect2 1.0.2"), "{why}");
        assert_eq!(judge("go1.19.8", true), Verdict::Fits);
        assert!(matches!(judge("go1.24", true), Verdict::Untried(_)));
        assert!(refused(KubernetesMinor::V1_20, "go1.14.9").unwrap().contains("1.15.0 or newer"));
    }

    #[test]
    fn a_development_version_is_not_known() {
        assert!(matches!(judge(KubernetesMinor::V1_20, None, |_| true), Verdict::Untried(_)));
    }

    proptest! {
        #[test]
        fn garbage_is_no_panic(text in ".*") {
            let _ = GoVersion::of_answer(&text);
        }

        #[test]
        fn below_the_window_nothing_fits(minor in 0u32..15, patch in 0u32..30) {
            let old = Some(GoVersion { minor, patch });
            prop_assert!(matches!(judge(KubernetesMinor::V1_20, old, |_| true), Verdict::Refused(_)));
        }
    }
}
