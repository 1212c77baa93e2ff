//! What this server has done and how long it took, as plain figures: a monitoring shell reads them, and nothing here
//! decides by them. Their names follow ZooKeeper's metrics. Times are milliseconds.

use crate::event::Now;
use std::collections::BTreeMap;
use wire::zk::Sid;
use wire::zk::txn::{SubTxn, Txn, TxnRecord};

/// Values below this are counted one by one, those above in 16 steps for each power of two.
const EXACT: u64 = 32;
const STEPS_BITS: u32 = 4;
/// Above this all values count as one.
const VALUE_MAX: u64 = (1 << 40) - 1;
/// Top-level nodes that get figures of their own; clients name them, so there has to be an end.
const NAMESPACES_MAX: usize = 1000;

/// Count, sum and range of values, and how they spread: percentiles are right to about 3%.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
    /// How many values fell into each bucket; as long as the highest so far needs.
    buckets: Vec<u32>,
}

impl Summary {
    pub fn add(&mut self, value: u64) {
        self.add_many(value, 1);
    }

    /// The same value, `times` times.
    pub fn add_many(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
        let at = bucket(value.min(VALUE_MAX));
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] = self.buckets[at].saturating_add(times.min(u64::from(u32::MAX)) as u32);
    }

    /// The value that a share `at` (0 to 1) of all values does not exceed; 0 before the first.
    pub fn quantile(&self, at: f64) -> u64 {
        let total: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let rank = ((total as f64 * at).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        found.map_or(0, |at| middle(at).clamp(self.min, self.max))
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let power = value.ilog2();
    let step = (value >> (power - STEPS_BITS)) - (1 << STEPS_BITS);
    let octave = power - EXACT.ilog2();
    (EXACT + (u64::from(octave) << STEPS_BITS) + step) as usize
}

/// The middle of what falls into a bucket.
fn middle(at: usize) -> u64 {
    let at = at as u64;
    if at < EXACT {
        return at;
    }
    let (octave, step) = ((at - EXACT) >> STEPS_BITS, (at - EXACT) & ((1 << STEPS_BITS) - 1));
    let shift = octave as u32 + EXACT.ilog2() - STEPS_BITS;
    (((1 << STEPS_BITS) + step) << shift) + ((1 << shift) >> 1)
}

/// Figures by the first part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces<T>(BTreeMap<Box<str>, T>);

impl<T> Default for Namespaces<T> {
    fn default() -> Namespaces<T> {
        Namespaces(BTreeMap::new())
    }
}

impl<T: Default> Namespaces<T> {
    /// Those of the node `path` or whatever it lies below; `None` for the root, and for one too many.
    pub fn of(&mut self, path: &str) -> Option<&mut T> {
        let name = path.strip_prefix('/')?.split('/').next().filter(|name| !name.is_empty())?;
        if !self.0.contains_key(name) {
            if self.0.len() >= NAMESPACES_MAX {
                return None;
            }
            self.0.insert(name.into(), T::default());
        }
        self.0.get_mut(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

/// All of it. [`Measures::reset`] starts anew, as `srst` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    // Clients.
    pub connection_request_count: u64,
    pub connection_revalidate_count: u64,
    pub cnxn_closed_without_zk_server_running: u64,
    pub sessionless_connections_expired: u64,
    /// Not part of what a reset starts anew.
    pub auth_failed_count: u64,
    pub ensemble_auth_success: u64,
    pub ensemble_auth_fail: u64,
    pub ensemble_auth_skip: u64,
    pub connection_token_deficit: Summary,
    /// Requests that had to wait for their turn, how long, and what became of those that waited for too long.
    pub request_throttle_wait_count: u64,
    pub request_throttle_queue_time_ms: Summary,
    pub throttled_ops: u64,
    pub stale_requests_dropped: u64,
    /// From a request's arrival to its answer.
    pub readlatency: Summary,
    pub updatelatency: Summary,
    pub node_created_watch_count: Summary,
    pub node_deleted_watch_count: Summary,
    pub node_changed_watch_count: Summary,
    pub node_children_watch_count: Summary,
    /// Bytes.
    pub read_per_namespace: Namespaces<Summary>,
    pub write_per_namespace: Namespaces<Summary>,

    // Every member; from the leader's making of a transaction, by the two servers' clocks.
    pub propagation_latency: Summary,
    pub proposal_latency: Summary,
    pub proposal_ack_creation_latency: Summary,
    pub commit_propagation_latency: Summary,
    pub learner_proposal_received_count: u64,
    pub learner_commit_received_count: u64,
    pub looking_count: u64,
    pub election_time: Summary,
    pub follower_sync_time: Summary,
    pub observer_sync_time: Summary,
    pub unavailable_time: Summary,
    pub leader_unavailable_time: Summary,
    /// How long the process stood still; ZooKeeper's name for it is that of a virtual machine's pauses.
    pub jvm_pause_time_ms: Summary,
    /// Mono ms since when nobody is served; `None` while somebody is.
    unserved_since: Option<u64>,

    // Who orders requests.
    pub prep_processor_request_queued: u64,
    pub outstanding_changes_queued: u64,
    pub outstanding_changes_removed: u64,
    pub stale_sessions_expired: u64,
    pub quota_exceeded_error_per_namespace: Namespaces<u64>,
    pub proposal_count: u64,
    pub commit_count: u64,
    pub revalidate_count: u64,
    pub diff_count: u64,
    pub snap_count: u64,
    pub inflight_diff_count: Summary,
    pub inflight_snap_count: Summary,
    pub quorum_ack_latency: Summary,
    /// Of every 1000th proposal, by the server that acknowledged it.
    pub ack_latency: BTreeMap<Sid, Summary>,
}

impl Measures {
    pub fn reset(&mut self) {
        let (auth_failed_count, unserved_since) = (self.auth_failed_count, self.unserved_since);
        *self = Measures { auth_failed_count, unserved_since, ..Measures::default() };
    }

    /// Nobody is served from now on, if not already.
    pub fn unserved(&mut self, now: Now) {
        self.unserved_since.get_or_insert(now.mono);
    }

    pub fn served(&mut self, leading: bool, now: Now) {
        if let Some(since) = self.unserved_since.take() {
            let took = now.mono.saturating_sub(since);
            self.unavailable_time.add(took);
            if leading {
                self.leader_unavailable_time.add(took);
            }
        }
    }

    /// What a read has brought: `body` is the answer behind its header.
    pub(crate) fn read(&mut self, op: i32, request: &[u8], body: &[u8]) {
        let Some((path, bytes)) = first_text(request).zip(read_bytes(op, body)) else { return };
        if let Some(summary) = self.read_per_namespace.of(path) {
            summary.add((path.len() + bytes + STAT_BYTES) as u64);
        }
    }

    /// What an applied transaction has written.
    pub(crate) fn written(&mut self, record: &TxnRecord) {
        let written = &mut self.write_per_namespace;
        let mut note = |path: &str, bytes: usize| {
            if let Some(summary) = written.of(path) {
                summary.add((path.len() + bytes) as u64);
            }
        };
        match record {
            TxnRecord::Multi(parts) => {
                for SubTxn { kind, data } in parts {
                    let data = data.as_deref().unwrap_or_default();
                    if let Some(path) = first_text(data) {
                        note(path, part_bytes(*kind, &data[4 + path.len()..]));
                    }
                }
            }
            record => write_of(record, &mut note),
        }
    }
}

/// What a `Stat` counts for, as ZooKeeper has it.
const STAT_BYTES: usize = 6 * 8 + 5 * 4;

fn write_of(record: &TxnRecord, note: &mut impl FnMut(&str, usize)) {
    let len = |data: &Option<bytes::Bytes>| data.as_ref().map_or(0, bytes::Bytes::len);
    match record {
        TxnRecord::Create(txn) | TxnRecord::Create2(txn) => note(&txn.path, len(&txn.data)),
        TxnRecord::CreateContainer(txn) => note(&txn.path, len(&txn.data)),
        TxnRecord::CreateTtl(txn) => note(&txn.path, len(&txn.data)),
        TxnRecord::SetData(txn) => note(&txn.path, len(&txn.data)),
        TxnRecord::Delete(txn) | TxnRecord::DeleteContainer(txn) => note(&txn.path, 0),
        TxnRecord::CloseSession { paths: Some(paths) } => paths.iter().for_each(|path| note(path, 0)),
        _ => {}
    }
}

/// Bytes of node data in a part of a multi; `rest` is what stands behind its path.
fn part_bytes(kind: i32, rest: &[u8]) -> usize {
    use wire::zk::op::{CREATE, CREATE_CONTAINER, CREATE_TTL, CREATE2, SET_DATA};
    match kind {
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL | SET_DATA => {
            rest.first_chunk().map_or(0, |len| i32::from_be_bytes(*len).max(0) as usize)
        }
        _ => 0,
    }
}

/// The path with which most requests begin.
fn first_text(request: &[u8]) -> Option<&str> {
    let (len, rest) = request.split_first_chunk()?;
    let len = usize::try_from(i32::from_be_bytes(*len)).ok()?;
    std::str::from_utf8(rest.get(..len)?).ok()
}

/// Bytes of a node's data or of its children's names; `None`: the operation is not counted.
fn read_bytes(op: i32, body: &[u8]) -> Option<usize> {
    use wire::zk::op::{EXISTS, GET_CHILDREN, GET_CHILDREN2, GET_DATA};
    let first = || body.first_chunk().map(|int| i32::from_be_bytes(*int).max(0) as usize);
    match op {
        EXISTS => (!body.is_empty()).then_some(0),
        GET_DATA => first(),
        GET_CHILDREN => Some(body.len().saturating_sub(4 + 4 * first()?)),
        GET_CHILDREN2 => Some(body.len().saturating_sub(4 + 4 * first()? + STAT_BYTES)),
        _ => None,
    }
}

/// The age of a transaction, `None` where the clocks of its maker and of this server disagree.
pub(crate) fn age(txn: &Txn, now: Now) -> Option<u64> {
    u64::try_from(now.wall - txn.header.time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_counted_exactly_and_large_ones_to_a_sixteenth() {
        for value in (0..2000).chain([1 << 20, (1 << 20) + 77_777, VALUE_MAX]) {
            let near = middle(bucket(value));
            assert!(near.abs_diff(value) * 32 <= value, "{value} counts as {near}");
        }
        assert_eq!(bucket(VALUE_MAX), 32 + 35 * 16 - 1);
    }

    #[test]
    fn quantiles_of_a_thousand_values() {
        let mut summary = Summary::default();
        assert_eq!(summary.quantile(0.5), 0);
        (1..=1000).for_each(|value| summary.add(value));
        assert_eq!((summary.count, summary.sum, summary.min, summary.max), (1000, 500_500, 1, 1000));
        assert!(summary.quantile(0.5).abs_diff(500) <= 16);
        assert!(summary.quantile(0.99).abs_diff(990) <= 32);
        assert_eq!(summary.quantile(0.001), 1);
        assert!(summary.quantile(1.0) <= 1000);
    }

    #[test]
    fn a_value_beyond_all_buckets_is_still_counted() {
        let mut summary = Summary::default();
        summary.add(u64::MAX);
        summary.add(u64::MAX);
        assert_eq!((summary.count, summary.sum, summary.max), (2, u64::MAX, u64::MAX));
        assert_eq!(summary.quantile(0.5), u64::MAX);
    }

    #[test]
    fn namespaces_are_first_parts_and_come_to_an_end() {
        let mut names = Namespaces::<u64>::default();
        *names.of("/a/b").unwrap() += 1;
        *names.of("/a").unwrap() += 1;
        assert!(names.of("/").is_none() && names.of("").is_none());
        assert_eq!(names.iter().collect::<Vec<_>>(), [("a", &2)]);
        for number in 0..2 * NAMESPACES_MAX {
            names.of(&format!("/n{number}"));
        }
        assert_eq!(names.iter().count(), NAMESPACES_MAX);
    }

    #[test]
    fn reads_count_as_in_zookeeper() {
        let mut measures = Measures::default();
        let request = b"\0\0\0\x02/a\0";
        let mut body = b"\0\0\0\x02yy".to_vec();
        body.resize(6 + STAT_BYTES, 0);
        measures.read(wire::zk::op::GET_DATA, request, &body);
        let (_, read) = measures.read_per_namespace.iter().next().unwrap();
        assert_eq!((read.count, read.sum), (1, 72));
        measures.read(wire::zk::op::GET_CHILDREN, request, b"\0\0\0\x01\0\0\0\x03xyz");
        let (_, read) = measures.read_per_namespace.iter().next().unwrap();
        assert_eq!((read.count, read.sum), (2, 72 + 2 + 3 + 68));
    }

    #[test]
    fn time_without_service_counts_from_its_first_moment() {
        let mut measures = Measures::default();
        let at = |mono| Now { mono, wall: 0 };
        measures.unserved(at(10));
        measures.unserved(at(20));
        measures.served(true, at(25));
        measures.served(true, at(99));
        assert_eq!((measures.unavailable_time.count, measures.unavailable_time.sum), (1, 15));
        assert_eq!(measures.leader_unavailable_time.sum, 15);
    }
}
