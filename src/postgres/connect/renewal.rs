//! Settings that are read again for each connection, since secrets rotate while a process runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::ServerSettings;

/// Reads the settings again; the error is a sentence without secrets.
pub type Renew = Box<dyn Fn() -> Result<ServerSettings, String> + Send + Sync>;

/// Where the settings of each connection come from.
pub(super) struct Renewal {
    renew: Option<Renew>,
    /// As they were last read: a file that can't be read for a moment costs no connection that they still
    /// make.
    latest: Mutex<Arc<ServerSettings>>,
}

impl Renewal {
    /// Settings that are read again by `renew`, or never.
    pub(super) fn new(settings: ServerSettings, renew: Option<Renew>) -> Self {
        Self { renew, latest: Mutex::new(Arc::new(settings)) }
    }

    /// The settings for a connection, and what was noticed when they were read.
    pub(super) fn read(&self) -> (Arc<ServerSettings>, Option<String>) {
        let Some(renew) = &self.renew else { return (self.latest(), None) };
        match renew() {
            Ok(settings) => {
                let settings = Arc::new(settings);
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
                (settings, None)
            }
            Err(why) => {
                let note =
                    format!("the connection settings can't be read again, so that the former hold: {why}");
                tracing::warn!("{note}");
                (self.latest(), Some(note))
            }
        }
    }

    /// The settings as they were last read.
    pub(super) fn latest(&self) -> Arc<ServerSettings> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("latest", &self.latest()).finish_non_exhaustive()
    }
}
