//! Participants take turns inside each repeat, so that what drifts on the machine strikes all alike.

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

/// A B C, A B C, … A participant that fails is named and takes no further turn; the others go on.
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
        for (index, player) in players.iter_mut().enumerate() {
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
