//! The next batch, cut while the one in flight is being committed.

use super::*;

#[test]
fn what_waits_is_cut_ahead_and_what_comes_later_waits_for_the_next() {
    let mut lane = Lane::new(limits());
    for (line, expected) in [
        HELD[0],
        HELD[1],
        ("settling", ""),
        ("records 0 g1: 0 1 2", "write 0: 0-3"),
        ("settling", ""),
        ("records 0 g1: 3 4b", ""),
    ] {
        assert_eq!(lane.give(line), expected, "{line}");
    }
    assert!(lane.machine.ahead.is_none(), "nothing waited");
    assert_eq!(lane.give("settling"), "");
    assert!(lane.machine.ahead.is_some());
    for (line, expected) in [
        ("settling", ""),
        ("records 0 g1: 5 6", ""),
        ("committed", "write 0: 3-5 bad 4"),
        ("committed", "write 0: 5-7"),
        ("committed", ""),
    ] {
        assert_eq!(lane.give(line), expected, "{line}");
        assert!(lane.machine.ahead.is_some() == (line != "committed") || line.starts_with("records"));
    }
    assert!(lane.machine.is_idle());
}

#[test]
fn few_records_are_not_cut_ahead() {
    let mut lane = Lane::new(LaneLimits { ahead_records: 3, ..limits() });
    for line in [HELD[0].0, HELD[1].0, "records 0 g1: 0", "records 0 g1: 1 2", "settling"] {
        lane.give(line);
    }
    assert!(lane.machine.ahead.is_none());
    lane.give("records 0 g1: 3");
    lane.give("settling");
    assert!(lane.machine.ahead.is_some());
}

#[test]
fn what_was_cut_ahead_waits_for_the_batch_before_it() {
    let scenarios: [(&str, &[(&str, &str)]); 4] = [
        (
            "a retry goes first",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1 2", ""),
                ("settling", ""),
                ("failed unavailable", "retry unavailable"),
                ("tick 1000", "write 0: 0-1"),
                ("committed", "write 0: 1-3"),
                ("committed", ""),
            ],
        ),
        (
            "a commit without an answer that was applied",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1 2", ""),
                ("settling", ""),
                ("unknown", "retry unavailable"),
                ("tick 1000", "write 0: 0-1"),
                ("settling", ""),
                ("already", "unknown applied: true, write 0: 1-3"),
                ("committed", ""),
            ],
        ),
        (
            "a record in flight is refused",
            &[
                ("records 0 g1: 0p", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("settling", ""),
                ("refused 0 0", "write 0: 0-1 bad 0"),
                ("committed", "write 0: 1-2"),
                ("committed", ""),
            ],
        ),
        (
            "a culprit is searched",
            &[
                ("records 0 g1: 0 1", "write 0: 0-2"),
                ("records 0 g1: 2 3", ""),
                ("settling", ""),
                ("failed record @1", "seek 0: 0-2"),
                ("failed record @1", "write 0: 0-1"),
                ("settling", ""),
                ("committed", "write 0: 1-2"),
                ("settling", ""),
                ("failed record", "write 0: 1-2 bad 1"),
                ("settling", ""),
                ("committed", "write 0: 2-4"),
                ("committed", ""),
            ],
        ),
    ];
    play_all(limits(), &MATES, &scenarios);
}

#[test]
fn what_was_cut_ahead_is_cut_again_without_partitions_that_left() {
    let scenarios: [(&str, &[(&str, &str)]); 5] = [
        (
            "a partition of it goes",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("records 1 g2: 0", ""),
                ("settling", ""),
                ("revoke 1 g2", "dropped 1 of 1, released 1 g2"),
                ("committed", "write 0: 1-2"),
                ("committed", ""),
            ],
        ),
        (
            "a partition in flight goes",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("records 1 g2: 0", ""),
                ("settling", ""),
                ("revoke 0 g1", ""),
                ("committed", "dropped 1 of 0, released 0 g1, write 1: 0-1"),
                ("committed", ""),
            ],
        ),
        (
            "a partition halts",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("records 1 g2: 0", ""),
                ("settling", ""),
                ("halted 1 g2", "dropped 1 of 1, halt 1 TG-101"),
                ("committed", "write 0: 1-2"),
                ("committed", ""),
            ],
        ),
        (
            "a partition is claimed anew",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("records 1 g2: 0", ""),
                ("settling", ""),
                ("assign 1 g3 at 0", "dropped 1 of 1"),
                ("valid 1 g3", ""),
                ("records 1 g3: 0", ""),
                ("committed", "write 0: 1-2"),
                ("committed", "write 1: 0-1"),
                ("committed", ""),
            ],
        ),
        (
            "the batch in flight is fenced",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 0 g1: 1", ""),
                ("records 1 g2: 0", ""),
                ("settling", ""),
                ("fenced 0 at 0 epoch 9", "dropped 2 of 0, fenced 0 g1, write 1: 0-1"),
                ("committed", ""),
            ],
        ),
    ];
    play_all(limits(), &MATES, &scenarios);
}

#[test]
fn rows_longer_than_their_records_count_until_they_are_behind() {
    let mut lane = Lane::new(limits());
    let mut repeated = Route::clone(&route("events", OnBadRecord::Quarantine));
    for mapping in &mut repeated.mappings[..3] {
        mapping.source = Source::Field(vec!["id".to_owned()]);
    }
    lane.routes.insert("events".to_owned(), Arc::new(repeated));
    // Nineteen digits, in three columns of the row and once in the record.
    for line in ["assign 0 g1 at 1000000000000000000", "valid 0 g1", "records 0 g1: 1000000000000000000"] {
        lane.give(line);
    }
    let one = lane.machine.surplus();
    assert!(one > 0);
    lane.give("records 0 g1: 1000000000000000001 1000000000000000002");
    assert_eq!(lane.machine.surplus(), 3 * one);
    lane.give("settling");
    assert_eq!(lane.machine.surplus(), 3 * one, "rows count wherever they stand");
    lane.give("committed");
    assert_eq!(lane.machine.surplus(), 2 * one);
    lane.give("committed");
    assert_eq!(lane.machine.surplus(), 0);
}
