//! The version that is stamped into the programs: what the source says of itself, else what was asked for. Pure.

use std::fmt::Write as _;

use k8swin_inventory::cluster::KubernetesVersion;

/// A version as Kubernetes writes it, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceVersion {
    /// `v1.20.2`, `v1.20.2-5+81c9f2d1142ea4`, `v1.20.2-dirty`.
    text: String,
    /// The commit, if it is known.
    commit: Option<String>,
    /// `clean`, `dirty` or `archive`, as Kubernetes' scripts have it.
    state: &'static str,
}

impl SourceVersion {
    /// Of a git repository: what `git describe --tags --match=v* --abbrev=14` says, as Kubernetes' own scripts turn it
    /// into a version (`hack/lib/version.sh`).
    pub(crate) fn of_git(described: &str, commit: &str, is_dirty: bool) -> Option<Self> {
        let mut text = described.to_owned();
        if let Some((rest, commit)) = described.rsplit_once("-g")
            && let Some((tag, distance)) = rest.rsplit_once('-')
            && distance.bytes().all(|byte| byte.is_ascii_digit())
        {
            // `v1.5.8-3-gabc` is `v1.5.8-3+abc`, `v1.6.0-alpha.0-3-gabc` is `v1.6.0-alpha.0.3+abc`.
            let separator = if tag.contains('-') { '.' } else { '-' };
            text = format!("{tag}{separator}{distance}+{commit}");
        }
        if is_dirty {
            text.push_str("-dirty");
        }
        let state = if is_dirty { "dirty" } else { "clean" };
        Self { text, commit: Some(commit.to_owned()), state }.checked()
    }

    /// Of an exported source, whose `hack/lib/version.sh` git has filled in: `'tag: v1.20.2' =~ tag:`.
    pub(crate) fn of_export(script: &str) -> Option<Self> {
        let quoted = |line: &str| line.split('\'').nth(1).map(str::to_owned);
        let tags = script.lines().filter(|line| line.contains("=~ tag:")).find_map(quoted)?;
        let text = tags.split_once("tag: ")?.1.split([',', ' ']).next()?.to_owned();
        let is_commit = |text: &String| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = script
            .lines()
            .filter(|line| line.trim_start().starts_with("KUBE_GIT_COMMIT='"))
            .find_map(quoted)
            .filter(is_commit);
        Self { text, commit, state: "archive" }.checked()
    }

    /// Of a source before Kubernetes 1.7 without git: what `pkg/version/base.go` of a tagged commit says,
    /// `gitVersion string = "v1.5.8+$Format:%h$"`.
    pub(crate) fn of_go(file: &str) -> Option<Self> {
        let line = file.lines().find(|line| line.trim_start().starts_with("gitVersion "))?;
        let text = line.split('"').nth(1)?.split('+').next()?.to_owned();
        // Between two releases the file tells nothing: `v0.0.0-master`, `v1.5.8-beta.0`.
        if text.contains('-') { None } else { Self { text, commit: None, state: "archive" }.checked() }
    }

    /// Of a source that says nothing of itself.
    pub(crate) fn asked(version: KubernetesVersion) -> Self {
        Self { text: format!("v{version}"), commit: None, state: "archive" }
    }

