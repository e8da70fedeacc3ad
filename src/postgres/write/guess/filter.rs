//! Which keys were written lately: a set that forgets, and that may take a stranger for an acquaintance but
//! never the other way round.
//!
//! A Bloom filter of 256-bit blocks (at most one cache line for each key), as Parquet's split block filter:
//! one bit in each of eight words. A few layers of one size follow each other, and beyond the capacity the
//! oldest is forgotten as a whole. Each layer is a cache line to wait for, so that they are large.

/// Keys of a layer.
const LAYER_KEYS: usize = 1 << 19;
/// Layers; at least the keys of all but one are remembered.
const LAYERS: usize = 3;
/// Bits of memory for each key: about one stranger in a thousand is taken for an acquaintance.
const BITS_PER_KEY: usize = 16;
const BLOCK_BITS: usize = 256;

/// Odd multipliers that choose one bit in each word of a block (Parquet, "Bloom Filter", salt values).
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The set.
#[derive(Debug, Default)]
pub(super) struct Filter {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    blocks: Vec<[u32; 8]>,
    keys: usize,
}

impl Filter {
    /// Whether the key may be in the set. `false` is certain, as far as the set hasn't forgotten it.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.layers.iter().rev().any(|layer| layer.may_hold(hash))
    }

    /// Adds a key, unless it seems to be in the last layer already: older layers are forgotten before it.
    pub(super) fn add(&mut self, hash: u64) {
        if self.layers.last().is_some_and(|layer| layer.may_hold(hash)) {
            return;
        }
        if self.layers.last().is_none_or(|layer| layer.keys == LAYER_KEYS) {
            if self.layers.len() == LAYERS {
                self.layers.remove(0);
            }
            self.layers.push(Layer::new());
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.add(hash);
        }
    }
}

impl Layer {
    fn new() -> Self {
        Self { blocks: vec![[0; 8]; LAYER_KEYS * BITS_PER_KEY / BLOCK_BITS], keys: 0 }
    }

    /// The upper half of the hash chooses the block, without a remainder's bias; the lower half the bits.
    fn place(&self, hash: u64) -> usize {
        ((u128::from(hash >> 32) * self.blocks.len() as u128) >> 32) as usize
    }

    fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.place(hash)];
        block.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        let place = self.place(hash);
        for (word, bit) in self.blocks[place].iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
        self.keys += 1;
    }
}

fn bits(hash: u64) -> [u32; 8] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hash::fingerprint;

    fn key(number: u64) -> u64 {
        fingerprint(&number.to_be_bytes())
    }

    #[test]
    fn what_was_added_is_known_and_strangers_mostly_are_not() {
        let mut filter = Filter::default();
        (0..400_000).for_each(|number| filter.add(key(number)));
        assert!((0..400_000).all(|number| filter.may_hold(key(number))));
        let mistaken = (1_000_000..1_100_000).filter(|&number| filter.may_hold(key(number))).count();
        assert!(mistaken < 1_000, "{mistaken} of 100000 strangers were taken for acquaintances");
    }

    #[test]
    fn memory_is_bounded_and_the_last_million_stays_known() {
        let mut filter = Filter::default();
        (0..4_000_000).for_each(|number| filter.add(key(number)));
        let bytes: usize = filter.layers.iter().map(|layer| layer.blocks.len() * size_of::<[u32; 8]>()).sum();
        assert!(bytes <= 3 << 20, "{bytes}");
        assert!((3_000_000..4_000_000).all(|number| filter.may_hold(key(number))));
        assert!(filter.layers.len() <= LAYERS, "{}", filter.layers.len());
    }

    #[test]
    fn a_key_that_is_added_again_takes_no_room() {
        let mut filter = Filter::default();
        (0..3_000_000).for_each(|number| filter.add(key(number % 1000)));
        assert_eq!(filter.layers.len(), 1);
        assert!(filter.may_hold(key(1)) && !filter.may_hold(key(1_000)));
    }
}
