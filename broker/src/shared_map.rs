//! A sorted map whose copies share what they do not change: entries are kept in small chunks behind pointers, a copy
//! copies the pointers, and a change copies one chunk. For what is read as a snapshot and replaced a little at a time.

use std::borrow::Borrow;
use std::sync::Arc;

/// Entries of a chunk when it is split in two, so that there are half as many in each.
const CHUNK_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct SharedMap<K, V> {
    /// None of them empty; keys ascend within and across.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that has the key, or would have it, and the place in there.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let behind = self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key);
        let at = behind.saturating_sub(1);
        let place = match self.chunks.get(at) {
            Some(chunk) => chunk.binary_search_by(|(other, _)| other.borrow().cmp(key)),
            None => Err(0),
        };
        (at, place)
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (chunk, Ok(place)) = self.find(key) else { return None };
        Some(&self.chunks[chunk][place].1)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).1.is_ok()
    }

    pub fn insert(&mut self, key: K, value: V) {
        let (at, place) = self.find(&key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return;
        };
        let entries = Arc::make_mut(chunk);
        match place {
            Ok(place) => entries[place].1 = value,
            Err(place) => {
                entries.insert(place, (key, value));
                self.len += 1;
                if entries.len() > CHUNK_MAX {
                    let second = entries.split_off(CHUNK_MAX / 2);
                    self.chunks.insert(at + 1, Arc::new(second));
                }
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let (at, Ok(place)) = self.find(key) else { return };
        Arc::make_mut(&mut self.chunks[at]).remove(place);
        self.len -= 1;
        if self.chunks[at].is_empty() {
            self.chunks.remove(at);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_holds_what_a_plain_map_holds() {
        let (mut shared, mut plain) = (SharedMap::default(), BTreeMap::new());
        assert_eq!(shared.get(&1), None);
        let mut seed = 1u32;
        for round in 0..6000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (seed >> 16) % 1500;
            // Grows at first, and shrinks to nothing.
            if seed >> 8 & 7 < if round < 4000 { 6 } else { 1 } {
                shared.insert(key, round);
                plain.insert(key, round);
            } else {
                shared.remove(&key);
                plain.remove(&key);
            }
            assert_eq!(shared.len(), plain.len());
            assert_eq!(shared.get(&key), plain.get(&key));
        }
        assert!(shared.iter().eq(plain.iter()));
        assert!(shared.chunks.len() > 3);
        plain.keys().for_each(|key| shared.remove(key));
        assert!(shared.is_empty() && shared.chunks.is_empty());
    }

    #[test]
    fn a_change_leaves_copies_as_they_are_and_copies_one_chunk() {
        let mut map = SharedMap::default();
        (0..10_000).for_each(|key| map.insert(key, 0));
        let before = map.clone();
        map.insert(5000, 1);
        map.remove(&5001);
        assert_eq!((before.get(&5000), before.get(&5001)), (Some(&0), Some(&0)));
        assert_eq!((map.get(&5000), map.get(&5001)), (Some(&1), None));
        let apart = before.chunks.iter().zip(&map.chunks).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(apart, 1);
    }
}
