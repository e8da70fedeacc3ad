//! What is tried again, for how long, and what follows.

use super::*;

const BEGIN: [(&str, &str); 3] =
    [("assign 0 g1 at 0", ""), ("valid 0 g1", ""), ("records 0 g1: 0", "write 0: 0-1")];

/// Limits whose waits end after a time in all classes.
fn with_deadline(deadline_ms: u64) -> LaneLimits {
    let limits = limits();
    let ends = |backoff: Backoff| Backoff { attempts: None, deadline_ms: Some(deadline_ms), ..backoff };
    let RetryPolicy { transient, conflict, resources, ambiguous } = limits.retry;
    let retry = RetryPolicy {
        transient: ends(transient),
        conflict: ends(conflict),
        resources: ends(resources),
        ambiguous: ends(ambiguous),
    };
    LaneLimits { retry, ..limits }
}

#[test]
fn each_class_is_given_up_at_its_deadline_and_halts_by_name() {
    for class in ["unavailable", "conflict", "resources", "ambiguous"] {
        let (failed, retry) = (format!("failed {class}"), format!("retry {class}"));
        let scenario = [
            (&*failed, &*retry),
            ("tick 2000", "write 0: 0-1"),
            (&*failed, &*retry),
            ("tick 2500", "write 0: 0-1"),
            (&*failed, "dropped 1 of 0, halt 0 TG-305"),
        ];
        play(class, with_deadline(2_500), &[&BEGIN[..], &scenario].concat());
    }
}

#[test]
fn classes_are_counted_each_by_itself_and_anew_behind_a_commit() {
    let scenario = [
        ("failed ambiguous", "retry ambiguous"),
        ("tick 2000", "write 0: 0-1"),
        ("failed unavailable", "retry unavailable"),
        ("tick 4000", "write 0: 0-1"),
        ("failed ambiguous", "retry ambiguous"),
        ("tick 6000", "write 0: 0-1"),
        ("committed", ""),
        ("records 0 g1: 1", "write 0: 1-2"),
        ("failed ambiguous", "retry ambiguous"),
        ("tick 8000", "write 0: 1-2"),
        ("failed ambiguous", "retry ambiguous"),
        ("tick 10000", "write 0: 1-2"),
        ("failed ambiguous", "dropped 1 of 0, halt 0 TG-305"),
    ];
    play("in a row", limits(), &[&BEGIN[..], &scenario].concat());
}

#[test]
fn a_commit_without_an_answer_is_never_given_up() {
    let scenario = [
        ("unknown", "retry unavailable"),
        ("tick 9000", "write 0: 0-1"),
        ("failed unavailable", "retry unavailable"),
        ("tick 19000", "write 0: 0-1"),
        ("already", "unknown applied: true"),
    ];
    play("unknown", with_deadline(2_500), &[&BEGIN[..], &scenario].concat());
}
