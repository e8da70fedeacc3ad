//! What notices that a part of the process has ended by a panic, so by a defect.
//!
//! A process without one of its parts would hold partitions that nobody writes, or a membership that nobody
//! polls, and seem to be well. It ends instead: all state is in PostgreSQL, and the next one goes on.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Given to each part that the process can't be without.
#[derive(Clone, Debug)]
pub(super) struct Parts(mpsc::UnboundedSender<String>);

/// Tells what has fallen.
#[derive(Debug)]
pub(super) struct Fallen(mpsc::UnboundedReceiver<String>);

/// Held by a part while it runs.
#[derive(Debug)]
pub(super) struct Held {
    part: String,
    parts: Parts,
}

/// Makes both ends.
pub(super) fn channel() -> (Parts, Fallen) {
    let (told, heard) = mpsc::unbounded_channel();
    (Parts(told), Fallen(heard))
}

impl Parts {
    /// What a part of this name holds from its begin to its end.
    pub(super) fn held(&self, part: impl Into<String>) -> Held {
        Held { part: part.into(), parts: self.clone() }
    }

    /// Starts the work of a part of this name.
    pub(super) fn start<F>(&self, part: &str, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let held = self.held(part);
        tokio::spawn(async move {
            let output = work.await;
            drop(held);
            output
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever would hear of it is on its way out already.
            let _ = self.parts.0.send(std::mem::take(&mut self.part));
        }
    }
}

impl Fallen {
    /// A part that has fallen and wasn't told yet, if any has.
    pub(super) fn found(&mut self) -> Option<String> {
        let part = self.0.try_recv().ok()?;
        tracing::error!("a defect has ended {part} while the process was draining");
        Some(part)
    }

    /// Waits for the first part that falls.
    pub(super) async fn first(&mut self) -> String {
        match self.0.recv().await {
            Some(part) => part,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_panic_is_told() {
        let (parts, mut fallen) = channel();
        assert_eq!(parts.start("calm", async { 7 }).await.unwrap(), 7);
        let cut = parts.start("cut short", std::future::pending::<()>());
        cut.abort();
        cut.await.unwrap_err();
        let falls = parts.start("lane 1", async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        falls.await.unwrap_err();
        assert_eq!(fallen.first().await, "lane 1");
        assert_eq!(fallen.found(), None, "it was told");
        let held = parts.held("poll thread");
        std::thread::spawn(move || {
            let _held = held;
            panic!("on purpose");
        })
        .join()
        .unwrap_err();
        assert_eq!(fallen.first().await, "poll thread");
    }
}
