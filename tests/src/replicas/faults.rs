//! What goes wrong, as far as replication makes promises: never the last disk in sync with data loss.

use super::world::{Message, World};
use broker_core::partition::*;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A part of what was not flushed goes.
    LossyCrash,
    Crash,
    /// The session ends, the broker lives on.
    Expiry,
    Start,
    PreferredElection,
    /// One way, for a while.
    Cut,
    Flush,
}

/// What a seed is like.
#[derive(Debug)]
pub struct Profile {
    /// Thousandths, per millisecond.
    faults: Vec<(Fault, u32)>,
    /// How many of a hundred messages are lost.
    pub loss: u32,
    /// The longest delay of a message, ms.
    pub delay_ms: i64,
}

impl Profile {
    pub fn new(rng: &mut ChaCha8Rng) -> Profile {
        use Fault::*;
        let usual = [
            (LossyCrash, 4),
            (Crash, 4),
            (Expiry, 4),
            (Start, 8),
            (PreferredElection, 4),
            (Cut, 3),
            (Flush, 36),
        ];
        let mut weigh = |(fault, weight): (Fault, u32)| {
            let factor = [0, 1, 1, 2, 4][rng.random_range(0..5)];
            // Whoever fell has to come back.
            (fault, if fault == Start { weight } else { weight * factor })
        };
        let faults = usual.into_iter().map(&mut weigh).collect();
        Profile {
            faults,
            loss: [0, 5, 15][rng.random_range(0..3)],
            delay_ms: [5, 40, 200][rng.random_range(0..3)],
        }
    }
}

impl World {
    /// One millisecond's share of trouble.
    pub fn disturb(&mut self) {
        let ids = self.ids();
        let id = ids[self.rng.random_range(0..ids.len())];
        let mut at = self.rng.random_range(0..1000);
        let fault = self.profile.faults.iter().find(|(_, weight)| match at < *weight {
            true => true,
            false => {
                at -= weight;
                false
            }
        });
        match fault.map(|(fault, _)| *fault) {
            Some(Fault::LossyCrash) => self.crash(id, true),
            Some(Fault::Crash) => self.crash(id, false),
            Some(Fault::Expiry) => self.expire(id),
            Some(Fault::Start) => self.start(id),
            Some(Fault::PreferredElection) => self.elect_preferred(id),
            Some(Fault::Cut) => {
                let other = ids[self.rng.random_range(0..ids.len())];
                let until = self.now + self.rng.random_range(50..1500);
                self.note(|| format!("nothing gets from {id} to {other} until {until}"));
                self.cuts.insert((id, other), until);
            }
            Some(Fault::Flush) => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.disk.flushed = node.disk.batches.len();
                    if let Some(partition) = &node.up {
                        node.disk.high_watermark = partition.high_watermark();
                    }
                }
            }
            None => {}
        }
    }

    /// Someone in sync who is up, keeps a session, and has all that was acknowledged, besides `id`.
    fn another_is_safe(&self, id: i32) -> bool {
        let safe = |other: &&i32| {
            **other != id
                && !self.tainted.contains(other)
                && self.nodes[other].up.is_some()
                && self.controller.alive.get(other) == Some(&self.nodes[other].broker_epoch)
        };
        self.controller.isr.iter().any(|other| safe(&other))
    }

    fn alters_under_way(&self) -> bool {
        self.wire.values().any(|(_, _, message)| matches!(message, Message::Alter { .. }))
            || self.nodes.values().any(|node| node.alter.is_some())
    }

    fn crash(&mut self, id: i32, lossy: bool) {
        let in_sync = self.controller.isr.contains(&id);
        // Replication promises nothing when the last in-sync disk loses data, so that is not tried.
        if !self.another_is_safe(id) && (lossy || !self.tainted.is_empty()) && in_sync {
            return;
        }
        if lossy && self.alters_under_way() {
            return;
        }
        let keep = self.rng.random_range(0..=100u32) as usize;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.up.take().is_none() {
            return;
        }
        node.waiting.clear();
        node.alter = None;
        self.crashes += 1;
        let mut lost = 0;
        if lossy {
            let unflushed = node.disk.batches.len() - node.disk.flushed.min(node.disk.batches.len());
            lost = unflushed * keep / 100;
            node.disk.batches.truncate(node.disk.batches.len() - lost);
            if lost > 0 && in_sync {
                self.tainted.insert(id);
            }
            // Its connections die with it: a fetch from before the loss could bring it into the ISR with an offset it
            // no longer has. Only AlterPartition with broker epochs (KIP-903, not in ZooKeeper mode) closes that gap.
            self.wire.retain(|_, (_, _, m)| !matches!(m, Message::Fetch { from, .. } if *from == id));
        }
        self.note(|| format!("{id} crashes, losing {lost} batches"));
    }

    fn expire(&mut self, id: i32) {
        let guarded = self.controller.isr.contains(&id) && !self.tainted.is_empty();
        if guarded && !self.another_is_safe(id) {
            return;
        }
        if self.nodes[&id].up.is_some() {
            self.note(|| format!("{id} loses its session"));
            self.register(id);
        }
    }

    /// A new session, as after a start or an expiry; the controller hears of it later.
    fn register(&mut self, id: i32) {
        let epoch = self.number();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.broker_epoch = epoch;
            node.alter = None;
        }
    }

    fn start(&mut self, id: i32) {
        let config = self.config();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.up.is_some() {
            return;
        }
        let log_end = node.disk.batches.last().map_or(0, |last| last.meta.next_offset());
        let mut epochs = LeaderEpochs::new(node.disk.epochs.iter().copied());
        epochs.truncate_end(log_end);
        let log =
            LogState { log_end, high_watermark: node.disk.high_watermark, epochs, ..LogState::default() };
        let mut partition = Partition::new(id, config, log);
        partition.rebuild_producers([], node.disk.batches.iter().map(|stored| stored.meta));
        node.disk.flushed = node.disk.batches.len();
        node.up = Some(partition);
        self.note(|| format!("{id} starts at {log_end}"));
        self.register(id);
    }

    pub fn restart_everyone(&mut self) {
        self.ids().into_iter().for_each(|id| self.start(id));
    }
}
