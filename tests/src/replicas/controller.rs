//! A small controller: sessions seen late, the ISR it grants, and who leads.

use super::world::{CONTROLLER, Message, SESSION_MS, World};
use broker_core::ErrorCode;
use broker_core::partition::*;
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Controller {
    pub leader: i32,
    pub leader_epoch: i32,
    pub version: i32,
    pub isr: Vec<i32>,
    /// Brokers with a session, by the epoch it was seen with.
    pub alive: BTreeMap<i32, u64>,
}

impl World {
    /// Sees who came and went, some time after it happened; a new session under a known id is a failure first.
    pub fn watch_sessions(&mut self) {
        if self.now % SESSION_MS != 0 {
            return;
        }
        for id in self.ids() {
            let now = self.nodes[&id].up.is_some().then_some(self.nodes[&id].broker_epoch);
            let seen = self.controller.alive.get(&id).copied();
            if seen.is_some() && seen != now {
                self.controller.alive.remove(&id);
                self.broker_failed(id);
            }
            if let Some(epoch) = now
                && self.controller.alive.insert(id, epoch) != Some(epoch)
            {
                if self.controller.leader < 0 {
                    self.elect(None);
                }
                self.announce();
            }
        }
    }

    fn broker_failed(&mut self, id: i32) {
        if self.controller.isr.contains(&id) && self.controller.isr.len() > 1 {
            self.controller.isr.retain(|&other| other != id);
        }
        if !self.controller.isr.contains(&id) {
            self.tainted.remove(&id);
        }
        self.elect((self.controller.leader != id).then_some(self.controller.leader));
        self.announce();
    }

    fn elect(&mut self, keep: Option<i32>) {
        let ids = self.ids();
        let c = &mut self.controller;
        let eligible = |id: &i32| c.isr.contains(id) && c.alive.contains_key(id);
        let leader = keep.or(ids.into_iter().find(eligible)).unwrap_or(-1);
        c.leader = leader;
        c.leader_epoch += 1;
        c.version += 1;
        self.elections += 1;
    }

    pub fn elect_preferred(&mut self, id: i32) {
        if self.controller.isr.contains(&id) && self.controller.alive.contains_key(&id) {
            self.elect(Some(id));
            self.announce();
        }
    }

    pub fn announce(&mut self) {
        let c = &self.controller;
        let replicas = self.nodes.keys().copied().collect();
        let state = LeaderAndIsr {
            controller_epoch: 1,
            leader: c.leader,
            leader_epoch: c.leader_epoch,
            isr: c.isr.clone(),
            partition_epoch: c.version,
            replicas,
            ..LeaderAndIsr::default()
        };
        self.note(|| format!("controller: {state:?}"));
        let alive: Vec<i32> = self.controller.alive.keys().copied().collect();
        alive.into_iter().for_each(|id| self.send(CONTROLLER, id, Message::LeaderAndIsr(state.clone())));
    }

    pub fn alter(&mut self, from: i32, broker_epoch: u64, alter: AlterPartition) {
        let c = &mut self.controller;
        let result = if c.alive.get(&from) != Some(&broker_epoch) {
            Err(ErrorCode::STALE_BROKER_EPOCH)
        } else if alter.leader_epoch > c.leader_epoch {
            Err(ErrorCode::NOT_CONTROLLER)
        } else if alter.leader_epoch < c.leader_epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if alter.isr == c.isr {
            Ok(())
        } else if alter.partition_epoch < c.version {
            Err(ErrorCode::INVALID_UPDATE_VERSION)
        } else if alter.isr.iter().any(|id| !c.alive.contains_key(id)) {
            Err(ErrorCode::INELIGIBLE_REPLICA)
        } else {
            c.isr.clone_from(&alter.isr);
            c.version += 1;
            Ok(())
        };
        let altered =
            Altered { leader_epoch: c.leader_epoch, partition_epoch: c.version, isr: c.isr.clone() };
        self.note(|| format!("{from} alters the ISR to {:?}: {result:?}", alter.isr));
        self.send(
            CONTROLLER,
            from,
            Message::Altered { request: alter.request, result: result.map(|()| altered) },
        );
    }
}
