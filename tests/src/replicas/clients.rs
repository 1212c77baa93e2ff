//! Producers, idempotent and with acks=all, and consumers that follow the leadership.

use super::broker::Stored;
use super::world::World;
use broker_core::ErrorCode;
use broker_core::partition::*;
use rand::RngExt;

/// An idempotent producer with one batch under way, acks=all.
#[derive(Debug)]
pub struct Producer {
    pub producer_id: i64,
    pub sequence: i32,
    pub value: u64,
    pub count: i32,
    /// When to send it again.
    pub retry_at: i64,
    /// The newest leadership that it knows of: it asks no older one.
    pub leader_epoch: i32,
}

/// Reads on from where it is, from whoever leads as far as it knows; it never goes back in epochs.
#[derive(Debug, Default)]
pub struct Consumer {
    leader: i32,
    leader_epoch: i32,
    position: i64,
    /// The largest `latest` that it was told.
    latest: i64,
    act_at: i64,
}

impl World {
    pub fn produce(&mut self, at: usize) {
        if self.clients[at].retry_at > self.now || self.closing() {
            return;
        }
        self.clients[at].retry_at = self.now + 300;
        let known = self.clients[at].leader_epoch;
        let leads = |partition: &Partition| partition.is_leader() && partition.leader_epoch() >= known;
        let leading = |id: &i32| self.nodes[id].up.as_ref().is_some_and(leads);
        let leaders: Vec<i32> = self.ids().into_iter().filter(leading).collect();
        if leaders.is_empty() {
            return;
        }
        let id = leaders[self.rng.random_range(0..leaders.len())];
        let token = Token(self.number());
        let client = &self.clients[at];
        let meta = BatchMeta {
            base_offset: 0,
            last_offset_delta: client.count - 1,
            leader_epoch: -1,
            producer_id: client.producer_id,
            producer_epoch: 0,
            base_sequence: client.sequence,
            max_timestamp: self.now,
            size: 100,
            transactional: false,
            marker: None,
        };
        let stored = Stored { meta, value: client.value };
        let produce = Produce {
            token,
            acks: -1,
            timeout_ms: 250,
            batch: meta,
            origin: Origin::Client,
            log_append_time_ms: -1,
        };
        let mut out = Vec::new();
        let now = self.now;
        self.note(|| {
            format!("producer {at} sends value {} with sequence {} to {id}", stored.value, meta.base_sequence)
        });
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.waiting.insert(token, at);
        let Some(partition) = &mut node.up else { return };
        self.clients[at].leader_epoch = partition.leader_epoch();
        partition.produce(now, produce, &mut out);
        self.execute(id, out, Some(stored), &[]);
    }

    pub fn answered(&mut self, at: usize, result: ProduceResult) {
        let value = self.clients[at].value;
        self.note(|| format!("producer {at} hears of value {value}: {result:?}"));
        match result.error {
            ErrorCode::NONE => {
                // An answer may be lost, and the batch sent again.
                if !self.calm && self.chance(10) {
                    return;
                }
                self.checks.acknowledged.push((result.base_offset, value));
                let client = &mut self.clients[at];
                client.sequence += client.count;
                client.value += 10;
                client.count = self.rng.random_range(1..4);
                client.retry_at = self.now + self.rng.random_range(1..30);
            }
            ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {}
            other => self.checks.fail(format!("value {value} was refused: {other}")),
        }
    }

    pub fn consume(&mut self, at: usize) {
        let now = self.now;
        let pause = self.rng.random_range(5..60);
        let consumer = &mut self.consumers[at];
        if consumer.act_at > now {
            return;
        }
        consumer.act_at = now + pause;
        if self.rng.random_range(0..3) == 0 {
            (consumer.leader, consumer.leader_epoch) = (self.controller.leader, self.controller.leader_epoch);
        }
        let Some(partition) = self.nodes.get_mut(&consumer.leader).and_then(|node| node.up.as_mut()) else {
            return;
        };
        let isolation = Isolation::ReadUncommitted;
        if let Ok(bounds) = partition.offset_bounds(consumer.leader_epoch, Some(isolation), true)
            && !bounds.not_available
        {
            if bounds.latest < consumer.latest {
                let why =
                    format!("consumer {at} saw the end at {}, now at {}", consumer.latest, bounds.latest);
                self.checks.fail(why);
            }
            consumer.latest = bounds.latest;
        }
        let fetch = Fetch {
            fetcher: Fetcher::Consumer { isolation, leader_only: true },
            offset: consumer.position,
            current_leader_epoch: consumer.leader_epoch,
            last_fetched_epoch: -1,
        };
        let mut out = Vec::new();
        match partition.fetch(now, &fetch, false, &mut out) {
            Ok(Fetched { outcome: FetchOutcome::Read { up_to }, .. }) => {
                let node = &self.nodes[&consumer.leader];
                for stored in &node.disk.batches {
                    if stored.meta.last_offset() >= consumer.position && stored.meta.last_offset() < up_to {
                        self.checks.read(at, stored);
                        consumer.position = stored.meta.next_offset();
                    }
                }
            }
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                let why = format!(
                    "consumer {at} is at {}, which broker {} lacks",
                    consumer.position, consumer.leader
                );
                self.checks.fail(why);
            }
            _ => {}
        }
    }
}
