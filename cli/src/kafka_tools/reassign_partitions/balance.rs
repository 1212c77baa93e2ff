//! `--balance`: moves that even out the bytes on the brokers, as few of them as will do. A plan is printed, as
//! `--generate` prints one, with those partitions alone that it moves.
//!
//! Replicas on brokers that are not to have any go first; then partitions that could be on more racks than they are;
//! then, again and again, the replica whose move evens out the fullest and the emptiest broker best, as long as the
//! gap gets smaller by something that is worth a move. A move never lessens the racks that a partition is on. At last
//! the replicas that stay are put in an order in which each broker is preferred as leader about equally often.

use super::{Failure, execute, generate, json};
use broker::assignment::Candidate;
use client::cluster::Target;
use client::{Admin, TopicPartition};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::DescribeLogDirsRequest;

/// What a replica counts besides its bytes, so that empty ones are spread as well.
const REPLICA_COST: u64 = 4096;
/// Gaps smaller than one in so many of a broker's mean load stay.
const TOLERANCE: u64 = 20;

/// One partition: its replicas, the preferred leader first, and the bytes of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub replicas: Vec<i32>,
    pub bytes: u64,
}

type Placement = BTreeMap<TopicPartition, Placed>;

pub async fn propose(
    admin: &Admin,
    topics: Option<Vec<Str>>,
    broker_list: Option<&str>,
    racks: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let metadata = admin.metadata(None).await?;
    let ids = match broker_list {
        Some(list) => generate::broker_list(list)?,
        None => metadata.brokers.keys().copied().collect(),
    };
    if let Some(unknown) = ids.iter().find(|id| !metadata.brokers.contains_key(id)) {
        return Err(Failure::refused(format!("Unknown broker id {unknown}")));
    }
    let brokers = generate::candidates(admin, &ids, racks).await?;
    let sizes = sizes(admin, metadata.brokers.keys().copied()).await?;
    let all: Vec<Str> = metadata.topics.keys().cloned().collect();
    let current: Placement = execute::assignments(admin, all.iter())
        .await?
        .into_iter()
        .map(|(partition, replicas)| {
            let bytes = sizes.get(&partition).copied().unwrap_or(0);
            (partition, Placed { replicas, bytes })
        })
        .collect();
    let movable =
        |partition: &TopicPartition| topics.as_ref().is_none_or(|topics| topics.contains(&partition.topic));
    let proposed = balance(&current, &brokers, movable);
    show(&current, &proposed, as_json);
    Ok(())
}

/// Bytes of each partition's largest replica.
async fn sizes(
    admin: &Admin,
    brokers: impl Iterator<Item = i32>,
) -> Result<BTreeMap<TopicPartition, u64>, Failure> {
    let mut sizes = BTreeMap::new();
    for broker in brokers {
        let request = DescribeLogDirsRequest { topics: None };
        let response = admin.call(&Target::Broker(broker), &request, |response| response.error_code).await?;
        for topic in response.results.into_iter().flat_map(|dir| dir.topics) {
            for partition in topic.partitions.iter().filter(|partition| !partition.is_future_key) {
                let key = TopicPartition::new(topic.name.clone(), partition.partition_index);
                let size: &mut u64 = sizes.entry(key).or_default();
                *size = (*size).max(u64::try_from(partition.partition_size).unwrap_or(0));
            }
        }
    }
    Ok(sizes)
}

fn loads(placement: &Placement) -> BTreeMap<i32, u64> {
    let mut loads = BTreeMap::new();
    for placed in placement.values() {
        for &id in &placed.replicas {
            *loads.entry(id).or_default() += placed.bytes;
        }
    }
    loads
}

