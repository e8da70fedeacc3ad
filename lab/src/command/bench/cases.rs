//! The cases by name: what each is about, and its goal in a few words.

use super::figures::Case;
use super::ground::Ground;
use super::{before, catch_up, far, large, memory, moments, pauses, replay, retry, shapes, steady, variants};
use anyhow::{Result, bail};

/// A case that can be run.
pub(super) struct Plan {
    /// Short and stable: scripts name it.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) goal: &'static str,
    pub(super) run: fn(&Ground, &mut Case) -> Result<()>,
}

/// Every case, in the order of a whole run.
pub(super) const ALL: &[Plan] = &[
    Plan {
        name: "catch-up",
        about: "Catching up with a topic, write: upsert, beside plain COPY and other consumers.",
        goal: "≥ 0.70× the limit, ≥ 2.2× Python, ≤ 2.2 µs/record, ≤ 120 MiB",
        run: catch_up::catch_up,
    },
    Plan {
        name: "insert",
        about: "The same with write: insert.",
        goal: "≥ the upsert",
        run: catch_up::insert,
    },
    Plan {
        name: "append",
        about: "The same with write: append.",
        goal: "≥ 0.80× the limit",
        run: catch_up::append,
    },
    Plan {
        name: "replay",
        about: "Everything again that is applied already.",
        goal: "≥ 1.2× the first pass, no tuple written",
        run: replay::replay,
    },
    Plan {
        name: "retry",
        about: "Trying all records again from the quarantine.",
        goal: "≥ 0.5× catch-up, ≤ 200 MiB",
        run: retry::retry,
    },
    Plan {
        name: "large-table-v4",
        about: "Catching up into a table that is large already, uuid v4 keys.",
        goal: "≥ 0.8× an empty table",
        run: large::random_keys,
    },
    Plan {
        name: "large-table-v7",
        about: "Catching up into a table that is large already, uuid v7 keys.",
        goal: "≥ 0.95× an empty table",
        run: large::ordered_keys,
    },
    Plan {
        name: "partitions-128",
        about: "Catching up with 128 partitions in one process.",
        goal: "≥ 0.9× the usual 8",
        run: variants::partitions,
    },
    Plan {
        name: "bad-1",
        about: "1 % of the records don't fit and go to the quarantine.",
        goal: "≥ 0.85× the clean topic",
        run: variants::bad_1,
    },
    Plan {
        name: "bad-10",
        about: "10 % of the records don't fit and go to the quarantine.",
        goal: "≥ 0.5× the clean topic",
        run: variants::bad_10,
    },
    Plan {
        name: "wide",
        about: "Rows of 100 columns.",
        goal: "≥ 0.6× COPY of the same rows",
        run: shapes::wide,
    },
    Plan {
        name: "documents",
        about: "Rows with a jsonb document of 64 KiB.",
        goal: "≥ 0.6× COPY of the same rows",
        run: shapes::documents,
    },
    Plan {
        name: "rules",
        about: "Three rules of quality, in CEL, asked of each record.",
        goal: "≥ 0.75× no rules",
        run: variants::rules,
    },
    Plan {
        name: "two-processes",
        about: "Two processes of one pipeline on the same cores.",
        goal: "≥ 0.95× one process",
        run: variants::two_processes,
    },
    Plan {
        name: "steady-2k",
        about: "Latency at a steady 2,000 records/s, record timestamp to commit.",
        goal: "p50 ≤ 5 ms, p99 ≤ 25 ms",
        run: steady::slow,
    },
    Plan {
        name: "steady-20k",
        about: "Latency at a steady 20,000 records/s, record timestamp to commit.",
        goal: "p99 ≤ 100 ms",
        run: steady::fast,
    },
    Plan {
        name: "outage",
        about: "PostgreSQL is away for 60 s in the middle of catching up.",
        goal: "memory ≤ limits.memory + 64 MiB",
        run: moments::outage,
    },
    Plan {
        name: "unpacked",
        about: "Batches that are small in the log and large when they are unpacked.",
        goal: "memory ≤ limits.memory + 64 MiB",
        run: memory::unpacked,
    },
    Plan {
        name: "idle", about: "Nothing to do for 30 s.", goal: "≤ 0.5 % of one core", run: moments::idle
    },
    Plan {
        name: "start",
        about: "The first commit with a topic full of records.",
        goal: "≤ 1.5 s after the group is joined",
        run: moments::start,
    },
    Plan {
        name: "takeover",
        about: "One of two static members is killed.",
        goal: "its partitions move within the session timeout + 1 s",
        run: moments::takeover,
    },
    Plan {
        name: "pause",
        about: "The pipeline is paused and resumed under a steady 1,000 records/s.",
        goal: "nothing in flight within 2 s; the first commit within 2 s",
        run: pauses::pause,
    },
    Plan {
        name: "far",
        about: "Catching up with PostgreSQL a round trip of 200 ms away; another build (--before) beside it.",
        goal: "≥ 5,000 records/s",
        run: far::far,
    },
    Plan {
        name: "before",
        about: "Catching up, beside another build (--before).",
        goal: "≥ 0.98× the other",
        run: before::catch_up,
    },
    Plan {
        name: "before-replay",
        about: "Everything again that is applied already, beside another build (--before).",
        goal: "≥ 0.98× the other",
        run: before::replay,
    },
    Plan {
        name: "before-200",
        about: "A steady 200 records/s, beside another build (--before).",
        goal: "no more latency and processor time than the other's noise",
        run: before::slow,
    },
    Plan {
        name: "before-2k",
        about: "A steady 2,000 records/s, beside another build (--before).",
        goal: "no more latency and processor time than the other's noise",
        run: before::fast,
    },
];

