//! Who leads a partition, and who is in its ISR, given who is there.

use super::state::{Assignment, NO_LEADER, PartitionState};

/// A replica's broker, as elections see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// May lead and follow.
    Online,
    /// Serves what it leads until someone else can, and nothing more.
    ShuttingDown,
    /// No session, or the log directory failed.
    Offline,
}

/// The first state of a new partition: led by its first live replica, all live ones in sync. `None` while there is none.
pub fn first_state(
    assignment: &Assignment,
    controller_epoch: i32,
    liveness: impl Fn(i32) -> Liveness,
) -> Option<PartitionState> {
    let isr: Vec<i32> =
        assignment.replicas.iter().copied().filter(|&id| liveness(id) == Liveness::Online).collect();
    Some(PartitionState {
        controller_epoch,
        leader: *isr.first()?,
        leader_epoch: 0,
        isr,
        recovering: false,
        version: 0,
    })
}

/// How leaders are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub controller_epoch: i32,
    /// A replica may lead that may lack some.
    pub unclean: bool,
    /// That it may is written down.
    pub recovery: bool,
}

/// What a new controller makes of a partition some of whose replicas are away, before it looks for a leader: as Java, it
/// takes them out of the ISR one after the other, each under a leader epoch of its own, and the leader is none when its
/// turn has come. The last one in sync stays. `None` when nobody of the ISR is away.
pub fn without_the_lost(
    assignment: &Assignment,
    state: &PartitionState,
    controller_epoch: i32,
    liveness: impl Fn(i32) -> Liveness,
) -> Option<PartitionState> {
    let mut lost: Vec<i32> = assignment.replicas.clone();
    lost.retain(|&id| liveness(id) == Liveness::Offline && state.isr.contains(&id));
    lost.sort_unstable();
    let mut fallen = PartitionState { controller_epoch, ..state.clone() };
    for id in lost {
        fallen.leader_epoch += 1;
        if fallen.leader == id {
            fallen.leader = NO_LEADER;
        }
        // The last of those who are still to have the data stays, also beside one that a move has left behind.
        if fallen.isr.iter().any(|&member| member != id && assignment.replicas.contains(&member)) {
            fallen.isr.retain(|&member| member != id);
        }
    }
    (fallen.leader_epoch != state.leader_epoch).then_some(fallen)
}

/// The state as it should be after brokers came or went, or replicas were taken from the assignment; `None` if it may
/// stay. The ISR never becomes empty: its last member has the data, dead or not.
pub fn reassess(
    assignment: &Assignment,
    state: &PartitionState,
    rules: Rules,
    liveness: impl Fn(i32) -> Liveness,
) -> Option<PartitionState> {
    let assigned = |id: &i32| assignment.replicas.contains(id);
    let online = |id: &i32| liveness(*id) == Liveness::Online && assigned(id);
    // Nearly all partitions, nearly always.
    if state.isr.contains(&state.leader) && state.isr.iter().all(online) {
        return None;
    }
    let mut replicas = assignment.replicas.iter().copied();
    let in_sync = replicas.clone().find(|id| online(id) && state.isr.contains(id));
    let mut recovering = state.recovering;
    let mut isr: Vec<i32> = state.isr.iter().copied().filter(online).collect();
    let leader = if online(&state.leader) {
        state.leader
    } else if let Some(in_sync) = in_sync {
        in_sync
    } else if assigned(&state.leader) && liveness(state.leader) == Liveness::ShuttingDown {
        state.leader
    } else if let Some(first) = replicas.find(online).filter(|_| rules.unclean) {
        recovering = rules.recovery;
        isr = vec![first];
        first
    } else {
        NO_LEADER
    };
    if leader != NO_LEADER && !isr.contains(&leader) {
        isr.insert(0, leader);
    }
    if isr.is_empty() {
        let mut members = state.isr.iter().copied().filter(assigned);
        let last = members.clone().find(|&id| id == state.leader).or(members.next_back());
        isr.extend(last.or(state.isr.last().copied()));
    }
    (leader != state.leader || isr != state.isr).then(|| PartitionState {
        controller_epoch: rules.controller_epoch,
        leader,
        leader_epoch: state.leader_epoch + 1,
        isr,
        recovering,
        version: state.version,
    })
}

