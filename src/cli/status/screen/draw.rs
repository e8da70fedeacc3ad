//! How the screen looks.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

use super::super::life::{OwnerState, RunState, counted, lasting, to_go};
use super::super::paper::{self, rounded};
use super::super::report::PartitionStatus;
use super::super::standing::{Standing, standing};
use super::view::View;
use crate::cli::output::{Paper, Tone, visible};

/// Columns from which on there is room for owners, and for offsets.
const OWNERS: u16 = 100;
const OFFSETS: u16 = 130;

/// The most lines that one part of the head may take.
const HEAD_LINES: usize = 3;

const KEYS: &str = "q quit  s sort  / filter  \u{2191}\u{2193} PgUp PgDn Home End  r now  ? help";

const HELP: &str = "\
q, Esc      quit (Esc first takes a filter away)
s           order: lag, rate, name, owner
/           show only topics whose name has what you type; Enter keeps it
\u{2191} \u{2193} PgUp PgDn Home End   scroll
r           look at once
?           this page

LAG      records not yet applied; \u{2265} where Kafka doesn't tell the log's end now
SECONDS  age of the oldest of them; \u{2264} where only the newest applied one's is known
REC/S    records applied in the last ten seconds, by whoever applied them
TO GO    how long the lag takes at that rate, without what is written meanwhile

A key closes this page.";

