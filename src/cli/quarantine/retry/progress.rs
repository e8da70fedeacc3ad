//! How far a retry is: a bar on a terminal, a line every ten seconds elsewhere.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::numbers::{counted, grouped, rate};

/// Between two lines.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How far a retry is.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: Cell<u64>,
    begun: Instant,
    told: Cell<Instant>,
}

impl Progress {
    /// On standard error, with the variables of the environment.
    pub(super) fn on_stderr(env: &BTreeMap<String, String>, total: u64) -> Self {
        let can_move = Term::stderr().is_term() && env.get("TERM").is_none_or(|kind| kind != "dumb");
        let bar = can_move.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left";
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        Self { bar, total, done: Cell::new(0), begun: now, told: Cell::new(now) }
    }

    /// So many more records are done.
    pub(super) fn add(&self, records: u64) {
        let done = self.done.get() + records;
        self.done.set(done);
        if let Some(bar) = &self.bar {
            bar.set_position(done.min(self.total));
        } else if self.told.get().elapsed() >= TOLD_EVERY {
            self.told.set(Instant::now());
            let speed = rate(done as f64 / self.begun.elapsed().as_secs_f64());
            let line =
                format!("{} of {} done, {speed} records/s\n", grouped(done), counted(self.total, "record"));
            // Whoever closed standard error doesn't want to know.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
