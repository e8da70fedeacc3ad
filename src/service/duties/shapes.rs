//! Tables that change: their shapes are read again where a lane asks for it, and looked at now and then.
//!
//! Every transaction compares its tables with their shapes by itself. The look from here finds what it can't
//! see (what belongs to partitions and children only), and tells of a table that no record is written to at
//! the moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Duties, Duty};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::{Input, Millis};
use crate::engine::ownership::Event;
use crate::engine::shape::Table;
use crate::service::discovery::Obstacle;
use crate::telemetry::board::ConditionName;

/// Between looks at the tables' versions.
pub(super) const LOOK_EVERY: Millis = 5_000;
/// Between looks whether a table is to be read; one that is wanted hurries.
pub(super) const READ_EVERY: Millis = 60_000;
/// Between reads of a table that changes again and again.
const READ_AGAIN: Millis = 200;
/// Between reads while the database doesn't answer.
const READ_LATER: Millis = 1_000;

/// Topics whose tables are to be read, and when.
#[derive(Default)]
pub(super) struct Readings {
    wanted: BTreeMap<String, Millis>,
    last: BTreeMap<String, Millis>,
}

impl Readings {
    /// Asks for a topic's table: at once, unless it was read just now. Gives when it is due.
    fn want(&mut self, topic: &str, now: Millis) -> Millis {
        let due = self.last.get(topic).map_or(now, |last| now.max(last + READ_AGAIN));
        *self.wanted.entry(topic.to_owned()).or_insert(due)
    }

    fn due(&mut self, now: Millis) -> Vec<String> {
        let due: Vec<String> =
            self.wanted.iter().filter(|(_, at)| **at <= now).map(|(topic, _)| topic.clone()).collect();
        for topic in &due {
            self.wanted.remove(topic);
            self.last.insert(topic.clone(), now);
        }
        due
    }
}

impl Duties {
    /// A topic's table is to be read.
    pub(super) fn want_shape(&mut self, topic: &str) {
        let due = self.readings.want(topic, self.now());
        self.agenda.hurry(Duty::ReadShapes, due);
    }

    /// Compares all tables with the catalogue, partitions included.
    pub(super) async fn look_at_shapes(&mut self) {
        let routes = self.with.discovery.routes();
        let tables: Vec<&Table> = routes.values().map(|route| &*route.table).collect();
        // What can't be looked at now is looked at again, and each transaction looks by itself.
        let Ok(current) = self.with.desk.are_current(&tables).await else { return };
        for (topic, _) in routes.keys().zip(current).filter(|(_, current)| !current) {
            self.want_shape(topic);
        }
    }

    /// Reads the tables that somebody asked for, and tells who uses them.
    pub(super) async fn read_shapes(&mut self) {
        for topic in self.readings.due(self.now()) {
            match self.with.discovery.refresh(&mut self.with.desk, &topic).await {
                Ok(()) => self.tell_shape(&topic),
                Err(obstacle) => self.shape_refused(&topic, &obstacle),
            }
        }
        // What is due in a moment is asked for again by then.
        if let Some(due) = self.readings.wanted.values().min().copied() {
            self.agenda.hurry(Duty::ReadShapes, due);
        }
    }

    /// Hands a topic's route, as it was just read, to everybody who uses it.
    fn tell_shape(&mut self, topic: &str) {
        let routes = self.with.discovery.routes();
        let Some(route) = routes.get(topic).map(Arc::clone) else { return };
        tracing::info!(topic, table = %route.table, "the table's shape was read again");
        self.with.routes.send_replace(routes);
        for lane in &self.with.lanes {
            lane.control(Input::Shaped(Arc::clone(&route)));
        }
        self.with.poll.happened(Event::ShapeRead(topic.into()));
    }

    fn shape_refused(&mut self, topic: &str, obstacle: &Obstacle) {
        if obstacle.refusal().is_none() {
            self.with.board.condition(ConditionName::Database, Err(obstacle.to_string()));
            let later = self.now() + READ_LATER;
            self.readings.wanted.insert(topic.to_owned(), later);
            return;
        }
        tracing::warn!(topic, "the route doesn't fit its table: {obstacle}");
        let halt = Halt::new(HaltCode::SchemaMismatch, obstacle.to_string());
        self.with.poll.happened(Event::Misfit(topic.into(), halt));
    }
}
