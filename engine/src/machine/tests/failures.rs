//! How transactions end, which records they stop at, and when batches are cut.

use super::*;

#[test]
fn an_unknown_commit_is_settled_by_the_next_comparison() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "it was applied",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("already", "unknown applied: true"),
                    ("records 0 g1: 2", "write 0: 2-3"),
                ],
            ),
            (
                "it was applied, and more has come since",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("records 0 g1: 2", ""),
                    ("tick 1000", "write 0: 0-3"),
                    ("fenced 0 at 2 epoch 1", "unknown applied: true, write 0: 2-3"),
                    ("committed", ""),
                ],
            ),
            (
                "it was not applied",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("committed", "unknown applied: false"),
                ],
            ),
            (
                "the partition leaves meanwhile",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("unknown", "retry unavailable"),
                    ("revoke 0 g1", "dropped 2 of 0, released 0 g1"),
                    ("tick 1000", ""),
                ],
            ),
        ],
    );
}

#[test]
fn a_try_that_waited_for_a_lock_is_followed_by_the_shortest_wait() {
    let growing = Backoff {
        growth: Growth::Exponential,
        first_ms: 1_000,
        max_ms: 1_000_000,
        attempts: None,
        deadline_ms: None,
    };
    let mut story = vec![("records 0 g1: 0", "write 0: 0-1")];
    for tick in ["tick 1000", "tick 2000", "tick 3000", "tick 4000", "tick 5000", "tick 6000", "tick 7000"] {
        story.extend([("failed conflict #55P03", "retry conflict"), (tick, "write 0: 0-1")]);
    }
    let limits = LaneLimits { retry: RetryPolicy { conflict: growing, ..limits().retry }, ..limits() };
    play_all(limits, &HELD, &[("somebody's DDL holds the table", &story)]);
}

#[test]
fn waits_repeat_the_batch_and_conflicts_make_it_smaller() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "unavailable",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 2000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 3000", "write 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 4000", "write 0: 0-2"),
                    ("committed", ""),
                ],
            ),
            (
                "conflicts",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 1000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 2000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 3000", "write 0: 0-4"),
                    ("failed conflict", "retry conflict"),
                    ("tick 4000", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("committed", "write 0: 3-4"),
                ],
            ),
            (
                "the unknown is tried a bounded number of times, after any number of outages",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1000", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 2000", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 3000", "write 0: 0-1"),
                    ("failed ambiguous", "retry ambiguous"),
                    ("tick 4000", "write 0: 0-1"),
                    ("failed ambiguous", "retry ambiguous"),
                    ("tick 5000", "write 0: 0-1"),
                    ("failed ambiguous", "dropped 1 of 0, halt 0 TG-305"),
                ],
            ),
        ],
    );
}

#[test]
fn a_wait_is_as_long_as_it_says() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    lane.give("records 0 g1: 0");
    lane.give("failed unavailable");
    let wake = lane.machine.wake().expect("it wants to be woken");
    assert!(wake <= 1_000);
    if wake > 0 {
        assert_eq!(lane.give(&format!("tick {}", wake - 1)), "");
    }
    assert_eq!(lane.give(&format!("tick {wake}")), "write 0: 0-1");
    assert_eq!(lane.machine.wake(), None);
}

#[test]
fn a_refused_record_is_found_behind_its_predecessors() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "the error points at it",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record @2", "seek 0: 0-4"),
                    ("failed record @2", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("failed record @0", "write 0: 2-4 bad 2"),
                    ("committed", ""),
                ],
            ),
            (
                "a search in one transaction finds all",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record", "seek 0: 0-4"),
                    ("sought record 0 1 collision 0 3", "write 0: 0-4 bad 1 3"),
                    ("committed", ""),
                ],
            ),
            (
                "a search meets an outage",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed record", "seek 0: 0-2"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1000", "seek 0: 0-2"),
                    ("sought record 0 1", "write 0: 0-2 bad 1"),
                    ("committed", ""),
                ],
            ),
            (
                "one by one all go through, and what only a COMMIT refuses is searched by halves",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed record", "seek 0: 0-2"),
                    ("sought", "write 0: 0-1"),
                    ("committed", "write 0: 1-2"),
                    ("failed record", "write 0: 1-2 bad 1"),
                ],
            ),
            (
                "the error points nowhere",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record", "seek 0: 0-4"),
                    ("failed record", "write 0: 0-2"),
                    ("committed", "write 0: 2-3"),
                    ("committed", "write 0: 3-4"),
                    ("failed record", "write 0: 3-4 bad 3"),
                    ("committed", ""),
                ],
            ),
            (
                "one that collides alone meets another unique index",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed collision", "seek 0: 0-2"),
                    ("failed collision", "write 0: 0-1"),
                    ("failed collision", "write 0: 0-2 bad 0"),
                ],
            ),
            (
                "the quarantine refuses nothing",
                &[
                    ("records 0 g1: 0b", "write 0: 0-1 bad 0"),
                    ("failed record", "dropped 1 of 0, halt 0 TG-306"),
                ],
            ),
            (
                "a patch without a row",
                &[("records 0 g1: 0 1p 2", "write 0: 0-3"), ("refused 0 1", "write 0: 0-3 bad 1")],
            ),
            (
                "a move without records fails",
                &[("end 0 g1 at 4", "write 0: 0-4 gaps 4"), ("failed record", "halt 0 TG-306")],
            ),
        ],
    );
}

