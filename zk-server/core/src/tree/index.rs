//! Numbers of nodes by the hashes of their paths. The paths themselves stand nowhere: whoever looks one up says which
//! number it is.

/// Many small tables: one that grows moves all that it holds, and nobody notices a thousandth of a million.
const SHARDS: usize = 1024;
/// A shard's first room.
const ROOM_MIN: usize = 4;
const NOBODY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Empty until the first entry.
    shards: Vec<Shard>,
    len: usize,
}

/// Linear probing: an entry stands at its home or in the first free room behind it.
#[derive(Debug, Default)]
struct Shard {
    /// Half of the hash, and the number; [`NOBODY`]: free.
    rooms: Vec<(u32, u32)>,
    len: usize,
}

/// The half that chooses the shard.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

impl Index {
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number under this hash that is meant.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = self.shards.get(shard_of(hash))?;
        let mut at = shard.home(hash as u32)?;
        loop {
            let (half, number) = shard.rooms[at];
            if number == NOBODY {
                return None;
            }
            if half == hash as u32 && is_it(number) {
                return Some(number);
            }
            at = shard.next(at);
        }
    }

    /// One that is not there yet.
    pub fn insert(&mut self, hash: u64, number: u32) {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, Shard::default);
        }
        let shard = &mut self.shards[shard_of(hash)];
        if (shard.len + 1) * 5 > shard.rooms.len() * 4 {
            shard.grow();
        }
        shard.put(hash as u32, number);
        shard.len += 1;
        self.len += 1;
    }

    pub fn remove(&mut self, hash: u64, number: u32) {
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return };
        let Some(mut at) = shard.home(hash as u32) else { return };
        while shard.rooms[at].1 != number {
            if shard.rooms[at].1 == NOBODY {
                return;
            }
            at = shard.next(at);
        }
        shard.vacate(at);
        shard.len -= 1;
        self.len -= 1;
    }
}

impl Shard {
    /// `None`: there are no rooms.
    fn home(&self, half: u32) -> Option<usize> {
        (!self.rooms.is_empty()).then(|| ((u64::from(half) * self.rooms.len() as u64) >> 32) as usize)
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.rooms.len() { 0 } else { at + 1 }
    }

    /// How far `to` is behind `from`.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.rooms.len() - from }
    }

    fn put(&mut self, half: u32, number: u32) {
        let Some(mut at) = self.home(half) else { return };
        while self.rooms[at].1 != NOBODY {
            at = self.next(at);
        }
        self.rooms[at] = (half, number);
    }

    /// Frees a room, and moves those up that could not have it.
    fn vacate(&mut self, mut free: usize) {
        let mut at = self.next(free);
        while self.rooms[at].1 != NOBODY {
            let home = self.home(self.rooms[at].0).unwrap_or(at);
            if self.distance(home, at) >= self.distance(free, at) {
                self.rooms[free] = self.rooms[at];
                free = at;
            }
            at = self.next(at);
        }
        self.rooms[free] = (0, NOBODY);
    }

    /// By a quarter: the rooms are 64% to 80% full.
    fn grow(&mut self) {
        let room = (self.rooms.len() * 5 / 4).max(self.rooms.len() + ROOM_MIN);
        let before = std::mem::replace(&mut self.rooms, vec![(0, NOBODY); room]);
        for (half, number) in before.into_iter().filter(|(_, number)| *number != NOBODY) {
            self.put(half, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn nothing_is_found_in_an_empty_one() {
        let mut index = Index::default();
        assert_eq!(index.find(7, |_| true), None);
        index.remove(7, 1);
        assert_eq!(index.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// All in one shard, most of them with hashes that meet.
        #[test]
        fn it_finds_what_is_there_whatever_came_and_went(
            steps in prop::collection::vec((0u32..60, any::<bool>()), 1..400),
        ) {
            let hash = |number: u32| u64::from(number % 7 * 0x2000_0000 + number / 40 * 0x1fff_ffff);
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (number, add) in steps {
                match (add, model.contains_key(&number)) {
                    (true, false) => {
                        index.insert(hash(number), number);
                        model.insert(number, ());
                    }
                    (false, true) => {
                        index.remove(hash(number), number);
                        model.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), model.len());
                for number in 0..60 {
                    let found = index.find(hash(number), |found| found == number);
                    prop_assert_eq!(found.is_some(), model.contains_key(&number));
                }
            }
        }
    }

    #[test]
    fn a_shard_that_grows_moves_a_thousandth_of_a_million() {
        let mut index = Index::default();
        for number in 0..1_000_000u32 {
            let hash = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            index.insert(hash, number);
        }
        let fullest = index.shards.iter().map(|shard| shard.len).max().unwrap();
        assert!(fullest < 1400, "{fullest}");
        let rooms: usize = index.shards.iter().map(|shard| shard.rooms.len()).sum();
        assert!(rooms < 1_700_000, "{rooms}");
    }
}
