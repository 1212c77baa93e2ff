//! How a learner gets from its own history to the leader's: what to send, and what to skip.

use super::history::{Committed, History};
use crate::database::SnapshotStream;
use crate::event::{Effect, LogLevel};
use std::collections::VecDeque;
use wire::zk::quorum::{QuorumPacket, packet};
use wire::zk::{Sid, Zxid, counter_of, epoch_of};

/// The first packet of a synchronization, and where in the committed log the transactions behind it start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// The learner's history is a prefix. `zxid`: the end of the difference.
    Diff { zxid: Zxid, from: usize },
    /// The learner logged what was never committed: cut behind `zxid`.
    Trunc { zxid: Zxid, from: usize },
    /// The histories share nothing that is known here.
    Snap,
}

/// Chooses for a learner whose history ends with `peer`, as ZooKeeper does without the log on disk.
pub fn plan(peer: Zxid, last_processed: Zxid, committed: &VecDeque<Committed>) -> Plan {
    let min = committed.front().map_or(last_processed, |first| first.zxid);
    let max = committed.back().map_or(last_processed, |last| last.zxid);
    let end = committed.len();
    // A zxid without a counter names the start of an epoch, not a transaction: no log holds it.
    let starts_epoch = counter_of(peer) == 0;
    if peer == last_processed {
        Plan::Diff { zxid: peer, from: end }
    } else if peer > max && !starts_epoch {
        Plan::Trunc { zxid: max, from: end }
    } else if min <= peer && peer <= max {
        walk(peer, starts_epoch, max, committed)
    } else {
        Plan::Snap
    }
}

/// Finds the learner's last transaction in the committed log, or the last one that both have.
fn walk(peer: Zxid, starts_epoch: bool, max: Zxid, committed: &VecDeque<Committed>) -> Plan {
    let from = committed.partition_point(|item| item.zxid <= peer);
    let before = from.checked_sub(1).map(|at| committed[at].zxid);
    match (before, committed.get(from)) {
        (Some(before), _) if before == peer => Plan::Diff { zxid: max, from },
        _ if starts_epoch => Plan::Diff { zxid: max, from },
        (Some(before), Some(next)) if epoch_of(next.zxid) == epoch_of(peer) => {
            Plan::Trunc { zxid: before, from }
        }
        _ => Plan::Snap,
    }
}

/// The packets of a synchronization, up to but without what is still pending and NEWLEADER; and the stream behind them.
pub fn packets(
    sid: Sid,
    peer: Zxid,
    history: &History,
    out: &mut Vec<Effect>,
) -> (Vec<QuorumPacket>, Option<SnapshotStream>) {
    let committed = history.committed();
    let last = history.db.last_zxid();
    let plan = plan(peer, last, committed);
    let (min, max) =
        (committed.front().map_or(0, |item| item.zxid), committed.back().map_or(0, |item| item.zxid));
    let mut say = |line: String| out.push(Effect::Log { level: LogLevel::Info, line });
    say(format!(
        "Synchronizing with Learner sid: {sid} maxCommittedLog=0x{max:x} minCommittedLog=0x{min:x} \
         lastProcessedZxid=0x{last:x} peerLastZxid=0x{peer:x}"
    ));
    let (first, zxid, from) = match plan {
        Plan::Diff { zxid, from } => {
            say(format!("Sending DIFF zxid=0x{zxid:x} for peer sid: {sid}"));
            (packet::DIFF, zxid, from)
        }
        Plan::Trunc { zxid, from } => {
            say(format!("Sending TRUNC zxid=0x{zxid:x} for peer sid: {sid}"));
            (packet::TRUNC, zxid, from)
        }
        Plan::Snap => {
            say(format!(
                "Sending snapshot last zxid of peer is 0x{peer:x}, zxid of leader is 0x{last:x}, \
                 send zxid of db as 0x{last:x}"
            ));
            let stream = SnapshotStream::begin(&history.db);
            return (vec![QuorumPacket::new(packet::SNAP, last, None)], Some(stream));
        }
    };
    let mut packets = vec![QuorumPacket::new(first, zxid, None)];
    for item in committed.range(from..) {
        packets.push(QuorumPacket::new(packet::PROPOSAL, item.zxid, Some(item.txn.clone())));
        packets.push(QuorumPacket::new(packet::COMMIT, item.zxid, None));
    }
    (packets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::zk::zxid;

    fn log(zxids: &[(i64, i64)]) -> VecDeque<Committed> {
        zxids.iter().map(|(epoch, n)| Committed { zxid: zxid(*epoch, *n), txn: Bytes::new() }).collect()
    }

    fn check(peer: (i64, i64), committed: &[(i64, i64)], expect: Plan) {
        let committed = log(committed);
        let last = committed.back().map_or(zxid(3, 0), |last| last.zxid);
        assert_eq!(plan(zxid(peer.0, peer.1), last, &committed), expect);
    }

    #[test]
    fn a_learner_at_the_same_place_gets_an_empty_diff() {
        check((3, 0), &[], Plan::Diff { zxid: zxid(3, 0), from: 0 });
        check((1, 2), &[(1, 1), (1, 2)], Plan::Diff { zxid: zxid(1, 2), from: 2 });
    }

    #[test]
    fn a_learner_that_lags_gets_what_it_lacks() {
        check((1, 1), &[(1, 1), (1, 2), (1, 3)], Plan::Diff { zxid: zxid(1, 3), from: 1 });
    }

    #[test]
    fn what_was_logged_and_never_committed_is_cut() {
        check((1, 9), &[(1, 1), (1, 2)], Plan::Trunc { zxid: zxid(1, 2), from: 2 });
    }

    #[test]
    fn a_fork_within_an_epoch_is_cut_where_it_starts_and_filled_up() {
        check((2, 5), &[(1, 1), (2, 1), (2, 6)], Plan::Trunc { zxid: zxid(2, 1), from: 2 });
    }

    #[test]
    fn a_fork_into_another_epoch_takes_a_snapshot() {
        check((1, 9), &[(1, 1), (2, 1)], Plan::Snap);
    }

    #[test]
    fn the_start_of_an_epoch_is_in_no_log_and_still_a_prefix() {
        check((2, 0), &[(1, 1), (2, 1)], Plan::Diff { zxid: zxid(2, 1), from: 1 });
    }

    #[test]
    fn a_learner_older_than_the_committed_log_takes_a_snapshot() {
        check((1, 1), &[(1, 5), (1, 6)], Plan::Snap);
        check((1, 1), &[], Plan::Snap);
    }
}