#[test]
fn a_record_in_doubt_is_at_fault_only_where_other_rows_of_its_table_go_through() {
    let begin = [
        ("assign 0 g1 at 0 to good", ""),
        ("valid 0 g1", ""),
        ("assign 1 g2 at 0 to bad", ""),
        ("valid 1 g2", ""),
        ("end 0 g1 at 1", "write 0: 0-1 gaps 1"),
        ("records 1 g2: 0 1", ""),
        ("records 0 g1: 1 2", ""),
        ("committed", "write 1: 0-2 0: 1-3"),
        ("failed doubtful", "seek 1: 0-2 0: 1-3"),
    ];
    play_all(
        limits(),
        &begin,
        &[
            ("others go through", &[("sought doubtful 1 0", "write 1: 0-2 0: 1-3 bad 0"), ("committed", "")]),
            (
                "all of its table are refused, and only that halts",
                &[
                    ("sought doubtful! 1 0 doubtful! 1 1", "dropped 2 of 1, halt 1 TG-303, write 0: 1-3"),
                    ("committed", ""),
                ],
            ),
            (
                "it is the only one, until another comes and goes through",
                &[
                    ("sought doubtful! 1 0", "retry doubtful"),
                    ("records 1 g2: 2", ""),
                    ("tick 1000", "write 1: 0-3 0: 1-3"),
                    ("failed doubtful", "seek 1: 0-3 0: 1-3"),
                    ("sought doubtful 1 0", "write 1: 0-3 0: 1-3 bad 0"),
                    ("committed", ""),
                ],
            ),
            (
                "it is the only one for a bounded time",
                &[
                    ("sought doubtful! 1 0", "retry doubtful"),
                    ("tick 1000", "write 1: 0-2 0: 1-3"),
                    ("failed doubtful", "seek 1: 0-2 0: 1-3"),
                    ("sought doubtful! 1 0", "retry doubtful"),
                    ("tick 2000", "write 1: 0-2 0: 1-3"),
                    ("failed doubtful", "seek 1: 0-2 0: 1-3"),
                    ("sought doubtful! 1 0", "dropped 2 of 1, halt 1 TG-303, write 0: 1-3"),
                ],
            ),
        ],
    );
    play_all(
        limits(),
        &HELD,
        &[(
            "a batch of one record",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("failed doubtful", "retry doubtful"),
                ("tick 1000", "write 0: 0-1"),
                ("failed doubtful", "retry doubtful"),
                ("tick 2000", "write 0: 0-1"),
                ("failed doubtful", "dropped 1 of 0, halt 0 TG-303"),
            ],
        )],
    );
}

#[test]
fn a_conflict_that_does_not_pass_has_a_name() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    lane.give("records 0 g1: 0");
    for hour in 1..=12 {
        assert_eq!(lane.give("failed unavailable"), "retry unavailable");
        lane.give(&format!("tick {}", hour * 7_200_000));
        assert_eq!(lane.give("failed conflict"), "retry conflict");
        lane.give(&format!("tick {}", hour * 7_200_000 + 3_600_000));
    }
    assert_eq!(lane.give("failed conflict"), "dropped 1 of 0, halt 0 TG-305");
}

