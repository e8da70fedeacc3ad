//! Bad records that stop partitions: too many of them, or one where the route takes none.

use std::sync::Arc;

use super::{Command, Exit, Machine, Millis};
use crate::halt::{Halt, HaltCode};
use crate::position::Offset;
use crate::route::Route;
use crate::row::Reject;
use crate::segment::Cut;

impl Machine {
    /// Halts the routes whose share of misfits this batch would carry over the limit.
    pub(super) fn trip_breakers(&mut self, now: Millis, cut: &Cut, commands: &mut Vec<Command>) -> bool {
        let tripping = self.tripping(now, cut);
        for route in &tripping {
            self.halt_route(*route, commands);
        }
        !tripping.is_empty()
    }

    /// The routes whose share of misfits this batch would carry over the limit.
    pub(super) fn tripping(&mut self, now: Millis, cut: &Cut) -> Vec<u32> {
        let bad = cut.judged.iter().filter(|(_, judged)| judged.bad > 0);
        let mut tripping = Vec::new();
        for (route, judged) in bad {
            let topic = Arc::clone(&self.routes[*route as usize].route.topic);
            if self.breaker(&topic).would_trip(now, *judged) {
                tripping.push(*route);
            }
        }
        tripping
    }

    /// Partitions stop in front of a bad record where the route says so: at once, or when the batch that
    /// holds their earlier records has ended.
    pub(super) fn stop_at_bad_records(&mut self, cut: &Cut, commands: &mut Vec<Command>) {
        for (id, offset, reject) in &cut.stops {
            let column =
                reject.column.as_deref().map_or(String::new(), |column| format!(" column {column}:"));
            let evidence =
                format!("record at offset {offset}:{column} {} ({})", reject.reason, reject.code.name());
            let demanded = self.held.get(id).filter(|held| held.tenure.route.demands(reject));
            let halt = match demanded {
                Some(held) => {
                    Halt::new(HaltCode::SchemaMismatch, demanding(&held.tenure.route, reject, *offset))
                }
                None => Halt::new(HaltCode::BadRecord, evidence).before(*offset),
            };
            match self.held.get_mut(id) {
                Some(held) if cut.tenures.contains(id) => held.exit = Some(Exit::Halt(halt)),
                _ => self.halt(*id, halt, commands),
            }
        }
    }

    fn halt_route(&mut self, route: u32, commands: &mut Vec<Command>) {
        let limits = self.limits.breaker;
        let evidence = format!(
            "more than {} of the last records into {} don't fit (bad_records.halt_above, over {} s)",
            limits.halt_above,
            self.routes[route as usize].route.table,
            limits.over_ms / 1000
        );
        let slot = Arc::clone(&self.routes[route as usize].route);
        for id in self.ids(|held| Arc::ptr_eq(&held.tenure.route, &slot)) {
            self.halt(id, Halt::new(HaltCode::TooManyBadRecords, evidence.clone()), commands);
        }
    }
}

/// A column that was added while the topic was read, and that its records don't bring.
fn demanding(route: &Route, reject: &Reject, offset: Offset) -> String {
    let column = reject.column.as_deref().unwrap_or_default();
    format!(
        "{} was given the column {column}, which is NOT NULL and has no default, and the record at offset {offset} \
         lacks it: set a default, or allow NULL",
        route.table
    )
}
