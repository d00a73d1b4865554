//! A stand-in for Docker's command line, and not Docker: see the crate.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use k8swin_stand_ins::engine;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut input = || {
        let mut text = Vec::new();
        // What cannot be read is no Dockerfile, which the engine says.
        let _ = std::io::stdin().read_to_end(&mut text);
        text
    };
    // Whether anybody reads what is said is the caller's concern.
    match engine::docker(&words, &mut input, &mut engine::ask) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
