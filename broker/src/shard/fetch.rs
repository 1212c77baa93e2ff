//! Reading for consumers and followers: at once if there is enough, else when there is or the time is up.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::partition::{FetchOutcome, Fetcher, Token, WatchFor};
use tokio::sync::oneshot;
use wire::kafka::ErrorCode;

use super::replica::{Records, Replica, Turn};
use super::{FetchAsk, FetchPart, FetchedPart, Shard, find};
use crate::broker::Broker;
use crate::log::{AbortedTxn, FetchSlice, LogError, open_handles};

/// A fetch that waits.
pub struct ParkedFetch {
    ask: FetchAsk,
    deadline: i64,
    reply: oneshot::Sender<Vec<FetchedPart>>,
}

/// One look at all partitions of a fetch.
struct Look {
    parts: Vec<FetchedPart>,
    /// The end that each partition showed, to wait for more.
    ends: Vec<i64>,
    bytes: i64,
    /// Something that the fetcher should hear of at once.
    urgent: bool,
}

impl Shard {
    pub(super) fn fetch(&mut self, mut ask: FetchAsk, reply: oneshot::Sender<Vec<FetchedPart>>) {
        for part in &mut ask.parts {
            if let Fetcher::Follower { id, alive, .. } = &mut part.fetch.fetcher {
                *alive = self.alive.contains(id);
            }
        }
        let look = self.look(&ask, false);
        let enough = look.bytes >= ask.min_bytes.min(ask.max_bytes);
        if enough || look.urgent || ask.at_once || ask.max_wait_ms <= 0 || ask.parts.is_empty() {
            let _ = reply.send(look.parts);
            return;
        }
        let token = Token(self.tokens(1));
        let deadline = self.turn.now.saturating_add(ask.max_wait_ms);
        self.watch(token, &ask, &look.ends);
        self.fetch_deadlines.insert((deadline, token.0));
        self.fetches.insert(token, ParkedFetch { ask, deadline, reply });
    }

    /// Something moved that a parked fetch waits for.
    pub(super) fn wake_fetch(&mut self, token: Token) {
        let Some(parked) = self.fetches.remove(&token) else { return };
        if parked.reply.is_closed() {
            self.unwatch(token, &parked);
            self.fetch_deadlines.remove(&(parked.deadline, token.0));
            return;
        }
        let look = self.look(&parked.ask, true);
        self.unwatch(token, &parked);
        // What a fetch that waited is answered with counts once more, as by Kafka.
        if look.urgent || look.bytes >= parked.ask.min_bytes.min(parked.ask.max_bytes) {
            self.fetch_deadlines.remove(&(parked.deadline, token.0));
            self.count_again(&parked.ask);
            let _ = parked.reply.send(look.parts);
            return;
        }
        self.watch(token, &parked.ask, &look.ends);
        self.fetches.insert(token, parked);
    }

    /// The time of a parked fetch is up.
    pub(super) fn finish_fetch(&mut self, token: Token) {
        let Some(parked) = self.fetches.remove(&token) else { return };
        self.unwatch(token, &parked);
        let look = self.look(&parked.ask, true);
        self.count_again(&parked.ask);
        let _ = parked.reply.send(look.parts);
    }

