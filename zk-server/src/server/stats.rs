//! Counters of the client side, as `srvr`, `cons` and `mntr` print them.

use std::collections::BTreeMap;
use wire::zk::Sid;
use zk_core::measure::Summary;

/// Latencies in ms, with the moments that Java prints.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Latency {
    pub count: u64,
    pub sum: u64,
    min: u64,
    pub max: u64,
}

impl Latency {
    pub fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.count += 1;
        self.sum += ms;
    }

    /// 0 before the first.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Rounded to four decimals; 0 before the first.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.sum as f64 / self.count as f64 * 1e4).round() / 1e4 }
    }
}

/// Since the start, or the last `srst`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerStats {
    pub received: u64,
    pub sent: u64,
    pub latency: Latency,
    pub bytes_received: u64,
    pub response_bytes: u64,
    /// Of those, for watch events.
    pub watch_bytes: u64,
    /// Connections that ended without having been closed from here.
    pub dropped: u64,
    /// Answers to requests, in bytes.
    pub responses: Sizes,
    pub admin: AdminStats,
    /// Of each learner, by its id: packets that were waiting when a turn's packets left.
    pub learner_handler_qp_size: BTreeMap<Sid, Summary>,
    /// Snapshots taken, by the time they took; in ms.
    pub snapshottime: Summary,
    pub turns: super::turns::Turns,
}

impl ServerStats {
    /// What ZooKeeper resets with any metrics provider: packets, latencies, sizes of answers.
    pub fn reset_own(&mut self) {
        (self.received, self.sent) = (0, 0);
        self.latency = Latency::default();
        self.responses = Sizes::default();
    }
}

/// The last, smallest and largest of some sizes; -1 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub last: i64,
    pub min: i64,
    pub max: i64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { last: -1, min: -1, max: -1 }
    }
}

impl Sizes {
    pub fn add(&mut self, size: usize) {
        self.last = size as i64;
        self.min = if self.min < 0 { self.last } else { self.min.min(self.last) };
        self.max = self.max.max(self.last);
    }
}

/// What the admin server's `snapshot` and `restore` came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct AdminStats {
    pub snapshot_error_count: u64,
    pub snapshot_rate_limited_count: u64,
    pub restore_error_count: u64,
    pub restore_rate_limited_count: u64,
    pub restore_time: Summary,
    /// Connections without TLS to a port that takes both.
    pub insecure_admin_count: u64,
}

/// One connection's, since its start or the last `crst`.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionStats {
    pub received: u64,
    pub sent: u64,
    /// 0 until the handshake is answered.
    pub session: i64,
    pub timeout: i32,
    /// Wall clock, ms.
    pub established: i64,
    /// The label of the last answered operation.
    pub last_op: &'static str,
    pub last_cxid: i32,
    pub last_zxid: i64,
    /// The loop's clock, ms.
    pub last_response: u64,
    pub last_latency: u64,
    pub latency: Latency,
}

impl ConnectionStats {
    pub fn new(established: i64) -> ConnectionStats {
        ConnectionStats {
            received: 0,
            sent: 0,
            session: 0,
            timeout: 0,
            established,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response: 0,
            last_latency: 0,
            latency: Latency::default(),
        }
    }

    pub fn reset(&mut self) {
        let fresh = ConnectionStats::new(self.established);
        *self = ConnectionStats { session: self.session, timeout: self.timeout, ..fresh };
    }
}

/// The label of an operation in `cons`.
pub(crate) fn op_label(op: i32) -> &'static str {
    use wire::zk::op::*;
    match op {
        CREATE_SESSION => "SESS",
        CLOSE_SESSION => "CLOS",
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL => "CREA",
        DELETE | DELETE_CONTAINER => "DELE",
        EXISTS => "EXIS",
        GET_DATA => "GETD",
        SET_DATA => "SETD",
        GET_ACL => "GETA",
        SET_ACL => "SETA",
        GET_CHILDREN | GET_CHILDREN2 => "GETC",
        SYNC => "SYNC",
        PING => "PING",
        CHECK => "CHEC",
        MULTI => "MULT",
        MULTI_READ => "MLTR",
        RECONFIG => "RECO",
        CHECK_WATCHES => "CHKW",
        REMOVE_WATCHES => "REMW",
        SET_WATCHES => "SETW",
        SET_WATCHES2 => "STW2",
        GET_EPHEMERALS => "GETE",
        GET_ALL_CHILDREN_NUMBER => "GETACN",
        ADD_WATCH => "ADDW",
        WHO_AM_I => "HOMI",
        _ => "NA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_minus_one_until_there_is_one() {
        let mut sizes = Sizes::default();
        assert_eq!((sizes.last, sizes.min, sizes.max), (-1, -1, -1));
        [20, 5, 10].into_iter().for_each(|size| sizes.add(size));
        assert_eq!((sizes.last, sizes.min, sizes.max), (10, 5, 20));
    }

    #[test]
    fn latencies_start_at_zero_and_keep_four_decimals() {
        let mut latency = Latency::default();
        assert_eq!((latency.min(), latency.mean(), latency.max), (0, 0.0, 0));
        [2, 4, 8].into_iter().for_each(|ms| latency.add(ms));
        assert_eq!((latency.min(), latency.mean(), latency.max), (2, 4.6667, 8));
    }
}
