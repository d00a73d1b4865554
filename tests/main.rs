//! What a user sees: the `k8swin` program against the lab, over real SSH and real WinRM on loopback.

mod support;

mod build;
mod crash;
mod failures;
mod inventories;
mod safety;
mod secrets;
