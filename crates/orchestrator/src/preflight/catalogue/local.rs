//! Checks of the machine that k8swin runs on.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const LOCAL: Group = Group::ThisMachine;

pub(in crate::preflight) const GET_ARTIFACTS: Remedy =
    remedy("see [cluster.artifacts] in docs/inventory.md: another `source`, `mirror` or `path`", &[]);

pub(super) static ARTIFACTS: Entry = Entry {
    check: Check::Artifacts,
    group: LOCAL,
    worst: Severity::Error,
    looks_at: "the programs that the inventory's source has: in the folder, in the cache, or to be downloaded",
    expected: "all are here, or the server that has them answers",
    why: "a run that finds out after ten minutes that a file cannot be had has changed hosts for nothing",
    source: "facts C.2",
    remedies: &[GET_ARTIFACTS],
};

pub(in crate::preflight) const GET_DIGESTS: Remedy =
    remedy("take a version whose SHA-256 is known, or `source = \"local\"` with a file sha256sums", &[]);

pub(super) static ARTIFACT_DIGESTS: Entry = Entry {
    check: Check::ArtifactDigests,
    group: LOCAL,
    worst: Severity::Error,
    looks_at: "whether the SHA-256 of every program is known, and is that of the file",
    expected: "known and the same",
    why: "what runs as root on every host is never taken on trust",
    source: "facts C.2",
    remedies: &[GET_DIGESTS],
};

pub(in crate::preflight) const FREE_LOCAL: Remedy =
    remedy("free some space, or put the cache elsewhere: `--cache-dir FOLDER`", &[]);

pub(super) static LOCAL_DISK: Entry = Entry {
    check: Check::LocalDisk,
    group: LOCAL,
    worst: Severity::Error,
    looks_at: "free space in the folder for downloads",
    expected: "2 GiB; 6 GiB where programs are still to be built (less is warned of)",
    why: "the archives of a release are unpacked beside themselves, and a build of Kubernetes leaves gigabytes",
    source: "real-hosts §3",
    remedies: &[FREE_LOCAL],
};

pub(in crate::preflight) const INSTALL_GO: Remedy =
    remedy("unpack a Go that fits, and name its folder as `go` in [cluster.artifacts]", &[]);

pub(super) static GO_TOOLCHAIN: Entry = Entry {
    check: Check::GoToolchain,
    group: LOCAL,
    worst: Severity::Error,
    looks_at: "the Go toolchain, where programs are still to be built by `k8swin build`",
    expected: "Go 1.7 for Kubernetes 1.5, 1.15 to 1.17 for 1.20",
    why: "a newer Go compiles old Kubernetes for minutes into an API server that crashes at its start or at its first patch",
    source: "real-hosts §2, facts C.1",
    remedies: &[INSTALL_GO],
};