/// The style of a tone.
fn style(view: &View, tone: Tone) -> Style {
    let plain = Style::default();
    match (tone, view.colour) {
        (Tone::Plain, _) => plain,
        (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        (Tone::Bad, false) => plain.add_modifier(Modifier::BOLD),
        (_, false) => plain,
        (Tone::Good, true) => plain.fg(Color::Green),
        (Tone::Warning, true) => plain.fg(Color::Yellow),
        (Tone::Faint, true) => plain.add_modifier(Modifier::DIM),
    }
}

/// Draws the screen as it is at `now_ms` since the watch began.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, now_ms: u64) {
    let area = frame.area();
    let head = head(view, now_ms, area.width);
    let still = still(view, area);
    let lines = |text: &[Line<'_>]| Constraint::Length(u16::try_from(text.len()).unwrap_or(u16::MAX));
    let [top, middle, bottom, foot] =
        Layout::vertical([lines(&head), lines(&still), Constraint::Min(2), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(head), top);
    frame.render_widget(Paragraph::new(still), middle);
    let (shown, of) = partitions(frame, view, bottom);
    frame.render_widget(foot_line(view, &shown, of, foot.width), foot);
    if view.shows_help {
        help(frame, area);
    }
}

/// The answer, what Kafka says, totals, how old all of it is, and a blank line.
fn head(view: &View, now_ms: u64, width: u16) -> Vec<Line<'static>> {
    let report = &view.report;
    let age = lasting(view.age_seconds(now_ms));
    let (as_of, tone) = match &view.trouble {
        Some(why) => (format!("as of {age} ago; trying again: {why}"), Tone::Bad),
        None if view.is_late(now_ms) => (format!("as of {age} ago; waiting for an answer"), Tone::Warning),
        None => (format!("as of {age} ago"), Tone::Faint),
    };
    let headline = format!("pipeline {}: {}", report.pipeline, report.headline);
    let kafka = report.kafka().map(|why| (why, Tone::Bad));
    let paper = Paper { width: Some(width), colour: false };
    let mut lines = Vec::new();
    for (text, tone) in [(headline, paper::tone_of(report.state))]
        .into_iter()
        .chain(kafka)
        .chain([totals(view), (as_of, tone)])
    {
        let wrapped = paper.wrap(&visible(&text).replace('\n', " "), 4);
        let first = lines.is_empty();
        lines.extend(wrapped.lines().take(HEAD_LINES).map(|line| {
            let style = style(view, tone);
            Line::styled(line.to_owned(), if first { style.add_modifier(Modifier::BOLD) } else { style })
        }));
    }
    lines.push(Line::default());
    lines
}

fn totals(view: &View) -> (String, Tone) {
    let (report, totals) = (&view.report, &view.report.totals);
    let (behind, caught_up) = report.behind();
    let mut told = format!("{}; {behind}", counted(totals.partitions, "partition", "s"));
    let rate = view.rates.total().or(totals.records_per_second);
    if let Some(rate) = rate.filter(|_| report.state != RunState::Stopped) {
        told += &format!("; {} records/s", rounded(rate));
        if let Some(eta) = totals.eta(rate) {
            told += &format!(", {} to go", to_go(eta));
        }
    }
    if totals.halted > 0 {
        told += &format!("; {} halted", totals.halted);
    }
    if totals.paused > 0 {
        told += &format!("; {} paused", totals.paused);
    }
    if let Some(open) = totals.quarantine_open.filter(|open| *open > 0) {
        told += &format!("; {open} open in the quarantine");
    }
    let tone = match (totals.halted, caught_up) {
        (1.., _) => Tone::Bad,
        (0, true) => Tone::Good,
        (0, false) => Tone::Warning,
    };
    (told, tone)
}

/// What stands still, in a third of the screen at most, and a blank line behind it.
fn still(view: &View, area: Rect) -> Vec<Line<'static>> {
    let most = usize::from(area.height / 3).max(1);
    let all = standing(&view.report);
    let wrapped = wrapped(view, &all, area.width);
    if wrapped.len() <= most {
        return wrapped;
    }
    let fits = if all.len() > most { most - 1 } else { all.len() };
    let mut lines: Vec<Line<'static>> = all
        .iter()
        .take(fits)
        .map(|one| {
            let told = one.told.replace('\n', " ");
            Line::from(vec![
                Span::styled(one.subject.clone(), style(view, one.tone)),
                Span::raw(cut(&format!(" {told}"), usize::from(area.width), &one.subject)),
            ])
        })
        .collect();
    if fits < all.len() {
        let more = format!("and {} more: `{}` lists them", all.len() - fits, view.report.commands.status);
        lines.push(Line::styled(more, style(view, Tone::Warning)));
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// All of it, in as many lines as it needs.
fn wrapped(view: &View, all: &[Standing], width: u16) -> Vec<Line<'static>> {
    let paper = Paper { width: Some(width), colour: false };
    let mut lines = Vec::new();
    for one in all {
        let text = paper.wrap(&format!("{} {}", one.subject, one.told.replace('\n', " ")), 4);
        lines.extend(text.lines().map(|line| match line.strip_prefix(&*one.subject) {
            Some(rest) => Line::from(vec![
                Span::styled(one.subject.clone(), style(view, one.tone)),
                Span::raw(rest.to_owned()),
            ]),
            None => Line::from(line.to_owned()),
        }));
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// What fits behind a subject.
fn cut(told: &str, width: usize, subject: &str) -> String {
    let room = width.saturating_sub(console::measure_text_width(subject));
    console::truncate_str(told, room, "\u{2026}").into_owned()
}

fn partitions(frame: &mut Frame<'_>, view: &mut View, area: Rect) -> (Range<usize>, usize) {
    let count = view.partitions().len();
    let page = usize::from(area.height.saturating_sub(1));
    let top = view.fit(page, count);
    let shown = top..count.min(top + page);
    let (owners, offsets) = (area.width >= OWNERS, area.width >= OFFSETS);
    let mut columns = vec![
        ("TOPIC", Constraint::Min(10)),
        ("PART", Constraint::Length(5)),
        ("LAG", Constraint::Length(13)),
        ("SECONDS", Constraint::Length(9)),
        ("REC/S", Constraint::Length(9)),
        ("TO GO", Constraint::Length(8)),
        ("STATE", Constraint::Length(10)),
    ];
    if offsets {
        columns.push(("NEXT", Constraint::Length(13)));
        columns.push(("LOG END", Constraint::Length(13)));
    }
    if owners {
        columns.push(("OWNER", Constraint::Min(30)));
    }
    let aligned = |name: &str, text: String| {
        let number = matches!(name, "PART" | "LAG" | "SECONDS" | "REC/S" | "TO GO" | "NEXT" | "LOG END");
        Line::from(text).alignment(if number { Alignment::Right } else { Alignment::Left })
    };
    let all = view.partitions();
    let rows = all[shown.clone()].iter().map(|one| {
        Row::new(columns.iter().map(|(name, _)| {
            let (text, tone) = cell(view, one, name);
            Cell::from(aligned(name, text)).style(style(view, tone))
        }))
    });
    let header = Row::new(columns.iter().map(|(name, _)| Cell::from(aligned(name, (*name).to_owned()))));
    let header = header.style(Style::default().add_modifier(Modifier::BOLD));
    let table = Table::new(rows.collect::<Vec<_>>(), columns.iter().map(|(_, width)| *width)).header(header);
    frame.render_widget(table, area);
    (shown, count)
}

fn cell(view: &View, one: &PartitionStatus, column: &str) -> (String, Tone) {
    let rate = view.rates.of(&one.topic, one.partition);
    match column {
        "TOPIC" => (visible(&one.topic), Tone::Plain),
        "PART" => (one.partition.to_string(), Tone::Plain),
        "LAG" => (paper::lag(one), paper::lag_tone(one)),
        "SECONDS" => (paper::lag_seconds(one), paper::lag_tone(one)),
        "REC/S" => (rate.map_or("?".to_owned(), rounded), Tone::Plain),
        "TO GO" => match (one.lag_records, rate) {
            (Some(lag), Some(rate)) if lag > 0 && rate > 0.0 => (to_go(lag as f64 / rate), Tone::Plain),
            _ => ("-".to_owned(), Tone::Faint),
        },
        "STATE" => state(one),
        "NEXT" => (grouped(one.next_offset), Tone::Plain),
        "LOG END" => (one.log_end_offset.map_or("?".to_owned(), grouped), Tone::Plain),
        _ => paper::owner(one),
    }
}

fn state(one: &PartitionStatus) -> (String, Tone) {
    match (&one.stranger, one.owner_state) {
        _ if one.halt.is_some() || one.paused.is_some() => paper::stop(one),
        (Some(_), _) => ("stranger".to_owned(), Tone::Bad),
        (None, Some(OwnerState::Dead)) => ("dead".to_owned(), Tone::Bad),
        (None, Some(OwnerState::Gone)) => ("no owner".to_owned(), Tone::Warning),
        (None, Some(OwnerState::Alive) | None) => ("-".to_owned(), Tone::Faint),
    }
}

fn foot_line(view: &View, shown: &Range<usize>, of: usize, width: u16) -> Line<'static> {
    if view.types_filter {
        return Line::from(format!("topics with: {}_", visible(&view.filter)));
    }
    let filter = match view.filter.is_empty() {
        true => String::new(),
        false => format!(" with {}", visible(&view.filter)),
    };
    let from = if of == 0 { 0 } else { shown.start + 1 };
    let place = format!("by {}{filter}, {from}-{} of {of}", view.sort.word(), shown.end);
    let room = usize::from(width).saturating_sub(console::measure_text_width(&place) + 2);
    let keys = console::truncate_str(KEYS, room, "");
    let gap = room.saturating_sub(console::measure_text_width(&keys)) + 2;
    let keys = Span::styled(keys.into_owned(), style(view, Tone::Faint));
    Line::from(vec![keys, Span::raw(format!("{}{place}", " ".repeat(gap)))])
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (area.width.min(84), area.height.min(18));
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let page =
        Paragraph::new(HELP).block(Block::bordered().title(" status --watch ")).wrap(Wrap { trim: false });
    frame.render_widget(page, place);
}

/// A number with its thousands apart.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut told = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        told.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}
