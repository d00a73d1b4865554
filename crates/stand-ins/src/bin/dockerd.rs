//! A stand-in for Docker's engine, and not Docker: see the crate. `dockerd --register-service` and `--unregister-service` as
//! the real one has them; the Service Control Manager runs `dockerd --run-service`.

#[cfg(windows)]
#[path = "dockerd/pipe.rs"]
mod pipe;
#[cfg(windows)]
#[path = "dockerd/windows.rs"]
mod windows;

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    windows::main()
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
