//! Which topics a route means, and which route a topic takes. Patterns never match Kafka's internal topics.

use crate::config::{RouteSettings, TopicSelector};

/// The topics of a route that exist, and the names that don't.
#[derive(Debug)]
pub struct Topics<'s, 't, T> {
    /// Those that exist, in the order of the configuration, then of the cluster.
    pub found: Vec<&'t T>,
    /// Names of the configuration that the cluster doesn't know.
    pub missing: Vec<&'s str>,
}

/// Finds a route's topics among those of the cluster; `name` gives the name of one of them.
pub fn topics<'s, 't, T>(
    route: &'s RouteSettings,
    known: &'t [T],
    name: impl Fn(&T) -> &str,
) -> Topics<'s, 't, T> {
    let mut topics = Topics { found: Vec::new(), missing: Vec::new() };
    match &route.topic {
        TopicSelector::Pattern(pattern) => {
            topics.found.extend(known.iter().filter(|topic| pattern.matches(name(topic))));
        }
        TopicSelector::Names(wanted) => {
            for wanted in wanted {
                match known.iter().find(|topic| name(topic) == wanted) {
                    Some(topic) => topics.found.push(topic),
                    None => topics.missing.push(wanted),
                }
            }
        }
    }
    topics
}

/// The route that a topic takes.
#[derive(Debug)]
pub enum Choice<'s> {
    /// No route means it.
    None,
    /// One does.
    One(&'s RouteSettings),
    /// Several do, which is refused: the first two.
    Ambiguous(&'s RouteSettings, &'s RouteSettings),
}

/// Chooses the route of a topic.
pub fn choose<'s>(routes: &'s [RouteSettings], topic: &str) -> Choice<'s> {
    let mut matching = routes.iter().filter(|route| route.topic.matches(topic));
    match (matching.next(), matching.next()) {
        (None, _) => Choice::None,
        (Some(route), None) => Choice::One(route),
        (Some(first), Some(second)) => Choice::Ambiguous(first, second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::testing::routes;

    #[test]
    fn a_route_means_the_topics_that_exist_and_tells_the_names_that_do_not() {
        let known = ["orders", "events", "__consumer_offsets", "order-notes"];
        let cases: [(&str, &[&str], &[&str]); 4] = [
            ("events", &["events"], &[]),
            ("[events, gone, orders]", &["events", "orders"], &["gone"]),
            ("/order.*/", &["orders", "order-notes"], &[]),
            ("/.*/", &["orders", "events", "order-notes"], &[]),
        ];
        for (topic, found, missing) in cases {
            let routes = routes(&[topic]);
            let topics = topics(&routes[0], &known, |name| name);
            let names: Vec<&str> = topics.found.into_iter().copied().collect();
            assert_eq!((&names[..], &topics.missing[..]), (found, missing), "{topic}");
        }
    }

    #[test]
    fn a_topic_takes_the_one_route_that_means_it() {
        let routes = routes(&["events", "/ev.*/", "/other|evil/"]);
        let chosen = |topic| match choose(&routes[1..], topic) {
            Choice::None => "none".to_owned(),
            Choice::One(route) => route.table.to_string(),
            Choice::Ambiguous(one, other) => format!("{} or {}", one.table, other.table),
        };
        assert_eq!(chosen("orders"), "none");
        assert_eq!(chosen("__evil"), "none");
        assert_eq!(chosen("events"), "public.t1");
        assert_eq!(chosen("other"), "public.t2");
        assert_eq!(chosen("evil"), "public.t1 or public.t2");
    }
}
