//! Which brokers get the replicas of new partitions.
//!
//! Leaders go round the brokers; followers are shifted against their leader, by one more each time round, so that a
//! dead broker's load spreads over all others. With racks, each rack gets a replica before any gets a second.

use std::collections::{BTreeMap, BTreeSet};

/// A broker that may get replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: i32,
    pub rack: Option<String>,
}

/// Where the round begins: two random numbers for a new topic, the same index twice to go on with a topic's pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Broker index of partition 0's leader.
    pub index: u32,
    /// First shift of followers against their leader.
    pub shift: u32,
    /// The first partition to be assigned.
    pub partition: u32,
}

/// Texts as Kafka's clients see them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    #[error("Number of partitions must be larger than 0.")]
    NoPartitions,
    #[error("Replication factor must be larger than 0.")]
    NoReplicas,
    #[error("Replication factor: {wanted} larger than available brokers: {brokers}.")]
    TooFewBrokers { wanted: i32, brokers: usize },
    #[error("Not all brokers have rack information for replica rack aware assignment.")]
    RacksIncomplete,
}

/// The replicas of `partitions` partitions from `start.partition` on, the preferred leader first. Candidates may come
/// in any order. Racks count if any broker has one.
pub fn assign(
    brokers: &[Candidate],
    partitions: i32,
    replication_factor: i32,
    start: Start,
) -> Result<Vec<Vec<i32>>, AssignmentError> {
    if partitions <= 0 {
        return Err(AssignmentError::NoPartitions);
    }
    if replication_factor <= 0 {
        return Err(AssignmentError::NoReplicas);
    }
    if replication_factor as usize > brokers.len() {
        return Err(AssignmentError::TooFewBrokers { wanted: replication_factor, brokers: brokers.len() });
    }
    let racks = if brokers.iter().all(|broker| broker.rack.is_none()) {
        BTreeMap::new()
    } else {
        let known = brokers.iter().filter_map(|b| Some((b.id, b.rack.as_deref()?)));
        known.collect::<BTreeMap<i32, &str>>()
    };
    if !racks.is_empty() && racks.len() < brokers.len() {
        return Err(AssignmentError::RacksIncomplete);
    }
    let ring = ring(brokers, &racks);
    let rack_count = racks.values().collect::<BTreeSet<_>>().len().max(1);
    let mut shift = start.shift as usize;
    let round = |partition: usize| {
        if partition > 0 && partition.is_multiple_of(ring.len()) {
            shift += 1;
        }
        let first = (partition + start.index as usize) % ring.len();
        replicas(&ring, &racks, first, shift * rack_count, replication_factor as usize)
    };
    let from = start.partition as usize;
    Ok((from..from + partitions as usize).map(round).collect())
}

/// The start that lets added partitions continue the pattern of a topic with `existing` partitions, the first of which
/// has its first replica on `first_replica`.
pub fn start_for_added(brokers: &[Candidate], existing: u32, first_replica: i32) -> Start {
    let mut ids: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
    ids.sort_unstable();
    let at = ids.iter().position(|&id| id >= first_replica).unwrap_or(0) as u32;
    Start { index: at, shift: at, partition: existing }
}

/// Brokers by id, or taken from each rack in turn.
fn ring(brokers: &[Candidate], racks: &BTreeMap<i32, &str>) -> Vec<i32> {
    let mut by_rack: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for broker in brokers {
        by_rack.entry(racks.get(&broker.id).copied().unwrap_or("")).or_default().push(broker.id);
    }
    by_rack.values_mut().for_each(|ids| ids.sort_unstable());
    let longest = by_rack.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| by_rack.values().filter_map(move |ids| ids.get(at).copied())).collect()
}

fn replicas(
    ring: &[i32],
    racks: &BTreeMap<i32, &str>,
    first: usize,
    shift: usize,
    replication_factor: usize,
) -> Vec<i32> {
    let rack_count = racks.values().collect::<BTreeSet<_>>().len();
    let mut chosen = vec![ring[first]];
    let mut racks_used: BTreeSet<&str> = racks.get(&ring[first]).copied().into_iter().collect();
    let mut steps = 0..;
    while chosen.len() < replication_factor {
        let step: usize = steps.next().unwrap_or_default();
        let broker = ring[(first + 1 + (shift + step) % (ring.len() - 1)) % ring.len()];
        let rack = racks.get(&broker).copied();
        let rack_fits = rack.is_none_or(|rack| !racks_used.contains(rack) || racks_used.len() == rack_count);
        if rack_fits && !chosen.contains(&broker) {
            chosen.push(broker);
            racks_used.extend(rack);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
        let candidate =
            |(id, rack): (usize, &Option<&str>)| Candidate { id: id as i32, rack: rack.map(str::to_string) };
        racks.iter().enumerate().map(candidate).collect()
    }

    const ZERO: Start = Start { index: 0, shift: 0, partition: 0 };

    #[test]
    fn without_racks_leaders_rotate_and_followers_shift_each_round() {
        let got = assign(&brokers(&[None; 5]), 10, 3, ZERO).unwrap();
        let want = [
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 0],
            [4, 0, 1],
            [0, 2, 3],
            [1, 3, 4],
            [2, 4, 0],
            [3, 0, 1],
            [4, 1, 2],
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn the_start_moves_leaders_and_followers() {
        let got = assign(&brokers(&[None; 3]), 3, 2, Start { index: 2, shift: 1, partition: 0 }).unwrap();
        assert_eq!(got, [[2, 1], [0, 2], [1, 0]]);
    }

    #[test]
    fn with_racks_every_rack_gets_a_replica_first() {
        let racks = [Some("r1"), Some("r3"), Some("r3"), Some("r2"), Some("r2"), Some("r1")];
        let candidates = brokers(&racks);
        assert_eq!(
            ring(&candidates, &candidates.iter().map(|c| (c.id, c.rack.as_deref().unwrap())).collect()),
            [0, 3, 1, 5, 4, 2]
        );
        for partition in assign(&candidates, 18, 3, ZERO).unwrap() {
            let used: BTreeSet<_> = partition.iter().map(|&id| racks[id as usize]).collect();
            assert_eq!(used.len(), 3, "{partition:?}");
        }
    }

    #[test]
    fn racks_must_be_known_for_all_or_none() {
        let got = assign(&brokers(&[Some("a"), None]), 1, 1, ZERO);
        assert_eq!(got, Err(AssignmentError::RacksIncomplete));
    }

    #[test]
    fn more_replicas_than_brokers_is_refused_in_kafkas_words() {
        let error = assign(&brokers(&[None; 3]), 1, 4, ZERO).unwrap_err();
        assert_eq!(error.to_string(), "Replication factor: 4 larger than available brokers: 3.");
    }

    #[test]
    fn added_partitions_continue_the_pattern() {
        let candidates = brokers(&[None; 4]);
        let all = assign(&candidates, 6, 2, ZERO).unwrap();
        let added = assign(&candidates, 3, 2, start_for_added(&candidates, 3, all[0][0])).unwrap();
        assert_eq!(added, all[3..]);
    }

    #[test]
    fn a_single_broker_holds_everything_alone() {
        assert_eq!(assign(&brokers(&[None]), 3, 1, ZERO).unwrap(), [[0], [0], [0]]);
    }
}
