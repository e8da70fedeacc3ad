//! Narrowing a batch to the record that the database refuses.
//!
//! First the store is asked to seek: it tries the batch's records in one transaction that is rolled back.
//! Where that finds nothing, such as what only a COMMIT refuses, batches are halved. The search goes in
//! arrival order, so that whatever is quarantined in the end was refused after all of its predecessors had
//! been committed.

/// How much of the front segment the next batch may take, while a culprit is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Search {
    /// Everything.
    None,
    /// The store looks for the culprits among all.
    Seek,
    /// The culprit lies within the first `within` places: take `next` of them.
    Halve { next: usize, within: usize },
    /// The error pointed at the place behind these: take these, then that one alone.
    Before(usize),
    /// Take one place.
    Alone,
}

impl Search {
    pub(super) fn limit(self) -> usize {
        match self {
            Self::None | Self::Seek => usize::MAX,
            Self::Halve { next, .. } => next,
            Self::Before(places) => places,
            Self::Alone => 1,
        }
    }

    /// The search after `places` places went through without the culprit.
    pub(super) fn passed(self, places: usize) -> Self {
        match self {
            Self::None | Self::Seek | Self::Alone => Self::None,
            Self::Halve { within, .. } if within > places => {
                Self::Halve { next: (within - places).div_ceil(2), within: within - places }
            }
            Self::Halve { .. } => Self::None,
            Self::Before(before) if before > places => Self::Before(before - places),
            Self::Before(_) => Self::Alone,
        }
    }

    /// The search after `places` places failed together.
    pub(super) fn failed(places: usize, suspect: Option<u32>) -> Self {
        match suspect.map(|arrival| arrival as usize) {
            Some(0) => Self::Alone,
            Some(arrival) if arrival < places => Self::Before(arrival),
            Some(_) | None => Self::Halve { next: places.div_ceil(2), within: places },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search over `places` of which `culprit` fails; gives the number of tries until it stood alone.
    fn tries(places: usize, culprit: usize, suspect: impl Fn(usize, usize) -> Option<u32>) -> usize {
        let (mut start, mut search, mut tries) = (0, Search::None, 0);
        loop {
            tries += 1;
            let end = places.min(start + search.limit().min(places));
            if (start..end).contains(&culprit) {
                if end - start == 1 {
                    return tries;
                }
                search = Search::failed(end - start, suspect(start, culprit));
            } else {
                search = search.passed(end - start);
                start = end;
            }
            assert!(tries < 1000, "the search must end");
        }
    }

    #[test]
    fn halving_finds_any_culprit() {
        for places in [1, 2, 3, 10, 1000] {
            for culprit in [0, places / 3, places / 2, places - 1] {
                let tries = tries(places, culprit, |_, _| None);
                assert!(tries <= 2 * places.ilog2() as usize + 3, "{places} {culprit}: {tries}");
            }
        }
    }

    #[test]
    fn a_pointer_finds_it_in_three() {
        let exact = |start: usize, culprit: usize| Some((culprit - start) as u32);
        assert_eq!(tries(1000, 700, exact), 3);
        assert_eq!(tries(1000, 0, exact), 2);
    }

    #[test]
    fn a_pointer_beyond_the_batch_is_not_believed() {
        assert_eq!(Search::failed(10, Some(10)), Search::Halve { next: 5, within: 10 });
    }
}
