//! The service host: what runs when the Service Control Manager starts `k8swin-agent service NAME`.
//!
//! kubelet.exe and kube-proxy.exe 1.5 are console programs (facts B.4). The host starts one, keeps it running, writes
//! what it says into a log, and ends its whole tree on stop. What is not Windows' is also built, and tested, elsewhere.

mod backoff;
#[cfg(windows)]
mod change;
mod log;
#[cfg(windows)]
mod network;
#[cfg(windows)]
mod service;
#[cfg(windows)]
mod supervisor;

#[cfg(windows)]
pub use service::{ServiceHostError, run};
