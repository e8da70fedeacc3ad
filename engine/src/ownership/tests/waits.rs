//! What isn't read before something else is true.

use super::people::pauses;
use super::*;
use crate::pause::Scope;
use crate::waits::{Bar, Bars, Covers, Effect};

fn bars(effects: &[(&str, Effect)]) -> Bars {
    let bar = |(wait, effect): &(&str, Effect)| {
        (Covers::Pipeline, Bar { wait: (*wait).into(), effect: effect.clone() })
    };
    Bars::new(effects.iter().map(bar).collect())
}

fn rests() -> Event {
    Event::Bars(bars(&[("loaded", Effect::Rests)]))
}

fn halts() -> Event {
    Event::Bars(bars(&[("loaded", Effect::Halts(halt(HaltCode::WaitTimedOut)))]))
}

fn nothing() -> Event {
    Event::Bars(Bars::default())
}

fn held_back() -> Stage {
    let mut stage = Stage::new();
    stage.owner = Ownership::new(1, 1).held_back_by(bars(&[("loaded", Effect::Rests)]));
    stage.expect(Event::Given(vec![at(0)]), "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), (0 waits for loaded)");
    stage
}

#[test]
fn a_partition_is_claimed_and_not_read_before_its_wait_holds() {
    let mut stage = held_back();
    assert_eq!(stage.owner.reader(&at(0)), None);
    stage.expect(rests(), "");
    stage.wait(100_000).expect(Event::Tick, "");
    stage.expect(nothing(), "unfetch 0, (0 wait is over)");
    stage.expect(nothing(), "");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 1, fetch 0 from 5, look 0#1");
}

#[test]
fn a_partition_that_is_read_rests_when_a_kept_wait_does_not_hold_any_more() {
    let mut stage = Stage::active();
    stage.expect(rests(), "revoked 1, unfetch 0, (0 waits for loaded)");
    assert_eq!(stage.owner.reader(&at(0)), None);
    let other = Event::Bars(bars(&[("ready", Effect::Rests)]));
    stage.expect(other, "(0 waits for ready)");
    stage.expect(nothing(), "unfetch 0, (0 wait is over)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 2, fetch 0 from 5, look 0#2");
    // While the log hasn't agreed yet it isn't written, and isn't read on either.
    stage.expect(rests(), "revoked 2, unfetch 0, (0 waits for loaded)");
}

#[test]
fn one_that_waited_too_long_halts_through_its_lane_without_being_read() {
    let mut stage = held_back();
    stage.expect(halts(), "unfetch 0, (0 wait is over)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 1, halt 1 TG-309");
    stage.expect(Event::Halted(of(1), halt(HaltCode::WaitTimedOut)), "unfetch 0, (0 TG-309)");
    stage.expect(halts(), "");
    stage.wait(100_000).expect(Event::Tick, "");
    // A decision about its position is obeyed, and it is still not read.
    let decided = Event::Rows(vec![(at(0), stored(40, 8, None))]);
    stage.expect(decided, "(0 claimed anew), unfetch 0, (0 TG-309 passed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 40), "(0 claimed), assigned 2, halt 2 TG-309");
    stage.expect(Event::Halted(of(2), halt(HaltCode::WaitTimedOut)), "unfetch 0, (0 TG-309)");
    stage.expect(nothing(), "unfetch 0, (0 TG-309 passed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 40), "(0 claimed), assigned 3, fetch 0 from 40, look 0#3");
}

#[test]
fn a_halt_that_comes_when_its_wait_holds_again_does_not_stand() {
    let mut stage = Stage::active();
    stage.expect(halts(), "halt 1 TG-309");
    stage.expect(nothing(), "");
    let late = Event::Halted(of(1), halt(HaltCode::WaitTimedOut));
    stage.expect(late, "unfetch 0, (0 TG-309), unfetch 0, (0 TG-309 passed)");
    stage.expect(Event::Tick, "claim 0");
    let mut stage = Stage::active();
    stage.expect(halts(), "halt 1 TG-309");
    stage.expect(Event::Halted(of(1), halt(HaltCode::WaitTimedOut)), "unfetch 0, (0 TG-309)");
    // The ledger has the halt until it is claimed anew, also where it goes on to rest.
    stage.expect(rests(), "unfetch 0, (0 TG-309 passed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), (0 waits for loaded)");
}

#[test]
fn a_decision_about_what_waits_is_obeyed_and_it_is_still_not_read() {
    let mut stage = held_back();
    stage.expect(Event::Rows(vec![(at(0), stored(5, 7, Some("a")))]), "");
    let decided = || Event::Rows(vec![(at(0), stored(40, 8, None))]);
    stage.expect(decided(), "(0 claimed anew), unfetch 0, (0 wait is over)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 40), "(0 claimed), (0 waits for loaded)");
    stage.expect(Event::Taken(vec![at(0)]), "");
    stage.expect(decided(), "");
}

#[test]
fn what_waits_and_is_lacked_by_an_adopted_topic_is_claimed_once_its_log_is_there() {
    let mut stage = held_back();
    stage.expect(Event::Rowless(vec![at(0)]), "(0 wait is over), look 0#1");
    stage.expect(nothing(), "");
    stage.expect(Event::Tick, "");
    let mut stage = Stage::active();
    stage.expect(halts(), "halt 1 TG-309");
    stage.expect(Event::Halted(of(1), halt(HaltCode::WaitTimedOut)), "unfetch 0, (0 TG-309)");
    stage.expect(Event::Rowless(vec![at(0)]), "(0 TG-309 passed), look 0#2");
    stage.expect(Stage::found(2, log(0, 9)), "");
    stage.expect(Event::Tick, "claim 0");
}

#[test]
fn what_is_skipped_rests_whatever_else_is_waited_for() {
    let mut stage = held_back();
    let skips = || bars(&[("loaded", Effect::Rests), ("never", Effect::Skips)]);
    stage.expect(Event::Bars(skips()), "(0 waits for never)");
    stage.wait(100_000).expect(Event::Tick, "");
    stage.expect(Event::Taken(vec![at(0)]), "");
    stage.expect(nothing(), "");
    stage.expect(Event::Gone(vec![at(0)]), "(0 wait is over), (0 gone)");
}

#[test]
fn what_stands_still_for_another_reason_waits_when_it_goes_on() {
    let mut stage = Stage::active();
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "unfetch 0, (0 TG-301)");
    stage.expect(rests(), "");
    stage.expect(nothing(), "");
    let mut stage = held_back();
    let all = || pauses(&[(1, Scope::Pipeline)]);
    stage.expect(all(), "unfetch 0, (0 wait is over), (0 paused by 1)");
    stage.expect(rests(), "");
    stage.expect(pauses(&[]), "unfetch 0, (0 resumed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), (0 waits for loaded)");
    stage.expect(pauses(&[]), "");
}
