//! Sets of present columns, made once for each shape of record.
//!
//! Records of a topic mostly have the same fields: the set of the last record is compared first, and
//! handed out as a clone of one shared allocation.

use crate::shape::{ColumnSet, Table};

/// How many different sets are remembered.
const REMEMBERED: usize = 64;

/// The sets that were met lately.
#[derive(Debug)]
pub(crate) struct Sets {
    width: usize,
    required: ColumnSet,
    words: Vec<u64>,
    known: Vec<Known>,
    last: usize,
}

#[derive(Debug)]
struct Known {
    words: Box<[u64]>,
    set: ColumnSet,
    lacks_required: bool,
}

impl Sets {
    pub(crate) fn new(table: &Table) -> Self {
        let width = table.columns.len();
        let required = table.columns.iter().enumerate().filter(|(_, column)| column.is_required());
        Self {
            width,
            required: ColumnSet::new(width, required.map(|(place, _)| place)),
            words: vec![0; width.div_ceil(64)],
            known: Vec::new(),
            last: 0,
        }
    }

    /// Begins an empty set.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds the column at `place`.
    pub(crate) fn add(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
    }

    /// The set, and whether a required column isn't in it.
    pub(crate) fn finish(&mut self) -> (ColumnSet, bool) {
        let same = |known: &Known| *known.words == *self.words;
        if !self.known.get(self.last).is_some_and(same) {
            self.last = match self.known.iter().position(same) {
                Some(place) => place,
                None => self.learn(),
            };
        }
        let known = &self.known[self.last];
        (known.set.clone(), known.lacks_required)
    }

    fn learn(&mut self) -> usize {
        if self.known.len() == REMEMBERED {
            self.known.clear();
        }
        let places = (0..self.width).filter(|place| self.words[place / 64] >> (place % 64) & 1 == 1);
        let set = ColumnSet::new(self.width, places);
        let lacks_required = !set.covers(&self.required);
        self.known.push(Known { words: self.words.clone().into(), set, lacks_required });
        self.known.len() - 1
    }
}