fn show(current: &Placement, proposed: &Placement, as_json: bool) {
    let changed = |of: &Placement| -> BTreeMap<TopicPartition, Vec<i32>> {
        of.iter()
            .filter(|(partition, _)| current[*partition].replicas != proposed[*partition].replicas)
            .map(|(partition, placed)| (partition.clone(), placed.replicas.clone()))
            .collect()
    };
    let moved: u64 = proposed
        .iter()
        .map(|(partition, placed)| {
            let old = &current[partition].replicas;
            let new = placed.replicas.iter().filter(|id| !old.contains(id)).count();
            placed.bytes * new as u64
        })
        .sum();
    let (before, after) = (loads(current), loads(proposed));
    let ids: BTreeSet<i32> = before.keys().chain(after.keys()).copied().collect();
    let of = |loads: &BTreeMap<i32, u64>, id: i32| loads.get(&id).copied().unwrap_or(0);
    let (old, new) = (json::assignments(&changed(current)), json::assignments(&changed(proposed)));
    if as_json {
        let brokers: Vec<_> = ids
            .iter()
            .map(|&id| json!({ "broker": id, "bytes": of(&before, id), "bytes_after": of(&after, id) }))
            .collect();
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
        let all = json!({
            "current": parsed(&old), "proposed": parsed(&new), "brokers": brokers, "bytes_to_move": moved,
        });
        println!("{all}");
        return;
    }
    println!("Current partition replica assignment\n{old}\n");
    println!("Proposed partition reassignment configuration\n{new}\n");
    println!("Bytes to move: {moved}");
    for id in ids {
        println!("Broker {id}: {} bytes, then {}", of(&before, id), of(&after, id));
    }
}

/// Where partitions should be. Only `movable` ones change.
pub fn balance(
    current: &Placement,
    brokers: &[Candidate],
    movable: impl Fn(&TopicPartition) -> bool,
) -> Placement {
    let mut plan = Plan::new(current.clone(), brokers);
    let partitions: Vec<TopicPartition> =
        current.keys().filter(|partition| movable(partition)).cloned().collect();
    plan.evacuate(&partitions);
    plan.widen(&partitions);
    plan.even_out(&partitions);
    plan.order(&partitions, current);
    plan.placement
}

struct Plan<'a> {
    placement: Placement,
    racks: BTreeMap<i32, Option<&'a str>>,
    /// Of the brokers that may have replicas.
    loads: BTreeMap<i32, u64>,
}

impl<'a> Plan<'a> {
    fn new(placement: Placement, brokers: &'a [Candidate]) -> Plan<'a> {
        let mut loads: BTreeMap<i32, u64> = brokers.iter().map(|broker| (broker.id, 0)).collect();
        for placed in placement.values() {
            for id in &placed.replicas {
                if let Some(load) = loads.get_mut(id) {
                    *load += placed.bytes + REPLICA_COST;
                }
            }
        }
        let racks = brokers.iter().map(|broker| (broker.id, broker.rack.as_deref())).collect();
        Plan { placement, racks, loads }
    }

    /// Distinct racks among these brokers; a broker without a rack counts as none.
    fn spread(&self, replicas: &[i32]) -> usize {
        let racks: BTreeSet<&str> =
            replicas.iter().filter_map(|id| self.racks.get(id).copied().flatten()).collect();
        racks.len()
    }

    fn replaced(&self, partition: &TopicPartition, from: i32, to: i32) -> Vec<i32> {
        let replicas = &self.placement[partition].replicas;
        replicas.iter().map(|&id| if id == from { to } else { id }).collect()
    }

    fn shift(&mut self, partition: &TopicPartition, from: i32, to: i32) {
        let replicas = self.replaced(partition, from, to);
        let Some(placed) = self.placement.get_mut(partition) else { return };
        placed.replicas = replicas;
        let cost = placed.bytes + REPLICA_COST;
        if let Some(load) = self.loads.get_mut(&from) {
            *load = load.saturating_sub(cost);
        }
        *self.loads.entry(to).or_default() += cost;
    }

    /// The best broker for a replica instead of `from`: the most racks first, then the least load.
    fn best_place(&self, partition: &TopicPartition, from: i32) -> Option<(usize, i32)> {
        let replicas = &self.placement[partition].replicas;
        let free = self.loads.iter().filter(|(id, _)| !replicas.contains(id));
        let rated = free
            .map(|(&id, &load)| (usize::MAX - self.spread(&self.replaced(partition, from, id)), load, id));
        rated.min().map(|(racks, _, id)| (usize::MAX - racks, id))
    }

    fn evacuate(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            for from in self.placement[partition].replicas.clone() {
                if !self.loads.contains_key(&from)
                    && let Some((_, to)) = self.best_place(partition, from)
                {
                    self.shift(partition, from, to);
                }
            }
        }
    }

