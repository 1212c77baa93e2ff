//! The follower's side: what comes from the leader, and where the two logs part.

use super::{
    Effect, EpochEnd, FollowerOutcome, FromLeader, LeaderBody, NextFetch, Partition, Role, RoleChange,
};
use crate::error::ErrorCode;

impl Partition {
    pub(super) fn become_follower(&mut self, out: &mut Vec<Effect>) -> RoleChange {
        self.leave_leadership(ErrorCode::NOT_LEADER_OR_FOLLOWER, out);
        self.role = Role::Follower;
        self.wake_all(out);
        // Without epochs no leader can tell us where we part, so only what is committed is kept.
        if self.epochs.latest().is_none() {
            self.truncate(self.high_watermark, out);
        }
        RoleChange::Follower { leader: self.leader_id }
    }

    /// The broker is shutting down: what it follows it goes on to follow, but no new leader. One that caught up with it
    /// would take it back into the ISR, be refused by the controller, and wait for it meanwhile: Java's leaders do not
    /// move the high watermark when the refusal comes (seen in 3.5.1 as 30 s without an acknowledgement).
    pub fn retire(&mut self) {
        self.last_epoch_followed = self.leader_epoch;
    }

    /// What to ask the leader for; `None` on other than a follower with a leader.
    pub fn next_fetch(&self) -> Option<NextFetch> {
        let follows = self.is_follower() && self.leader_id >= 0;
        (follows && self.leader_epoch <= self.last_epoch_followed).then(|| NextFetch {
            leader: self.leader_id,
            leader_epoch: self.leader_epoch,
            offset: self.log_end,
            last_fetched_epoch: self.epochs.latest().unwrap_or(-1),
            log_start: self.log_start,
        })
    }

    /// The leader's answer to [`Partition::next_fetch`].
    pub fn fetched(&mut self, from: FromLeader<'_>, out: &mut Vec<Effect>) -> FollowerOutcome {
        if !self.is_follower() || from.leader_epoch != self.leader_epoch || from.offset != self.log_end {
            return FollowerOutcome::Stale;
        }
        match from.body {
            LeaderBody::Diverging(end) => {
                let to = self.divergence(end);
                self.truncate(to, out);
                return FollowerOutcome::Applied;
            }
            LeaderBody::Batches(batches) => {
                if let Err(rejected) = self.append_fetched(batches, out) {
                    return rejected;
                }
            }
        }
        self.raise_high_watermark(from.high_watermark, out);
        let log_start = from.log_start.min(self.high_watermark);
        if log_start > self.log_start {
            out.push(Effect::AdvanceLogStart { to: log_start });
            self.log_start_moved(log_start, out);
        }
        self.wake(out);
        FollowerOutcome::Applied
    }

    fn append_fetched(
        &mut self,
        batches: &[super::BatchMeta],
        out: &mut Vec<Effect>,
    ) -> Result<(), FollowerOutcome> {
        // A leader may send again what we have, in front of what we asked for.
        let from = batches.partition_point(|batch| batch.last_offset() < self.log_end);
        let fresh = &batches[from..];
        let Some(first) = fresh.first() else { return Ok(()) };
        let mut expected = self.log_end;
        for batch in fresh {
            let overlaps_empty_log = self.log_start == self.log_end && expected == self.log_end;
            if batch.last_offset_delta < 0 || (batch.base_offset < expected && !overlaps_empty_log) {
                return Err(FollowerOutcome::Rejected { expected, got: batch.base_offset });
            }
            expected = batch.next_offset();
        }
        if first.base_offset < self.log_end {
            // The leader's log starts inside this batch; an empty log may as well start before it.
            self.restart_log(first.base_offset, out);
        }
        out.push(Effect::AppendFetched { from });
        let mut epochs_changed = false;
        for batch in fresh {
            epochs_changed |= self.epochs.assign(batch.leader_epoch, batch.base_offset);
            out.extend(self.producers.record(batch).map(Effect::TxnCompleted));
        }
        self.log_end = expected;
        if epochs_changed {
            out.push(Effect::SaveEpochs);
        }
        Ok(())
    }

    /// Where to cut, given the end of our last epoch (or of one before it) on the leader.
    fn divergence(&self, leader: EpochEnd) -> i64 {
        if leader.end_offset < 0 {
            return self.high_watermark;
        }
        let ours = match leader.epoch {
            -1 => EpochEnd::UNKNOWN,
            epoch => self.epochs.end_of(epoch, self.log_end),
        };
        if ours.end_offset < 0 {
            leader.end_offset
        } else if ours.epoch != leader.epoch {
            // We do not have that epoch: go back to the one before it, and ask again from there.
            ours.end_offset
        } else {
            ours.end_offset.min(leader.end_offset)
        }
    }

    /// After OFFSET_OUT_OF_RANGE: the earliest and latest offsets of the leader, both asked for in this leader epoch.
    pub fn leader_bounds(&mut self, leader_epoch: i32, earliest: i64, latest: i64, out: &mut Vec<Effect>) {
        if !self.is_follower() || leader_epoch != self.leader_epoch || earliest < 0 || latest < earliest {
            return;
        }
        if latest < self.log_end {
            self.truncate(latest, out);
        } else if earliest > self.log_end {
            self.restart_log(earliest, out);
        }
    }

    /// The log ends at `to`, if it went further.
    fn truncate(&mut self, to: i64, out: &mut Vec<Effect>) {
        if to >= self.log_end {
            // An epoch of our own leadership may stand at the very end, without data, and keep us diverging for ever.
            if self.epochs.truncate_end(to) {
                out.push(Effect::SaveEpochs);
            }
            return;
        }
        if to < self.log_start {
            return self.restart_log(to.max(0), out);
        }
        self.log_end = to;
        self.high_watermark = self.high_watermark.min(to);
        let producers_lost = self.producers.truncate(to);
        out.push(Effect::Truncate { to, producers_lost });
        if self.epochs.truncate_end(to) {
            out.push(Effect::SaveEpochs);
        }
        self.wake_all(out);
    }

    fn restart_log(&mut self, at: i64, out: &mut Vec<Effect>) {
        self.log_start = at;
        self.log_end = at;
        self.high_watermark = at;
        self.producers.clear();
        self.epochs.clear();
        out.push(Effect::TruncateFully { start_at: at });
        out.push(Effect::SaveEpochs);
        self.wake_all(out);
    }
}
