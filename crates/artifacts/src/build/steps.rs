//! What is run to build Kubernetes, and what its output means. Pure.

use std::collections::BTreeSet;

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_protocol::Os;

use super::Stage;

/// One run of `make`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it is for.
    pub(crate) stage: Stage,
    /// The arguments of `make`.
    pub(crate) arguments: Vec<String>,
    /// What it finds in its environment.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// The runs of `make`, in order. The generators come first and for this machine: `make` hands `KUBE_BUILD_PLATFORMS` on
/// to their builds as well, and a generator built for Windows does not run here (facts C.1, trap 1).
pub(crate) fn steps(kubernetes: KubernetesMinor, systems: &BTreeSet<Os>) -> Vec<Step> {
    let generate =
        Step { stage: Stage::Generate, arguments: vec!["generated_files".to_owned()], environment: Vec::new() };
    let compile = systems.iter().map(|&os| Step {
        stage: Stage::Compile(os),
        arguments: vec![format!("WHAT={}", what(kubernetes, os).join(" "))],
        environment: environment(kubernetes, os),
    });
    std::iter::once(generate).chain(compile).collect()
}

/// A static kubelet runs on every distribution, as the other programs do, which are static by themselves. That of 1.5 cannot
/// be static: of go-systemd's package `util` there is nothing without C (vendor/github.com/coreos/go-systemd/util).
fn environment(kubernetes: KubernetesMinor, os: Os) -> Vec<(&'static str, &'static str)> {
    let overrides = match kubernetes {
        KubernetesMinor::V1_5 => None,
        KubernetesMinor::V1_20 => Some(("KUBE_STATIC_OVERRIDES", "kubelet")),
    };
    std::iter::once(("KUBE_BUILD_PLATFORMS", platform(os))).chain(overrides).collect()
}

/// Go's name for the platform.
pub(crate) fn platform(os: Os) -> &'static str {
    match os {
        Os::Linux => "linux/amd64",
        Os::Windows => "windows/amd64",
    }
}

/// What `make` is told to build. Kubernetes' scripts hand words with a dash on to `go`, whose -v names each package. Those of
/// 1.5 put them before `generate` as well (`go -v generate`, hack/lib/golang.sh, kube::golang::build_binaries), which
/// Go refuses, so that its packages cannot be told.
fn what(kubernetes: KubernetesMinor, os: Os) -> Vec<&'static str> {
    let words = match kubernetes {
        KubernetesMinor::V1_5 => None,
        KubernetesMinor::V1_20 => Some("-v"),
    };
    words.into_iter().chain(targets(kubernetes, os)).collect()
}

/// The folders of the source that are built for a system. Of Kubernetes only kubelet and kube-proxy run on Windows.
fn targets(kubernetes: KubernetesMinor, os: Os) -> Vec<&'static str> {
    let scheduler = match kubernetes {
        KubernetesMinor::V1_5 => "plugin/cmd/kube-scheduler",
        KubernetesMinor::V1_20 => "cmd/kube-scheduler",
    };
    match os {
        Os::Linux => vec![
            "cmd/kube-apiserver",
            "cmd/kube-controller-manager",
            scheduler,
            "cmd/kubelet",
            "cmd/kube-proxy",
            "cmd/kubectl",
        ],
        Os::Windows => vec!["cmd/kubelet", "cmd/kube-proxy"],
    }
}

/// The file names of what is built for a system.
pub(crate) fn programs(kubernetes: KubernetesMinor, os: Os) -> Vec<String> {
    let suffix = if os == Os::Windows { ".exe" } else { "" };
    let name = |target: &str| format!("{}{suffix}", target.rsplit('/').next().unwrap_or(target));
    targets(kubernetes, os).into_iter().map(name).collect()
}

/// The package that a line of `go build -v` names: an import path, and nothing else in the line.
pub(crate) fn package(line: &str) -> Option<&str> {
    let is_path =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '/' | '-' | '_' | '~');
    (line.starts_with(|first: char| first.is_ascii_alphabetic()) && line.chars().all(is_path)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_are_built_for_this_machine_before_anything_else() {
        let steps = steps(KubernetesMinor::V1_5, &[Os::Windows].into());
        let [generate, windows] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(generate.arguments, ["generated_files"]);
        assert!(generate.environment.is_empty());
        assert_eq!(windows.arguments, ["WHAT=cmd/kubelet cmd/kube-proxy"]);
        assert!(windows.environment.contains(&("KUBE_BUILD_PLATFORMS", "windows/amd64")));
    }

    #[test]
    fn only_where_the_scripts_can_are_packages_named() {
        let what = |kubernetes| steps(kubernetes, &[Os::Windows].into()).swap_remove(1).arguments;
        assert_eq!(what(KubernetesMinor::V1_20), ["WHAT=-v cmd/kubelet cmd/kube-proxy"]);
        // `go -v generate` is what the scripts of 1.5 would make of it.
        assert_eq!(what(KubernetesMinor::V1_5), ["WHAT=cmd/kubelet cmd/kube-proxy"]);
    }

    #[test]
    fn linux_gets_the_control_plane_and_a_static_kubelet_where_there_can_be_one() {
        let both = [Os::Linux, Os::Windows].into();
        let linux = steps(KubernetesMinor::V1_5, &both).swap_remove(1);
        assert_eq!(linux.stage, Stage::Compile(Os::Linux));
        assert!(linux.arguments[0].contains("plugin/cmd/kube-scheduler"));
        assert_eq!(linux.environment, [("KUBE_BUILD_PLATFORMS", "linux/amd64")], "its kubelet needs C");
        let newer = steps(KubernetesMinor::V1_20, &both).swap_remove(1);
        assert!(newer.environment.contains(&("KUBE_STATIC_OVERRIDES", "kubelet")));
        assert!(!newer.arguments[0].contains("plugin/"));
        assert_eq!(programs(KubernetesMinor::V1_5, Os::Windows), ["kubelet.exe", "kube-proxy.exe"]);
        assert_eq!(programs(KubernetesMinor::V1_5, Os::Linux)[2], "kube-scheduler");
    }

    #[test]
    fn packages_are_told_from_what_make_says() {
        for name in ["errors", "k8s.io/kubernetes/vendor/github.com/modern-go/reflect2", "gopkg.in/yaml.v2"] {
            assert_eq!(package(name), Some(name));
        }
        for other in [
            "+++ [1123 05:50:13] Building go targets for linux/amd64:",
            "    cmd/kubelet",
            "make[1]: Entering directory",
            "# k8s.io/kubernetes/cmd/kubelet",
            "",
        ] {
            assert_eq!(package(other), None, "{other}");
        }
    }
}
