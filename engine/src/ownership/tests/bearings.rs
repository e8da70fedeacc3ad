//! What a claim knows of its log beside its position: the last record applied, and the cluster.

use super::{ANCHOR, Stage, at, grant, log};
use crate::anchor::{Anchored, Bearings};
use crate::ownership::Event;

#[test]
fn a_log_that_was_cut_and_has_grown_past_the_position_halts_by_its_last_record() {
    let mut stage = Stage::claimed();
    stage.expect(Stage::seen(1, log(0, 9), Anchored::Same, None), "validated 1");
    let mut stage = Stage::claimed();
    for number in 1..4 {
        stage.expect(Stage::seen(number, log(0, 9), Anchored::Another, None), "");
        stage.wait(1_000).expect(Event::Tick, &format!("look 0#{}", number + 1));
    }
    stage.expect(Stage::seen(4, log(0, 9), Anchored::Another, None), "halt 1 TG-103");
    let mut stage = Stage::claimed();
    stage.expect(Stage::seen(1, log(6, 9), Anchored::Another, None), "halt 1 TG-102");
}

#[test]
fn a_topic_in_another_cluster_halts_whatever_its_id_is() {
    let stage = || {
        let mut stage = Stage::new();
        stage.expect(Event::Given(vec![at(0)]), "claim 0");
        let mut granted = grant(0, 5);
        let bearings = Bearings { anchor: Some(ANCHOR), cluster_id: Some("c1".into()) };
        granted.claim = granted.claim.with_bearings(bearings);
        let granted = Event::Granted { asked: vec![at(0)], grants: vec![granted] };
        stage.expect(granted, "(0 claimed), assigned 1, fetch 0 from 5, look 0#1 at 4");
        stage
    };
    for found in [log(0, 9), log(6, 9), None] {
        stage().expect(Stage::seen(1, found, Anchored::Silent, Some("c2")), "halt 1 TG-110");
    }
    let mut stage = stage();
    stage.expect(Stage::seen(1, log(0, 9), Anchored::Same, Some("c1")), "validated 1");
    let ids = || [("events".to_owned(), super::id(1))].into();
    stage.expect(Event::Identities(ids(), Some("c1".into())), "");
    stage.expect(Event::Identities(ids(), None), "");
    stage.expect(Event::Identities(ids(), Some("c2".into())), "halt 1 TG-110");
}
