//! How much was recorded in the last windows of time, per second, and how long to wait until a bound is kept again.

/// A sum over a few windows. What is measured is Kafka's rate: the time that counts is at least all windows but one, so
/// that whoever was idle may burst that long at once.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    windows: Vec<Window>,
    current: usize,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since_ms: i64,
    value: f64,
}

/// `quota.window.num` windows of `quota.window.size.seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub count: usize,
    pub size_ms: i64,
}

impl Windows {
    /// At least one window of a millisecond.
    pub fn new(count: i64, size_seconds: i64) -> Windows {
        let size_ms = size_seconds.max(0).saturating_mul(1000).max(1);
        Windows { count: usize::try_from(count).unwrap_or(1).max(1), size_ms }
    }

    fn full(&self) -> i64 {
        i64::try_from(self.count - 1).unwrap_or(i64::MAX)
    }

    /// What a bound of one per second lets through at once.
    pub fn burst_seconds(&self) -> f64 {
        self.full() as f64 * self.size_ms as f64 / 1000.0
    }

    /// After so long nothing of a record is left.
    pub fn memory_ms(&self) -> i64 {
        self.size_ms.saturating_mul(self.full().saturating_add(1))
    }
}

impl Rate {
    /// Adds to the current window; negative values take back what was recorded.
    pub fn record(&mut self, windows: Windows, now_ms: i64, value: f64) {
        let fresh = Window { since_ms: now_ms, value: 0.0 };
        if self.windows.is_empty() {
            self.windows.push(fresh);
        }
        if now_ms - self.windows[self.current].since_ms >= windows.size_ms {
            self.current = (self.current + 1) % windows.count;
            match self.windows.get_mut(self.current) {
                Some(window) => *window = fresh,
                None => {
                    self.current = self.windows.len();
                    self.windows.push(fresh);
                }
            }
        }
        self.windows[self.current].value += value;
    }

    /// Per second.
    pub fn measure(&mut self, windows: Windows, now_ms: i64) -> f64 {
        let elapsed_ms = self.elapsed_ms(windows, now_ms);
        let sum: f64 = self.windows.iter().map(|window| window.value).sum();
        sum * 1000.0 / elapsed_ms as f64
    }

    /// All that was recorded in the windows.
    pub fn sum(&mut self, windows: Windows, now_ms: i64) -> f64 {
        self.elapsed_ms(windows, now_ms);
        self.windows.iter().map(|window| window.value).sum()
    }

    /// The time that counts.
    fn elapsed_ms(&mut self, windows: Windows, now_ms: i64) -> i64 {
        for window in &mut self.windows {
            if now_ms - window.since_ms >= windows.memory_ms() {
                *window = Window { since_ms: now_ms, value: 0.0 };
            }
        }
        let oldest = self.windows.iter().map(|window| window.since_ms).min().unwrap_or(now_ms);
        let elapsed_ms = now_ms - oldest;
        let missing = (windows.full() - elapsed_ms / windows.size_ms).max(0);
        (elapsed_ms + missing * windows.size_ms).max(1)
    }

    /// Milliseconds until the rate is down to `bound` if nothing else is recorded; 0 when it is not above it.
    pub fn throttle_ms(&mut self, windows: Windows, now_ms: i64, bound: f64) -> i32 {
        let rate = self.measure(windows, now_ms);
        if rate <= bound {
            return 0;
        }
        let wait = (rate - bound) / bound * self.elapsed_ms(windows, now_ms) as f64;
        // A bound of 0 is never kept again. Kafka's wait overflows then, and it lets the request through.
        if wait.is_finite() { wait.round() as i32 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };

    #[test]
    fn ten_seconds_worth_may_burst_and_what_is_above_is_waited_out() {
        // As measured on 3.5.1: 10000 B/s and six produces of 20 KB at once.
        let mut rate = Rate::default();
        for _ in 0..5 {
            rate.record(WINDOWS, 5000, 20_000.0);
            assert_eq!(rate.throttle_ms(WINDOWS, 5000, 10_000.0), 0);
        }
        rate.record(WINDOWS, 5000, 18_780.0);
        assert_eq!(rate.throttle_ms(WINDOWS, 5000, 10_000.0), 1878);
    }

    #[test]
    fn who_waits_as_told_keeps_the_bound() {
        let mut rate = Rate::default();
        let (mut now, mut sent) = (0, 0.0);
        while now < 100_000 {
            rate.record(WINDOWS, now, 100.0);
            sent += 100.0;
            now += 1 + i64::from(rate.throttle_ms(WINDOWS, now, 1000.0));
        }
        assert!(sent <= 1000.0 * (100.0 + 11.0), "{sent}");
        assert!(sent >= 1000.0 * 90.0, "{sent}");
    }

    #[test]
    fn what_is_taken_back_does_not_count_and_old_windows_go() {
        let mut rate = Rate::default();
        rate.record(WINDOWS, 0, 50_000.0);
        rate.record(WINDOWS, 0, -50_000.0);
        assert_eq!(rate.measure(WINDOWS, 0), 0.0);
        rate.record(WINDOWS, 0, 50_000.0);
        assert_eq!(rate.measure(WINDOWS, 10_999), 50_000.0 / 10.999);
        assert_eq!(rate.measure(WINDOWS, 11_000), 0.0);
    }

    #[test]
    fn a_bound_of_zero_lets_all_through_as_in_kafka() {
        let mut rate = Rate::default();
        rate.record(WINDOWS, 0, 1.0);
        assert_eq!(rate.throttle_ms(WINDOWS, 0, 0.0), 0);
    }
}
