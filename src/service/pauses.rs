//! How a pause is told by a process: in logs, on the board, and at the end of a run that it keeps from its
//! goal.

use crate::engine::pause::Pause;
use crate::telemetry::board;

/// What is paused, by whom, since when and why, and what lets it go on; `naming` is what commands end with.
pub(super) fn told(pause: &Pause, naming: &str) -> String {
    let Pause { scope, made_by, reason, .. } = pause;
    let (since, arguments) = (since(pause), scope.arguments());
    format!(
        "{scope} is paused by {made_by} since {since}: {reason}; `tidegate resume{arguments} --reason \
         TEXT{naming}` lets it go on"
    )
}

/// What stands on the board of it.
pub(super) fn shown(pause: &Pause, naming: &str) -> board::Pause {
    board::Pause {
        decision: pause.decision,
        scope: pause.scope.to_string(),
        made_by: pause.made_by.clone(),
        made_at: since(pause),
        reason: pause.reason.clone(),
        message: told(pause, naming),
    }
}

fn since(pause: &Pause) -> String {
    match jiff::Timestamp::from_millisecond(pause.made_at_ms) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => format!("{} ms since 1970", pause.made_at_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pause::Scope;

    #[test]
    fn a_pause_is_told_with_what_lifts_it() {
        let pause = Pause {
            decision: 7,
            scope: Scope::of(Some("events"), Some(3)),
            made_by: "ada".to_owned(),
            made_at_ms: 1_700_000_000_123,
            reason: "the table is rebuilt".to_owned(),
        };
        assert_eq!(
            told(&pause, " -c orders.yaml"),
            "events[3] is paused by ada since 2023-11-14T22:13:20Z: the table is rebuilt; `tidegate resume \
             --topic events --partition 3 --reason TEXT -c orders.yaml` lets it go on"
        );
        assert_eq!(shown(&pause, "").made_at, "2023-11-14T22:13:20Z");
    }
}
