//! Ctrl-C and SIGTERM end the work cleanly; Ctrl-C after that ends the program.

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::render::{self, style::Palette};

/// Cancels `cancel` at the first signal, and ends the program at once at a Ctrl-C after it. A second SIGTERM does
/// nothing: `timeout` sends two for one, and whoever means it has SIGKILL.
pub(crate) fn watch(cancel: CancellationToken, palette: Palette) {
    tokio::spawn(async move {
        signal().await;
        cancel.cancel();
        render::message(&palette.yellow("interrupted: ending cleanly; Ctrl-C ends at once"));
        ctrl_c().await;
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
}

/// Waits for Ctrl-C or SIGTERM.
#[cfg(unix)]
pub(crate) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            () = ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        // Without a handler the signal does what it does by default: it ends the program.
        Err(_) => ctrl_c().await,
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn signal() {
    ctrl_c().await;
}

async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
