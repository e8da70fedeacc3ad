//! How fast topics come on, and how long it still takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::service::TopicCourse;

/// What came longer ago than this counts for little: batches are committed in bursts.
const MEMORY: Duration = Duration::from_secs(5);

/// The paces of all topics.
#[derive(Default)]
pub(super) struct Paces(BTreeMap<String, Pace>);

/// A topic with its pace.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Moving {
    pub(super) course: TopicCourse,
    /// Offsets in one second, once two looks were taken.
    pub(super) per_second: Option<f64>,
}

#[derive(Default)]
struct Pace {
    last: Option<(Instant, i64)>,
    per_second: Option<f64>,
}

impl Pace {
    fn at(&mut self, position: i64, now: Instant) -> Option<f64> {
        let last = self.last.replace((now, position));
        let (then, before) = last?;
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        if seconds <= 0.0 {
            return self.per_second;
        }
        // An operator can set a position back.
        let latest = (position - before).max(0) as f64 / seconds;
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        let per_second = self.per_second.map_or(latest, |known| known + weight * (latest - known));
        self.per_second = Some(per_second);
        self.per_second
    }
}

impl Paces {
    /// Takes a look at the topics.
    pub(super) fn look(&mut self, topics: Vec<TopicCourse>, now: Instant) -> Vec<Moving> {
        self.0.retain(|name, _| topics.iter().any(|course| course.topic == *name));
        let moving = topics.into_iter().map(|course| {
            let per_second = self.0.entry(course.topic.clone()).or_default().at(course.position, now);
            Moving { course, per_second }
        });
        moving.collect()
    }
}

impl Moving {
    /// Seconds until nothing is left at this pace; `None` where nothing moves or nothing is left.
    pub(super) fn eta(&self) -> Option<f64> {
        let per_second = self.per_second.filter(|per_second| *per_second >= 0.05)?;
        (self.course.left > 0).then(|| self.course.left as f64 / per_second)
    }

    /// All of these in one, under this name.
    pub(super) fn sum(name: String, all: &[Self]) -> Self {
        let mut sum =
            Self { course: TopicCourse { topic: name, ..TopicCourse::default() }, per_second: None };
        for Self { course, per_second } in all {
            sum.course.position += course.position;
            sum.course.left += course.left;
            sum.course.quarantined += course.quarantined;
            sum.course.halted += course.halted;
            if let Some(way) = course.way {
                *sum.course.way.get_or_insert_default() += way;
            }
            if let Some(per_second) = per_second {
                *sum.per_second.get_or_insert_default() += per_second;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, position: i64, left: i64) -> TopicCourse {
        TopicCourse { topic: topic.to_owned(), position, left, ..TopicCourse::default() }
    }

    #[test]
    fn the_pace_follows_what_came_last_and_gives_the_time_that_is_left() {
        let (mut paces, begin) = (Paces::default(), Instant::now());
        let mut look = |seconds: f64, position, left| {
            let now = begin + Duration::from_secs_f64(seconds);
            let [moving] = &paces.look(vec![at("a", position, left)], now)[..] else { panic!("one topic") };
            (moving.per_second.map(f64::round), moving.eta().map(f64::round))
        };
        assert_eq!(look(0.0, 1_000, 9_000), (None, None));
        assert_eq!(look(1.0, 2_000, 8_000), (Some(1_000.0), Some(8.0)));
        assert_eq!(look(1.0, 2_000, 8_000), (Some(1_000.0), Some(8.0)), "no time has passed");
        // A pause weighs little at first, and everything in the end.
        assert_eq!(look(2.0, 2_000, 8_000), (Some(819.0), Some(10.0)));
        assert_eq!(look(90.0, 2_000, 8_000), (Some(0.0), None));
        assert_eq!(look(91.0, 1_000, 9_000).1, None, "set back");
        assert_eq!(look(92.0, 10_000, 0).1, None, "nothing is left");
    }

    #[test]
    fn topics_are_summed() {
        let one =
            |left, way, per_second| Moving { course: TopicCourse { way, ..at("a", 5, left) }, per_second };
        let sum = Moving::sum("all".to_owned(), &[one(1, Some(4), Some(2.0)), one(2, None, None)]);
        assert_eq!(
            sum,
            Moving { course: TopicCourse { way: Some(4), ..at("all", 10, 3) }, per_second: Some(2.0) }
        );
    }
}
