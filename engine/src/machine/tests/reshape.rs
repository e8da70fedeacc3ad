//! Tables that change under a lane.

use super::*;

#[test]
fn records_are_decoded_again_under_the_shape_that_was_read() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "the batch is made again, with what came meanwhile",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("records 0 g1: 2", ""),
                    ("reshaped", "reshape events"),
                    ("records 0 g1: 3", ""),
                    ("end 0 g1 at 6", ""),
                    ("shaped events 2", "write 0: 0-6 gaps 2"),
                    ("committed", ""),
                    ("records 0 g1: 6", "write 0: 6-7"),
                ],
            ),
            (
                "what was committed of a block stays so",
                &[
                    ("records 0 g1: 0 1o 2 3", "write 0: 0-4"),
                    ("failed record @1", "seek 0: 0-4"),
                    ("failed record @1", "write 0: 0-1"),
                    ("committed", "write 0: 1-2"),
                    ("reshaped", "reshape events"),
                    ("shaped events 2", "write 0: 1-4"),
                    ("committed", ""),
                ],
            ),
            (
                "it changes again",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("reshaped", "reshape events"),
                    ("shaped events 2", "write 0: 0-2"),
                    ("reshaped", "reshape events"),
                    ("shaped events 3", "write 0: 0-2"),
                    ("committed", ""),
                ],
            ),
            (
                "a commit without an answer is resolved first",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("reshaped", "reshape events"),
                    ("shaped events 2", "write 0: 0-2"),
                    ("committed", "unknown applied: false"),
                ],
            ),
            (
                "the partition leaves meanwhile",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("revoke 0 g1", ""),
                    ("reshaped", "reshape events, dropped 2 of 0, released 0 g1"),
                    ("shaped events 2", ""),
                ],
            ),
            (
                "the route doesn't fit the new shape",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("reshaped", "reshape events"),
                    ("halted 0 g1", "dropped 2 of 0, halt 0 TG-101"),
                ],
            ),
        ],
    );
}

#[test]
fn other_partitions_go_on_while_a_shape_is_read() {
    let begin: &[(&str, &str)] = &[
        ("assign 0 g1 at 0 into one", ""),
        ("valid 0 g1", ""),
        ("assign 1 g2 at 0 into two", ""),
        ("valid 1 g2", ""),
    ];
    play_all(
        limits(),
        begin,
        &[(
            "one of two tables",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("records 1 g2: 0", ""),
                ("reshaped", "reshape one, write 1: 0-1"),
                ("records 0 g1: 1", ""),
                ("committed", ""),
                ("records 1 g2: 1", "write 1: 1-2"),
            ],
        )],
    );
}

#[test]
fn idle_and_staged_partitions_take_a_new_shape_at_once() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "an idle one",
                &[
                    ("shaped events 2", ""),
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("shaped events 2", ""),
                ],
            ),
            (
                "one that isn't held against the log yet",
                &[
                    ("assign 2 g3 at 0", ""),
                    ("records 2 g3: 0 1", ""),
                    ("shaped events 2", ""),
                    ("records 2 g3: 2", ""),
                    ("valid 2 g3", "write 2: 0-3"),
                ],
            ),
            (
                "one whose records wait behind a batch",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 1 g2: 0 1", ""),
                    ("shaped events 2", ""),
                    ("reshaped", "reshape events, write 1: 0-2"),
                    ("shaped events 2", ""),
                    ("committed", "write 0: 0-1"),
                ],
            ),
        ],
    );
}

#[test]
fn the_table_is_looked_at_before_a_partition_stops_for_its_records() {
    let begin: &[(&str, &str)] = &[("assign 0 g1 at 0 into events!", ""), ("valid 0 g1", "")];
    play_all(
        limits(),
        begin,
        &[
            (
                "they don't fit the present shape either",
                &[
                    ("records 0 g1: 0 1b 2", "reshape events"),
                    ("shaped events! 2", "write 0: 0-1"),
                    ("committed", "dropped 2 of 0, halt 0 TG-301"),
                ],
            ),
            (
                "one look for all records that were there",
                &[
                    ("records 0 g1: 0b", "reshape events"),
                    ("records 0 g1: 1b", ""),
                    ("shaped events! 1", "dropped 2 of 0, halt 0 TG-301"),
                ],
            ),
        ],
    );
}

#[test]
fn a_table_that_never_keeps_its_shape_halts_by_name() {
    let mut lane = Lane::new(limits());
    for line in ["assign 0 g1 at 0", "valid 0 g1", "records 0 g1: 0"] {
        let _ = lane.give(line);
    }
    for _ in 0..200 {
        if lane.give("reshaped").contains("TG-303") {
            return;
        }
        assert_eq!(lane.give("shaped events 2"), "write 0: 0-1");
    }
    panic!("it goes on for ever");
}

#[test]
fn a_column_that_the_table_demands_since_lately_stops_the_partition_and_quarantines_nothing() {
    let mut lane = Lane::new(limits());
    for line in ["assign 0 g1 at 0", "valid 0 g1"] {
        assert_eq!(lane.give(line), "");
    }
    let mut route = lane.route("events");
    Arc::make_mut(&mut route).demanded_since = vec![2];
    lane.routes.insert("events".to_owned(), route);
    assert_eq!(lane.give("shaped events 2"), "");
    assert_eq!(lane.give("records 0 g1: 0 1p 2"), "write 0: 0-3");
    assert_eq!(lane.give("refused 0 1"), "reshape events");
    assert_eq!(lane.give("shaped events 2"), "write 0: 0-3");
    assert_eq!(lane.give("refused 0 1"), "write 0: 0-1");
    assert_eq!(lane.give("committed"), "dropped 2 of 0, halt 0 TG-303");
}
