//! Looks into the coordinators while a world runs, and when it has come to rest.

use super::requests::{self, Offsets};
use super::{GROUPS, JOB, OUTPUT, REBALANCE_MS_MAX, SESSION_MS_MAX, SIMPLE, job_inputs};
use crate::cluster::broker::groups::answer_of;
use crate::cluster::clients::Client;
use crate::cluster::disk::Stored;
use crate::cluster::world::{World, tp};
use broker_core::controller::TopicPartition;
use broker_core::group::{Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::DescribeGroupsRequest;
use wire::kafka::describe_groups::DescribedGroup;

/// The first wait, the wait for those who were there, and once more for static members of whom none came.
const PREPARING_MS_MAX: u64 = 3 * REBALANCE_MS_MAX + SESSION_MS_MAX;

fn describe(group: &str) -> Request {
    Request::Describe(DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() })
}

/// `None`: it does not coordinate the group.
fn described(response: Option<Response>) -> Option<DescribedGroup> {
    let Some(Response::Describe(response)) = response else { return None };
    response.groups.into_iter().find(|group| group.error_code.is_ok())
}

impl World {
    /// Now and then, whatever goes on.
    pub(in crate::cluster) fn watch_groups(&mut self) {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        for id in ids {
            for group in GROUPS {
                self.check_preparing(id, group);
            }
            if self.net.chance(10) {
                let all: Vec<&str> = GROUPS.into_iter().chain(SIMPLE).collect();
                all.into_iter().for_each(|group| self.check_log(id, group));
            }
        }
    }

    /// Nobody is waited for longer than the members may take.
    fn check_preparing(&mut self, id: i32, group: &str) {
        let now = self.net.now;
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let key = (id, Str::from(group));
        let awake = broker.up.is_some() && broker.stalled_until <= now;
        let state = broker.ask_groups(now, describe(group));
        let prepares =
            described(state).is_some_and(|group| group.group_state == "PreparingRebalance" && awake);
        if !prepares {
            self.preparing.remove(&key);
            return;
        }
        let since = *self.preparing.entry(key).or_insert(now);
        if now - since > PREPARING_MS_MAX {
            self.checks.fail(format!("{group} prepares its rebalance on broker {id} since {since}"));
        }
    }

    /// What a coordinator knows is what its log says.
    fn check_log(&mut self, id: i32, group: &str) {
        let now = self.net.now;
        let partition = self.home_of(group).partition;
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let Some(known) = described(broker.ask_groups(now, describe(group))) else { return };
        let Some(mut anew) = broker.read_anew(&self.net, partition) else { return };
        let fetch = requests::fetch(&Str::from(group));
        let live = broker.ask_groups(now, fetch.clone());
        let wall = i64::MAX / 2;
        let read = answer_of(&mut anew, wall, fetch);
        if live != read {
            self.checks.fail(format!("broker {id} has {live:?} for {group}, its log {read:?}"));
        }
        let Some(read) = described(answer_of(&mut anew, wall, describe(group))) else { return };
        let differs = match &known.group_state[..] {
            "Stable" => members_of(&known) != members_of(&read) || read.group_state != "Stable",
            "Empty" => !read.members.is_empty(),
            _ => false,
        };
        if differs {
            self.checks.fail(format!("broker {id} has {known:?}, its log {read:?}"));
        }
    }

    /// How far the job is to come, and has come: inputs with their ends and what is committed.
    fn job_ends(&mut self) -> Vec<(i32, i64, i64)> {
        let found = self.offsets_of(JOB).unwrap_or_default();
        let mut ends = vec![];
        for (n, tp) in (0..).zip(job_inputs()) {
            let log = self.leader_of(&tp).and_then(|leader| self.brokers[&leader].disk.logs.get(&tp));
            let done = found.get(&n).copied().unwrap_or(-1).max(0);
            ends.push((n, log.map_or(0, |log| log.end()), done));
        }
        ends
    }

