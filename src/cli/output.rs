//! What commands print: tables for people, JSON for machines.
//!
//! A command makes one serialisable document and tells how it looks as a table; the choice of form is made
//! here. `json` prints the document, `ndjson` its elements one on a line. Tables fit the terminal; off a
//! terminal they are as wide as they need to be and without colour.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

/// The form of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Form {
    Table,
    Json,
    Ndjson,
}

/// The flag that chooses the form.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Form of the result on standard output
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        value_name = "table|json|ndjson",
        default_value = "table"
    )]
    #[arg(hide_possible_values = true)]
    pub(super) form: Form,
}

/// A result that can be printed in each form.
pub(super) trait Report: Serialize {
    /// What stands on each line of the `ndjson` form.
    type Line: Serialize;

    /// The lines of the `ndjson` form.
    fn lines(&self) -> Vec<Self::Line>;

    /// The form for people.
    fn text(&self, paper: &Paper) -> String;
}

/// What is known of the place where text is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paper {
    /// Columns of the terminal; `None` off a terminal.
    pub(super) width: Option<u16>,
    /// Whether colours are wanted.
    pub(super) colour: bool,
}

impl Paper {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| console::Term::stdout().size().1);
        Self { width, colour: terminal && console::colors_enabled() }
    }

    /// A table with these headings, empty yet.
    pub(super) fn table(&self, headings: &[&str]) -> Grid {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        match self.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if self.colour {
            table.enforce_styling();
        }
        table.set_header(headings.iter().map(|heading| Cell::new(heading.to_uppercase())));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Grid { table }
    }

    /// The text in lines that fit, all but the first behind `indent` blanks; off a terminal as it is.
    pub(super) fn wrap(&self, text: &str, indent: usize) -> String {
        let Some(width) = self.width.map(usize::from) else { return text.to_owned() };
        let (mut lines, mut line) = (String::new(), String::new());
        for word in text.split_inclusive(' ') {
            let length = console::measure_text_width(&line) + console::measure_text_width(word.trim_end());
            if length > width && !line.trim().is_empty() {
                lines += line.trim_end();
                lines.push('\n');
                line = " ".repeat(indent);
            }
            line += word;
        }
        lines + &line
    }

    /// The text in a colour, where colours are wanted.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let style = console::Style::new().force_styling(self.colour);
        match tone {
            Tone::Plain => style,
            Tone::Good => style.green(),
            Tone::Warning => style.yellow(),
            Tone::Bad => style.red().bold(),
            Tone::Faint => style.dim(),
        }
        .apply_to(text)
        .to_string()
    }
}

/// What a cell or a word says by its colour; never by colour alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

/// A table under construction.
pub(super) struct Grid {
    table: Table,
}

impl Grid {
    /// Numbers stand at the right in these columns.
    pub(super) fn numbers(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// On a narrow terminal this column's text is broken into lines, and no other's.
    pub(super) fn flexible(mut self, column: usize) -> Self {
        for (place, other) in self.table.column_iter_mut().enumerate() {
            if place != column {
                other.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// Adds a row of words with their tones.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.table.add_row(cells.into_iter().map(|(text, tone)| {
            let cell = Cell::new(text);
            match tone {
                Tone::Plain => cell,
                Tone::Good => cell.fg(Color::Green),
                Tone::Warning => cell.fg(Color::Yellow),
                Tone::Bad => cell.fg(Color::Red),
                Tone::Faint => cell.fg(Color::DarkGrey),
            }
        }));
    }

    /// The table's lines, without blanks at their ends.
    pub(super) fn text(&self) -> String {
        self.table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        // Kafka lets producers write any number.
        Err(_) => format!("{ms} ms since 1970"),
    }
}

/// How long ago a time was, in its largest unit.
pub(super) fn age(then_ms: i64, now_ms: i64) -> String {
    let seconds = (now_ms - then_ms).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Text that came from outside, safe for a terminal: control characters are escaped.
pub(super) fn visible(text: &str) -> String {
    let escape = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// A word without a tone.
pub(super) fn plain(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

/// Prints a result on standard output.
///
/// # Errors
/// When standard output can't be written.
pub(super) fn print<R: Report>(form: Form, report: &R) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match form {
        Form::Table => out.write_all(report.text(&Paper::stdout()).as_bytes())?,
        Form::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            out.write_all(b"\n")?;
        }
        Form::Ndjson => {
            for line in report.lines() {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paper: Paper) -> String {
        let mut grid = paper.table(&["topic", "next"]).numbers(&[1]);
        grid.row([plain("events"), (7.to_string(), Tone::Bad)]);
        grid.row([plain("e"), plain(12345)]);
        grid.text()
    }

    #[test]
    fn off_a_terminal_tables_are_plain_columns() {
        let text = table(Paper { width: None, colour: false });
        assert_eq!(text, "TOPIC    NEXT\nevents      7\ne       12345\n");
    }

    #[test]
    fn long_text_breaks_between_words_on_a_terminal_only() {
        let narrow = Paper { width: Some(20), colour: false };
        assert_eq!(
            narrow.wrap("a sentence that is longer than a line", 2),
            "a sentence that is\n  longer than a line"
        );
        assert_eq!(narrow.wrap("averyveryverylongsingleword", 2), "averyveryverylongsingleword");
        let pipe = Paper { width: None, colour: false };
        assert_eq!(
            pipe.wrap("a sentence that is longer than a line", 2),
            "a sentence that is longer than a line"
        );
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(time(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), format!("{} ms since 1970", i64::MAX));
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let cases = [(0, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")];
        for (seconds, expected) in cases {
            assert_eq!(age(1_000, 1_000 + seconds * 1000), expected);
        }
        assert_eq!(age(5_000, 0), "0s", "clocks differ");
    }

    #[test]
    fn control_characters_from_outside_don_t_reach_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\tc\nd\u{9b}"), "a\\u{1b}[2Jb\tc\nd\\u{9b}");
    }

    #[test]
    fn colour_stands_only_where_it_is_wanted() {
        let text = table(Paper { width: Some(80), colour: true });
        assert!(text.contains('\u{1b}'), "{text:?}");
        let text = table(Paper { width: Some(80), colour: false });
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(Paper { width: None, colour: false }.paint(Tone::Bad, "x"), "x");
    }
}
