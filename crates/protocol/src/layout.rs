//! Where things lie on a host. These paths are a contract with the admin (README) and stay put.

use crate::{HostPath, Sha256};

/// The operating system of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

impl Os {
    /// The word of the inventory and of Kubernetes' label `beta.kubernetes.io/os`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }

    /// The folder for programs.
    #[must_use]
    pub fn bin(self) -> HostPath {
        constant(match self {
            Self::Linux => "/opt/k8swin/bin",
            Self::Windows => r"C:\k8swin\bin",
        })
    }

    /// The folder for configuration, certificates (below `pki`) and kubeconfigs.
    #[must_use]
    pub fn etc(self) -> HostPath {
        constant(match self {
            Self::Linux => "/etc/kubernetes",
            Self::Windows => r"C:\k8swin\etc",
        })
    }

    /// The folder for certificates and keys.
    #[must_use]
    pub fn pki(self) -> HostPath {
        self.etc().join("pki")
    }

    /// The agent's own folder: ledger, staged blobs, lock.
    #[must_use]
    pub fn state(self) -> HostPath {
        constant(match self {
            Self::Linux => "/var/lib/k8swin",
            Self::Windows => r"C:\k8swin\state",
        })
    }

    /// The folder for logs. On Linux the journal has them.
    #[must_use]
    pub fn log(self) -> HostPath {
        constant(match self {
            Self::Linux => "/var/log/k8swin",
            Self::Windows => r"C:\k8swin\log",
        })
    }

    /// The agent, whose name carries its digest: another version is another file, so that a running one is never
    /// overwritten, and one look tells whether it must be sent.
    #[must_use]
    pub fn agent(self, sha256: Sha256) -> HostPath {
        let extension = match self {
            Self::Linux => "",
            Self::Windows => ".exe",
        };
        self.bin().join(&format!("k8swin-agent-{}{extension}", sha256.short()))
    }
}

impl std::fmt::Display for Os {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn constant(path: &str) -> HostPath {
    #[expect(clippy::expect_used, reason = "the paths above are absolute; a test constructs each")]
    HostPath::new(path).expect("constant paths are absolute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_absolute() {
        for os in [Os::Linux, Os::Windows] {
            let paths = [os.bin(), os.etc(), os.pki(), os.state(), os.log(), os.agent(Sha256::of(b""))];
            assert!(paths.iter().all(|path| path.is_windows() == (os == Os::Windows)));
        }
        assert_eq!(Os::Windows.agent(Sha256::of(b"")).as_str(), r"C:\k8swin\bin\k8swin-agent-e3b0c44298fc1c14.exe");
    }
}