    /// Only what is a version goes into a file that a shell reads.
    fn checked(self) -> Option<Self> {
        let fine = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '+');
        let is_fine = self.numbers().is_some() && self.text.chars().all(fine);
        (is_fine && self.commit.iter().all(|commit| commit.chars().all(fine))).then_some(self)
    }

    /// `v1.20.2`.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Major, minor and patch, and whether more follows.
    fn numbers(&self) -> Option<(&str, &str, &str, bool)> {
        let plain = self.text.strip_prefix('v')?;
        let end = plain.find(['-', '+']).unwrap_or(plain.len());
        let (numbers, rest) = plain.split_at(end);
        match numbers.split('.').collect::<Vec<_>>().as_slice() {
            [major, minor, patch]
                if [major, minor, patch]
                    .iter()
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())) =>
            {
                Some((major, minor, patch, !rest.is_empty()))
            }
            _ => None,
        }
    }

    /// The release that the source is, or is made from.
    pub(crate) fn release(&self) -> Option<KubernetesVersion> {
        let (major, minor, patch, _) = self.numbers()?;
        format!("{major}.{minor}.{patch}").parse().ok()
    }

    /// The file that `KUBE_GIT_VERSION_FILE` names: Kubernetes' scripts read the version from it and ask git nothing.
    pub(crate) fn file(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}='{value}'");
        };
        line("KUBE_GIT_COMMIT", self.commit.as_deref().unwrap_or_default());
        line("KUBE_GIT_TREE_STATE", self.state);
        line("KUBE_GIT_VERSION", &self.text);
        if let Some((major, minor, _, is_more)) = self.numbers() {
            line("KUBE_GIT_MAJOR", major);
            line("KUBE_GIT_MINOR", &format!("{minor}{}", if is_more { "+" } else { "" }));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMIT: &str = "faecb196815e248d3ecfb03c680a4507229c2a56";

    fn git(described: &str, is_dirty: bool) -> Option<String> {
        SourceVersion::of_git(described, COMMIT, is_dirty).map(|version| version.text)
    }

    #[test]
    fn what_git_describes_becomes_what_kubernetes_writes() {
        assert_eq!(git("v1.5.8", false).unwrap(), "v1.5.8");
        assert_eq!(git("v1.5.8", true).unwrap(), "v1.5.8-dirty");
        assert_eq!(git("v1.20.2-5-g84c76d1142ea4d", false).unwrap(), "v1.20.2-5+84c76d1142ea4d");
        assert_eq!(git("v1.6.0-alpha.0-6-g84c76d1142ea4d", false).unwrap(), "v1.6.0-alpha.0.6+84c76d1142ea4d");
        for strange in ["", "1.5.8", "v1.5", "vx.y.z", "v1.5.8'; reboot", "v1.5.8 x"] {
            assert_eq!(git(strange, false), None, "{strange}");
        }
    }

    #[test]
    fn an_export_says_what_it_is() {
        let script = format!(
            "  if [[ '%' == \"%\" ]]; then\n    KUBE_GIT_COMMIT='{COMMIT}'\n    \
             if [[ 'HEAD -> release-1.20, tag: v1.20.2' =~ tag:\\ (v[^ ,]+) ]]; then\n"
        );
        let version = SourceVersion::of_export(&script).unwrap();
        assert_eq!((version.as_str(), version.commit.as_deref()), ("v1.20.2", Some(COMMIT)));
        assert_eq!(version.release(), "1.20.2".parse().ok());
        let plain = "    KUBE_GIT_COMMIT='$Format:%H$'\n    if [[ '$Format:%D$' =~ tag:\\ (v[^ ,]+) ]]; then\n";
        assert_eq!(SourceVersion::of_export(plain), None);
    }

    #[test]
    fn a_tagged_source_says_what_it_is_in_its_code() {
        let of = |version: &str| {
            let file = format!("\tgitMajor string = \"1\"\n\tgitVersion   string = \"{version}+$Format:%h$\"\n");
            SourceVersion::of_go(&file).map(|version| version.text)
        };
        assert_eq!(of("v1.5.8").as_deref(), Some("v1.5.8"));
        assert_eq!([of("v1.5.8-beta.0"), of("v0.0.0-master"), of("")], [None, None, None]);
    }

    #[test]
    fn the_file_is_one_that_a_shell_reads() {
        let version = SourceVersion::of_git("v1.20.2-5-g84c76d1142ea4d", COMMIT, true).unwrap();
        insta::assert_snapshot!(version.file());
        insta::assert_snapshot!(SourceVersion::asked("1.5.8".parse().unwrap()).file());
    }

    proptest! {
        #[test]
        fn no_quote_gets_into_the_file(text in ".{0,30}", script in ".{0,200}") {
            for version in [SourceVersion::of_git(&text, &text, true), SourceVersion::of_export(&script)].into_iter().flatten() {
                prop_assert!(version.file().lines().all(|line| line.matches('\'').count() == 2));
            }
        }
    }
}
