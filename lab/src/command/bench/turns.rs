//! Participants take turns inside each repeat, so that what drifts on the machine strikes all alike. Each
//! second repeat goes backwards, so that nobody gains or loses by always being the first.

use super::figures::{Case, Kind, Participant};
use super::ground::Ground;
use anyhow::Result;

type Play<'a> = Box<dyn FnMut() -> Result<Vec<(Kind, f64)>> + 'a>;

/// Somebody who takes part in a case.
pub(super) struct Player<'a> {
    name: String,
    /// Or why it can't be had here.
    play: Result<Play<'a>, String>,
    /// Turns at most; slow ones that are there for comparison take fewer.
    turns: u32,
}

impl<'a> Player<'a> {
    pub(super) fn new(name: &str, play: impl FnMut() -> Result<Vec<(Kind, f64)>> + 'a) -> Player<'a> {
        Player { name: name.to_owned(), play: Ok(Box::new(play)), turns: u32::MAX }
    }

    pub(super) fn at_most(self, turns: u32) -> Player<'a> {
        Player { turns, ..self }
    }

    /// Named in table and JSON, not measured.
    pub(super) fn skipped(name: &str, why: &str) -> Player<'a> {
        Player { name: name.to_owned(), play: Err(why.to_owned()), turns: 0 }
    }
}

/// A B C, C B A, A B C, … A participant that fails is named and takes no further turn; the others go on.
pub(super) fn take(ground: &Ground, case: &mut Case, repeats: u32, mut players: Vec<Player<'_>>) {
    let first = case.participants.len();
    for player in &players {
        let mut participant = Participant::new(&player.name);
        if let Err(why) = &player.play {
            ground.story.tell(&format!("{}: {} is skipped: {why}", case.name, player.name));
            participant.skipped = Some(why.clone());
        }
        case.participants.push(participant);
    }
    for turn in 1..=repeats {
        for index in order(turn, players.len()) {
            let player = &mut players[index];
            let participant = &mut case.participants[first + index];
            let Ok(play) = &mut player.play else { continue };
            if participant.failure.is_some() || turn > player.turns {
                continue;
            }
            match play() {
                Ok(measured) => {
                    participant.add(&measured);
                    let shown: Vec<String> = measured
                        .iter()
                        .map(|(kind, value)| {
                            format!("{} {}", super::table::number(*value, kind.decimals), kind.title)
                        })
                        .collect();
                    let line =
                        format!("{} {turn}/{repeats} {}: {}", case.name, player.name, shown.join(", "));
                    ground.story.tell(&line);
                }
                Err(error) => {
                    ground
                        .story
                        .tell(&format!("{} {turn}/{repeats} {} FAILED: {error:#}", case.name, player.name));
                    participant.failure = Some(format!("{error:#}"));
                }
            }
        }
    }
}

/// Who plays one after the other in a turn; turns count from 1.
fn order(turn: u32, players: usize) -> Vec<usize> {
    if turn.is_multiple_of(2) { (0..players).rev().collect() } else { (0..players).collect() }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn each_second_turn_goes_backwards() {
        assert_eq!(order(1, 3), [0, 1, 2]);
        assert_eq!(order(2, 3), [2, 1, 0]);
        assert_eq!(order(3, 3), [0, 1, 2]);
    }
}
