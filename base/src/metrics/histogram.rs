//! Durations that many threads note without waiting for each other, and how they are spread.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Buckets of a doubling: a value is told to within 1/16 of itself.
const STEPS: u32 = 16;
/// Values below are exact.
const EXACT: u64 = STEPS as u64;
/// From 2^4 to 2^36: in µs about 19 hours.
const DOUBLINGS: u32 = 32;
const BUCKETS: usize = (STEPS * (DOUBLINGS + 1)) as usize;

/// Counts by size, since the start. To note a value costs three additions.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU32]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let buckets = (0..BUCKETS).map(|_| AtomicU32::new(0)).collect();
        Histogram { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let doubling = value.ilog2() - STEPS.ilog2();
    let step = (value >> doubling) - EXACT;
    ((u64::from(doubling) + 1) * EXACT + step).min(BUCKETS as u64 - 1) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket as f64;
    }
    let (doubling, step) = (bucket / EXACT - 1, bucket % EXACT);
    let width = (1u64 << doubling) as f64;
    (EXACT + step) as f64 * width + (width - 1.0) / 2.0
}

impl Histogram {
    pub fn note(&self, value: u64) {
        self.buckets[bucket(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }

    /// What was noted until now, as far as other threads have got.
    pub fn look(&self) -> Spread {
        let counts: Vec<u64> = self.buckets.iter().map(|count| u64::from(count.load(Relaxed))).collect();
        let count = counts.iter().sum();
        Spread { counts, count, sum: self.sum.load(Relaxed), max: self.max.load(Relaxed) }
    }
}

/// What a [`Histogram`] held at one moment.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    counts: Vec<u64>,
    pub count: u64,
    pub sum: u64,
    pub max: u64,
}

impl Spread {
    /// The value that a part of all (0 to 1) does not exceed; 0 without any.
    pub fn quantile(&self, part: f64) -> f64 {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && self.count > 0 {
                return middle(bucket).min(self.max as f64);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_thirtieth() {
        let histogram = Histogram::default();
        (1..=10_000).for_each(|value| histogram.note(value));
        let spread = histogram.look();
        assert_eq!((spread.count, spread.sum, spread.max), (10_000, 50_005_000, 10_000));
        for (part, right) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.999, 9_990.0)] {
            let told = spread.quantile(part);
            assert!((told - right).abs() <= right / 30.0, "{part}: {told}");
        }
        assert_eq!(Histogram::default().look().quantile(0.5), 0.0);
    }

    #[test]
    fn every_value_has_a_bucket_whose_middle_is_near() {
        for value in (0..40).map(|power| 1u64 << power).chain([0, 3, 15, 17, 31, 1000, u64::MAX]) {
            let at = bucket(value);
            assert!(at < BUCKETS, "{value}");
            if value < 1 << 36 {
                assert!((middle(at) - value as f64).abs() <= value as f64 / 16.0, "{value}: {}", middle(at));
            }
        }
    }
}
