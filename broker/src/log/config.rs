//! The settings that a log obeys; they change while it is open ([`super::Log::set_config`]).

/// A topic's settings as far as its logs are concerned. Times in ms, sizes in bytes, -1 is "no limit" where said.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`: each new segment rolls up to so much earlier.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `retention.ms`, -1: none
    pub retention_ms: i64,
    /// `retention.bytes`, -1: none
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long a `.deleted` file stays.
    pub file_delete_delay_ms: i64,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `delete.retention.ms`: how long compaction keeps a tombstone or marker after it first saw it.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: segments with younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a log with older records is compacted however little of it is dirty.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_ratio: f64,
    /// `flush.messages`: an append flushes once so many records are unflushed.
    pub flush_messages: i64,
    /// `flush.ms`: [`super::Log::start_flush`] is due once so much time passed since the last flush.
    pub flush_ms: i64,
    /// `preallocate`: a new segment's file has `segment.bytes` from the start.
    pub preallocate: bool,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10_485_760,
            index_interval_bytes: 4096,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            delete: true,
            compact: false,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_ratio: 0.5,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            preallocate: false,
            producer_id_expiration_ms: 86_400_000,
        }
    }
}

impl LogConfig {
    /// How long a segment may take records: no longer than compaction may wait for it.
    pub(super) fn roll_ms(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}
