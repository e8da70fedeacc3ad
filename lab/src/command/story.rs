//! Tells what happens, with the seconds since the beginning.

use std::time::Instant;

/// A narrator with a clock.
#[derive(Debug)]
pub(crate) struct Story {
    begin: Instant,
}

impl Story {
    /// The clock starts.
    pub(crate) fn begin() -> Story {
        Story { begin: Instant::now() }
    }

    /// Prints one line.
    pub(crate) fn tell(&self, line: &str) {
        println!("[{:5.1} s] {line}", self.begin.elapsed().as_secs_f64());
    }
}
