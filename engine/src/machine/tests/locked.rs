//! Tables that somebody else has locked.

use super::*;

const TWO_TABLES: [(&str, &str); 4] =
    [("assign 0 g1 at 0 to a", ""), ("valid 0 g1", ""), ("assign 1 g2 at 0 to b", ""), ("valid 1 g2", "")];

#[test]
fn what_waits_for_a_locked_table_holds_up_no_other() {
    play_all(
        limits(),
        &TWO_TABLES,
        &[
            (
                "the other table goes on, and this one is tried by itself and for a moment",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 1 g2: 0", ""),
                    ("records 0 g1: 1", ""),
                    ("failed conflict #55P03 public.a", "0 awaits public.a, retry conflict, write 1: 0-1"),
                    ("committed", ""),
                    ("records 1 g2: 1", "write 1: 1-2"),
                    ("records 0 g1: 2", ""),
                    ("tick 1000", ""),
                    ("committed", "write 0: 0-3 hurried"),
                    ("records 1 g2: 2", ""),
                    ("records 0 g1: 3", ""),
                    ("failed conflict #55P03 public.a", "retry conflict, write 1: 2-3"),
                    ("committed", ""),
                    ("tick 2000", "write 0: 0-4 hurried"),
                    ("committed", "0 has its table"),
                    ("records 0 g1: 4", "write 0: 4-5"),
                ],
            ),
            (
                "one without records has nothing to try",
                &[
                    ("records 1 g2: 0", "write 1: 0-1"),
                    ("failed conflict #55P03 public.b", "1 awaits public.b, retry conflict"),
                    ("revoke 1 g2", "1 has its table, dropped 1 of 1, released 1 g2"),
                    ("tick 5000", ""),
                ],
            ),
            (
                "where all tables are locked, the lane waits as a whole",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("records 1 g2: 0", ""),
                    ("failed conflict #55P03 public.a", "0 awaits public.a, retry conflict, write 1: 0-1"),
                    ("failed conflict #55P03 public.b", "retry conflict"),
                    ("tick 1000", "write 1: 0-1"),
                    ("committed", "write 0: 0-1 hurried"),
                    ("committed", "0 has its table"),
                ],
            ),
            (
                "what became of a COMMIT is learnt from the same batch",
                &[
                    ("records 0 g1: 0", "write 0: 0-1"),
                    ("unknown", "retry unavailable"),
                    ("tick 1000", "write 0: 0-1"),
                    ("failed conflict #55P03 public.a", "retry conflict"),
                    ("tick 2000", "write 0: 0-1"),
                    ("already", "unknown applied: true"),
                ],
            ),
        ],
    );
}

#[test]
fn a_lane_of_one_table_waits_for_it() {
    play_all(
        limits(),
        &MATES,
        &[(
            "nobody else goes on",
            &[
                ("records 0 g1: 0", "write 0: 0-1"),
                ("failed conflict #55P03 public.events", "retry conflict"),
                ("tick 1000", "write 0: 0-1"),
                ("committed", ""),
            ],
        )],
    );
}
