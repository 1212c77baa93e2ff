//! Which partition a record goes to, as Java's clients decide it.

use std::collections::HashMap;
use wire::Str;

/// The partition of a key: the same in every client that partitions as Java does.
pub fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % partitions as u32) as i32
}

/// MurmurHash2, 32 bits, in Kafka's variant: seed 0x9747b28c, little-endian words.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Records without a key: one partition of a topic until a batch's worth of bytes went there, then another at random.
#[derive(Debug, Default)]
pub struct Sticky {
    topics: HashMap<Str, (i32, usize)>,
}

impl Sticky {
    /// The partition for a record of `size` bytes. `available` are the partitions that have a leader; `partitions`
    /// counts all, for when none has.
    pub fn partition(
        &mut self,
        topic: &Str,
        size: usize,
        batch_size: usize,
        available: &[i32],
        partitions: i32,
    ) -> i32 {
        if let Some((partition, sent)) = self.topics.get_mut(topic)
            && *sent < batch_size
            && (available.is_empty() || available.contains(partition))
        {
            *sent += size;
            return *partition;
        }
        let partition = match available {
            [] => rand::random_range(0..partitions.max(1)),
            available => available[rand::random_range(0..available.len())],
        };
        self.topics.insert(topic.clone(), (partition, size));
        partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_javas() {
        // From the tests of Java's Utils, as signed numbers there.
        for (text, hash) in [
            ("21", -973932308i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keyless_records_stay_until_a_batch_is_full() {
        let (mut sticky, topic) = (Sticky::default(), Str::from_static("t"));
        let first = sticky.partition(&topic, 60, 100, &[3], 4);
        assert_eq!(first, 3);
        assert_eq!(sticky.partition(&topic, 60, 100, &[3, 1], 4), 3);
        // The batch is full now; a partition without a leader is left at once.
        assert_eq!(sticky.partition(&topic, 60, 100, &[2], 4), 2);
        assert_eq!(sticky.partition(&topic, 1, 100, &[1], 4), 1);
    }
}
