//! What people decide about positions, as the owner of partitions hears of it.

use super::people::pauses;
use super::{Stage, at, granted, halt, log, of, stored};
use crate::halt::HaltCode;
use crate::ownership::Event;
use crate::pause::Scope;

#[test]
fn a_decision_is_obeyed_at_once_whatever_the_partition_stands_still_for() {
    let mut stage = Stage::active();
    let decided = || stored(40, 8, None);
    stage.expect(Event::Fenced(of(1), decided()), "(0 claimed anew), revoked 1, unfetch 0");
    stage.expect(Event::Tick, "claim 0");
    // What halted for a wait stands still only while that doesn't hold.
    for code in HaltCode::ALL.into_iter().filter(|code| *code != HaltCode::WaitTimedOut) {
        let mut stage = Stage::active();
        let name = code.code();
        stage.expect(Event::Halted(of(1), halt(code)), &format!("unfetch 0, (0 {name})"));
        let still = Event::Rows(vec![(at(0), stored(5, 7, Some("a")))]);
        stage.expect(still, "");
        let rows = Event::Rows(vec![(at(0), decided())]);
        stage.expect(rows, &format!("(0 claimed anew), unfetch 0, (0 {name} passed)"));
        stage.expect(Event::Tick, "claim 0");
        stage.expect(granted(0, 40), "(0 claimed), assigned 2, fetch 0 from 40, look 0#2");
    }
    let mut stage = Stage::active();
    stage.expect(pauses(&[(1, Scope::Pipeline)]), "revoked 1, unfetch 0, (0 paused by 1)");
    stage.expect(Event::Rows(vec![(at(0), decided())]), "");
    let mut stage = Stage::active();
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "unfetch 0, (0 TG-301)");
    stage.expect(Event::Taken(vec![at(0)]), "");
    stage.expect(Event::Rows(vec![(at(0), decided())]), "");
}

#[test]
fn a_partition_that_an_adopted_topic_lacks_is_left_alone_until_its_log_is_there() {
    let mut stage = Stage::active();
    stage.expect(Event::Rowless(vec![at(0)]), "");
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "unfetch 0, (0 TG-301)");
    stage.expect(Event::Rowless(vec![at(0)]), "");
    let mut stage = Stage::active();
    stage.expect(Event::Halted(of(1), halt(HaltCode::TopicRecreated)), "unfetch 0, (0 TG-101)");
    stage.expect(Event::Rowless(vec![at(0), at(9)]), "(0 TG-101 passed), look 0#2");
    stage.expect(Event::Rowless(vec![at(0)]), "");
    stage.expect(Stage::found(1, log(0, 9)), "");
    stage.expect(Stage::found(2, None), "");
    stage.wait(14_999).expect(Event::Tick, "");
    stage.wait(1).expect(Event::Tick, "look 0#5");
    stage.expect(Stage::found(5, log(0, 9)), "");
    stage.expect(Event::Tick, "claim 0");
}
