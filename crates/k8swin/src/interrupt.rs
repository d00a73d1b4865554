//! Ctrl-C and SIGTERM end the work cleanly; Ctrl-C after that ends the program.

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::render::{self, style::Palette};

/// Cancels `cancel` at the first signal, and ends the program at once at a Ctrl-C after it. A second SIGTERM does
/// nothing: `timeout` sends two for one, and whoever means it has SIGKILL.
pub(crate) fn watch(cancel: CancellationToken, palette: Palette) {
    let signal = signal();
    tokio::spawn(async move {
        signal.await;
        cancel.cancel();
        render::message(&palette.yellow("interrupted: ending cleanly; Ctrl-C ends at once"));
        ctrl_c().await;
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
}

/// Waits for Ctrl-C or SIGTERM, also for one that comes between this call and the first poll: until then a signal would
/// do what it does by default, and leave behind what is to be cleaned up. Needs a runtime.
#[cfg(unix)]
pub(crate) fn signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    async fn wait(signal: std::io::Result<Signal>) {
        match signal {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without a handler the signal does what it does by default: it ends the program.
            Err(_) => std::future::pending().await,
        }
    }
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        tokio::select! {
            () = wait(interrupt) => {}
            () = wait(terminate) => {}
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn signal() -> impl Future<Output = ()> {
    ctrl_c()
}

async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
