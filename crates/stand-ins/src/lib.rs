//! **Stand-ins, and not Windows**: programs that take the place of what Wine lacks, so that the real agent, kubelet.exe and
//! kube-proxy.exe can be tried on Linux. Nothing of this crate is shipped, and what it shows is how *our* programs behave when
//! Windows answers as these do.
//!
//! Each stand-in keeps state that a test can look at, and refuses what it does not know with an error. Adapters, addresses,
//! routes and forwarding are not pretended: they are those of the Linux network namespace in which Wine runs. What changes
//! them refuses to work outside a namespace that was made for the host ([`linux`]).
//!
//! | stand-in | for | state |
//! |---|---|---|
//! | `netsh.exe` | addresses, routes, forwarding, router type, firewall rules | Linux, registry, `C:\stand-ins\network.json`; calls in `C:\stand-ins\netsh.log` |
//! | `system-services.exe` | the service `RemoteAccess` | forwards while it runs |
//! | | the services `hns` and `iphlpsvc` | none: they only run |
//! | `dockerd.exe`, `docker.exe` | Docker's engine and its command line | `C:\ProgramData\docker\stand-in.json` |
//! | `dismapi.dll` | Windows features | registry |
//! | `iphlpapi.dll` | names of adapters and their forwarding; all else is Wine's | registry, Linux |
//! | `advapi32.dll` | a shutdown that was asked for; all else is Wine's | `C:\stand-ins\restart` |
//! | `pdh.dll` | the performance counters that kubelet.exe reads | none |
//! | `vmcompute.dll` | the Host Compute Service, without containers | none |
//! | `wmic.exe` | the machine's identity, for kubelet.exe | registry |
//! | `object-names.exe` | the name `\\.\pipe` in lower case, for those who ask for exactly it | Wine's kernel |
//! | `bcryptprimitives.dll` | random numbers of Rust's standard library | none |
//!
//! On Linux the crate has the logic with its tests, the program `linux-side` that the others call, and [`kit`], which puts
//! all of them into a Wine prefix.

#[cfg(windows)]
pub mod desk;
pub mod engine;
#[cfg(unix)]
pub mod kit;
pub mod linux;
pub mod netsh;
#[cfg(windows)]
pub mod service;

/// Where the stand-ins keep what is not in the registry.
pub const FOLDER: &str = r"C:\stand-ins";

/// The registry key, below `HKEY_LOCAL_MACHINE`, with the names that Windows would have for adapters: one value for each,
/// named as Linux calls it. `libraries/iphlpapi.c` reads it too.
pub const ADAPTER_NAMES: &str = r"SOFTWARE\k8swin stand-ins\Adapters";

/// The same for adapters that ask DHCP, and for those that a switch has taken.
pub const DHCP_ADAPTERS: &str = r"SOFTWARE\k8swin stand-ins\Dhcp";
/// See above.
pub const TAKEN_ADAPTERS: &str = r"SOFTWARE\k8swin stand-ins\Taken";
