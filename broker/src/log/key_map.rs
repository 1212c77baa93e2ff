//! Where each key was written last, as compaction needs it: 24 bytes a key, however long it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

const ENTRY: usize = 24;

/// Keys by a hash of 128 bits, which is keyed by chance, so that nobody can make two keys meet.
#[derive(Debug)]
pub(crate) struct KeyMap {
    offsets: HashMap<(u64, u64), i64>,
    hashers: (RandomState, RandomState),
    max: usize,
    latest: i64,
}

impl KeyMap {
    /// Takes up `bytes` times `load_factor` at most.
    pub fn new(bytes: usize, load_factor: f64) -> Self {
        let max = ((bytes / ENTRY) as f64 * load_factor) as usize;
        // The table has a power of two of slots with a byte more each, and fills seven eighths of them.
        let slots = (bytes / (ENTRY + 1)).checked_ilog2().map_or(1, |bits| 1usize << bits);
        let max = max.min(slots / 8 * 7 + slots % 8);
        let hashers = (RandomState::new(), RandomState::new());
        Self { offsets: HashMap::new(), hashers, max: max.max(1), latest: -1 }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// False where the map is full.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.offsets.len() >= self.max {
            return false;
        }
        self.offsets.insert(self.hash(key), offset);
        true
    }

    /// The last offset of a key, -1 for none.
    pub fn get(&self, key: &[u8]) -> i64 {
        self.offsets.get(&self.hash(key)).copied().unwrap_or(-1)
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// How many keys it takes at most.
    pub fn room(&self) -> usize {
        self.max
    }

    /// The offset up to which the map speaks, -1 for none.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    pub fn set_latest(&mut self, offset: i64) {
        self.latest = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_counts_and_a_full_map_takes_no_more() {
        let mut map = KeyMap::new(100, 0.9);
        assert!(map.put(b"a", 1) && map.put(b"a", 5) && map.put(b"b", 2) && map.put(b"c", 3));
        assert!(!map.put(b"d", 4));
        assert_eq!([map.get(b"a"), map.get(b"b"), map.get(b"d")], [5, 2, -1]);
        assert_eq!(map.len(), 3);
    }
}
