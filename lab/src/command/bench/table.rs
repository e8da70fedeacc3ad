//! A run as tables for people: on the terminal, and in Markdown.

use super::figures::{Case, Figure, Goal, Participant, Results};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt::Write;

/// A number with thousands separated.
pub(super) fn number(value: f64, decimals: u8) -> String {
    let text = format!("{:.*}", usize::from(decimals), value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let fraction = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
    format!("{sign}{grouped}{fraction}")
}

fn cell(figure: &Figure) -> String {
    let show = |value| number(value, figure.decimals);
    if figure.turns.len() < 2 {
        return show(figure.median);
    }
    format!("{} ({}–{})", show(figure.median), show(figure.min), show(figure.max))
}

/// The columns of a case: every quantity that somebody was measured by, in the order of appearance.
fn columns(case: &Case) -> Vec<(&str, &str)> {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for figure in case.participants.iter().flat_map(|participant| &participant.figures) {
        if !columns.iter().any(|(id, _)| *id == figure.id) {
            columns.push((&figure.id, &figure.title));
        }
    }
    columns
}

fn row(participant: &Participant, columns: &[(&str, &str)]) -> Vec<String> {
    let name = match (&participant.failure, &participant.skipped) {
        (Some(_), _) => format!("{} (FAILED, see below)", participant.name),
        (None, Some(_)) => format!("{} (skipped, see below)", participant.name),
        (None, None) => participant.name.clone(),
    };
    let find = |id: &str| participant.figures.iter().find(|figure| figure.id == id);
    let cells = columns.iter().map(|(id, _)| find(id).map(cell).unwrap_or_default());
    std::iter::once(name).chain(cells).collect()
}

fn goal_row(goal: &Goal) -> [String; 4] {
    let decimals = if goal.unit == "×" || goal.goal < 10.0 { 2 } else { 1 };
    let show = |value: f64| format!("{} {}", number(value, decimals), goal.unit);
    let sign = if goal.at_least { "≥" } else { "≤" };
    let stretch = goal.stretch.map(|stretch| format!(" (stretch {})", show(stretch))).unwrap_or_default();
    let spread = match (goal.min, goal.max) {
        (Some(min), Some(max)) if min < max => {
            format!(" ({}–{})", number(min, decimals), number(max, decimals))
        }
        _ => String::new(),
    };
    let met = match goal.met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not measured",
    };
    [
        goal.what.clone(),
        format!("{sign} {}{stretch}", show(goal.goal)),
        goal.reached.map(|reached| show(reached) + &spread).unwrap_or_default(),
        met.to_owned(),
    ]
}

/// What stands below a case's tables.
fn remarks(case: &Case) -> Vec<String> {
    let mut remarks = case.notes.clone();
    for participant in &case.participants {
        let name = &participant.name;
        remarks.extend(participant.skipped.as_ref().map(|why| format!("{name} is skipped: {why}")));
        remarks.extend(participant.failure.as_ref().map(|why| format!("{name} FAILED: {why}")));
    }
    remarks.extend(case.failure.as_ref().map(|why| format!("the case FAILED: {why}")));
    remarks
}

/// For a terminal.
pub(super) fn print(results: &Results) -> String {
    let mut text = String::new();
    for fact in &results.facts {
        let _ = writeln!(text, "{:14} {}", fact.name, fact.value);
    }
    for case in &results.cases {
        let _ = writeln!(text, "\n{}: {}\n{}", case.name, case.about, case.data);
        let columns = columns(case);
        if !columns.is_empty() {
            let titles = std::iter::once("participant").chain(columns.iter().map(|(_, title)| *title));
            let rows = case.participants.iter().map(|participant| row(participant, &columns));
            let _ = writeln!(text, "{}", grid(titles, rows));
        }
        if !case.goals.is_empty() {
            let rows = case.goals.iter().map(|goal| goal_row(goal).to_vec());
            let _ = writeln!(text, "{}", grid(["goal", "wanted", "reached", "met"].into_iter(), rows));
        }
        for remark in remarks(case) {
            let _ = writeln!(text, "- {remark}");
        }
    }
    text
}

