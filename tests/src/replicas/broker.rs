//! A broker's share of the partition: its disk, and the shell round the core.

use super::world::{CONTROLLER, Message, World};
use broker_core::ErrorCode;
use broker_core::partition::*;
use std::collections::BTreeMap;

/// A batch on disk; the value stands for its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    pub meta: BatchMeta,
    pub value: u64,
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub batches: Vec<Stored>,
    pub flushed: usize,
    pub epochs: Vec<EpochStart>,
    pub high_watermark: i64,
}

#[derive(Debug)]
pub struct Node {
    pub disk: Disk,
    pub up: Option<Partition>,
    /// Grows with each start and each new session.
    pub broker_epoch: u64,
    /// When its next fetch leaves, and whose answer it waits for.
    pub fetch_at: i64,
    pub fetch_id: u64,
    /// The ISR change that has no answer yet, and when to send it again.
    pub alter: Option<(AlterPartition, i64)>,
    pub waiting: BTreeMap<Token, usize>,
}

impl World {
    pub fn deliver(&mut self, to: i32, epoch: u64, message: Message) {
        if to == CONTROLLER {
            if let Message::Alter { from, broker_epoch, alter } = message {
                self.alter(from, broker_epoch, alter);
            }
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        let Some(partition) = &mut node.up else { return };
        let mut out = Vec::new();
        match message {
            Message::LeaderAndIsr(state) if epoch == node.broker_epoch => {
                if partition.leader_and_isr(now, &state, &mut out).is_ok() {
                    node.alter = None;
                    node.fetch_id = 0;
                    node.fetch_at = now;
                    if partition.is_leader() {
                        self.checks.leads(to, state.leader_epoch);
                    }
                }
                self.execute(to, out, None, &[]);
            }
            Message::Fetch { from, id, ask } => {
                let alive = self.controller.alive.contains_key(&from);
                let fetcher = Fetcher::Follower { id: from, alive, log_start: ask.log_start };
                let fetch = Fetch {
                    fetcher,
                    offset: ask.offset,
                    current_leader_epoch: ask.leader_epoch,
                    last_fetched_epoch: ask.last_fetched_epoch,
                };
                let answer = partition.fetch(now, &fetch, false, &mut out);
                let batches = match answer.map(|fetched| fetched.outcome) {
                    Ok(FetchOutcome::Read { up_to }) => {
                        let wanted = |stored: &&Stored| {
                            stored.meta.last_offset() >= ask.offset && stored.meta.last_offset() < up_to
                        };
                        node.disk.batches.iter().filter(wanted).take(3).copied().collect()
                    }
                    _ => Vec::new(),
                };
                let bounds = partition.offset_bounds(ask.leader_epoch, None, true);
                self.execute(to, out, None, &[]);
                let reply = if answer == Err(ErrorCode::OFFSET_OUT_OF_RANGE) {
                    Message::Bounds { id, ask, bounds }
                } else {
                    Message::Fetched { id, ask, answer, batches }
                };
                self.send(to, from, reply);
            }
            Message::Fetched { id, ask, answer, batches } if id == node.fetch_id => {
                node.fetch_id = 0;
                let Ok(fetched) = answer else { return };
                let metas: Vec<BatchMeta> = batches.iter().map(|stored| stored.meta).collect();
                let body = match fetched.outcome {
                    FetchOutcome::Read { .. } => LeaderBody::Batches(&metas),
                    FetchOutcome::Diverging(end) => LeaderBody::Diverging(end),
                };
                let from = FromLeader {
                    leader_epoch: ask.leader_epoch,
                    offset: ask.offset,
                    high_watermark: fetched.high_watermark,
                    log_start: fetched.log_start,
                    body,
                };
                let outcome = partition.fetched(from, &mut out);
                if matches!(outcome, FollowerOutcome::Rejected { .. }) {
                    self.checks.fail(format!("broker {to} cannot append {metas:?}: {outcome:?}"));
                }
                self.execute(to, out, None, &batches);
            }
            Message::Bounds { id, ask, bounds } if id == node.fetch_id => {
                node.fetch_id = 0;
                if let Ok(bounds) = bounds {
                    partition.leader_bounds(ask.leader_epoch, bounds.log_start, bounds.latest, &mut out);
                }
                self.execute(to, out, None, &[]);
            }
            Message::Altered { request, result } => {
                if node.alter.as_ref().is_some_and(|(alter, _)| alter.request == request) {
                    node.alter = None;
                }
                partition.altered(now, request, result, &mut out);
                self.execute(to, out, None, &[]);
            }
            _ => {}
        }
    }

    /// A broker's own doing: time, fetching, repeating.
    pub fn turn(&mut self, id: i32) {
        let now = self.now;
        let request = self.number();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(partition) = &mut node.up else { return };
        let mut out = Vec::new();
        if partition.deadline().is_some_and(|deadline| deadline <= now) {
            partition.tick(now, &mut out);
        }
        let mut sends = Vec::new();
        if let Some(ask) = partition.next_fetch()
            && node.fetch_at <= now
        {
            let answered = node.fetch_id == 0;
            node.fetch_id = request;
            node.fetch_at = now + if answered { 15 } else { 60 };
            sends.push((ask.leader, Message::Fetch { from: id, id: request, ask }));
        }
        if let Some((alter, at)) = &mut node.alter
            && *at <= now
        {
            *at = now + 120;
            let alter = alter.clone();
            sends.push((CONTROLLER, Message::Alter { from: id, broker_epoch: node.broker_epoch, alter }));
        }
        self.execute(id, out, None, &[]);
        sends.into_iter().for_each(|(to, message)| self.send(id, to, message));
    }

    /// What the shell of a broker does. `produced` is the batch just produced, `fetched` the ones just fetched.
    pub fn execute(&mut self, id: i32, effects: Vec<Effect>, produced: Option<Stored>, fetched: &[Stored]) {
        let now = self.now;
        let mut finished = Vec::new();
        for effect in &effects {
            if let Effect::Append { .. } | Effect::Truncate { .. } | Effect::TruncateFully { .. } = effect {
                self.note(|| format!("{id}: {effect:?}"));
            } else if let Effect::AppendFetched { from } = effect {
                self.note(|| format!("{id} appends {:?}", &fetched[*from..]));
            }
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(partition) = &mut node.up else { return };
        let disk = &mut node.disk;
        for effect in effects {
            match effect {
                Effect::Append { base_offset, leader_epoch } => {
                    let mut stored = produced.expect("an append follows a produce");
                    stored.meta.base_offset = base_offset;
                    stored.meta.leader_epoch = leader_epoch;
                    disk.batches.push(stored);
                }
                Effect::AppendFetched { from } => disk.batches.extend(&fetched[from..]),
                Effect::Truncate { to, producers_lost } => {
                    disk.batches.retain(|stored| stored.meta.last_offset() < to);
                    disk.flushed = disk.flushed.min(disk.batches.len());
                    if producers_lost {
                        partition.rebuild_producers([], disk.batches.iter().map(|stored| stored.meta));
                    }
                }
                Effect::TruncateFully { start_at } => {
                    if start_at != 0 {
                        self.checks
                            .fail(format!("broker {id} starts anew at {start_at}: nobody deletes records"));
                    }
                    disk.batches.clear();
                    disk.flushed = 0;
                }
                Effect::SaveEpochs => disk.epochs = partition.epochs().entries().to_vec(),
                Effect::AlterPartition(alter) => node.alter = Some((alter, now)),
                Effect::Reply { token, result } => {
                    finished.extend(node.waiting.remove(&token).map(|client| (client, result)));
                }
                _ => {}
            }
        }
        let end = disk.batches.last().map_or(0, |last| last.meta.next_offset());
        if end != partition.log_end() {
            self.checks
                .fail(format!("broker {id}: the log ends at {end}, its state at {}", partition.log_end()));
        }
        self.checks.watermark(id, partition, &disk.batches);
        finished.into_iter().for_each(|(client, result)| self.answered(client, result));
    }
}
