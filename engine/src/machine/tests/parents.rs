//! Records whose foreign keys lead to rows that aren't there yet.

use super::*;

#[test]
fn a_partition_waits_in_front_of_an_orphan() {
    play_all(
        limits(),
        &HELD,
        &[(
            "what comes before is written, and all of it once the parent has come",
            &[
                ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                ("failed missing_parent", "seek 0: 0-4"),
                ("sought missing_parent 0 2", "retry missing_parent, 0 awaits parents, write 0: 0-2"),
                ("records 0 g1: 4", ""),
                ("committed", ""),
                ("end 0 g1 at 7", ""),
                ("tick 49", ""),
                ("tick 50", "write 0: 2-3"),
                ("failed missing_parent", "retry missing_parent"),
                ("tick 149", ""),
                ("tick 150", "write 0: 2-3"),
                ("committed", "0 stops awaiting parents, write 0: 3-7 gaps 2"),
                ("committed", ""),
                ("records 0 g1: 7", "write 0: 7-8"),
            ],
        )],
    );
}

#[test]
fn orphans_of_one_wait_leave_together() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "all orphans of a wait leave together",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed missing_parent", "seek 0: 0-4"),
                    (
                        "sought missing_parent 0 1 missing_parent 0 3",
                        "retry missing_parent, 0 awaits parents, write 0: 0-1",
                    ),
                    ("committed", ""),
                    ("tick 3000", "write 0: 1-4"),
                    ("records 0 g1: 4", ""),
                    ("failed missing_parent", "seek 0: 1-4"),
                    ("sought missing_parent 0 1 missing_parent 0 3", "write 0: 1-4 bad 1 3"),
                    ("committed", "0 stops awaiting parents, write 0: 4-5"),
                ],
            ),
            (
                "one that is met later has a wait of its own",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed missing_parent", "seek 0: 0-4"),
                    (
                        "sought missing_parent 0 1 missing_parent 0 3",
                        "retry missing_parent, 0 awaits parents, write 0: 0-1",
                    ),
                    ("committed", ""),
                    ("tick 3000", "write 0: 1-4"),
                    ("failed missing_parent", "seek 0: 1-4"),
                    (
                        "sought missing_parent 0 1 missing_parent 0 2",
                        "retry missing_parent, write 0: 1-2 bad 1",
                    ),
                    ("committed", ""),
                    ("tick 6000", "write 0: 2-4"),
                    ("failed missing_parent", "seek 0: 2-4"),
                    ("sought missing_parent 0 2 missing_parent 0 3", "write 0: 2-4 bad 2 3"),
                    ("committed", "0 stops awaiting parents"),
                ],
            ),
        ],
    );
}

#[test]
fn orphans_are_tried_in_growing_numbers() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "known orphans are tried in growing numbers",
                &[
                    ("records 0 g1: 0 1 2 3 4 5 6 7 8", "write 0: 0-9"),
                    ("failed missing_parent", "seek 0: 0-9"),
                    (
                        "sought missing_parent 0 0 missing_parent 0 1 missing_parent 0 2 missing_parent 0 3 \
                         missing_parent 0 4 missing_parent 0 6 missing_parent 0 7",
                        "retry missing_parent, 0 awaits parents",
                    ),
                    ("tick 50", "write 0: 0-1"),
                    ("committed", "write 0: 1-3"),
                    ("committed", "write 0: 3-8"),
                    ("failed missing_parent", "seek 0: 3-8"),
                    ("sought missing_parent 0 7", "retry missing_parent, write 0: 3-7"),
                    ("committed", ""),
                    ("tick 100", "write 0: 7-8"),
                    ("committed", "0 stops awaiting parents, write 0: 8-9"),
                ],
            ),
            (
                "an outage while one is tried",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("failed missing_parent", "seek 0: 0-2"),
                    ("sought missing_parent 0 0", "retry missing_parent, 0 awaits parents"),
                    ("tick 50", "write 0: 0-1"),
                    ("failed unavailable", "retry unavailable"),
                    ("tick 1050", "write 0: 0-1"),
                    ("failed missing_parent", "retry missing_parent"),
                    ("tick 1150", "write 0: 0-1"),
                    ("committed", "0 stops awaiting parents, write 0: 1-2"),
                ],
            ),
        ],
    );
}

