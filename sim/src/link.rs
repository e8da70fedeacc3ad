//! The source of a lane: its words on their way to the process that polls the group.

use std::sync::Arc;

use tidegate::engine::breaker::Judged;
use tidegate::engine::commit::StoredProgress;
use tidegate::engine::halt::Halt;
use tidegate::engine::position::{Assignment, NextOffset, TopicPartition};
use tidegate::source::Source;

use super::database::Connection;
use super::ground::Shared;
use super::mutant::Mutant;

/// What a lane said.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    Applied(i32, NextOffset),
    Released(Assignment),
    Halted(Assignment, Halt),
    Fenced(Assignment, StoredProgress),
    Strayed(Assignment),
    Rests(Assignment, bool),
    Reshape,
    Judged(usize, Arc<str>, Judged),
}

/// Carries the words of one lane.
pub(crate) struct Link {
    pub(crate) ground: Shared,
    pub(crate) connection: Connection,
}

impl Link {
    fn say(&self, word: Word) {
        let (worker, lane) = self.connection;
        let mut ground = self.ground.lock();
        ground.scene.tell(|| format!("worker {worker} lane {lane} says {word:?}"));
        ground.words.entry(worker).or_default().push_back(word);
    }

    fn last_word(&self, assignment: &Assignment) {
        self.ground.lock().is_over(self.connection.0, assignment, 1);
    }
}

impl Source for Link {
    fn advise(&self, partition: &TopicPartition, next: NextOffset) {
        {
            let ground = &mut *self.ground.lock();
            ground.database.believed(partition.partition, next.value(), &mut ground.scene);
        }
        self.say(Word::Applied(partition.partition, next));
    }

    fn released(&self, assignment: &Assignment) {
        self.ground.lock().is_over(self.connection.0, assignment, 0);
        self.ground.lock().is_given_back(self.connection.0, assignment);
        self.say(Word::Released(assignment.clone()));
    }

    fn halted(&self, assignment: &Assignment, halt: &Halt) {
        self.last_word(assignment);
        self.say(Word::Halted(assignment.clone(), halt.clone()));
    }

    fn rest(&self, assignment: &Assignment, rests: bool) {
        {
            let mut ground = self.ground.lock();
            ground.scene.note(if rests { "a partition rested" } else { "a partition went on after a rest" });
            if !rests && ground.is(Mutant::RestsForEver) {
                return;
            }
        }
        self.say(Word::Rests(assignment.clone(), rests));
    }

    fn fenced(&self, assignment: &Assignment, stored: &StoredProgress) {
        self.last_word(assignment);
        self.say(Word::Fenced(assignment.clone(), stored.clone()));
    }

    fn reshape(&self, _topic: &Arc<str>) {
        if !self.ground.lock().is(Mutant::ShapeNeverRead) {
            self.say(Word::Reshape);
        }
    }

    fn judged(&self, topic: &Arc<str>, judged: Judged) {
        self.say(Word::Judged(self.connection.1, Arc::clone(topic), judged));
    }

    fn reclaim(&self, assignment: &Assignment) {
        self.last_word(assignment);
        self.say(Word::Strayed(assignment.clone()));
    }
}
