//! The hasher of the core's maps: fast on short paths, and the same on every run.
//!
//! Folded multiplication over eight bytes at a time. No map of the core is ever listed in its own order, so the
//! hash shows nowhere.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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