#[test]
fn a_partition_that_waits_can_leave_and_its_table_change() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "it leaves while it waits",
                &[
                    ("records 0 g1: 0 1 2", "write 0: 0-3"),
                    ("failed missing_parent", "seek 0: 0-3"),
                    ("sought missing_parent 0 1", "retry missing_parent, 0 awaits parents, write 0: 0-1"),
                    ("committed", ""),
                    ("revoke 0 g1", "0 stops awaiting parents, dropped 2 of 0, released 0 g1"),
                    ("tick 3000", ""),
                ],
            ),
            (
                "the table changes meanwhile",
                &[
                    ("records 0 g1: 0 1 2", "write 0: 0-3"),
                    ("failed missing_parent", "seek 0: 0-3"),
                    ("sought missing_parent 0 1", "retry missing_parent, 0 awaits parents, write 0: 0-1"),
                    ("committed", ""),
                    ("tick 50", "write 0: 1-2"),
                    ("reshaped", "reshape events"),
                    ("tick 60", ""),
                    ("shaped events 2", "write 0: 1-2"),
                    ("committed", "0 stops awaiting parents, write 0: 2-3"),
                ],
            ),
        ],
    );
}

#[test]
fn other_refusals_are_not_waited_for() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "other refusals in front of it are kept",
                &[
                    ("records 0 g1: 0 1 2 3", "write 0: 0-4"),
                    ("failed record", "seek 0: 0-4"),
                    (
                        "sought record 0 1 missing_parent 0 2 record 0 3",
                        "retry missing_parent, 0 awaits parents, write 0: 0-2 bad 1",
                    ),
                    ("committed", ""),
                    ("tick 50", "write 0: 2-3"),
                    ("committed", "0 stops awaiting parents, write 0: 3-4"),
                ],
            ),
            (
                "the foreign key is another table's",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("failed missing_parent public.other", "write 0: 0-1 bad 0"),
                ],
            ),
        ],
    );
}

#[test]
fn others_of_the_lane_go_on_while_one_waits() {
    play(
        "lane-mates",
        limits(),
        &[
            &MATES[..],
            &[
                ("records 0 g1: 0 1", "write 0: 0-2"),
                ("records 1 g2: 0", ""),
                ("failed missing_parent", "seek 0: 0-2"),
                ("sought missing_parent 0 0", "retry missing_parent, 0 awaits parents, write 1: 0-1"),
                ("committed", ""),
                ("records 1 g2: 1", "write 1: 1-2"),
                ("tick 50", ""),
                ("records 1 g2: 2", ""),
                ("committed", "write 0: 0-1"),
                ("failed missing_parent", "retry missing_parent, write 1: 2-3"),
                ("committed", ""),
            ],
        ]
        .concat(),
    );
}

#[test]
fn without_a_wait_orphans_leave_at_once() {
    play(
        "no wait",
        limits(),
        &[
            ("assign 0 g1 at 0 into events~", ""),
            ("valid 0 g1", ""),
            ("records 0 g1: 0 1 2", "write 0: 0-3"),
            ("failed missing_parent", "seek 0: 0-3"),
            ("sought missing_parent 0 0 missing_parent 0 2", "write 0: 0-3 bad 0 2"),
            ("committed", ""),
            ("records 0 g1: 3", "write 0: 3-4"),
            ("failed missing_parent", "write 0: 3-4 bad 3"),
        ],
    );
}

#[test]
fn a_partition_stops_in_front_of_an_orphan_where_its_route_says_so() {
    play(
        "halts",
        limits(),
        &[
            ("assign 0 g1 at 0 into events!", ""),
            ("valid 0 g1", ""),
            ("records 0 g1: 0 1", "write 0: 0-2"),
            ("failed missing_parent", "seek 0: 0-2"),
            ("sought missing_parent 0 1", "retry missing_parent, 0 awaits parents, write 0: 0-1"),
            ("committed", ""),
            ("tick 3000", "write 0: 1-2"),
            ("failed missing_parent", "reshape events"),
            ("shaped events! 2", "write 0: 1-2"),
            ("failed missing_parent", "0 stops awaiting parents, dropped 1 of 0, halt 0 TG-301"),
        ],
    );
}

#[test]
fn a_partition_that_waits_with_much_is_brought_no_more() {
    let many = (1..40).map(|offset| format!(" {offset}")).collect::<String>();
    let records = format!("records 0 g1:{many}");
    play(
        "room",
        LaneLimits { batch_bytes: 8_192, ..limits() },
        &[
            ("assign 0 g1 at 0", ""),
            ("valid 0 g1", ""),
            ("records 0 g1: 0", "write 0: 0-1"),
            ("failed missing_parent", "retry missing_parent, 0 awaits parents"),
            (&records, "rest 0 g1"),
            ("records 0 g1: 40", ""),
            ("tick 50", "write 0: 0-1"),
            ("committed", "0 stops awaiting parents, wake 0 g1, write 0: 1-41"),
        ],
    );
}
