//! What a terminal shows of a run, line by line.

use super::pace::Moving;
use crate::cli::numbers::{about, counted, grouped, rate};
use crate::cli::output::visible;

/// Topics that have a line of their own; beyond that the worst have, and the rest shares one.
const SHOWN: usize = 10;
/// Columns of a topic's name and of its bar.
const NAME: usize = 24;
const BAR: usize = 16;
/// Columns of the bar on a terminal that has fewer than so many.
const NARROW_BAR: usize = 8;
const NARROW: usize = 100;

/// The lines for these topics, none wider than `width`.
pub(super) fn lines(topics: &[Moving], waiting: &[String], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if topics.is_empty() {
        lines.extend(waiting.first().map(|what| format!("waiting for {}", visible(what))));
    }
    let shown = shown(topics);
    let names = shown.iter().map(|topic| console::measure_text_width(&topic.course.topic));
    let column = names.max().unwrap_or_default().min(NAME);
    let bar = if width < NARROW { NARROW_BAR } else { BAR };
    lines.extend(shown.iter().map(|topic| line(topic, column, bar)));
    lines.iter().map(|line| console::truncate_str(line, width, "…").into_owned()).collect()
}

/// All topics by name; where they are many, those with most left before a sum of the others.
fn shown(topics: &[Moving]) -> Vec<Moving> {
    if topics.len() <= SHOWN {
        return topics.to_vec();
    }
    let mut worst = topics.to_vec();
    worst.sort_by_key(|topic| std::cmp::Reverse((topic.course.halted, topic.course.left)));
    let rest = worst.split_off(SHOWN - 2);
    worst.push(Moving::sum(format!("{} more topics", rest.len()), &rest));
    worst.push(Moving::sum(format!("all {} topics", topics.len()), topics));
    worst
}

fn line(topic: &Moving, column: usize, columns: usize) -> String {
    let course = &topic.course;
    let name = console::truncate_str(&course.topic, column, "…");
    let name = console::pad_str(&name, column, console::Alignment::Left, None).into_owned();
    let mut words = vec![match course.way {
        None => format!("at {}", grouped(course.position)),
        Some(way) => {
            let (done, share) = ((way - course.left).max(0), share(way, course.left));
            let full = (share * columns as f64) as usize;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(columns - full));
            // What isn't whole isn't shown as whole.
            format!("{bar} {:>3.0} %  {}/{}", (share * 100.0).floor(), grouped(done), grouped(way))
        }
    }];
    words.extend(topic.per_second.filter(|_| course.left > 0).map(|it| format!("{}/s", rate(it))));
    words.push(match (course.left, course.way, topic.eta()) {
        (0, Some(_), _) => "done".to_owned(),
        (0, None, _) => "caught up".to_owned(),
        (left, way, eta) => {
            let behind = if way.is_none() { format!("{} behind, ", grouped(left)) } else { String::new() };
            format!("{behind}ETA {}", eta.map_or_else(|| "?".to_owned(), about))
        }
    });
    if course.quarantined > 0 {
        words.push(format!("{} quarantined", grouped(course.quarantined)));
    }
    if course.halted > 0 {
        words.push(format!("{} halted", counted(course.halted as i64, "partition")));
    }
    format!("{name}  {}", words.join("  "))
}

fn share(way: i64, left: i64) -> f64 {
    if way <= 0 { 1.0 } else { ((way - left).max(0) as f64 / way as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::TopicCourse;

    fn topic(name: &str, position: i64, left: i64, way: Option<i64>, per_second: f64) -> Moving {
        let topic = name.to_owned();
        let course = TopicCourse { topic, position, left, way, ..TopicCourse::default() };
        Moving { course, per_second: Some(per_second) }
    }

    #[test]
    fn each_topic_has_its_position_rate_and_time_left() {
        let mut orders = topic("orders", 1_220_000, 780_000, Some(2_000_000), 45_210.0);
        (orders.course.quarantined, orders.course.halted) = (3, 1);
        let all = [
            orders,
            topic("payments.settled", 7, 0, Some(7), 0.0),
            topic("refunds", 0, 999, Some(1_000), 0.0),
        ];
        insta::assert_snapshot!(lines(&all, &[], 160).join("\n"));
    }

    #[test]
    fn without_a_goal_topics_are_behind_or_caught_up() {
        let all = [topic("orders", 1_220_000, 5_000, None, 1_250.0), topic("users", 12, 0, None, 0.0)];
        insta::assert_snapshot!(lines(&all, &[], 160).join("\n"));
    }

    #[test]
    fn many_topics_are_the_worst_and_sums() {
        let all: Vec<_> = (0..24)
            .map(|number| topic(&format!("shop.{number:02}"), 10, number, Some(100), number as f64 / 2.0))
            .collect();
        insta::assert_snapshot!(lines(&all, &[], 80).join("\n"));
    }

    #[test]
    fn what_is_waited_for_is_told_while_there_is_no_topic_and_nothing_is_wider_than_the_terminal() {
        let waiting = ["group: Kafka doesn't answer".to_owned(), "ledger: not reached yet".to_owned()];
        assert_eq!(lines(&[], &waiting, 80), ["waiting for group: Kafka doesn't answer"]);
        assert_eq!(lines(&[], &waiting, 15), ["waiting for gr…"]);
        assert_eq!(lines(&[], &[], 80), Vec::<String>::new());
        let long = topic(&"n".repeat(90), 1_000_000, 999_999, Some(1_000_000), 3.0);
        let lines = lines(&[long], &[], 40);
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 40), "{lines:?}");
    }
}
