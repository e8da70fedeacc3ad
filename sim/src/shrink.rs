//! The least of a run that still breaks something.

use super::fault::Fault;
use super::{Plan, run};

/// Rounds over all that could be left out: each can make room for another.
const ROUNDS: usize = 3;

/// Leaves out steps, kinds of faults and records of a run that breaks something, as long as it still does.
pub fn shrink(seed: u64, plan: &Plan) -> Plan {
    let breaks = |plan: &Plan| run(seed, plan).violation.is_some();
    let mut least = Plan { trace: false, ..plan.clone() };
    for _ in 0..ROUNDS {
        let before = least.clone();
        leave_out_steps(&mut least, &breaks);
        for fault in Fault::ALL {
            let mut without = least.clone();
            if without.without.insert(*fault) && breaks(&without) {
                least = without;
            }
        }
        let fewer = [3, 4, 6, 9, 14, 20, 30].into_iter().filter(|records| *records < least.records);
        let fewer = fewer.map(|records| Plan { records, ..least.clone() }).find(&breaks);
        least = fewer.unwrap_or(least);
        if least == before {
            break;
        }
    }
    least
}

/// Cuts the steps by less and less.
fn leave_out_steps(least: &mut Plan, breaks: &impl Fn(&Plan) -> bool) {
    let mut cut = least.steps.div_ceil(2);
    while cut > 0 {
        let fewer = Plan { steps: least.steps.saturating_sub(cut), ..least.clone() };
        match fewer.steps < least.steps && breaks(&fewer) {
            true => *least = fewer,
            false => cut /= 2,
        }
    }
}
