//! How far a run is, while it runs: lines at the foot of a terminal, and a log line every ten seconds of a
//! run with a goal elsewhere.
//!
//! The log is written above the lines: whoever writes it takes them away first and puts them back.

mod lines;
mod pace;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::pace::{Moving, Paces};
use crate::service::Course;
use crate::telemetry::repeats::PROGRESS;

/// Between two paintings.
const PAINT_EVERY: Duration = Duration::from_millis(250);
/// Between two log lines.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Where progress is shown.
pub(super) struct Progress {
    /// The lines at the foot of the terminal, where standard error is one.
    foot: Option<ProgressBar>,
}

impl Progress {
    /// On standard error, with the variables of the environment.
    pub(super) fn on_stderr(env: &BTreeMap<String, String>) -> Self {
        let terminal = Term::stderr();
        let can_move = terminal.is_term() && env.get("TERM").is_none_or(|kind| kind != "dumb");
        Self { foot: can_move.then(|| foot(ProgressDrawTarget::stderr())) }
    }

    /// Makes writers to standard error that leave the lines whole.
    pub(super) fn writer(&self) -> impl Fn() -> Above<io::Stderr> + Send + Sync + use<> {
        let foot = self.foot.clone();
        move || Above { foot: foot.clone(), to: io::stderr() }
    }

    /// Shows how far the run is until it is dropped.
    pub(super) async fn show(&self, course: &Course, has_goal: bool) -> Infallible {
        match &self.foot {
            Some(foot) => paint(foot, course).await,
            None if has_goal => log(course).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the lines away for good.
    pub(super) fn end(&self) {
        if let Some(foot) = &self.foot {
            foot.finish_and_clear();
        }
    }
}

fn foot(target: ProgressDrawTarget) -> ProgressBar {
    let foot = ProgressBar::with_draw_target(None, target);
    // A template without a placeholder of its own can't be wrong.
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        foot.set_style(style);
    }
    foot
}

async fn paint(foot: &ProgressBar, course: &Course) -> Infallible {
    let (mut paces, mut tick) = (Paces::default(), tokio::time::interval(PAINT_EVERY));
    loop {
        tick.tick().await;
        if course.is_draining() {
            // A further signal ends the process on the spot, and nobody would take the lines away.
            foot.finish_and_clear();
            return std::future::pending().await;
        }
        let topics = paces.look(course.topics(), Instant::now());
        // A line that reaches the edge would be two on some terminals.
        let width = usize::from(Term::stderr().size().1).saturating_sub(1);
        let lines = lines::lines(&topics, &course.waiting(), width);
        if !lines.is_empty() {
            foot.set_message(lines.join("\n"));
        }
    }
}

async fn log(course: &Course) -> Infallible {
    let (mut paces, mut tick) = (Paces::default(), tokio::time::interval(LOG_EVERY));
    // The first tick comes at once; paces count from here.
    tick.tick().await;
    paces.look(course.topics(), Instant::now());
    loop {
        tick.tick().await;
        let topics = paces.look(course.topics(), Instant::now());
        log_line(course, &Moving::sum(String::new(), &topics));
    }
}

fn log_line(course: &Course, all: &Moving) {
    let quarantined = all.course.quarantined;
    let Some(goal) = all.course.way else {
        let (position, waiting) = (all.course.position, course.waiting().join("; "));
        return tracing::info!(
            target: PROGRESS, position, quarantined, waiting, "the offsets to reach aren't known yet"
        );
    };
    let done = (goal - all.course.left).max(0);
    let offsets_per_second = all.per_second.map(f64::round);
    let eta_seconds = all.eta().map(f64::ceil);
    tracing::info!(
        target: PROGRESS, done, goal, offsets_per_second, eta_seconds, quarantined, "on the way"
    );
}

/// Writes above the lines at the foot of the terminal.
pub(super) struct Above<W> {
    foot: Option<ProgressBar>,
    to: W,
}

impl<W: Write> Write for Above<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.foot {
            Some(foot) => foot.suspend(|| self.to.write_all(bytes)).map(|()| bytes.len()),
            None => self.to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, TermLike};

    use super::*;

    struct Screen(InMemoryTerm);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    #[test]
    fn log_lines_stand_above_whole_progress_lines_and_nothing_is_left_behind() {
        let terminal = InMemoryTerm::new(12, 60);
        let foot = foot(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        let mut above = Above { foot: Some(foot.clone()), to: Screen(terminal.clone()) };
        above.write_all(b"INFO tidegate starts\n").unwrap();
        foot.set_message("orders  1/9\nusers   2/7");
        foot.tick();
        assert_eq!(terminal.contents(), "INFO tidegate starts\norders  1/9\nusers   2/7");
        above.write_all(b"WARN refused\n").unwrap();
        above.write_all(b"INFO answers\n").unwrap();
        foot.set_message("orders  9/9");
        foot.tick();
        let log = "INFO tidegate starts\nWARN refused\nINFO answers";
        assert_eq!(terminal.contents(), format!("{log}\norders  9/9"));
        foot.finish_and_clear();
        above.write_all(b"INFO tidegate ends\n").unwrap();
        assert_eq!(terminal.contents(), format!("{log}\nINFO tidegate ends"));
    }
}