/// Whether the new leader was not in sync, so that it may lack records.
pub fn is_unclean(before: &PartitionState, after: &PartitionState) -> bool {
    after.leader != NO_LEADER && after.leader != before.leader && !before.isr.contains(&after.leader)
}

/// The same state under a new leader epoch, so that replicas listen to a new assignment.
pub fn renewed(state: &PartitionState, controller_epoch: i32) -> PartitionState {
    PartitionState { controller_epoch, leader_epoch: state.leader_epoch + 1, ..state.clone() }
}

/// The state led by the preferred replica: the first of the assignment. `None` if that one cannot lead.
pub fn preferred(
    assignment: &Assignment,
    state: &PartitionState,
    controller_epoch: i32,
    liveness: impl Fn(i32) -> Liveness,
) -> Option<PartitionState> {
    let leader = *assignment.replicas.first()?;
    let able = liveness(leader) == Liveness::Online && state.isr.contains(&leader);
    able.then(|| PartitionState {
        controller_epoch,
        leader,
        leader_epoch: state.leader_epoch + 1,
        ..state.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(replicas: &[i32]) -> Assignment {
        Assignment { replicas: replicas.to_vec(), ..Assignment::default() }
    }

    fn state(leader: i32, isr: &[i32]) -> PartitionState {
        let isr = isr.to_vec();
        PartitionState { controller_epoch: 1, leader, leader_epoch: 4, isr, recovering: false, version: 9 }
    }

    fn rules(unclean: bool) -> Rules {
        Rules { controller_epoch: 2, unclean, recovery: true }
    }

    fn live(online: &'static [i32], shutting_down: &'static [i32]) -> impl Fn(i32) -> Liveness {
        move |id| {
            if online.contains(&id) {
                Liveness::Online
            } else if shutting_down.contains(&id) {
                Liveness::ShuttingDown
            } else {
                Liveness::Offline
            }
        }
    }

    fn check(
        isr: (i32, &[i32]),
        unclean: bool,
        liveness: impl Fn(i32) -> Liveness,
    ) -> Option<(i32, Vec<i32>)> {
        let new = reassess(&assigned(&[1, 2, 3]), &state(isr.0, isr.1), rules(unclean), liveness)?;
        assert_eq!((new.leader_epoch, new.version, new.controller_epoch), (5, 9, 2));
        Some((new.leader, new.isr))
    }

    #[test]
    fn the_first_live_replica_leads_a_new_partition() {
        let first = first_state(&assigned(&[3, 1, 2]), 7, live(&[1, 2], &[])).unwrap();
        assert_eq!((first.leader, first.isr.as_slice(), first.leader_epoch), (1, [1, 2].as_slice(), 0));
        assert_eq!(first_state(&assigned(&[3]), 7, live(&[1], &[])), None);
    }

    #[test]
    fn a_dead_leader_is_replaced_from_the_isr_in_the_order_of_the_assignment() {
        assert_eq!(check((1, &[3, 2, 1]), false, live(&[2, 3], &[])), Some((2, vec![3, 2])));
        assert_eq!(check((1, &[1, 3]), false, live(&[2, 3], &[])), Some((3, vec![3])));
    }

    #[test]
    fn a_dead_follower_leaves_the_isr() {
        assert_eq!(check((1, &[1, 2, 3]), false, live(&[1, 3], &[])), Some((1, vec![1, 3])));
        assert_eq!(check((1, &[1, 3]), false, live(&[1, 3], &[])), None, "2 was not in it");
    }

    #[test]
    fn the_last_member_stays_in_the_isr_without_leading() {
        assert_eq!(check((1, &[1]), false, live(&[2, 3], &[])), Some((-1, vec![1])));
        assert_eq!(check((-1, &[1]), false, live(&[2, 3], &[])), None);
        assert_eq!(check((-1, &[1]), false, live(&[1, 2], &[])), Some((1, vec![1])), "until it is back");
        assert_eq!(check((2, &[1, 2]), false, live(&[], &[])), Some((-1, vec![2])));
    }

    #[test]
    fn an_unclean_election_takes_anyone_alive() {
        assert_eq!(check((1, &[1]), true, live(&[2, 3], &[])), Some((2, vec![2])));
        let new = reassess(&assigned(&[1, 2]), &state(-1, &[1]), rules(true), live(&[2], &[])).unwrap();
        assert!(new.recovering);
        assert!(is_unclean(&state(-1, &[1]), &new));
        let clean = reassess(&assigned(&[1, 2]), &state(1, &[1, 2]), rules(true), live(&[2], &[])).unwrap();
        assert!(!is_unclean(&state(1, &[1, 2]), &clean));
    }

    #[test]
    fn a_broker_that_shuts_down_hands_over_what_it_can() {
        assert_eq!(check((1, &[1, 2]), false, live(&[2, 3], &[1])), Some((2, vec![2])));
        assert_eq!(check((1, &[1]), false, live(&[2, 3], &[1])), None, "nobody else is in sync");
        assert_eq!(check((1, &[1]), true, live(&[2, 3], &[1])), None, "and that is no case for data loss");
        assert_eq!(check((2, &[1, 2]), false, live(&[2, 3], &[1])), Some((2, vec![2])));
    }

    #[test]
    fn who_is_no_longer_assigned_neither_leads_nor_stays_in_the_isr() {
        let check = |isr: (i32, &[i32]), online| {
            reassess(&assigned(&[3, 2]), &state(isr.0, isr.1), rules(false), live(online, &[]))
                .map(|new| (new.leader, new.isr))
        };
        assert_eq!(check((1, &[1, 2, 3]), &[1, 2, 3]), Some((3, vec![2, 3])));
        assert_eq!(check((2, &[1, 2, 3]), &[1, 2, 3]), Some((2, vec![2, 3])));
        assert_eq!(check((1, &[1, 2]), &[1]), Some((-1, vec![2])));
    }

    #[test]
    fn the_preferred_leader_must_be_in_sync() {
        let elect = |isr: &[i32]| preferred(&assigned(&[1, 2]), &state(2, isr), 2, live(&[1, 2], &[]));
        assert_eq!(elect(&[2]), None);
        assert_eq!(elect(&[2, 1]).map(|new| (new.leader, new.isr)), Some((1, vec![2, 1])));
    }

    #[test]
    fn a_new_controller_takes_the_lost_out_one_by_one_before_it_looks_for_a_leader() {
        let check = |leader: i32, isr: &[i32], online: &'static [i32]| {
            let before = state(leader, isr);
            let fallen = without_the_lost(&assigned(&[1, 2, 3]), &before, 2, live(online, &[]))?;
            let elected = reassess(&assigned(&[1, 2, 3]), &fallen, rules(false), live(online, &[]));
            let after = elected.unwrap_or(fallen);
            assert_eq!((after.controller_epoch, after.version), (2, 9));
            Some((after.leader, after.leader_epoch, after.isr))
        };
        assert_eq!(check(1, &[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(
            check(1, &[1, 2, 3], &[2, 3]),
            Some((2, 6, vec![2, 3])),
            "once for the loss, once for the leader"
        );
        assert_eq!(check(1, &[1, 2, 3], &[1]), Some((1, 6, vec![1])), "once for each that is lost");
        assert_eq!(check(1, &[1, 2], &[3]), Some((-1, 6, vec![2])), "the last one in sync stays");
        assert_eq!(check(-1, &[1], &[2]), Some((-1, 5, vec![1])), "as Java, again and again");
    }

    #[test]
    fn the_last_one_that_is_lost_stays_where_all_others_are_assigned_no_longer() {
        let fallen = without_the_lost(&assigned(&[2, 3]), &state(1, &[1, 2, 3]), 2, live(&[1], &[])).unwrap();
        assert_eq!(fallen.isr, [1, 3]);
        let after = reassess(&assigned(&[2, 3]), &fallen, rules(false), live(&[1], &[])).unwrap();
        assert_eq!((after.leader, after.isr), (NO_LEADER, vec![3]), "its data is not lost to one without");
    }

    #[test]
    fn before_three_two_nobody_writes_that_a_leader_may_lack_some() {
        let old = Rules { recovery: false, ..rules(true) };
        let new = reassess(&assigned(&[1, 2]), &state(-1, &[1]), old, live(&[2], &[])).unwrap();
        assert_eq!((new.leader, new.recovering), (2, false));
    }
}
