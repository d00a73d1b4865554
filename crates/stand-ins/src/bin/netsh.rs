//! A stand-in for Windows' `netsh`, and not Windows: see the crate.

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    use std::process::ExitCode;

    use k8swin_stand_ins::desk::{WineDesk, log};
    use k8swin_stand_ins::netsh;
    use serde_json::json;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = netsh::parse(&words)
        .map_err(|unknown| format!("The stand-in for netsh does not know: {unknown}"))
        .and_then(|request| netsh::run(&request, &mut WineDesk));
    let (code, text) = match outcome {
        Ok(text) => (0, text),
        Err(text) => (1, format!("{text}\n")),
    };
    log("netsh", &json!({"arguments": arguments, "code": code, "said": text}));
    // Whether anybody reads it is the caller's concern.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
