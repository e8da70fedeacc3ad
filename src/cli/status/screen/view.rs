//! What the screen shows, and what keys change about it: values only.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::report::{PartitionStatus, StatusReport};
use super::rates::Rates;

/// How long a look may take before it is told that it is waited for.
const SLOW_SECONDS: i64 = 5;

/// The order of the partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    /// The furthest behind first; those of which it isn't known before them.
    Lag,
    /// The fastest first.
    Rate,
    /// By topic and number.
    Name,
    /// By owner, then as by name.
    Owner,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Lag, Self::Rate, Self::Name, Self::Owner];

    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Rate => "rate",
            Self::Name => "name",
            Self::Owner => "owner",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// What follows from a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// To see the screen as it is.
    Stay,
    /// To look at once.
    Look,
    /// To leave.
    Quit,
    /// To leave in the middle of it.
    Interrupt,
}

/// The screen's state.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) report: StatusReport,
    pub(super) rates: Rates,
    /// When the report was made, in milliseconds since the watch began.
    looked_ms: u64,
    /// Why it can't be renewed.
    pub(super) trouble: Option<String>,
    pub(super) sort: Sort,
    /// Part of the names of topics that are shown.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) types_filter: bool,
    /// The page of help lies over the screen.
    pub(super) shows_help: bool,
    pub(super) colour: bool,
    /// The age from which on a report is one that should have been renewed, in seconds.
    late_seconds: i64,
    /// The first partition that is shown.
    top: usize,
    /// How many fit.
    page: usize,
}

impl View {
    /// The screen after the first look, at `at_ms`; `pause_seconds` lie between two looks.
    pub(super) fn new(report: StatusReport, at_ms: u64, pause_seconds: u64, colour: bool) -> Self {
        let mut rates = Rates::default();
        rates.add(at_ms, &report);
        Self {
            report,
            rates,
            looked_ms: at_ms,
            trouble: None,
            sort: Sort::Lag,
            filter: String::new(),
            types_filter: false,
            shows_help: false,
            colour,
            late_seconds: i64::try_from(pause_seconds).unwrap_or(i64::MAX).saturating_add(SLOW_SECONDS),
            top: 0,
            page: 1,
        }
    }

    /// A look was made, or failed.
    pub(super) fn renew(&mut self, look: Result<StatusReport, String>, at_ms: u64) {
        match look {
            Ok(report) => {
                self.rates.add(at_ms, &report);
                (self.report, self.looked_ms, self.trouble) = (report, at_ms, None);
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// How old the report is, in seconds.
    pub(super) fn age_seconds(&self, now_ms: u64) -> i64 {
        i64::try_from(now_ms.saturating_sub(self.looked_ms) / 1000).unwrap_or(i64::MAX)
    }

    /// Whether the next look takes its time.
    pub(super) fn is_late(&self, now_ms: u64) -> bool {
        self.age_seconds(now_ms) >= self.late_seconds
    }

    /// The partitions that the filter lets through, in order.
    pub(super) fn partitions(&self) -> Vec<&PartitionStatus> {
        let all = self.report.partitions.iter();
        let mut shown: Vec<_> = all.filter(|one| one.topic.contains(&self.filter)).collect();
        match self.sort {
            Sort::Lag => shown.sort_by_cached_key(|one| {
                std::cmp::Reverse((one.lag_records.unwrap_or(i64::MAX), millis(one.lag_seconds)))
            }),
            Sort::Rate => shown.sort_by_cached_key(|one| {
                std::cmp::Reverse(millis(self.rates.of(&one.topic, one.partition)))
            }),
            // As they come.
            Sort::Name => {}
            Sort::Owner => shown.sort_by(|one, other| one.owner.cmp(&other.owner)),
        }
        shown
    }

    /// Takes over how many partitions fit, and gives the first of `count` that is shown then.
    pub(super) fn fit(&mut self, page: usize, count: usize) -> usize {
        self.page = page.max(1);
        self.top = self.top.min(count.saturating_sub(self.page));
        self.top
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Interrupt;
        }
        if self.shows_help {
            self.shows_help = false;
            return Wish::Stay;
        }
        if self.types_filter {
            self.type_filter(key.code);
            return Wish::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Wish::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('r') => return Wish::Look,
            KeyCode::Char('s') => (self.sort, self.top) = (self.sort.next(), 0),
            KeyCode::Char('/') => self.types_filter = true,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.top = self.top.saturating_add(1),
            KeyCode::PageUp => self.top = self.top.saturating_sub(self.page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.top = self.top.saturating_add(self.page),
            KeyCode::Home | KeyCode::Char('g') => self.top = 0,
            KeyCode::End | KeyCode::Char('G') => self.top = usize::MAX,
            _ => {}
        }
        Wish::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.types_filter = false,
            KeyCode::Esc => {
                self.types_filter = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.top = 0;
    }
}

/// What can be compared of a number that may be unknown.
fn millis(value: Option<f64>) -> i64 {
    value.map_or(-1, |value| (value * 1000.0) as i64)
}
