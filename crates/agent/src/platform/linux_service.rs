//! How a systemd service stands and last ended, by systemd's own properties.

use k8swin_protocol::facts::{LastExit, ServiceState, ServiceStatus};

use super::program;
use super::{PlatformError, Result};

const PROPERTIES: [&str; 6] =
    ["LoadState", "ActiveState", "NRestarts", "ExecMainCode", "ExecMainStatus", "ExecMainExitTimestampMonotonic"];

/// How a service stands, on a host whose clock says `now_ms`.
pub(super) fn status(name: &str, now_ms: i64) -> Result<ServiceStatus> {
    let attempted = format!("look at the service {name}");
    let properties = format!("--property={}", PROPERTIES.join(","));
    let text = program::succeed(&attempted, "systemctl", &["show", &format!("{name}.service"), &properties])?;
    let uptime = std::fs::read_to_string("/proc/uptime")
        .map_err(|error| PlatformError::new(attempted, format!("/proc/uptime: {error}")))?;
    let up_seconds = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "no host is up for that long")]
    let booted_ms = now_ms - (up_seconds * 1000.0) as i64;
    Ok(parse(name, &text, booted_ms))
}

/// Lines such as `ActiveState=active`. `booted_ms` is when systemd's monotonic clock said zero.
fn parse(name: &str, text: &str, booted_ms: i64) -> ServiceStatus {
    /// `CLD_EXITED`, `CLD_KILLED` and `CLD_DUMPED` of waitid(2): what ExecMainStatus means.
    const EXITED: &str = "1";
    const BY_SIGNAL: [&str; 2] = ["2", "3"];
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let number = value("ExecMainStatus").parse::<i32>().ok();
    let code = number.filter(|_| value("ExecMainCode") == EXITED);
    let signal = number.filter(|_| BY_SIGNAL.contains(&value("ExecMainCode")));
    let ended_us = value("ExecMainExitTimestampMonotonic").parse::<i64>().ok().filter(|at| *at > 0);
    let at_ms = ended_us.map(|at| booted_ms + at / 1000);
    ServiceStatus {
        name: name.to_owned(),
        state: match (value("LoadState"), value("ActiveState")) {
            ("not-found", "inactive") => ServiceState::Absent,
            (_, "active" | "reloading") => ServiceState::Running,
            (_, "activating") => ServiceState::StartingAgain,
            (_, "failed") => ServiceState::Failed,
            (_, _) => ServiceState::Stopped,
        },
        restarts: value("NRestarts").parse().ok(),
        last_exit: (code.is_some() || signal.is_some()).then_some(LastExit { code, signal, at_ms }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(active: &str, rest: &str) -> ServiceStatus {
        parse("kubelet", &format!("LoadState=loaded\nActiveState={active}\n{rest}"), 1_000_000)
    }

    #[test]
    fn systemds_words_are_understood() {
        let crashing = status(
            "activating",
            "Result=exit-code\nNRestarts=5\nExecMainCode=1\nExecMainStatus=255\nExecMainExitTimestampMonotonic=2500000\n",
        );
        let last_exit = Some(LastExit { code: Some(255), signal: None, at_ms: Some(1_002_500) });
        let expected =
            ServiceStatus { name: "kubelet".into(), state: ServiceState::StartingAgain, restarts: Some(5), last_exit };
        assert_eq!(crashing, expected);

        let running = status("active", "NRestarts=0\nExecMainCode=0\nExecMainStatus=0\n");
        assert_eq!((running.state, running.restarts, running.last_exit), (ServiceState::Running, Some(0), None));
        let killed = status("failed", "ExecMainCode=2\nExecMainStatus=9\nExecMainExitTimestampMonotonic=0\n");
        assert_eq!((killed.state, killed.restarts), (ServiceState::Failed, None));
        assert_eq!(killed.last_exit, Some(LastExit { code: None, signal: Some(9), at_ms: None }));
        assert_eq!(parse("x", "LoadState=not-found\nActiveState=inactive\n", 0).state, ServiceState::Absent);
        assert_eq!(status("inactive", "").state, ServiceState::Stopped);
    }
}