    fn widen(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            let replicas = self.placement[partition].replicas.clone();
            for from in replicas.into_iter().rev() {
                let now = self.spread(&self.placement[partition].replicas);
                if let Some((racks, to)) = self.best_place(partition, from).filter(|(racks, _)| *racks > now)
                {
                    debug_assert!(racks > now);
                    self.shift(partition, from, to);
                }
            }
        }
    }

    fn even_out(&mut self, partitions: &[TopicPartition]) {
        let total: u64 = self.loads.values().sum();
        let tolerance = (total / self.loads.len().max(1) as u64 / TOLERANCE).max(REPLICA_COST);
        // Each move makes a gap smaller; the bound is for the proof's sake.
        for _ in 0..partitions.len() * 8 {
            let mut pairs: Vec<(u64, i32, i32)> = Vec::new();
            for (&from, &high) in &self.loads {
                let gaps = self.loads.iter().filter(|(_, low)| high > **low + tolerance);
                pairs.extend(gaps.map(|(&to, &low)| (high - low, from, to)));
            }
            pairs.sort_by(|a, b| b.cmp(a));
            let found = pairs.iter().find_map(|&(gap, from, to)| {
                self.best_move(partitions, gap, from, to).map(|partition| (partition, from, to))
            });
            let Some((partition, from, to)) = found else { return };
            self.shift(&partition, from, to);
        }
    }

    /// The partition whose replica on `from` fills half of the gap best.
    fn best_move(
        &self,
        partitions: &[TopicPartition],
        gap: u64,
        from: i32,
        to: i32,
    ) -> Option<TopicPartition> {
        let fits = partitions.iter().filter(|partition| {
            let placed = &self.placement[*partition];
            placed.bytes + REPLICA_COST < gap
                && placed.replicas.contains(&from)
                && !placed.replicas.contains(&to)
                && self.spread(&self.replaced(partition, from, to)) >= self.spread(&placed.replicas)
        });
        let miss =
            |partition: &&TopicPartition| (self.placement[*partition].bytes + REPLICA_COST).abs_diff(gap / 2);
        fits.min_by_key(miss).cloned()
    }

    /// New replicas come last; then the first is chosen where a broker leads too much.
    fn order(&mut self, partitions: &[TopicPartition], current: &Placement) {
        let mut led: BTreeMap<i32, usize> = BTreeMap::new();
        for placed in self.placement.values() {
            *led.entry(placed.replicas.first().copied().unwrap_or(-1)).or_default() += 1;
        }
        for partition in partitions {
            let Some(placed) = self.placement.get_mut(partition) else { continue };
            let Some(&first) = placed.replicas.first() else { continue };
            let moved = placed.replicas != current[partition].replicas;
            let count = |id: i32| led.get(&id).copied().unwrap_or(0);
            let least = placed.replicas.iter().copied().min_by_key(|&id| (count(id), id != first, id));
            // Another order for its own sake is worth it where the difference is more than one.
            if let Some(least) = least
                && count(first) > count(least) + usize::from(!moved)
            {
                *led.entry(first).or_default() -= 1;
                *led.entry(least).or_default() += 1;
                placed.replicas.retain(|&id| id != least);
                placed.replicas.insert(0, least);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn brokers(racks: &[(i32, &str)]) -> Vec<Candidate> {
        let rack = |rack: &str| (!rack.is_empty()).then(|| rack.to_owned());
        racks.iter().map(|&(id, name)| Candidate { id, rack: rack(name) }).collect()
    }

    fn placement(partitions: &[(&[i32], u64)]) -> Placement {
        let one = |(index, &(replicas, bytes)): (i32, &(&[i32], u64))| {
            (TopicPartition::new("t", index), Placed { replicas: replicas.to_vec(), bytes })
        };
        (0..).zip(partitions).map(one).collect()
    }

    fn moves(before: &Placement, after: &Placement) -> usize {
        let new = |(partition, placed): (&TopicPartition, &Placed)| {
            placed.replicas.iter().filter(|id| !before[partition].replicas.contains(id)).count()
        };
        after.iter().map(new).sum()
    }

    #[test]
    fn what_is_even_stays() {
        let before = placement(&[(&[1, 2], MB), (&[2, 3], MB), (&[3, 1], MB)]);
        assert_eq!(balance(&before, &brokers(&[(1, ""), (2, ""), (3, "")]), |_| true), before);
    }

    #[test]
    fn a_new_broker_gets_its_share_and_nothing_else_moves() {
        let before = placement(&[
            (&[1, 2], MB),
            (&[2, 1], MB),
            (&[1, 2], MB),
            (&[2, 1], MB),
            (&[1, 2], MB),
            (&[2, 1], MB),
        ]);
        let after = balance(&before, &brokers(&[(1, ""), (2, ""), (3, "")]), |_| true);
        assert_eq!(loads(&after).into_values().collect::<Vec<_>>(), [4 * MB; 3]);
        assert_eq!(moves(&before, &after), 4);
    }

    #[test]
    fn bytes_count_not_partitions() {
        let before = placement(&[(&[1], 9 * MB), (&[1], MB), (&[1], 2 * MB), (&[2], MB), (&[1], 6 * MB)]);
        let after = balance(&before, &brokers(&[(1, ""), (2, "")]), |_| true);
        let loads: Vec<u64> = loads(&after).into_values().collect();
        assert!(loads[0].abs_diff(loads[1]) <= MB, "{loads:?}");
    }

    #[test]
    fn a_broker_that_is_not_listed_is_emptied() {
        let before = placement(&[(&[1, 2], MB), (&[2, 3], MB), (&[3, 1], MB)]);
        let after = balance(&before, &brokers(&[(1, ""), (2, ""), (4, "")]), |_| true);
        assert!(after.values().all(|placed| !placed.replicas.contains(&3)));
        assert_eq!(moves(&before, &after), 2);
        assert_eq!(loads(&after)[&4], 2 * MB);
    }

    #[test]
    fn a_partition_is_spread_over_racks_and_stays_so() {
        let racks = brokers(&[(1, "a"), (2, "a"), (3, "b"), (4, "b")]);
        let before = placement(&[(&[1, 2], MB), (&[3, 4], MB), (&[1, 3], 5 * MB), (&[2, 3], 5 * MB)]);
        let after = balance(&before, &racks, |_| true);
        let rack =
            |id: &i32| racks.iter().find(|broker| broker.id == *id).and_then(|broker| broker.rack.clone());
        for placed in after.values() {
            let distinct: BTreeSet<_> = placed.replicas.iter().map(rack).collect();
            assert_eq!(distinct.len(), 2, "{after:?}");
        }
        assert!(loads(&after)[&4] >= 5 * MB, "{after:?}");
    }

    #[test]
    fn only_the_topics_named_move() {
        let before = placement(&[(&[1], MB), (&[1], MB), (&[1], MB)]);
        let after = balance(&before, &brokers(&[(1, ""), (2, "")]), |partition| partition.partition == 2);
        let moved: Vec<i32> =
            after.iter().filter(|(p, placed)| before[*p] != **placed).map(|(p, _)| p.partition).collect();
        assert_eq!(moved, [2]);
    }

    #[test]
    fn leaders_are_spread_too() {
        let before = placement(&[(&[1, 2], MB), (&[1, 2], MB), (&[1, 2], MB), (&[1, 2], MB)]);
        let after = balance(&before, &brokers(&[(1, ""), (2, "")]), |_| true);
        assert_eq!(moves(&before, &after), 0);
        assert_eq!(after.values().filter(|placed| placed.replicas[0] == 1).count(), 2);
    }
}
