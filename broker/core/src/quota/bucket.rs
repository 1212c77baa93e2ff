//! A bucket of tokens that fills up at the bound's pace: what is left of the right to change the cluster.

use super::Windows;

/// Starts full. May go below zero; then nothing more is let through until it is not.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    /// (when, how many); `None`: full.
    state: Option<(i64, f64)>,
}

impl Bucket {
    fn burst(windows: Windows, bound: f64) -> f64 {
        windows.memory_ms() as f64 / 1000.0 * bound
    }

    /// Tokens at this moment.
    pub fn tokens(&self, windows: Windows, now_ms: i64, bound: f64) -> f64 {
        let burst = Self::burst(windows, bound);
        match self.state {
            None => burst,
            Some((then_ms, tokens)) => burst.min(tokens + bound * (now_ms - then_ms) as f64 / 1000.0),
        }
    }

    /// Takes tokens, whether they are there or not.
    pub fn take(&mut self, windows: Windows, now_ms: i64, bound: f64, tokens: f64) {
        let left = self.tokens(windows, now_ms, bound) - tokens;
        self.state = Some((now_ms, left.min(Self::burst(windows, bound))));
    }

    /// Milliseconds until no token is owed; 0 when none is.
    pub fn throttle_ms(&self, windows: Windows, now_ms: i64, bound: f64) -> i32 {
        let tokens = self.tokens(windows, now_ms, bound);
        if tokens < 0.0 { (-tokens / bound * 1000.0).round() as i32 } else { 0 }
    }

    /// Whether it is full again, and thus as good as new.
    pub fn is_full(&self, windows: Windows, now_ms: i64, bound: f64) -> bool {
        self.tokens(windows, now_ms, bound) >= Self::burst(windows, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 100, size_ms: 1000 };

    #[test]
    fn what_is_owed_is_paid_back_at_the_bounds_pace() {
        let mut bucket = Bucket::default();
        bucket.take(WINDOWS, 0, 5.0, 560.0);
        assert_eq!(bucket.throttle_ms(WINDOWS, 0, 5.0), 12_000);
        assert_eq!(bucket.throttle_ms(WINDOWS, 11_900, 5.0), 100);
        assert_eq!(bucket.throttle_ms(WINDOWS, 12_000, 5.0), 0);
        assert!(!bucket.is_full(WINDOWS, 111_999, 5.0) && bucket.is_full(WINDOWS, 112_000, 5.0));
    }

    #[test]
    fn a_lower_bound_means_a_smaller_bucket() {
        let mut bucket = Bucket::default();
        bucket.take(WINDOWS, 0, 5.0, 0.0);
        assert_eq!(bucket.tokens(WINDOWS, 0, 5.0), 500.0);
        assert_eq!(bucket.tokens(WINDOWS, 0, 1.0), 100.0);
    }
}
