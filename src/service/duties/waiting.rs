//! What stands in the way of work, and for how long: told when it changes, and again while it lasts.

use crate::engine::machine::Millis;

/// After so long the same is told again.
const AGAIN: Millis = 5 * 60_000;

/// What stands in the way.
#[derive(Default)]
pub(super) struct Waiting {
    obstacles: Vec<String>,
    since: Millis,
    told_at: Millis,
}

impl Waiting {
    /// Whether something stands in the way.
    pub(super) fn is_on(&self) -> bool {
        !self.obstacles.is_empty()
    }

    /// Takes what stands in the way now, and answers what is to be told of it, a line each.
    pub(super) fn take(&mut self, now: Millis, obstacles: Vec<String>) -> Vec<String> {
        if obstacles != self.obstacles {
            *self = Self { obstacles, since: now, told_at: now };
            return self.obstacles.iter().map(|obstacle| format!("waiting: {obstacle}")).collect();
        }
        if now < self.told_at + AGAIN {
            return Vec::new();
        }
        self.told_at = now;
        let minutes = (now - self.since) / 60_000;
        let again = |obstacle: &String| format!("waiting for {minutes} min: {obstacle}");
        self.obstacles.iter().map(again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_again_with_its_time_and_what_changes_at_once() {
        let mut waiting = Waiting::default();
        let mut take = |now, obstacles: &[&str]| {
            waiting.take(now, obstacles.iter().map(|text| (*text).to_owned()).collect()).join(", ")
        };
        assert_eq!(take(1_000, &["no topic"]), "waiting: no topic");
        assert_eq!(take(2_000, &["no topic"]), "");
        assert_eq!(take(1_000 + AGAIN, &["no topic"]), "waiting for 5 min: no topic");
        assert_eq!(take(2_000 + AGAIN, &["no topic"]), "");
        assert_eq!(take(1_000 + 2 * AGAIN, &["no topic"]), "waiting for 10 min: no topic");
        assert_eq!(take(1_001 + 2 * AGAIN, &["no table"]), "waiting: no table");
        assert_eq!(take(1_002 + 2 * AGAIN, &[]), "");
        assert_eq!(take(1_003 + 3 * AGAIN, &[]), "");
    }
}
