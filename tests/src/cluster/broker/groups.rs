//! A broker's group coordinator, its log and its callers, as the broker crate's `shard::groups` is.

use super::transactions::{batch_of, entry_of};
use super::*;
use crate::cluster::GROUP_TOPIC;
use broker_core::group::{AppendId, Coordinator, Effect as GroupEffect, Event as GroupEvent};

/// Batches that one step of loading reads.
const LOAD_MAX: usize = 12;
/// Between two looks for offsets whose time is over.
const EXPIRY_MS: u64 = 150;

/// A partition that is being read: when it goes on, for which epoch, and from which batch.
struct Load {
    at: u64,
    partition: i32,
    epoch: i32,
    from: usize,
}

/// The end of a transaction that is being written, and who waits for it.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    pub caller: (Party, u64),
    pub producer_id: i64,
    pub partition: i32,
    pub commit: bool,
}

/// The coordinator, and who waits for it.
pub struct Groups {
    coordinator: Coordinator,
    /// What it has not looked at yet.
    pub(super) events: VecDeque<GroupEvent>,
    waiting: BTreeMap<Token, (Party, u64)>,
    tokens: u64,
    loads: Vec<Load>,
    expiry_at: u64,
    /// By what is being appended, the partitions.
    appends: BTreeMap<AppendId, i32>,
    /// Ends of transactions under way, by partition.
    endings: BTreeMap<i32, usize>,
    /// Partitions whose logs may have what an append that failed has left there.
    ahead: BTreeSet<i32>,
}

impl Groups {
    pub fn new(net: &Net) -> Groups {
        Groups {
            coordinator: Coordinator::new(net.groups.clone()),
            events: VecDeque::new(),
            waiting: BTreeMap::new(),
            tokens: 0,
            loads: vec![],
            expiry_at: net.now + EXPIRY_MS,
            appends: BTreeMap::new(),
            endings: BTreeMap::new(),
            ahead: BTreeSet::new(),
        }
    }

    pub fn appended(&mut self, append: AppendId, result: ProduceResult) {
        let partition = self.appends.remove(&append);
        let result = if result.error.is_ok() { Ok(result.base_offset) } else { Err(result.error) };
        if result.is_err() {
            self.ahead.extend(partition);
        }
        self.events.push_back(GroupEvent::Appended { append, result });
    }

    pub fn ended(&mut self, ending: Ending, error: ErrorCode) {
        let Ending { producer_id, partition, commit, .. } = ending;
        if let Some(count) = self.endings.get_mut(&partition) {
            *count -= 1;
        }
        if error.is_ok() {
            let partitions = vec![partition];
            self.events.push_back(GroupEvent::TxnCompleted { producer_id, partitions, commit });
        } else {
            self.ahead.insert(partition);
        }
    }

    /// Nothing is under way on this partition, nor has anything failed there.
    fn is_as_its_log(&self, partition: i32) -> bool {
        self.appends.values().all(|of| *of != partition)
            && self.endings.get(&partition).is_none_or(|count| *count == 0)
            && !self.ahead.contains(&partition)
            && self.events.is_empty()
    }
}

fn log_of(partition: i32) -> TopicPartition {
    TopicPartition { topic: GROUP_TOPIC.into(), partition }
}

impl Broker {
    /// A partition of the groups' log got a leader here, in that epoch, or lost it.
    pub(super) fn looks_after_groups(&mut self, partition: i32, leads: Option<i32>) {
        let Some(life) = &mut self.up else { return };
        if leads.is_none() {
            life.groups.ahead.remove(&partition);
        }
        life.groups.events.push_back(match leads {
            Some(epoch) => GroupEvent::Elected { partition, epoch },
            None => GroupEvent::Resigned { partition },
        });
    }

    pub(super) fn group_request(
        &mut self,
        net: &mut Net,
        from: Party,
        call: u64,
        mut request: group::Request,
    ) {
        let Some(life) = &mut self.up else { return };
        if let group::Request::Join(_, context) = &mut request {
            // What comes later is larger.
            context.uuid = format!("{:09}", net.number()).into();
        }
        life.groups.tokens += 1;
        let token = Token(life.groups.tokens);
        life.groups.waiting.insert(token, (from, call));
        life.groups.events.push_back(GroupEvent::Request { token, request });
    }

    /// The end of a transaction with offsets.
    pub(super) fn end_offsets(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        tp: &TopicPartition,
        batch: Stored,
        caller: (Party, u64),
    ) {
        let Some(life) = &mut self.up else { return };
        let Some(Marker { commit, .. }) = batch.meta.marker else { return };
        let (producer_id, partition) = (batch.meta.producer_id, tp.partition);
        *life.groups.endings.entry(partition).or_default() += 1;
        let waiter = Waiter::Ending(Ending { caller, producer_id, partition, commit });
        self.produce(net, checks, waiter, tp, -1, batch, Origin::Coordinator);
    }

