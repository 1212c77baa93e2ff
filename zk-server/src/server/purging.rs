//! When files that are not needed any more are looked for: by number of snapshots, as Java's autopurge does, and by
//! their size.

use crate::config::DiskConfig;
use std::time::{Duration, Instant};

/// Sizes are looked at more often than a disk fills up.
const SIZE_INTERVAL: Duration = Duration::from_secs(60);

/// What a purge leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// The newest so many snapshots and their logs.
    Count(usize),
    /// So many bytes, but the newest three snapshots at least.
    Size(u64),
}

#[derive(Debug)]
pub struct Purging {
    keep: usize,
    interval: Option<Duration>,
    next: Instant,
    size_max: Option<u64>,
    next_size: Instant,
}

impl Purging {
    /// Both are due at once.
    pub fn new(config: &DiskConfig, now: Instant) -> Purging {
        Purging {
            keep: config.snapshots_kept,
            interval: config.purge_interval,
            next: now,
            size_max: config.size_max,
            next_size: now,
        }
    }

    /// What is to be done now; asked on every turn.
    pub fn due(&mut self, now: Instant) -> Option<Purge> {
        if let Some(interval) = self.interval
            && self.next <= now
        {
            self.next = now + interval;
            return Some(Purge::Count(self.keep));
        }
        if let Some(size_max) = self.size_max
            && self.next_size <= now
        {
            self.next_size = now + SIZE_INTERVAL;
            return Some(Purge::Size(size_max));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::config;

    #[test]
    fn purges_are_due_at_the_start_and_after_each_interval() {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let config = DiskConfig { purge_interval: Some(hour), size_max: Some(5), ..config() };
        let mut purging = Purging::new(&config, start);
        assert_eq!(purging.due(start), Some(Purge::Count(3)));
        assert_eq!(purging.due(start), Some(Purge::Size(5)));
        assert_eq!(purging.due(start), None);
        assert_eq!(purging.due(start + SIZE_INTERVAL), Some(Purge::Size(5)));
        assert_eq!(purging.due(start + hour), Some(Purge::Count(3)));
        let mut never = Purging::new(&DiskConfig { purge_interval: None, size_max: None, ..config }, start);
        assert_eq!(never.due(start + hour), None);
    }
}
