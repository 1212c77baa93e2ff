//! How often the controller does what, and how long it takes: Kafka's ControllerStats. They outlive its terms of office.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use base::metrics::Histogram;

/// What a controller can be busy with; the numbers are those of Kafka's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    ControllerChange = 1,
    BrokerChange = 2,
    TopicChange = 3,
    TopicDeletion = 4,
    PartitionReassignment = 5,
    AutoLeaderBalance = 6,
    ManualLeaderBalance = 7,
    ControlledShutdown = 8,
    IsrChange = 9,
    LeaderAndIsrResponseReceived = 10,
    LogDirChange = 11,
    UncleanLeaderElectionEnable = 13,
    TopicUncleanLeaderElectionEnable = 14,
    ListPartitionReassignment = 15,
}

const KINDS: usize = Work::ListPartitionReassignment as usize + 1;

/// All of it, by kind.
#[derive(Debug)]
pub struct ControllerStats {
    /// µs.
    times: [Histogram; KINDS],
    unclean_elections: AtomicU64,
    at: AtomicU8,
}

impl Default for ControllerStats {
    fn default() -> ControllerStats {
        ControllerStats {
            times: std::array::from_fn(|_| Histogram::default()),
            unclean_elections: AtomicU64::new(0),
            at: AtomicU8::new(0),
        }
    }
}

impl ControllerStats {
    /// Notes how long a piece of work takes.
    pub async fn time<T>(&self, work: Option<Work>, doing: impl Future<Output = T>) -> T {
        let Some(work) = work else { return doing.await };
        let begun = Instant::now();
        self.at.store(work as u8, Relaxed);
        let done = doing.await;
        self.at.store(0, Relaxed);
        self.of(work).note(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    /// Leaders were chosen that may lack records.
    pub fn elected_uncleanly(&self, leaders: u64) {
        self.unclean_elections.fetch_add(leaders, Relaxed);
    }

    pub fn of(&self, work: Work) -> &Histogram {
        &self.times[work as usize]
    }

    pub fn unclean_elections(&self) -> u64 {
        self.unclean_elections.load(Relaxed)
    }

    /// What is being done; 0: nothing.
    pub fn state(&self) -> u8 {
        self.at.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_timed_by_kind_and_named_while_it_lasts() {
        let stats = ControllerStats::default();
        let state = stats.time(Some(Work::TopicDeletion), async { stats.state() }).await;
        assert_eq!((state, stats.state()), (4, 0));
        assert_eq!(stats.time(None, async { stats.state() }).await, 0);
        assert_eq!(stats.of(Work::TopicDeletion).look().count, 1);
        assert_eq!(stats.of(Work::TopicChange).look().count, 0);
        stats.elected_uncleanly(2);
        assert_eq!(stats.unclean_elections(), 2);
    }
}
