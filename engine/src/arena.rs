//! Where the encoded rows of a batch stand: chunks of one size instead of one long buffer.
//!
//! A long buffer that grows is copied again and again and keeps up to twice of what it holds. Chunks are
//! neither copied nor left half-empty, and being of one size they serve whatever batch comes next.

use std::ops::Range;

/// Bytes of a chunk, as a power of two: below what allocators take from the system piece by piece.
const CHUNK_BITS: u32 = 16;
const CHUNK_BYTES: usize = 1 << CHUNK_BITS;

/// Bytes that stand at addresses. What is put in one go stands in one piece, whatever its length.
#[derive(Debug, Default)]
pub struct Arena {
    /// An address is a chunk's index, and behind it the place in the chunk. A chunk of more than
    /// [`CHUNK_BYTES`] is followed by empty ones, so that no address stands for two places.
    chunks: Vec<Vec<u8>>,
}

/// The end of an arena at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    chunks: usize,
    last: usize,
}

impl Arena {
    /// Puts what `write` appends in one piece; `room` is how many bytes that will about be.
    pub fn put<R>(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>) -> R) -> (R, Range<u32>) {
        // What begins behind the size of a chunk would have the address of another one.
        let fits = self.chunks.last().is_some_and(|last| last.len() + room.max(1) <= CHUNK_BYTES);
        if !fits {
            self.add_chunk(room);
        }
        let base = (self.chunks.len() - 1) << CHUNK_BITS;
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let from = base + chunk.len();
        let written = write(chunk);
        (written, from as u32..(base + chunk.len()) as u32)
    }

    /// Puts a copy of these bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Range<u32> {
        self.put(bytes.len(), |chunk| chunk.extend_from_slice(bytes)).1
    }

    /// Puts a copy of pieces that stand in the arena, one behind the other.
    pub fn join(&mut self, pieces: &[Range<u32>]) -> Range<u32> {
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| self.bytes(piece)).copied().collect();
        self.append(&joined)
    }

    /// The bytes at an address range that [`Arena::put`] gave, or at a part of it.
    ///
    /// # Panics
    /// When nothing was put there.
    pub fn bytes(&self, range: &Range<u32>) -> &[u8] {
        if range.is_empty() {
            return &[];
        }
        let mut index = (range.start as usize >> CHUNK_BITS).min(self.chunks.len() - 1);
        while self.chunks[index].is_empty() {
            index -= 1;
        }
        let from = range.start as usize - (index << CHUNK_BITS);
        &self.chunks[index][from..from + range.len()]
    }

    /// Bytes put.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Whether nothing was put.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory taken.
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum()
    }

    /// The end.
    pub fn mark(&self) -> Mark {
        Mark { chunks: self.chunks.len(), last: self.chunks.last().map_or(0, Vec::len) }
    }

    /// Drops what was put since the mark was taken.
    pub fn truncate(&mut self, mark: Mark) {
        self.chunks.truncate(mark.chunks);
        if let Some(last) = self.chunks.last_mut() {
            last.truncate(mark.last);
        }
    }

    fn add_chunk(&mut self, room: usize) {
        // The addresses of a long chunk reach into those of the next ones.
        let taken = self.chunks.last().map_or(0, |last| last.len().saturating_sub(1) >> CHUNK_BITS);
        self.chunks.extend((0..taken).map(|_| Vec::new()));
        self.chunks.push(Vec::with_capacity(room.max(CHUNK_BYTES)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_stands_where_it_was_put(
            lengths in vec(prop_oneof![0..300usize, 20_000..70_000usize, 130_000..200_000usize], 0..40),
            room in 0..400usize,
            kept in 0..40usize,
        ) {
            let mut arena = Arena::default();
            let content = |index: usize, length: usize| vec![index as u8; length];
            let mut put = Vec::new();
            let mut mark = arena.mark();
            for (index, &length) in lengths.iter().enumerate() {
                if index == kept {
                    mark = arena.mark();
                }
                put.push(arena.put(room, |chunk| chunk.extend(content(index, length))).1);
            }
            for (index, range) in put.iter().enumerate() {
                prop_assert_eq!(arena.bytes(range), content(index, lengths[index]));
                let last = range.end.saturating_sub(1).max(range.start)..range.end;
                prop_assert_eq!(arena.bytes(&last), content(index, last.len()));
            }
            prop_assert_eq!(arena.len(), lengths.iter().sum::<usize>());
            prop_assert!(arena.capacity() >= arena.len());
            if kept < lengths.len() {
                arena.truncate(mark);
                let again = arena.append(b"again");
                prop_assert_eq!(arena.bytes(&again), b"again");
                for (index, range) in put.iter().take(kept).enumerate() {
                    prop_assert_eq!(arena.bytes(range), content(index, lengths[index]));
                }
            }
        }
    }

    #[test]
    fn pieces_are_joined() {
        let mut arena = Arena::default();
        let (one, two) = (arena.append(b"one"), arena.append(b"two"));
        let joined = arena.join(&[two, one]);
        assert_eq!(arena.bytes(&joined), b"twoone");
        assert_eq!(arena.bytes(&(0..0)), b"");
    }
}
