//! Catching up under other circumstances, each beside the usual one: many partitions, bad records, two
//! processes, rules.

use super::catch_up::{upsert, upsert_with, usual};
use super::figures::{Case, RATE};
use super::ground::{Ground, Recipe};
use super::turns::{self, Player};
use anyhow::Result;

const USUAL: &str = "tidegate, as in catch-up";

pub(super) fn partitions(ground: &Ground, case: &mut Case) -> Result<()> {
    let recipe = Recipe { partitions: 128, ..Recipe::usual(&ground.options) };
    beside(ground, case, recipe, "tidegate, 128 partitions", 0.9)
}

pub(super) fn bad_1(ground: &Ground, case: &mut Case) -> Result<()> {
    let recipe = Recipe { poison: 0.01, ..Recipe::usual(&ground.options) };
    beside(ground, case, recipe, "tidegate, 1 % don't fit", 0.85)
}

pub(super) fn bad_10(ground: &Ground, case: &mut Case) -> Result<()> {
    let recipe = Recipe { poison: 0.1, ..Recipe::usual(&ground.options) };
    beside(ground, case, recipe, "tidegate, 10 % don't fit", 0.5)
}

/// Another topic beside the usual one.
fn beside(ground: &Ground, case: &mut Case, recipe: Recipe, name: &str, at_least: f64) -> Result<()> {
    let events = usual(ground, case)?;
    let other = ground.events(recipe)?;
    let players = vec![
        Player::new(USUAL, || upsert(ground, &events, 1)),
        Player::new(name, || upsert(ground, &other, 1)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio(&format!("{name} ÷ the usual"), (name, RATE), (USUAL, RATE), at_least);
    if other.unfit > 0 {
        case.note(format!(
            "{} records don't fit, of eight kinds in turn (no JSON, no key, a NUL, a number out of range, a wrong type, \
             an object, a null, JSON cut off); each lies in the quarantine at the end, which is checked.",
            other.unfit
        ));
    }
    ground.forget(&other)
}

pub(super) fn rules(ground: &Ground, case: &mut Case) -> Result<()> {
    const RULES: &str = "tidegate, 3 rules";
    const ROUTE: &str = "    rules:\n      \
        - {name: of-a-user, check: record.user_id >= 0}\n      \
        - {name: known-kind, check: \"record.kind in ['view', 'search', 'cart', 'checkout', 'refund', 'signup']\"}\n      \
        - {name: sane-amount, check: \"record.amount < 1000000.0 || record.kind.matches('^[a-z]+$')\"}\n";
    let events = usual(ground, case)?;
    let players = vec![
        Player::new(USUAL, || upsert(ground, &events, 1)),
        Player::new(RULES, || upsert_with(ground, &events, ROUTE)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("3 rules ÷ none", (RULES, RATE), (USUAL, RATE), 0.75);
    case.note(
        "Each record is asked whether it has a user, a kind of six, and an amount below a million; all hold.",
    );
    Ok(())
}

pub(super) fn two_processes(ground: &Ground, case: &mut Case) -> Result<()> {
    const TWO: &str = "tidegate, 2 processes";
    let events = usual(ground, case)?;
    let players = vec![
        Player::new(USUAL, || upsert(ground, &events, 1)),
        Player::new(TWO, || upsert(ground, &events, 2)),
    ];
    turns::take(ground, case, ground.options.repeats, players);
    case.ratio("2 processes ÷ 1", (TWO, RATE), (USUAL, RATE), 0.95);
    case.note(
        "The two share the lanes that the one has. Processor time and memory are those of both together. Turns \
         in which one process joined the group after the other had begun are repeated: half of the partitions \
         move then, and keys that come again were written by the other process, so that all are looked up.",
    );
    Ok(())
}
