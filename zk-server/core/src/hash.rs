//! The hasher of the core's maps: fast on short paths, and the same on every run.
//!
//! Folded multiplication over eight bytes at a time. No map of the core is ever listed in its own order, so the
//! hash shows nowhere.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A map whose order never depends on the run, and is never shown either.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Clone)]
pub struct Folded(u64);

impl Default for Folded {
    fn default() -> Folded {
        Folded(SEED)
    }
}

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            self.fold(u64::from_le_bytes(word));
        }
        self.fold(bytes.len() as u64);
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.fold(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn write_i64(&mut self, word: i64) {
        self.fold(word as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.0 ^ SEED) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    }
}

/// The same in every run.
pub fn hash_of(key: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<Folded>::default().hash_one(key)
}

const SHARDS: usize = 1024;

/// A large map in many small ones. A hash map that grows moves all that it holds: with a million nodes that stops the
/// server for a tenth of a second, with a thousandth of them nobody notices.
#[derive(Debug)]
pub struct Sharded<K, V> {
    /// Empty until the first entry.
    shards: Vec<Map<K, V>>,
    len: usize,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Sharded<K, V> {
        Sharded { shards: Vec::new(), len: 0 }
    }
}

/// Bits that the maps themselves look at last.
fn shard_of(key: &(impl Hash + ?Sized)) -> usize {
    (hash_of(key) >> 32) as usize % SHARDS
}

impl<K: Hash + Eq, V> Sharded<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(shard_of(key))?.get(key)
    }

    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.shards.get(shard_of(key))?.get_key_value(key)
    }

    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.shards.get_mut(shard_of(key))?.get_mut(key)
    }

    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Map::default);
        }
        let before = self.shards[shard_of(&key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.shards.get_mut(shard_of(key))?.remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// In no order that may be shown.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.shards.iter_mut().flat_map(|shard| shard.values_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sharded_map_is_a_map() {
        let mut map = Sharded::<Box<str>, usize>::default();
        assert_eq!((map.remove("none"), map.get("none"), map.is_empty()), (None, None, true));
        for n in 0..5000 {
            assert_eq!(map.insert(format!("/node-{n}").into(), n), None);
        }
        assert_eq!(map.insert("/node-7".into(), 8), Some(7));
        *map.get_mut("/node-8").unwrap() = 9;
        assert_eq!((map.get("/node-7"), map.get("/node-8"), map.len()), (Some(&8), Some(&9), 5000));
        assert_eq!(map.remove("/node-9"), Some(9));
        assert_eq!((map.contains_key("/node-9"), map.len()), (false, 4999));
        assert_eq!(map.values_mut().count(), 4999);
        let fullest = map.shards.iter().map(Map::len).max();
        assert!(fullest < Some(30), "paths that are alike are spread: {fullest:?}");
    }
}
