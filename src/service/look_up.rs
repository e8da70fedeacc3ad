//! Look-ups of the Kafka client, which block, from asynchronous code.

use crate::kafka::Error;

/// Runs a look-up of the Kafka client, which blocks, beside the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    look_up: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(look_up).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
