//! Runs with a goal: what a goal is, and what goes with one only.

use super::{GOOD, Turn, snapshot};

#[test]
fn goals() {
    let turn = |title, call| Turn::new(title, call).file("orders.yaml", GOOD);
    let turns = [
        turn("a day without a zone", "run -c orders.yaml --until 2026-11-02"),
        turn("a time without a zone", "run -c orders.yaml --until 2026-11-02T00:00:00"),
        turn("a word for a time", "run -c orders.yaml --until yesterday"),
        turn("two goals", "run -c orders.yaml --until-caught-up --until 2026-11-02T00:00:00Z"),
        turn("a limit without a goal", "run -c orders.yaml --timeout 30s"),
        turn("a limit without a unit", "run -c orders.yaml --until-caught-up --timeout 30"),
        turn("a wait without a goal", "run -c orders.yaml --wait-for-topics 5m"),
        turn("a form that isn't one", "run -c orders.yaml --until-caught-up -o csv"),
    ];
    snapshot("goals", &turns);
}
