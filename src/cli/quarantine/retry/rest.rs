//! What is left of the records that were read at once, and how it is cut.

use anyhow::anyhow;

use crate::cli::exit::Failure;

/// Tries of the same records without any progress before it is given up: some minutes of other sessions'
/// locks, or of a server that is away.
pub(super) const TRIES_MAX: u32 = 40;

/// What is left of a page, and how it is cut.
pub(super) struct Rest {
    /// Places of records that are open still, in rising order.
    pub(super) left: Vec<usize>,
    /// Most of them that go into the next transaction.
    pub(super) limit: usize,
    /// Tries since the last progress.
    pub(super) tries: u32,
    /// A failure is being searched for: where seeking found nothing, transactions are halved.
    pub(super) sought: bool,
    /// They didn't go in together: each key is looked up, and each row finds its own way.
    pub(super) careful: bool,
}

impl Rest {
    /// Of these places, nothing is tried yet.
    pub(super) fn new(left: Vec<usize>) -> Self {
        Self { left, limit: usize::MAX, tries: 0, sought: false, careful: false }
    }

    /// Records come again, in the order of their offsets.
    pub(super) fn back(&mut self, places: impl IntoIterator<Item = usize>) {
        self.left.extend(places);
        self.left.sort_unstable();
    }

    pub(super) fn went_on(&mut self) {
        (self.limit, self.tries, self.sought, self.careful) = (usize::MAX, 0, false, false);
    }

    pub(super) fn try_again(&mut self) -> Result<(), Failure> {
        self.tries += 1;
        if self.tries <= TRIES_MAX {
            return Ok(());
        }
        Err(Failure::failed(anyhow!(
            "the same records came to nothing in {TRIES_MAX} tries, since rows or tables changed meanwhile: what is \
             settled stays so, and the same command goes on with the rest"
        )))
    }
}
