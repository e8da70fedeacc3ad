//! What is told of records that are in the quarantine.

use super::{HELD, Lane, MATES, limits};
use crate::machine::{Command, Report};

/// What is told after these lines: partition, first offset, code and how many, before what was settled.
fn told(lines: &[(&str, &str)], last: &str) -> Vec<String> {
    let mut lane = Lane::new(limits());
    for (line, _) in lines {
        lane.give(line);
    }
    let input = lane.read(last);
    let reports = lane.machine.step(lane.now, input).into_iter().filter_map(|command| match command {
        Command::Report(Report::Quarantined { partition, offset, reject, records }) => {
            Some(format!("{}@{offset} {} {records}", partition.partition, reject.code.name()))
        }
        _ => None,
    });
    reports.collect()
}

fn after<'a>(begin: &[(&'a str, &'a str)], lines: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    begin.iter().copied().chain(lines.iter().map(|line| (*line, ""))).collect()
}

#[test]
fn the_first_of_each_partition_and_code_is_told_with_their_number_once_they_are_committed() {
    let begin = after(&MATES, &["records 0 g1: 0", "records 0 g1: 1b 2 3b 4b", "records 1 g2: 0b 1"]);
    assert_eq!(told(&begin[..4], "records 0 g1: 0b"), Vec::<String>::new(), "nothing is committed yet");
    let begin = after(&begin, &["committed"]);
    assert_eq!(told(&begin, "committed"), ["0@1 bad_json 3", "1@0 bad_json 1"]);
    assert_eq!(told(&begin, "failed unavailable"), Vec::<String>::new());
    assert_eq!(told(&begin, "unknown"), Vec::<String>::new());
    assert_eq!(told(&begin[..6], "committed"), Vec::<String>::new(), "the good record was alone");
}

#[test]
fn a_commit_whose_answer_was_lost_tells_them_once_it_is_found() {
    let begin = after(&HELD, &["records 0 g1: 0b 1", "unknown", "tick 5000"]);
    assert_eq!(told(&begin, "already"), ["0@0 bad_json 1"]);
    assert_eq!(told(&begin, "fenced 0 at 2 epoch 1"), ["0@0 bad_json 1"]);
    assert_eq!(told(&begin, "fenced 0 at 1 epoch 2"), Vec::<String>::new(), "another owner's");
}
