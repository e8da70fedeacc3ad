//! The screen at two sizes, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::look::Look;
use super::super::tests::{look, process, report, row, silent, troubled};
use super::draw::draw;
use super::view::{Sort, View, Wish};

fn view(look: &Look) -> View {
    View::new(report(look), 0, 2, true)
}

/// The screen's text.
fn shown(view: &mut View, width: u16, height: u16, now_ms: u64) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, now_ms)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(width)).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn press(view: &mut View, code: KeyCode) -> Wish {
    view.press(KeyEvent::new(code, KeyModifiers::NONE))
}

/// A thousand partitions, the last ones furthest behind.
fn thousand() -> Look {
    let rows = (0..1000).map(|number| {
        let topic = if number % 2 == 0 { "orders" } else { "payments" };
        row(topic, number / 2, "db1", i64::from(number), 2 * i64::from(number))
    });
    look(rows.collect(), vec![process("db1", 1)])
}

#[test]
fn a_calm_pipeline() {
    let rows = vec![row("orders", 0, "db1", 100, 100), row("orders", 1, "db2", 120, 120)];
    let mut view = view(&look(rows, vec![process("db1", 1), process("db2", 2)]));
    insta::assert_snapshot!("calm_80", shown(&mut view, 80, 24, 1_000));
    insta::assert_snapshot!("calm_160", shown(&mut view, 160, 50, 1_000));
}

#[test]
fn a_troubled_pipeline_says_what_stands_still_first() {
    let mut view = view(&troubled());
    insta::assert_snapshot!("troubled_80", shown(&mut view, 80, 24, 1_000));
    insta::assert_snapshot!("troubled_160", shown(&mut view, 160, 50, 1_000));
}

#[test]
fn a_look_that_fails_leaves_the_last_one_and_says_how_old_it_is() {
    let mut view = view(&silent(troubled()));
    view.renew(Err("can't connect to 10.0.0.5:5432: connection refused".to_owned()), 2_000);
    insta::assert_snapshot!("away_80", shown(&mut view, 80, 24, 42_000));
    insta::assert_snapshot!("away_160", shown(&mut view, 160, 50, 42_000));
    view.renew(Ok(report(&troubled())), 43_000);
    assert!(shown(&mut view, 80, 24, 44_000).contains("as of 1 s ago"));
    assert!(view.trouble.is_none());
    assert!(shown(&mut view, 80, 24, 51_000).contains("as of 8 s ago; waiting for an answer"));
}

#[test]
fn rates_are_what_rows_gained_in_the_last_seconds() {
    let at = |next| look(vec![row("orders", 0, "db1", next, 10_000)], vec![process("db1", 1)]);
    let mut view = view(&at(1_000));
    assert_eq!(view.rates.of("orders", 0), None, "one look tells no rate");
    for seconds in 1..=30_u64 {
        // A hundred in each second, and from the twentieth on a thousand.
        let next = if seconds <= 20 { 1_000 + 100 * seconds } else { 3_000 + 1_000 * (seconds - 20) };
        view.renew(Ok(report(&at(next as i64))), seconds * 1_000);
        let expected = match seconds {
            ..=20 => 100.0,
            30 => 1_000.0,
            _ => continue,
        };
        assert_eq!(view.rates.of("orders", 0), Some(expected), "{seconds}");
    }
    assert_eq!(view.rates.total(), Some(1_000.0));
    view.renew(Ok(report(&at(10))), 31_000);
    assert_eq!(view.rates.of("orders", 0), None, "the ledger went back");
}

#[test]
fn a_thousand_partitions_are_sorted_filtered_and_scrolled() {
    let mut view = view(&thousand());
    insta::assert_snapshot!("thousand_80", shown(&mut view, 80, 24, 0));
    let first = |view: &View| {
        let first = view.partitions()[0];
        (first.topic.clone(), first.partition)
    };
    assert_eq!(first(&view), ("payments".to_owned(), 499), "the furthest behind");
    for (sort, partition) in [(Sort::Rate, 0), (Sort::Name, 0), (Sort::Owner, 0), (Sort::Lag, 499)] {
        press(&mut view, KeyCode::Char('s'));
        assert_eq!((view.sort, first(&view).1), (sort, partition));
    }
    press(&mut view, KeyCode::End);
    assert!(
        shown(&mut view, 80, 24, 0).contains("by lag, 983-1000 of 1000"),
        "{}",
        shown(&mut view, 80, 24, 0)
    );
    press(&mut view, KeyCode::PageUp);
    assert!(
        shown(&mut view, 80, 24, 0).contains("by lag, 965-982 of 1000"),
        "{}",
        shown(&mut view, 80, 24, 0)
    );
    press(&mut view, KeyCode::Down);
    assert!(shown(&mut view, 80, 24, 0).contains("966-983 of 1000"));
    // The window grows, and what is behind the end moves up.
    press(&mut view, KeyCode::End);
    assert!(shown(&mut view, 160, 50, 0).contains("957-1000 of 1000"), "{}", shown(&mut view, 160, 50, 0));
    press(&mut view, KeyCode::Char('/'));
    "pay".chars().for_each(|letter| _ = press(&mut view, KeyCode::Char(letter)));
    assert!(shown(&mut view, 80, 24, 0).contains("topics with: pay_"));
    press(&mut view, KeyCode::Enter);
    assert!(shown(&mut view, 80, 24, 0).contains("by lag with pay, 1-18 of 500"));
    assert_eq!(press(&mut view, KeyCode::Esc), Wish::Stay, "it takes the filter away");
    assert_eq!(view.partitions().len(), 1000);
}

#[test]
fn keys_leave_look_and_help() {
    let mut view = view(&troubled());
    assert_eq!(press(&mut view, KeyCode::Char('r')), Wish::Look);
    assert_eq!(press(&mut view, KeyCode::Char('?')), Wish::Stay);
    insta::assert_snapshot!("help_80", shown(&mut view, 80, 24, 1_000));
    assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Stay, "it closes the page");
    press(&mut view, KeyCode::Char('/'));
    assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Stay, "it is typed");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.press(interrupt), Wish::Interrupt);
    press(&mut view, KeyCode::Esc);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Quit);
    assert_eq!(press(&mut view, KeyCode::Esc), Wish::Quit);
}

#[test]
fn a_window_of_any_size_is_drawn() {
    let mut view = view(&troubled());
    for (width, height) in [(1, 1), (10, 3), (20, 5), (79, 8), (300, 100)] {
        shown(&mut view, width, height, 0);
    }
}