fn grid<'a>(titles: impl Iterator<Item = &'a str>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// For a Markdown page.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = format!("Measured {} by `{}`.\n\n", results.date, results.command);
    for fact in &results.facts {
        let _ = writeln!(text, "- {}: {}", fact.name, escape(&fact.value));
    }
    for case in &results.cases {
        let _ = write!(text, "\n### {}\n\n{}\n{}\n", case.name, escape(&case.about), escape(&case.data));
        let columns = columns(case);
        if !columns.is_empty() {
            let titles = std::iter::once("participant").chain(columns.iter().map(|(_, title)| *title));
            let rows = case.participants.iter().map(|participant| row(participant, &columns));
            markdown_table(&mut text, &titles.collect::<Vec<_>>(), rows);
        }
        if !case.goals.is_empty() {
            let rows = case.goals.iter().map(|goal| goal_row(goal).to_vec());
            markdown_table(&mut text, &["goal", "wanted", "reached", "met"], rows);
        }
        let remarks = remarks(case);
        if !remarks.is_empty() {
            text.push('\n');
        }
        for remark in remarks {
            let _ = writeln!(text, "- {}", escape(&remark.replace('\n', " ")));
        }
    }
    text
}

fn markdown_table(text: &mut String, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = write!(text, "\n| {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len() - 1));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

/// Text that has no meaning to Markdown's tables or to HTML.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::figures::{CPU, Fact, RATE};
    use super::*;

    fn results() -> Results {
        let facts = vec![Fact { name: "machine".to_owned(), value: "2 cores | small".to_owned() }];
        let mut results = Results::new("2026-11-23".to_owned(), "./dev bench".to_owned(), facts);
        let mut case = Case::new("catch-up", "everything at once");
        case.data = "1,000 records".to_owned();
        let mut one = Participant::new("tidegate");
        for rate in [100_000.4, 300_000.0, 200_000.0] {
            one.add(&[(RATE, rate), (CPU, 2.5)]);
        }
        let mut limit = Participant::new("limit");
        limit.add(&[(RATE, 400_000.0)]);
        let mut absent = Participant::new("absent");
        absent.skipped = Some("not here".to_owned());
        case.participants.extend([one, limit, absent]);
        case.ratio("of the limit", ("tidegate", RATE), ("limit", RATE), 0.7).stretch = Some(0.8);
        case.ratio("of the absent", ("tidegate", RATE), ("absent", RATE), 2.0);
        case.note("a note");
        results.cases.push(case);
        results
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (value, decimals, text) in
            [(1_234_567.8, 0, "1,234,568"), (999.0, 0, "999"), (0.126, 2, "0.13"), (-1_000.0, 1, "-1,000.0")]
        {
            assert_eq!(number(value, decimals), text);
        }
    }

    #[test]
    fn markdown_shows_medians_spread_goals_and_who_was_skipped() {
        let text = markdown(&results());
        for line in [
            "Measured 2026-11-23 by `./dev bench`.",
            "- machine: 2 cores \\| small",
            "### catch-up",
            "| participant | records/s, start to exit | CPU µs/record |",
            "| tidegate | 200,000 (100,000–300,000) | 2.50 (2.50–2.50) |",
            "| limit | 400,000 |  |",
            "| absent (skipped, see below) |  |  |",
            "| of the limit | ≥ 0.70 × (stretch 0.80 ×) | 0.50 × | NO |",
            "| of the absent | ≥ 2.00 × |  | not measured |",
            "- a note",
            "- absent is skipped: not here",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
    }

    #[test]
    fn the_terminal_shows_the_same() {
        let text = print(&results());
        for part in ["2 cores | small", "200,000 (100,000–300,000)", "0.50 ×", "NO", "absent is skipped"] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
    }
}