/// The cases of these names, in the order of the list; all without a name.
pub(super) fn select(names: &[String]) -> Result<Vec<&'static Plan>> {
    for name in names {
        if !ALL.iter().any(|plan| plan.name == name) {
            let near = ALL.iter().max_by(|one, other| {
                strsim::jaro_winkler(one.name, name).total_cmp(&strsim::jaro_winkler(other.name, name))
            });
            let hint = near.map(|plan| format!("did you mean {}? ", plan.name)).unwrap_or_default();
            bail!("there is no case {name:?}; {hint}--list shows all");
        }
    }
    Ok(ALL.iter().filter(|plan| names.is_empty() || names.iter().any(|name| name == plan.name)).collect())
}

/// All names, in the order of a whole run.
pub(super) fn names() -> Vec<&'static str> {
    ALL.iter().map(|plan| plan.name).collect()
}

/// One line for each case.
pub(super) fn list() -> String {
    ALL.iter().map(|plan| format!("{:15} {} Goal: {}.\n", plan.name, plan.about, plan.goal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plans: &[&Plan]) -> Vec<&'static str> {
        plans.iter().map(|plan| plan.name).collect()
    }

    #[test]
    fn names_are_short_unlike_each_other_and_all_are_listed() {
        let list = list();
        for (index, plan) in ALL.iter().enumerate() {
            assert!(
                plan.name.len() <= 15 && plan.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            );
            assert!(!ALL[..index].iter().any(|other| other.name == plan.name), "{}", plan.name);
            assert!(list.lines().any(|line| line.starts_with(plan.name) && line.contains(plan.goal)));
        }
    }

    #[test]
    fn without_names_all_are_selected_and_with_names_those() {
        assert_eq!(select(&[]).unwrap().len(), ALL.len());
        let selected = select(&["replay".to_owned(), "catch-up".to_owned()]).unwrap();
        assert_eq!(names(&selected), ["catch-up", "replay"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        for (wrong, right) in [("catchup", "catch-up"), ("aplend", "append"), ("reply", "replay")] {
            let error = select(&[wrong.to_owned()]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("did you mean {right}?")), "{error}");
        }
    }
}