    /// Who lives. A follower whose fetch came before it was known to live is answered at once: it can join the in-sync
    /// set with its next one, and need not wait for that until this one's time is up.
    pub(super) fn set_alive(&mut self, alive: BTreeSet<i32>) {
        let is_new = |id: &i32| alive.contains(id) && !self.alive.contains(id);
        let is_of_new =
            |part: &FetchPart| matches!(&part.fetch.fetcher, Fetcher::Follower { id, .. } if is_new(id));
        let parked = self.fetches.iter().filter(|(_, parked)| parked.ask.parts.iter().any(is_of_new));
        let due: Vec<(i64, Token)> = parked.map(|(token, parked)| (parked.deadline, *token)).collect();
        for (deadline, token) in due {
            self.fetch_deadlines.remove(&(deadline, token.0));
            self.finish_fetch(token);
        }
        if self.alive == alive {
            return;
        }
        self.alive = alive;
        for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
            replica.step(&mut self.turn, Records::None, |core, now, out| {
                core.alive_are(now, |id| self.alive.contains(&id), out);
            });
        }
    }

    /// Its partitions were looked at again, for its answer; the first look counts them itself.
    fn count_again(&mut self, ask: &FetchAsk) {
        for part in &ask.parts {
            if let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) {
                replica.traffic.fetches += 1;
            }
        }
    }

    fn watch(&mut self, token: Token, ask: &FetchAsk, ends: &[i64]) {
        for (part, end) in ask.parts.iter().zip(ends) {
            let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) else { continue };
            let watch = match part.fetch.fetcher {
                Fetcher::Follower { .. } => WatchFor::LogEnd,
                Fetcher::Consumer { .. } if ask.read_committed => WatchFor::LastStableOffset,
                Fetcher::Consumer { .. } => WatchFor::HighWatermark,
            };
            replica.step(&mut self.turn, Records::None, |core, _, out| core.watch(token, watch, *end, out));
        }
    }

    fn unwatch(&mut self, token: Token, parked: &ParkedFetch) {
        for part in &parked.ask.parts {
            if let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) {
                replica.core.unwatch(token);
            }
        }
    }

    fn look(&mut self, ask: &FetchAsk, repeat: bool) -> Look {
        let mut look =
            Look { parts: Vec::with_capacity(ask.parts.len()), ends: Vec::new(), bytes: 0, urgent: false };
        let mut left = ask.max_bytes;
        for part in &ask.parts {
            // The first partition that has something gives a whole batch, whatever the limits.
            let min_one = look.bytes == 0 && ask.version > 2;
            let (fetched, end) = self.look_at(part, left, min_one, ask, repeat);
            look.urgent |=
                !fetched.error.is_ok() || fetched.diverging.is_some() || fetched.preferred.is_some();
            look.bytes += fetched.bytes();
            left -= fetched.bytes();
            look.ends.push(end);
            look.parts.push(fetched);
        }
        look
    }

    fn look_at(
        &mut self,
        part: &FetchPart,
        left: i64,
        min_one: bool,
        ask: &FetchAsk,
        repeat: bool,
    ) -> (FetchedPart, i64) {
        let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) else {
            return (FetchedPart::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER), -1);
        };
        replica.traffic.fetches += u64::from(!repeat);
        if !part.id.is_zero() && !replica.id.is_zero() && replica.id != part.id {
            return (FetchedPart::failed(ErrorCode::INCONSISTENT_TOPIC_ID), -1);
        }
        let fetch = part.fetch;
        if let Some(near) = &ask.near
            && let Some(nearest) =
                replica.core.replica_in_rack(fetch.offset, |broker| near.is_in_rack(broker))
        {
            return (sent_to(nearest, replica, part), i64::MAX);
        }
        let found = replica
            .step(&mut self.turn, Records::None, |core, now, out| core.fetch(now, &fetch, repeat, out));
        self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
        let found = match found {
            Ok(found) => found,
            Err(error) => return (FetchedPart::failed(error), -1),
        };
        let mut fetched = FetchedPart {
            high_watermark: found.high_watermark,
            last_stable_offset: found.last_stable_offset,
            log_start: found.log_start,
            reassigns: matches!(fetch.fetcher, Fetcher::Follower { id, .. } if replica.core.is_adding(id)),
            ..FetchedPart::failed(ErrorCode::NONE)
        };
        let up_to = match found.outcome {
            FetchOutcome::Diverging(end) => {
                fetched.diverging = Some(end);
                return (fetched, i64::MAX);
            }
            FetchOutcome::Read { up_to } => up_to,
        };
        let max_bytes = left.min(i64::from(part.max_bytes)).max(0);
        let read = if fetch.offset < up_to
            && (max_bytes > 0 || min_one)
            && !is_throttled(&self.broker, replica, part)
        {
            read_slice(&mut self.turn, replica, part, max_bytes as u32, up_to, min_one, ask.version)
        } else {
            Ok(None)
        };
        let aborted = read.and_then(|slice| {
            fetched.slice = slice;
            // Without the index, records of aborted transactions would pass for committed ones.
            let aborted = ask.read_committed.then(|| replica.log.aborted_txns(fetch.offset, up_to));
            aborted.transpose().map_err(|error| unreadable(&mut self.turn, replica.dir, &error))
        });
        match aborted {
            Ok(aborted) => {
                let first = |txn: &AbortedTxn| (txn.producer_id, txn.first_offset);
                fetched.aborted = aborted.map(|aborted| aborted.iter().map(first).collect());
                (fetched, up_to)
            }
            Err(error) => (FetchedPart::failed(error), up_to),
        }
    }
}

/// What a consumer hears that does better to read from a follower.
fn sent_to(nearest: i32, replica: &Replica, part: &FetchPart) -> FetchedPart {
    match replica.core.bounds_for_consumer(part.fetch.current_leader_epoch) {
        Ok(found) => FetchedPart {
            high_watermark: found.high_watermark,
            last_stable_offset: found.last_stable_offset,
            log_start: found.log_start,
            preferred: Some(nearest),
            ..FetchedPart::failed(ErrorCode::NONE)
        },
        Err(error) => FetchedPart::failed(error),
    }
}

/// A follower that is not in sync gets nothing while there is too much of it. One that is in sync goes on, or it would
/// fall out of the ISR.
fn is_throttled(broker: &Broker, replica: &Replica, part: &FetchPart) -> bool {
    let Fetcher::Follower { id, .. } = part.fetch.fetcher else { return false };
    let limit = &broker.throttles.leader;
    limit.is_bounded()
        && !replica.core.isr().contains(&id)
        && broker.topic_config(&part.topic).leader_throttled.contains(part.partition, broker.id)
        && limit.is_exceeded()
}

/// Where the records are, if there are any that may be sent.
fn read_slice(
    turn: &mut Turn,
    replica: &mut Replica,
    part: &FetchPart,
    max_bytes: u32,
    up_to: i64,
    min_one: bool,
    version: i16,
) -> Result<Option<FetchSlice>, ErrorCode> {
    let mut slice = match replica.log.read(part.fetch.offset, max_bytes, up_to, min_one) {
        Ok(slice) => slice,
        Err(LogError::OffsetOutOfRange { .. }) => {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Err(error) => return Err(unreadable(turn, replica.dir, &error)),
    };
    if open_handles() > turn.handles_max {
        // One request may be about very many partitions.
        replica.log.release();
        if let Err(error) = slice.load() {
            tracing::error!("{}-{}: {error}", part.topic, part.partition);
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
    }
    // Before version 3 a limit may cut the first batch, and what is cut off counts as an answer.
    Ok((slice.len > 0 && (!slice.first_incomplete || version < 3)).then_some(slice))
}

/// The log cannot be read there. A disk that fails takes its directory out of service.
fn unreadable(turn: &mut Turn, dir: usize, error: &LogError) -> ErrorCode {
    tracing::error!("{error}");
    if error.is_io() {
        turn.failed_dirs.push(dir);
    }
    ErrorCode::KAFKA_STORAGE_ERROR
}
