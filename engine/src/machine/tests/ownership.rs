//! Whose a partition is: assignments, revocations, fences, and what is stored.

use super::*;

#[test]
fn only_records_of_a_valid_assignment_are_written() {
    play_all(
        limits(),
        &[],
        &[
            (
                "what comes before validation is parked",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5 6", ""),
                    ("end 0 g1 at 9", ""),
                    ("valid 0 g1", "write 0: 5-9 gaps 2"),
                    ("committed", ""),
                ],
            ),
            (
                "other generations are dropped and counted",
                &[
                    ("assign 0 g2 at 5", ""),
                    ("valid 0 g2", ""),
                    ("records 0 g1: 5 6", "dropped 2 of 0"),
                    ("records 1 g2: 5", "dropped 1 of 1"),
                    ("records 0 g2: 5", "write 0: 5-6"),
                ],
            ),
            (
                "what lies behind the position is dropped",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("valid 0 g1", ""),
                    ("records 0 g1: 3 4 5 5 6", "behind 0@3, behind 0@4, behind 0@5, write 0: 5-7"),
                ],
            ),
            (
                "a new assignment replaces the old one",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5 6 7", ""),
                    ("assign 0 g2 at 6", "dropped 3 of 0"),
                    ("valid 0 g1", ""),
                    ("valid 0 g2", ""),
                    ("records 0 g2: 6", "write 0: 6-7"),
                ],
            ),
            (
                "a halt from outside stops it",
                &[
                    ("assign 0 g1 at 5", ""),
                    ("records 0 g1: 5", ""),
                    ("halted 0 g1", "dropped 1 of 0, halt 0 TG-101"),
                    ("valid 0 g1", ""),
                    ("records 0 g1: 6", "dropped 1 of 0"),
                    ("revoke 0 g1", "released 0 g1"),
                ],
            ),
        ],
    );
}

#[test]
fn what_arrives_in_doubt_waits_for_the_log_and_what_was_there_does_not() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "what arrives waits",
                &[
                    ("doubt 0 g1", ""),
                    ("records 0 g1: 0 1", ""),
                    ("end 0 g1 at 4", ""),
                    ("doubt 0 g1", ""),
                    ("valid 0 g1", "write 0: 0-4 gaps 2"),
                    ("committed", ""),
                    ("records 0 g1: 4", "write 0: 4-5"),
                ],
            ),
            (
                "what is staged or in flight doesn't",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 0 g1: 1", ""),
                    ("doubt 0 g1", ""),
                    ("records 0 g1: 2", ""),
                    ("committed", "write 0: 1-2"),
                    ("committed", ""),
                    ("valid 0 g1", "write 0: 2-3"),
                ],
            ),
            (
                "another topic halts, and what arrived is dropped",
                &[
                    ("doubt 0 g1", ""),
                    ("records 0 g1: 0", ""),
                    ("halted 0 g1", "dropped 1 of 0, halt 0 TG-101"),
                ],
            ),
            (
                "a table that changes meanwhile is read first, and the log is waited for all the same",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("doubt 0 g1", ""),
                    ("records 0 g1: 1", ""),
                    ("reshaped", "reshape events"),
                    ("shaped events 2", ""),
                    ("valid 0 g1", "write 0: 0-2"),
                ],
            ),
            ("another assignment isn't meant", &[("doubt 0 g2", ""), ("records 0 g1: 0", "write 0: 0-1")]),
            (
                "a partition in doubt is given back",
                &[
                    ("doubt 0 g1", ""),
                    ("records 0 g1: 0", ""),
                    ("revoke 0 g1", "dropped 1 of 0, released 0 g1"),
                ],
            ),
        ],
    );
}

#[test]
fn offsets_behind_the_position_are_told_apart_from_gaps() {
    play_all(
        limits(),
        &HELD,
        &[
            (
                "records come twice",
                &[
                    ("records 0 g1: 0 1", "write 0: 0-2"),
                    ("records 0 g1: 0 1 2", "behind 0@0, behind 0@1"),
                    ("committed", "write 0: 2-3"),
                ],
            ),
            (
                "holes and an end without records are gaps",
                &[
                    ("records 0 g1: 3", "write 0: 0-4 gaps 3"),
                    ("end 0 g1 at 4", ""),
                    ("end 0 g1 at 6", ""),
                    ("committed", "write 0: 4-6 gaps 2"),
                    ("committed", ""),
                    ("end 0 g1 at 6", ""),
                ],
            ),
        ],
    );
}

