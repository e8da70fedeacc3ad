//! Signals: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};

/// Exit status after a second signal, as shells have it for an interrupted program.
pub(super) const INTERRUPTED: i32 = 130;

/// Waits for SIGTERM or SIGINT. A second one from then on ends the process with [`INTERRUPTED`]: that is safe
/// at any moment, since all state is in PostgreSQL.
///
/// # Errors
/// When the process may not install signal handlers.
pub(super) async fn requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(name)
}
