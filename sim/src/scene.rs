//! What all parts of a run share: the dice, the time, what happened, and what was broken.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::engine::machine::Millis;

use super::fault::Fault;
use super::mutant::Mutant;
use super::records::Spec;

/// What a run is asked for, beside its seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How the protocol is broken, if it is.
    pub mutant: Option<Mutant>,
    /// Faults that don't happen.
    pub without: BTreeSet<Fault>,
    /// Steps in which faults happen.
    pub steps: usize,
    /// Offsets of each log at most.
    pub records: usize,
    /// Whether to keep what happened, in words.
    pub trace: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { mutant: None, without: BTreeSet::new(), steps: STEPS, records: usize::MAX, trace: false }
    }
}

/// Steps with faults in a run that isn't shrunk.
pub const STEPS: usize = 600;

/// Shared by all parts of one run.
pub(crate) struct Scene {
    pub dice: fastrand::Rng,
    pub now: Millis,
    /// Whether faults may happen.
    pub faults: bool,
    pub spec: Spec,
    pub seen: BTreeMap<&'static str, u64>,
    /// The first thing that was broken.
    pub violation: Option<String>,
    pub trace: Vec<String>,
    plan: Plan,
}

impl Scene {
    pub(crate) fn new(dice: fastrand::Rng, spec: Spec, plan: Plan) -> Self {
        Self {
            dice,
            now: 0,
            faults: true,
            spec,
            seen: BTreeMap::new(),
            violation: None,
            trace: Vec::new(),
            plan,
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.plan.mutant == Some(mutant)
    }

    /// Counts something worth meeting.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Whether one of `sides` falls, and this fault may happen, which it then does. The dice are thrown
    /// either way, so that the rest of a run stays what it is without the fault.
    pub(crate) fn strikes(&mut self, fault: Fault, sides: u8) -> bool {
        let falls = self.faults && self.dice.u8(0..sides) == 0;
        let happens = falls && !self.plan.without.contains(&fault);
        if happens {
            self.note(fault.name());
        }
        happens
    }

    /// Whether a fault may happen at all.
    pub(crate) fn allows(&self, fault: Fault) -> bool {
        self.faults && !self.plan.without.contains(&fault)
    }

    /// Notes what was broken, unless something was before.
    pub(crate) fn broken(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            self.tell(|| format!("BROKEN: {what}"));
            self.violation = Some(what);
        }
    }

    /// Keeps a line of the trace, where one is asked for.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.plan.trace {
            self.trace.push(format!("{:>7} ms  {}", self.now, line()));
        }
    }
}