#[test]
fn a_bad_partition_does_not_hold_up_its_lane_mates() {
    let begin = [
        ("assign 0 g1 at 0 to good", ""),
        ("valid 0 g1", ""),
        ("assign 1 g2 at 0 to bad!", ""),
        ("valid 1 g2", ""),
        ("end 0 g1 at 1", "write 0: 0-1 gaps 1"),
    ];
    play_all(
        limits(),
        &begin,
        &[
            (
                "it stops in front of its bad record, after what came before",
                &[
                    ("records 1 g2: 0 1b 2", ""),
                    ("records 0 g1: 1 2", ""),
                    ("committed", "reshape bad, write 0: 1-3"),
                    ("shaped bad! 1", ""),
                    ("committed", "write 1: 0-1"),
                    ("records 1 g2: 3", "dropped 1 of 1"),
                    ("records 0 g1: 3", ""),
                    ("committed", "dropped 2 of 1, halt 1 TG-301, write 0: 3-4"),
                ],
            ),
            (
                "nothing comes before it",
                &[
                    ("records 1 g2: 0b 1", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "reshape bad, write 0: 1-2"),
                    ("shaped bad! 1", ""),
                    ("committed", "dropped 2 of 1, halt 1 TG-301"),
                ],
            ),
            (
                "what came before is rolled back, and it meets the record again",
                &[
                    ("records 1 g2: 0 1b", ""),
                    ("committed", "reshape bad"),
                    ("shaped bad! 1", "write 1: 0-1"),
                    ("failed conflict", "retry conflict"),
                    ("records 1 g2: 2", ""),
                    ("tick 1000", "write 1: 0-1"),
                    ("committed", "dropped 2 of 1, halt 1 TG-301"),
                ],
            ),
            (
                "revoked while it halts",
                &[
                    ("records 1 g2: 0 1b", ""),
                    ("committed", "reshape bad"),
                    ("shaped bad! 1", "write 1: 0-1"),
                    ("revoke 1 g2", ""),
                    ("committed", "dropped 1 of 1, released 1 g2"),
                ],
            ),
            (
                "a schema that doesn't fit halts its table only",
                &[
                    ("records 1 g2: 0", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "write 1: 0-1 0: 1-2"),
                    ("failed schema public.bad", "dropped 1 of 1, halt 1 TG-303, write 0: 1-2"),
                ],
            ),
            (
                "one of a table that no route names halts all",
                &[
                    ("records 1 g2: 0", ""),
                    ("records 0 g1: 1", ""),
                    ("committed", "write 1: 0-1 0: 1-2"),
                    (
                        "failed schema tidegate.progress",
                        "dropped 1 of 1, halt 1 TG-303, dropped 1 of 0, halt 0 TG-303",
                    ),
                ],
            ),
        ],
    );
}

#[test]
fn a_skipped_record_leaves_and_the_next_bad_one_stops() {
    let scenario = [
        ("assign 0 g1 at 0 to bad! skipping 1", ""),
        ("valid 0 g1", ""),
        ("records 0 g1: 0 1b 2", "write 0: 0-3 bad 1"),
        ("records 0 g1: 3b 4", ""),
        ("committed", "reshape bad"),
        ("shaped bad! 1", "dropped 2 of 0, halt 0 TG-301"),
    ];
    play("one is skipped", limits(), &scenario);
}

#[test]
fn a_batch_waits_for_more_until_it_is_full_or_old() {
    let limits = LaneLimits { linger_ms: 50, batch_rows: 3, ..limits() };
    play_all(
        limits,
        &HELD,
        &[
            (
                "old",
                &[
                    ("records 0 g1: 0", ""),
                    ("tick 49", ""),
                    ("tick 50", "write 0: 0-1"),
                    ("records 0 g1: 1", ""),
                    ("committed", ""),
                    ("tick 99", ""),
                    ("tick 100", "write 0: 1-2"),
                ],
            ),
            (
                "full",
                &[
                    ("records 0 g1: 0 1", ""),
                    ("records 0 g1: 2 3", "write 0: 0-3"),
                    ("committed", ""),
                    ("tick 50", "write 0: 3-4"),
                ],
            ),
        ],
    );
}

#[test]
fn a_value_that_only_the_server_reads_turns_the_waiting_records_to_text() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    assert_eq!(lane.give("records 0 g1: 0"), "write 0: 0-1");
    assert_eq!(lane.give("records 0 g1: 1 2b 3o 4"), "");
    assert_eq!(lane.give("committed"), "write 0: 1-5 bad 2");
    let batch = lane.flying.as_ref().expect("a batch");
    assert_eq!(batch.tables()[0].encoding, crate::row::Encoding::Text);
    let ids: Vec<&[u8]> =
        batch.tables()[0].entries.iter().map(|entry| &batch.tables()[0].key(entry)[4..]).collect();
    assert_eq!(ids, [b"1", b"3", b"4"]);
    assert_eq!(lane.give("failed record @2"), "seek 0: 1-5 bad 2");
    assert_eq!(lane.give("failed record @2"), "write 0: 1-3 bad 2");
}

#[test]
fn a_batch_that_is_tried_for_hours_does_not_grow() {
    let mut lane = Lane::new(limits());
    for (line, expected) in HELD {
        assert_eq!(lane.give(line), expected);
    }
    lane.give("records 0 g1: 0 1s 2s");
    let mut sizes = Vec::new();
    for hour in 1..=5 {
        lane.give("failed unavailable");
        lane.give(&format!("tick {}", hour * 3_600_000));
        sizes.push(lane.flying.as_ref().map(|batch| batch.tables()[0].arena.len()));
    }
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1]), "{sizes:?}");
}