#[test]
fn a_revoked_partition_leaves_when_its_flight_has_ended() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "in flight",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("revoke 0 g1", ""),
                    ("records 0 g1: 1", "dropped 1 of 0"),
                    ("committed", "released 0 g1"),
                ],
            ),
            (
                "not in flight",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0 1", ""),
                    ("revoke 0 g1", "dropped 2 of 0, released 0 g1"),
                    ("committed", ""),
                ],
            ),
            (
                "rolled back: its records go, the mate's stay",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0", ""),
                    ("records 1 g2: 1", ""),
                    ("committed", "write 0: 0-1 1: 1-2"),
                    ("revoke 0 g1", ""),
                    ("failed record", "dropped 1 of 0, released 0 g1, seek 1: 1-2"),
                ],
            ),
            (
                "assigned again before the flight has ended",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("revoke 0 g1", ""),
                    ("assign 0 g3 at 1", "dropped 1 of 0"),
                    ("committed", "released 0 g1"),
                ],
            ),
            (
                "halted and revoked before the flight has ended",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("halted 0 g1", "dropped 1 of 0, halt 0 TG-101"),
                    ("revoke 0 g1", ""),
                    ("committed", "released 0 g1"),
                ],
            ),
            ("never heard of", &[("revoke 5 g9", "released 5 g9")]),
        ],
    );
}

#[test]
fn what_is_stored_decides() {
    play_all(
        limits(),
        &MATES,
        &[
            (
                "a higher epoch fences, and the mate goes on",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("records 0 g1: 0", ""),
                    ("records 1 g2: 1", ""),
                    ("committed", "write 0: 0-1 1: 1-2"),
                    ("fenced 0 at 0 epoch 9", "dropped 1 of 0, fenced 0 g1, write 1: 1-2"),
                    ("records 0 g1: 1", "dropped 1 of 0"),
                ],
            ),
            (
                "a position behind is a database that went back",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("records 0 g1: 1", "write 0: 1-2"),
                    ("fenced 0 at 0 epoch 1", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "so is a lower epoch",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("fenced 0 at 0 epoch 0", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "a position beyond all that was read is not ours",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("fenced 0 at 5 epoch 1", "dropped 1 of 0, reclaim 0 g1"),
                ],
            ),
            (
                "a missing row is never guessed",
                &[("records 0 g1: 0", "write 0: 0-1"), ("missing 0", "dropped 1 of 0, halt 0 TG-104")],
            ),
        ],
    );
}

#[test]
fn an_idle_partition_learns_from_a_look_at_its_row() {
    play_all(
        limits(),
        &HELD,
        &[
            ("the row stands as it should", &[("stored 0 g1 at 0 epoch 1", "")]),
            ("another owner", &[("stored 0 g1 at 0 epoch 2", "fenced 0 g1")]),
            (
                "the database went back",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("stored 0 g1 at 0 epoch 1", ""),
                    ("stored 0 g1 at 0 epoch 1", "reclaim 0 g1"),
                ],
            ),
            (
                "a look that is older than the last commit",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("committed", ""),
                    ("stored 0 g1 at 0 epoch 1", ""),
                    ("records 0 g1: 1", "write 0: 1-2"),
                    ("committed", ""),
                    ("stored 0 g1 at 1 epoch 1", ""),
                    ("stored 0 g1 at 2 epoch 1", ""),
                ],
            ),
            (
                "a look that is older than the flight",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 0 g1: 1", ""),
                    ("stored 0 g1 at 7 epoch 1", ""),
                    ("committed", "write 0: 1-2"),
                    ("stored 0 g1 at 0 epoch 1", ""),
                    ("unknown", "retry unavailable"),
                    ("stored 0 g1 at 0 epoch 1", ""),
                ],
            ),
            (
                "a decision, with work that waits",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("unknown", "retry unavailable"),
                    ("stored 0 g1 at 0 epoch 2", ""),
                    ("stored 0 g1 at 9 epoch 2 decided", "dropped 1 of 0, fenced 0 g1"),
                ],
            ),
            ("a look of another assignment", &[("stored 0 g2 at 9 epoch 9", "")]),
        ],
    );
}
