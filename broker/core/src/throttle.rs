//! Throttles of replication: a rate over a few windows of time against a bound, and which replicas it is for.
//!
//! The rate is Kafka's: what was recorded in the last windows, by the time since the oldest of them began, but by one
//! window at least. A fresh throttle thus stops after one window's worth of bytes, and an old burst counts until its
//! window is out of date.

/// A bound on bytes per second.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// `None`: all goes.
    bound: Option<u64>,
    window_ms: i64,
    windows_max: usize,
    windows: Vec<Window>,
    current: usize,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since_ms: i64,
    bytes: u64,
}

impl Throttle {
    /// Without a bound; `windows_max` windows of `window_ms` each.
    pub fn new(windows_max: usize, window_ms: i64) -> Throttle {
        Throttle {
            bound: None,
            window_ms: window_ms.max(1),
            windows_max: windows_max.max(1),
            windows: Vec::new(),
            current: 0,
        }
    }

    /// From now on.
    pub fn set_bound(&mut self, bytes_per_second: Option<u64>) {
        self.bound = bytes_per_second;
    }

    pub fn bound(&self) -> Option<u64> {
        self.bound
    }

    /// So many bytes went by.
    pub fn record(&mut self, now_ms: i64, bytes: u64) {
        let fresh = Window { since_ms: now_ms, bytes: 0 };
        if self.windows.is_empty() {
            self.windows.push(fresh);
        }
        if now_ms - self.windows[self.current].since_ms >= self.window_ms {
            self.current = (self.current + 1) % self.windows_max;
            match self.windows.get_mut(self.current) {
                Some(window) => *window = fresh,
                None => self.windows.push(fresh),
            }
        }
        self.windows[self.current].bytes += bytes;
    }

    /// Bytes per second.
    pub fn rate(&mut self, now_ms: i64) -> f64 {
        let expired_ms = self.window_ms.saturating_mul(self.windows_max as i64);
        for window in &mut self.windows {
            if now_ms - window.since_ms >= expired_ms {
                *window = Window { since_ms: now_ms, bytes: 0 };
            }
        }
        let since = self.windows.iter().map(|window| window.since_ms).min().unwrap_or(now_ms);
        let elapsed_ms = (now_ms - since).max(self.window_ms);
        let bytes: u64 = self.windows.iter().map(|window| window.bytes).sum();
        bytes as f64 * 1000.0 / elapsed_ms as f64
    }

    /// Whether the rate is above the bound.
    pub fn is_exceeded(&mut self, now_ms: i64) -> bool {
        match self.bound {
            None => false,
            Some(bound) => self.rate(now_ms) > bound as f64,
        }
    }
}

/// A topic's `leader.` or `follower.replication.throttled.replicas`: none, `*`, or `partition:broker` pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThrottledReplicas {
    all: bool,
    /// (partition, broker), sorted.
    pairs: Vec<(i32, i32)>,
}

impl ThrottledReplicas {
    /// What does not parse is not throttled.
    pub fn parse(text: &str) -> ThrottledReplicas {
        let text = text.trim();
        if text == "*" {
            return ThrottledReplicas { all: true, pairs: Vec::new() };
        }
        let pair = |pair: &str| {
            let (partition, broker) = pair.split_once(':')?;
            Some((partition.trim().parse().ok()?, broker.trim().parse().ok()?))
        };
        let mut pairs: Vec<(i32, i32)> = text.split(',').filter_map(pair).collect();
        pairs.sort_unstable();
        ThrottledReplicas { all: false, pairs }
    }

    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        self.all || self.pairs.binary_search(&(partition, broker)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(bytes_per_second: u64) -> Throttle {
        let mut throttle = Throttle::new(11, 1000);
        throttle.set_bound(Some(bytes_per_second));
        throttle
    }

    #[test]
    fn without_a_bound_nothing_is_too_much() {
        let mut throttle = Throttle::new(11, 1000);
        throttle.record(0, u64::MAX / 2);
        assert!(!throttle.is_exceeded(0));
    }

    #[test]
    fn what_is_above_the_bound_is_waited_out() {
        let mut throttle = bounded(100);
        throttle.record(0, 100);
        assert!(!throttle.is_exceeded(0), "a rate at the bound is not above it");
        throttle.record(500, 150);
        assert!(throttle.is_exceeded(500));
        assert!(throttle.is_exceeded(2499), "250 bytes in less than 2.5 s");
        assert!(!throttle.is_exceeded(2500));
    }

    #[test]
    fn the_mean_over_all_windows_counts_and_old_windows_go() {
        let mut throttle = bounded(100);
        for second in 0..30 {
            throttle.record(second * 1000, 100);
        }
        // Eleven windows of 100 bytes, of which the last has just begun.
        assert_eq!(throttle.rate(29_000), 110.0);
        assert_eq!(throttle.rate(29_999), 1100.0 * 1000.0 / 10_999.0);
        assert_eq!(throttle.rate(60_000), 0.0);
    }

    #[test]
    fn a_bound_of_zero_lets_nothing_more_through() {
        let mut throttle = bounded(0);
        assert!(!throttle.is_exceeded(0));
        throttle.record(0, 1);
        assert!(throttle.is_exceeded(5000));
        assert!(!throttle.is_exceeded(11_000));
    }

    #[test]
    fn replicas_are_listed_by_partition_and_broker() {
        let some = ThrottledReplicas::parse("0:1, 2:3,0:2,nonsense");
        assert!(some.contains(0, 1) && some.contains(0, 2) && some.contains(2, 3));
        assert!(!some.contains(1, 1) && !some.contains(2, 1));
        assert!(ThrottledReplicas::parse(" * ").contains(7, 7));
        assert!(!ThrottledReplicas::parse("").contains(0, 0));
    }
}
