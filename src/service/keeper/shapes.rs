//! Tables that change: their shapes are read again where a lane asks for it, and looked at now and then.
//!
//! Every transaction compares its tables with their shapes by itself. The look from here finds what it can't
//! see (what belongs to partitions and children only), and tells of a table that no record is written to at
//! the moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::Input;
use crate::engine::shape::Table;
use crate::service::discovery::Obstacle;
use crate::telemetry::board::ConditionName;

/// Between looks at the tables' versions.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between reads of a table that changes again and again.
const READ_AGAIN: Duration = Duration::from_millis(200);
/// Between reads while the database doesn't answer.
const READ_LATER: Duration = Duration::from_secs(1);

/// Topics whose tables are to be read, and when.
#[derive(Default)]
pub(super) struct Readings {
    wanted: BTreeMap<String, Instant>,
    last: BTreeMap<String, Instant>,
}

impl Readings {
    /// Asks for a topic's table: at once, unless it was read just now.
    pub(super) fn want(&mut self, topic: &str) {
        let now = Instant::now();
        let due = self.last.get(topic).map_or(now, |last| now.max(*last + READ_AGAIN));
        self.wanted.entry(topic.to_owned()).or_insert(due);
    }

    fn due(&mut self) -> Vec<String> {
        let now = Instant::now();
        let due: Vec<String> =
            self.wanted.iter().filter(|(_, at)| **at <= now).map(|(topic, _)| topic.clone()).collect();
        for topic in &due {
            self.wanted.remove(topic);
            self.last.insert(topic.clone(), now);
        }
        due
    }

    /// When the next one is due, if any is wanted.
    pub(super) fn next(&self) -> Option<Instant> {
        self.wanted.values().min().copied()
    }
}

impl State {
    /// Until the next turn.
    pub(super) fn pause(&self) -> Duration {
        let reading = self.readings.next().map(|at| at.saturating_duration_since(Instant::now()));
        reading.map_or(super::TURN, |wait| wait.min(super::TURN))
    }

    /// Compares all tables with the catalogue, partitions included.
    pub(super) async fn look_at_shapes(&mut self) {
        let routes = self.with.discovery.routes();
        let tables: Vec<&Table> = routes.values().map(|route| &*route.table).collect();
        // What can't be looked at now is looked at again, and each transaction looks by itself.
        let Ok(current) = self.with.desk.are_current(&tables).await else { return };
        for (topic, _) in routes.keys().zip(current).filter(|(_, current)| !current) {
            self.readings.want(topic);
        }
    }

    /// Reads the tables that somebody asked for, and tells the lanes.
    pub(super) async fn read_shapes(&mut self) {
        for topic in self.readings.due() {
            match self.with.discovery.refresh(&mut self.with.desk, &topic).await {
                Ok(()) => self.tell_shape(&topic),
                Err(obstacle) => self.shape_refused(&topic, &obstacle),
            }
        }
    }

    /// Hands a topic's route, as it was just read, to everybody who uses it.
    pub(super) fn tell_shape(&mut self, topic: &str) {
        let routes = self.with.discovery.routes();
        let Some(route) = routes.get(topic).map(Arc::clone) else { return };
        tracing::info!(topic, table = %route.table, "the table's shape was read again");
        self.with.routes.send_replace(routes);
        for lane in &self.with.lanes {
            lane.control(Input::Shaped(Arc::clone(&route)));
        }
    }

    fn shape_refused(&mut self, topic: &str, obstacle: &Obstacle) {
        if obstacle.refusal().is_none() {
            self.with.board.condition(ConditionName::Database, Err(obstacle.to_string()));
            self.readings.wanted.insert(topic.to_owned(), Instant::now() + READ_LATER);
            return;
        }
        for claim in self.claims.values().filter(|claim| *claim.partition.topic == *topic) {
            let halt = Halt::new(HaltCode::SchemaMismatch, obstacle.to_string());
            let input = Input::Halted(claim.assignment(), halt);
            self.with.lanes[claim.lane].control(input);
        }
    }
}