    /// What the coordinator has committed; `None`: nobody tells.
    fn offsets_of(&mut self, group: &str) -> Option<Offsets> {
        let leader = self.leader_of(&self.home_of(group))?;
        let now = self.net.now;
        let fetch = requests::fetch(&Str::from(group));
        let found = requests::fetched(&self.brokers.get_mut(&leader)?.ask_groups(now, fetch)?).ok()?;
        Some(found.into_iter().filter_map(|(n, offset)| Some((n, offset.ok()?))).collect())
    }

    /// What is not yet as it should be.
    pub(in crate::cluster) fn unsettled_groups(&mut self) -> Option<String> {
        if let Some((n, end, done)) = self.job_ends().into_iter().find(|(_, end, done)| end != done) {
            return Some(format!("the job has come to {done} of input {n}, which ends at {end}"));
        }
        GROUPS.into_iter().find_map(|group| {
            let home = self.home_of(group);
            let members: BTreeSet<Str> = self.members_of(group);
            let now = self.net.now;
            let leader = self.leader_of(&home)?;
            let described = described(self.brokers.get_mut(&leader)?.ask_groups(now, describe(group)));
            let Some(described) = described else { return Some(format!("nobody coordinates {group}")) };
            let known: BTreeSet<Str> = described.members.iter().map(|one| one.member_id.clone()).collect();
            let rests = matches!(&described.group_state[..], "Stable" | "Empty" | "Dead");
            (known != members || !rests).then(|| {
                format!("{group} is {} with {known:?}, and {members:?} are there", described.group_state)
            })
        })
    }

    fn leader_of(&self, tp: &TopicPartition) -> Option<i32> {
        let leads = |life: &crate::cluster::broker::Life| {
            life.replicas.get(tp).is_some_and(|replica| replica.core.is_leader())
        };
        self.brokers.values().find(|broker| broker.up.as_ref().is_some_and(leads)).map(|broker| broker.id)
    }

    fn members_of(&self, group: &str) -> BTreeSet<Str> {
        let member = |client: &Client| match client {
            Client::Committer(one) if one.membership.group() == group => one.membership.settled().cloned(),
            Client::Job(one) if one.membership.group() == group => one.membership.settled().cloned(),
            _ => None,
        };
        self.clients().iter().filter_map(member).collect()
    }

    /// At the end, when all logs are alike.
    pub(in crate::cluster) fn end_groups(&mut self) {
        for group in GROUPS.into_iter() {
            let home = self.home_of(group);
            let Some(leader) = self.leader_of(&home) else { continue };
            self.check_log(leader, group);
            match self.offsets_of(group) {
                Some(found) => self.checks.groups.end(&group.into(), &found),
                None => self.checks.fail(format!("{group} has no offsets at the end")),
            }
        }
        let output = tp(OUTPUT, 0);
        let log = self.leader_of(&output).and_then(|leader| self.brokers[&leader].disk.logs.get(&output));
        let values = log.map(|log| committed(&log.batches)).unwrap_or_default();
        self.checks.groups.output(&values);
        for (n, end, _) in self.job_ends() {
            self.checks.groups.input(n, end);
        }
    }
}

/// What transactions have committed, in the order of a log.
fn committed(batches: &[Stored]) -> Vec<u64> {
    let mut open: BTreeMap<i64, Vec<Stored>> = BTreeMap::new();
    let mut found: BTreeMap<i64, u64> = BTreeMap::new();
    for stored in batches {
        let producer = stored.meta.producer_id;
        match stored.meta.marker {
            None => open.entry(producer).or_default().push(*stored),
            Some(marker) => {
                let ended = open.remove(&producer).unwrap_or_default();
                found.extend(
                    ended.iter().filter(|_| marker.commit).map(|one| (one.meta.base_offset, one.value)),
                );
            }
        }
    }
    found.into_values().collect()
}

fn members_of(group: &DescribedGroup) -> BTreeSet<(&Str, Option<&Str>, &[u8])> {
    group
        .members
        .iter()
        .map(|one| (&one.member_id, one.group_instance_id.as_ref(), &one.member_assignment[..]))
        .collect()
}
