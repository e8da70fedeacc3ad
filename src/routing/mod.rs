//! From topics to routes that records can take: which route a topic takes, what it comes to with its table,
//! what the ledger is to remember of it, and where its partitions begin.
//!
//! `run` and `check` ask here, so that what a check finds is what a run would meet. Whoever asks has looked
//! in Kafka already, and brings the catalogue along; here is decided, and nothing is looked up.

mod resolve;
mod select;
mod starts;

pub use self::resolve::{Misfit, configured_source, demanded_since, remembered, resolve};
pub use self::select::{Choice, Topics, choose, topics};
pub use self::starts::Seen;

#[cfg(test)]
mod testing {
    //! Routes for tests.

    use crate::config::{FileFormat, LoadOptions, RouteSettings, Settings};

    /// A route for each of these topics, into the tables `t0`, `t1` and so on.
    pub(super) fn routes(topics: &[&str]) -> Vec<RouteSettings> {
        let route = |(index, topic): (usize, &&str)| {
            // One at a time: what overlaps by name is refused at once.
            let source = format!(
                "pipeline: p\nkafka: {{bootstrap.servers: \"b:9\"}}\n\
                 routes: [{{topic: {topic}, table: t{index}, key: [id]}}]\n"
            );
            let options = LoadOptions { path: None, sets: Vec::new(), env: Default::default() };
            let path = std::path::Path::new("test.yaml");
            Settings::parse(&source, FileFormat::Yaml, path, &options).unwrap().routes.remove(0)
        };
        topics.iter().enumerate().map(route).collect()
    }
}