    /// What comes by itself.
    pub(super) fn bring_to_groups(&mut self, net: &mut Net, checks: &mut Checks) {
        let wall = self.wall(net.now);
        let Some(life) = &mut self.up else { return };
        let groups = &mut life.groups;
        if groups.expiry_at <= net.now {
            groups.expiry_at = net.now + EXPIRY_MS;
            groups.events.push_back(GroupEvent::ExpireOffsets);
        }
        if groups.coordinator.deadline().is_some_and(|at| at <= wall) {
            groups.events.push_back(GroupEvent::Tick);
        }
        let due: Vec<Load> = groups.loads.extract_if(.., |load| load.at <= net.now).collect();
        for Load { partition, epoch, from, .. } in due {
            let batches = self.disk.logs.get(&log_of(partition)).map_or(&[][..], |log| &log.batches);
            let to = (from + net.rng.random_range(1..=LOAD_MAX)).min(batches.len());
            for stored in batches.get(from..to).unwrap_or_default() {
                match entry_of(net, stored) {
                    Some(entry) => groups.events.push_back(GroupEvent::Loaded { partition, epoch, entry }),
                    None => checks.fail(format!("{} of the groups' log is no batch of theirs", stored.value)),
                }
            }
            if to >= batches.len() {
                groups.events.push_back(GroupEvent::LoadDone { partition, epoch });
            } else {
                let at = net.now + net.rng.random_range(0..15);
                groups.loads.push(Load { at, partition, epoch, from: to });
            }
        }
    }

    /// One step of the coordinator, and all that follows. False: it has nothing to look at.
    pub(super) fn group_step(&mut self, net: &mut Net, checks: &mut Checks) -> bool {
        let wall = self.wall(net.now);
        let Some(life) = &mut self.up else { return false };
        let Some(event) = life.groups.events.pop_front() else { return false };
        let mut effects = vec![];
        life.groups.coordinator.step(wall, event, &mut effects);
        effects.into_iter().for_each(|effect| self.group_effect(net, checks, effect));
        true
    }

    fn group_effect(&mut self, net: &mut Net, checks: &mut Checks, effect: GroupEffect) {
        let (id, party) = (self.id, self.party());
        let Some(life) = &mut self.up else { return };
        match effect {
            GroupEffect::Reply { token, response } => {
                if let Some((caller, call)) = life.groups.waiting.remove(&token) {
                    net.answer(party, caller, call, Response::Group(response));
                }
            }
            GroupEffect::Append { partition, append, records, producer } => {
                let records: Vec<_> = records.into_iter().map(|record| (record.key, record.value)).collect();
                let batch = batch_of(net, &records, self.wall(net.now), producer);
                self.group_append(net, checks, partition, append, batch);
            }
            GroupEffect::Load { partition, epoch } => {
                let at = net.now + net.rng.random_range(0..40);
                life.groups.loads.push(Load { at, partition, epoch, from: 0 });
            }
            GroupEffect::Warn(line) => checks.fail(format!("broker {id} cannot load: {line}")),
            GroupEffect::Tell(line) => net.note(|| format!("broker {id}: {line}")),
        }
    }

    fn group_append(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        partition: i32,
        append: Option<AppendId>,
        batch: Stored,
    ) {
        let Some(life) = &mut self.up else { return };
        let (waiter, acks) = match append {
            Some(append) => {
                life.groups.appends.insert(append, partition);
                (Waiter::Group(append), -1)
            }
            None => (Waiter::Nobody, 0),
        };
        self.produce(net, checks, waiter, &log_of(partition), acks, batch, Origin::Coordinator);
    }

    // ---- what checks look at

    /// What its coordinator says now, and changes nothing.
    pub fn ask_groups(&mut self, now: u64, request: group::Request) -> Option<group::Response> {
        let wall = self.wall(now);
        let life = self.up.as_mut()?;
        answer_of(&mut life.groups.coordinator, wall, request)
    }

    /// A coordinator that has read this broker's log of the partition, where its own has nothing under way.
    pub fn read_anew(&self, net: &Net, partition: i32) -> Option<Coordinator> {
        let life = self.up.as_ref().filter(|life| life.groups.is_as_its_log(partition))?;
        let log = self.disk.logs.get(&log_of(partition))?;
        let failed = life.failed_dirs.contains(&log.dir) || life.doomed_dir.is_some();
        if failed || !life.replicas.get(&log_of(partition)).is_some_and(|replica| replica.core.is_leader()) {
            return None;
        }
        let mut anew = Coordinator::new(net.groups.clone());
        let (epoch, wall, mut out) = (1, self.wall(net.now), vec![]);
        anew.step(wall, GroupEvent::Elected { partition, epoch }, &mut out);
        for entry in log.batches.iter().filter_map(|stored| entry_of(net, stored)) {
            anew.step(wall, GroupEvent::Loaded { partition, epoch, entry }, &mut out);
        }
        anew.step(wall, GroupEvent::LoadDone { partition, epoch }, &mut out);
        Some(anew)
    }
}

/// The answer to a request that is answered at once.
pub fn answer_of(
    coordinator: &mut Coordinator,
    wall: i64,
    request: group::Request,
) -> Option<group::Response> {
    let asked = Token(u64::MAX);
    let mut out = vec![];
    // Time stands still: what is due waits for the next turn.
    let now = coordinator.deadline().map_or(wall, |at| wall.min(at - 1));
    coordinator.step(now, GroupEvent::Request { token: asked, request }, &mut out);
    out.into_iter().find_map(|effect| match effect {
        GroupEffect::Reply { token, response } if token == asked => Some(response),
        _ => None,
    })
}
