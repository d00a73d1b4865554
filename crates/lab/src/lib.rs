//! Simulated hosts: a real SSH server and a real WinRM server in front of a simulated platform.

pub mod program;
