//! What people decide: pauses, and records that are passed over.

use super::*;
use crate::pause::{Pause, Pauses, Scope};
use crate::position::Offset;

fn granted_while_paused() -> Event {
    let Grant { claim, fetched_id, route } = grant(0, 5);
    let paused = Grant { claim: claim.while_paused(true), fetched_id, route };
    Event::Granted { asked: vec![at(0)], grants: vec![paused] }
}

pub(super) fn pauses(scopes: &[(i64, Scope)]) -> Event {
    let pause = |(decision, scope): &(i64, Scope)| Pause {
        decision: *decision,
        scope: scope.clone(),
        made_by: "ada".to_owned(),
        made_at_ms: 0,
        reason: "why".to_owned(),
    };
    Event::Pauses(Pauses::new(scopes.iter().map(pause).collect()))
}

#[test]
fn a_paused_partition_stands_still_until_no_pause_covers_it() {
    let mut stage = Stage::active();
    let (topic, own) = ((1, Scope::of(Some("events"), None)), (2, Scope::Partition(at(0))));
    stage.expect(pauses(&[(3, Scope::Partition(at(9)))]), "");
    stage.expect(pauses(std::slice::from_ref(&topic)), "revoked 1, unfetch 0, (0 paused by 1)");
    stage.expect(pauses(&[topic, own.clone()]), "");
    assert_eq!(stage.owner.paused(), 1);
    stage.wait(100_000).expect(Event::Tick, "");
    stage.expect(granted(0, 5), "");
    stage.expect(pauses(&[own]), "(0 paused by 2)");
    stage.expect(pauses(&[]), "unfetch 0, (0 resumed)");
    assert_eq!(stage.owner.paused(), 0);
    stage.expect(pauses(&[]), "");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 2, fetch 0 from 5, look 0#2");
}

#[test]
fn a_partition_that_is_paused_when_it_is_claimed_is_neither_read_nor_given_to_a_lane() {
    let mut stage = Stage::new();
    stage.expect(Event::Given(vec![at(0)]), "claim 0");
    stage.expect(granted_while_paused(), "(0 claimed)");
    assert_eq!(stage.owner.reader(&at(0)), None);
    stage.wait(100_000).expect(Event::Tick, "");
    stage.expect(pauses(&[(1, Scope::Pipeline)]), "(0 paused by 1)");
    stage.expect(pauses(&[]), "unfetch 0, (0 resumed)");
    stage.expect(Event::Tick, "claim 0");
}

#[test]
fn a_pause_that_was_lifted_before_it_was_told_holds_nothing() {
    let mut stage = Stage::new();
    stage.expect(Event::Given(vec![at(0)]), "claim 0");
    stage.expect(granted_while_paused(), "(0 claimed)");
    stage.expect(pauses(&[]), "unfetch 0");
    stage.expect(Event::Tick, "claim 0");
}

#[test]
fn only_who_stands_in_front_of_a_skipped_record_goes_on() {
    let mut stage = Stage::active();
    let skip = |number, offset| Event::Skips(vec![(at(number), Offset::new(offset))]);
    stage.expect(skip(0, 7), "");
    let halted = halt(HaltCode::BadRecord).before(Offset::new(7));
    stage.expect(Event::Halted(of(1), halted), "unfetch 0, (0 TG-301)");
    stage.expect(skip(9, 7), "");
    stage.expect(skip(0, 6), "");
    stage.expect(skip(0, 7), "(0 claimed anew), unfetch 0, (0 TG-301 passed)");
    stage.expect(skip(0, 7), "");
    stage.expect(Event::Tick, "claim 0");
}

#[test]
fn what_halted_or_leaves_is_told_in_order_when_a_pause_comes() {
    let mut stage = Stage::active();
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "unfetch 0, (0 TG-301)");
    let all = || pauses(&[(1, Scope::Pipeline)]);
    stage.expect(all(), "unfetch 0, (0 TG-301 passed), (0 paused by 1)");
    stage.expect(Event::Taken(vec![at(0)]), "");
    stage.expect(pauses(&[]), "");
    stage.expect(Event::Gone(vec![at(0)]), "(0 resumed), (0 gone)");
    let mut stage = Stage::active();
    stage.expect(Event::Taken(vec![at(0)]), "revoked 1");
    stage.expect(all(), "");
    stage.expect(Event::Released(of(1)), "");
    stage.expect(Event::Gone(vec![at(0)]), "(0 gone)");
}
