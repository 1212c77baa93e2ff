//! Answers about the log: fetch, offsets, epochs.

use super::{
    Effect, EpochEnd, Fetch, FetchOutcome, Fetched, Fetcher, Isolation, OffsetBounds, Partition, Role,
};
use crate::error::ErrorCode;

impl Partition {
    /// What a fetcher may read. A follower's fetch also tells how far it has come; `repeat` is set when the same
    /// request is looked at again after having been parked, which tells nothing new. Errors: FENCED_LEADER_EPOCH,
    /// UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, OFFSET_OUT_OF_RANGE, KAFKA_STORAGE_ERROR.
    pub fn fetch(
        &mut self,
        now_ms: i64,
        fetch: &Fetch,
        repeat: bool,
        out: &mut Vec<Effect>,
    ) -> Result<Fetched, ErrorCode> {
        let leader_only = match fetch.fetcher {
            Fetcher::Follower { .. } => true,
            Fetcher::Consumer { leader_only, .. } => leader_only,
        };
        self.check_epoch(fetch.current_leader_epoch, leader_only)?;
        if let Fetcher::Follower { id, .. } = fetch.fetcher
            && !self.has_replica(id)
        {
            return Err(if fetch.current_leader_epoch >= 0 {
                ErrorCode::UNKNOWN_LEADER_EPOCH
            } else {
                ErrorCode::NOT_LEADER_OR_FOLLOWER
            });
        }
        if let Some(diverging) = self.check_divergence(fetch)? {
            return Ok(self.fetch_answer(FetchOutcome::Diverging(diverging)));
        }
        if fetch.offset < self.log_start || fetch.offset > self.log_end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if !repeat {
            self.follower_fetched(now_ms, fetch.fetcher, fetch.offset, out);
        }
        let up_to = match fetch.fetcher {
            Fetcher::Follower { .. } => self.log_end,
            Fetcher::Consumer { isolation, .. } => self.visible_end(isolation),
        };
        Ok(self.fetch_answer(FetchOutcome::Read { up_to }))
    }

    /// Who should read for a consumer in the rack that `in_rack` is true of: the in-sync follower there that has the
    /// offset and has come furthest; `None` if this leader should, as where it is in that rack itself.
    pub fn replica_in_rack(&self, offset: i64, in_rack: impl Fn(i32) -> bool) -> Option<i32> {
        if in_rack(self.local_id) {
            return None;
        }
        self.furthest_in_sync(offset, in_rack)
    }

    /// What a consumer hears that is sent to another replica.
    pub fn bounds_for_consumer(&self, current_leader_epoch: i32) -> Result<Fetched, ErrorCode> {
        self.check_epoch(current_leader_epoch, false)?;
        Ok(self.fetch_answer(FetchOutcome::Read { up_to: self.high_watermark }))
    }

    fn fetch_answer(&self, outcome: FetchOutcome) -> Fetched {
        Fetched {
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset(),
            log_start: self.log_start,
            log_end: self.log_end,
            outcome,
        }
    }

    fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Whether this replica may answer one who believes in this leader epoch (-1: in any).
    pub fn check_epoch(&self, current_leader_epoch: i32, leader_only: bool) -> Result<(), ErrorCode> {
        if matches!(self.role, Role::Failed) {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        // -1 alone says that the client does not know it.
        if current_leader_epoch != -1 && current_leader_epoch < self.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if current_leader_epoch > self.leader_epoch {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        match self.role {
            Role::Leader(_) => Ok(()),
            Role::Follower if !leader_only => Ok(()),
            _ => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    fn check_divergence(&self, fetch: &Fetch) -> Result<Option<EpochEnd>, ErrorCode> {
        if fetch.last_fetched_epoch < 0 {
            return Ok(None);
        }
        let end = self.epochs.end_of(fetch.last_fetched_epoch, self.log_end);
        if end == EpochEnd::UNKNOWN || fetch.offset < self.log_start {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let diverges = end.epoch < fetch.last_fetched_epoch || end.end_offset < fetch.offset;
        Ok(diverges.then_some(end))
    }

    /// OffsetForLeaderEpoch. Errors as of [`Partition::check_epoch`]; an unknown epoch is [`EpochEnd::UNKNOWN`].
    pub fn offset_for_leader_epoch(
        &self,
        current_leader_epoch: i32,
        leader_epoch: i32,
        leader_only: bool,
    ) -> Result<EpochEnd, ErrorCode> {
        self.check_epoch(current_leader_epoch, leader_only)?;
        Ok(self.epochs.end_of(leader_epoch, self.log_end))
    }

    /// For ListOffsets; `isolation` is `None` for a replica, which sees all of the log.
    pub fn offset_bounds(
        &self,
        current_leader_epoch: i32,
        isolation: Option<Isolation>,
        leader_only: bool,
    ) -> Result<OffsetBounds, ErrorCode> {
        self.check_epoch(current_leader_epoch, leader_only)?;
        let epoch_start = match &self.role {
            Role::Leader(leader) => leader.epoch_start,
            _ => -1,
        };
        Ok(OffsetBounds {
            log_start: self.log_start,
            latest: isolation.map_or(self.log_end, |isolation| self.visible_end(isolation)),
            leader_epoch: self.leader_epoch,
            not_available: isolation.is_some() && epoch_start > self.high_watermark,
        })
    }
}
