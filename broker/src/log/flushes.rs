//! How long flushes take. One count for the process, as Kafka's LogFlushStats: a log does not know whose it is.

use std::sync::LazyLock;
use std::time::Instant;

use base::metrics::Histogram;

/// Of all logs of this process.
pub static FLUSHES: Flushes = Flushes(LazyLock::new(Histogram::default));

/// Times of flushes, in µs.
pub struct Flushes(LazyLock<Histogram>);

impl Flushes {
    /// Notes how long a flush takes, whatever comes of it.
    pub fn time<T>(&self, flush: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = flush();
        self.0.note(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    pub fn times(&self) -> &Histogram {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_timed() {
        let flushes = Flushes(LazyLock::new(Histogram::default));
        flushes.time(|| std::thread::sleep(std::time::Duration::from_millis(2)));
        let spread = flushes.times().look();
        assert!(spread.count == 1 && spread.sum >= 2_000, "{spread:?}");
    }
}
