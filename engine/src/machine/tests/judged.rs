//! Misfits that halt their route: in one lane, and in several.

use super::*;

#[test]
fn the_breaker_trips_before_anything_is_written() {
    let breaker = BreakerLimits { halt_above: 0.5, over_ms: 60_000, at_least: 4 };
    play(
        "too many",
        LaneLimits { breaker, ..limits() },
        &[
            ("assign 0 g1 at 0 to good", ""),
            ("valid 0 g1", ""),
            ("assign 1 g2 at 0 to bad", ""),
            ("valid 1 g2", ""),
            ("records 1 g2: 0b 1", "write 1: 0-2 bad 0"),
            ("records 1 g2: 2b 3b", ""),
            ("records 0 g1: 0", ""),
            ("committed", "reshape bad, write 0: 0-1"),
            ("shaped bad 0", ""),
            ("committed", "dropped 2 of 1, halt 1 TG-302"),
        ],
    );
}

#[test]
fn misfits_that_people_let_pass_are_not_judged_and_later_ones_are() {
    let breaker = BreakerLimits { halt_above: 0.5, over_ms: 60_000, at_least: 2 };
    let begin = [
        // What is remembered of others is forgotten with the word that they may pass.
        ("judged bad 9 9", ""),
        ("assign 1 g2 at 0 to bad judging 3", ""),
        ("valid 1 g2", ""),
        ("records 1 g2: 0b 1b 2b", "write 1: 0-3 bad 0 1 2"),
        ("committed", ""),
    ];
    let behind: &[(&str, &str)] =
        &[("records 1 g2: 3b 4b", "reshape bad"), ("shaped bad 3 4", "dropped 2 of 1, halt 1 TG-302")];
    let one: &[(&str, &str)] = &[("records 1 g2: 3b", "write 1: 3-4 bad 3")];
    play_all(
        LaneLimits { breaker, ..limits() },
        &begin,
        &[("two behind it", behind), ("one behind it", one)],
    );
}

#[test]
fn what_other_lanes_settle_counts_for_the_breaker_as_well() {
    let breaker = BreakerLimits { halt_above: 0.5, over_ms: 60_000, at_least: 4 };
    let limits = LaneLimits { breaker, ..limits() };
    let begin = [("assign 1 g2 at 0 to bad", ""), ("valid 1 g2", "")];
    let halts: &[(&str, &str)] = &[
        ("judged bad 3 3", ""),
        ("records 1 g2: 0b", "reshape bad"),
        ("shaped bad 0", "dropped 1 of 1, halt 1 TG-302"),
    ];
    let goes_on: &[(&str, &str)] =
        &[("judged other 3 3", ""), ("judged bad 3 1", ""), ("records 1 g2: 0b", "write 1: 0-1 bad 0")];
    play_all(limits, &begin, &[("they saw misfits", halts), ("they saw good ones", goes_on)]);
}

#[test]
fn a_lane_tells_the_others_of_misfits_at_once_and_of_the_rest_now_and_then() {
    let mut lane = Lane::new(limits());
    HELD.iter().for_each(|(line, _)| drop(lane.give(line)));
    let told = |lane: &mut Lane, lines: &[&str]| {
        let mut told = Vec::new();
        for line in lines {
            let input = lane.read(line);
            for command in lane.machine.step(lane.now, input) {
                match command {
                    Command::Write(batch) => lane.flying = Some(batch),
                    Command::Judged(topic, judged) => {
                        told.push((topic.to_string(), judged.records, judged.bad))
                    }
                    _ => {}
                }
            }
        }
        told
    };
    let events = |records, bad| vec![("events".to_owned(), records, bad)];
    assert_eq!(told(&mut lane, &["records 0 g1: 0 1", "committed"]), []);
    assert_eq!(told(&mut lane, &["records 0 g1: 2b 3", "committed"]), events(4, 1));
    assert_eq!(told(&mut lane, &["records 0 g1: 4", "committed", "tick 249"]), []);
    assert_eq!(told(&mut lane, &["tick 250", "records 0 g1: 5", "committed"]), events(2, 0));
}
