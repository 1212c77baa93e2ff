//! Questions that are answered from what is there: offsets, epochs, what to fetch, sizes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker_core::partition::{BatchMeta, EpochEnd, FromLeader, Isolation, LeaderBody};
use wire::Str;
use wire::batch::message_set::Entry;
use wire::kafka::ErrorCode;

use super::event::{EARLIEST, EARLIEST_LOCAL, LATEST, MAX_TIMESTAMP, from_bounds};
use super::moves::Future;
use super::replica::{Records, entry_meta};
use super::{
    FollowerNews, FollowerPart, LeaderPart, LeaderRecords, LogDescription, OffsetAsk, OffsetFound,
    OldOffsetsAsk, Shard, find,
};
use crate::log::LogError;

impl Shard {
    pub(super) fn list_offset(&mut self, ask: &OffsetAsk) -> Result<OffsetFound, ErrorCode> {
        let replica =
            find(&mut self.replicas, &ask.topic, ask.partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        let bounds = replica.core.offset_bounds(ask.current_leader_epoch, ask.isolation, ask.leader_only)?;
        let storage = |error: LogError| {
            tracing::error!("{error}");
            ErrorCode::KAFKA_STORAGE_ERROR
        };
        let (timestamp, offset) = match from_bounds(ask.timestamp, &bounds) {
            Some(offset) => (-1, offset?),
            None if ask.timestamp == MAX_TIMESTAMP => {
                let found = replica.log.max_timestamp().map_err(storage)?;
                if found.timestamp < 0 || found.offset >= bounds.latest {
                    (-1, -1)
                } else {
                    (found.timestamp, found.offset)
                }
            }
            None => match replica.log.offset_for_timestamp(ask.timestamp).map_err(storage)? {
                Some(found) if found.offset < bounds.latest => (found.timestamp, found.offset),
                _ if bounds.not_available => return Err(ErrorCode::OFFSET_NOT_AVAILABLE),
                _ => (-1, -1),
            },
        };
        let epochs = replica.core.epochs();
        let known = |epoch: Option<i32>| epoch.unwrap_or(-1);
        let leader_epoch = match ask.timestamp {
            _ if offset == -1 => -1,
            LATEST => bounds.leader_epoch,
            EARLIEST | EARLIEST_LOCAL => known(epochs.epoch_of(bounds.log_start)),
            MAX_TIMESTAMP => known(epochs.latest()),
            _ => known(epochs.epoch_of(offset)),
        };
        Ok(OffsetFound { timestamp, offset, leader_epoch })
    }

    /// ListOffsets before there were timestamps: the starts of segments that are old enough, the newest first.
    pub(super) fn old_offsets(&mut self, ask: &OldOffsetsAsk) -> Result<Vec<i64>, ErrorCode> {
        let replica =
            find(&mut self.replicas, &ask.topic, ask.partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        let isolation = ask.is_consumer.then_some(Isolation::ReadUncommitted);
        let bounds = replica.core.offset_bounds(-1, isolation, ask.leader_only)?;
        // Java's array of that size.
        let count_max = usize::try_from(ask.count_max).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let mut offsets = match replica.log.offsets_before(ask.timestamp, self.turn.wall) {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::error!("{error}");
                return Err(ErrorCode::KAFKA_STORAGE_ERROR);
            }
        };
        offsets.truncate(count_max);
        let hidden = offsets.partition_point(|offset| *offset > bounds.latest);
        if hidden > 0 {
            offsets.splice(..hidden, [bounds.latest]);
        }
        Ok(offsets)
    }

    pub(super) fn epoch_end(&mut self, ask: &(Str, i32, i32, i32)) -> Result<EpochEnd, ErrorCode> {
        let (topic, partition, current, asked) = ask;
        let replica = find(&mut self.replicas, topic, *partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        replica.core.offset_for_leader_epoch(*current, *asked, true)
    }

    /// What followers here want of a leader, as far as it is not `known`.
    pub(super) fn follower_news(&mut self, leader: i32, known: u64) -> FollowerNews {
        self.note_moves();
        self.following.news(leader, known, |(topic, partition)| {
            let replica = find(&mut self.replicas, topic, *partition)?;
            let next = replica.core.next_fetch().filter(|next| next.leader == leader)?;
            Some(FollowerPart { topic: topic.clone(), id: replica.id, partition: *partition, next })
        })
    }

    /// Steps of this turn moved what is to be asked of leaders.
    pub(super) fn note_moves(&mut self) {
        for (leader, topic, partition) in self.turn.moves.drain(..) {
            self.following.changes(leader, topic, partition);
        }
    }

    /// What a leader answered for one of our followers.
    #[allow(clippy::wrong_self_convention)]
    pub(super) fn from_leader(&mut self, part: LeaderPart) {
        let replica = find(&mut self.replicas, &part.topic, part.partition);
        // The topic may have been deleted and made anew while the answer was under way.
        let Some(replica) = replica.filter(|replica| replica.id == part.id) else { return };
        if part.high_watermark >= 0 {
            replica.leader_watermark = part.high_watermark;
        }
        let from = |body| FromLeader {
            leader_epoch: part.leader_epoch,
            offset: part.offset,
            high_watermark: part.high_watermark,
            log_start: part.log_start,
            body,
        };
        match part.body {
            LeaderRecords::Bounds { earliest, latest } => {
                replica.step(&mut self.turn, Records::None, |core, _, out| {
                    core.leader_bounds(part.leader_epoch, earliest, latest, out);
                });
            }
            LeaderRecords::Diverging(end) => {
                replica.step(&mut self.turn, Records::None, |core, _, out| {
                    core.fetched(from(LeaderBody::Diverging(end)), out)
                });
            }
            LeaderRecords::Records(ref bytes) => {
                let mut batches: Vec<(usize, BatchMeta)> = Vec::new();
                let mut at = 0;
                let mut rest = bytes.clone();
                loop {
                    // The last batch may be cut short; a corrupt one ends what can be used.
                    let checked = Entry::split_from(&mut rest).and_then(|entry| match &entry {
                        Some(Entry::Batch(batch)) => batch.check_crc().map(|()| entry),
                        Some(Entry::Message(message)) => message.check_crc().map(|()| entry),
                        None => Ok(entry),
                    });
                    match checked {
                        Ok(Some(entry)) => {
                            batches.push((at, entry_meta(&entry)));
                            at += entry.bytes().len();
                        }
                        Ok(None) => break,
                        Err(error) => {
                            tracing::warn!("{error} from the leader of {}-{}", part.topic, part.partition);
                            break;
                        }
                    }
                }
                let metas: Vec<BatchMeta> = batches.iter().map(|(_, batch)| *batch).collect();
                let outcome =
                    replica.step(&mut self.turn, Records::Fetched(bytes, &batches), |core, _, out| {
                        core.fetched(from(LeaderBody::Batches(&metas)), out)
                    });
                self.tally.replication_bytes_in += at as u64;
                if replica.core.is_adding(self.broker.id) {
                    self.tally.reassignment_bytes_in += at as u64;
                }
                if let broker_core::partition::FollowerOutcome::Rejected { expected, got } = outcome {
                    tracing::error!(
                        "The leader of {}-{} sent offset {got} where {expected} was expected",
                        part.topic,
                        part.partition
                    );
                }
            }
        }
    }

    /// By directory; `None` for one that is offline.
    pub(super) fn describe_logs(&self) -> BTreeMap<PathBuf, Option<Vec<LogDescription>>> {
        let live = self.store.live_dirs().map(|dir| (dir.to_owned(), Some(Vec::new())));
        let dead = self.store.dead_dirs().map(|dir| (dir.to_owned(), None));
        let mut dirs: BTreeMap<PathBuf, Option<Vec<LogDescription>>> = live.chain(dead).collect();
        for replica in self.replicas.values().flat_map(BTreeMap::values) {
            if let Some(Some(logs)) = dirs.get_mut(self.store.path(replica.dir)) {
                logs.push(LogDescription {
                    topic: replica.topic.clone(),
                    partition: replica.partition,
                    size: replica.log.size(),
                    // How far the high watermark, up to which it is known, is ahead of the log.
                    offset_lag: (replica.core.high_watermark() - replica.core.log_end()).max(0),
                    future: false,
                });
            }
            if let Some(future) = &replica.future {
                let is_online = self.store.is_live(replica.dir);
                let lag = is_online.then(|| replica.core.log_end() - future.log.log_end_offset());
                self.describe_future(&mut dirs, &replica.topic, replica.partition, future, lag);
            }
        }
        for (topic, partition, future) in self.moves.orphans() {
            self.describe_future(&mut dirs, topic, partition, future, None);
        }
        dirs
    }

    fn describe_future(
        &self,
        dirs: &mut BTreeMap<PathBuf, Option<Vec<LogDescription>>>,
        topic: &Str,
        partition: i32,
        future: &Future,
        lag: Option<i64>,
    ) {
        let Some(Some(logs)) = dirs.get_mut(self.store.path(future.dir)) else { return };
        logs.push(LogDescription {
            topic: topic.clone(),
            partition,
            size: future.log.size(),
            offset_lag: lag.unwrap_or(-1),
            future: true,
        });
    }
}
