//! The sticky assignors: members keep as much of what they own as a balanced assignment allows.

use super::{Assignment, Subscriber, nothing, subscribed};
use crate::TopicPartition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::Str;

/// Who owns a partition, by what the members say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    One(Str, i32),
    /// Two members of one generation claim it: neither is believed.
    Contested(i32),
}

fn owners(members: &[Subscriber]) -> BTreeMap<&TopicPartition, Owner> {
    let mut owners: BTreeMap<&TopicPartition, Owner> = BTreeMap::new();
    for member in members {
        for partition in &member.owned {
            let since = owners.get(partition).map(|owner| match owner {
                Owner::One(_, generation) | Owner::Contested(generation) => *generation,
            });
            let owner = match since {
                Some(since) if since > member.generation => continue,
                Some(since) if since == member.generation => Owner::Contested(since),
                _ => Owner::One(member.member_id.clone(), member.generation),
            };
            owners.insert(partition, owner);
        }
    }
    owners
}

/// What each member may keep: it exists, the member subscribes to it, and nobody else has a better claim.
fn kept(members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Assignment {
    let owners = owners(members);
    let mut kept = nothing(members);
    for member in members {
        let topics: BTreeSet<&Str> = member.topics.iter().collect();
        let mine = member.owned.iter().filter(|partition| {
            let exists = partitions
                .get(&partition.topic)
                .is_some_and(|count| (0..*count).contains(&partition.partition));
            let own =
                matches!(owners.get(partition), Some(Owner::One(owner, _)) if *owner == member.member_id);
            exists && own && topics.contains(&partition.topic)
        });
        kept.get_mut(&member.member_id).expect("every member has an entry").extend(mine.cloned());
    }
    kept
}

pub(super) fn assign(members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Assignment {
    let kept = kept(members, partitions);
    let all = subscribed(members, partitions);
    let topics = |member: &Subscriber| member.topics.iter().cloned().collect::<BTreeSet<Str>>();
    let first = members.first().map(topics).unwrap_or_default();
    match members.iter().all(|member| topics(member) == first) {
        true => alike(kept, all),
        false => Balance::new(members, kept, all).found(),
    }
}

/// All subscribe to the same topics: each gets as many as all the others, or one more.
fn alike(mut assignment: Assignment, all: Vec<TopicPartition>) -> Assignment {
    let Some(members) = std::num::NonZeroUsize::new(assignment.len()) else { return assignment };
    let least = all.len() / members;
    let most = all.len().div_ceil(members.get());
    let mut more_left = all.len() % members;
    // Who has too little, and who may get one more than the least.
    let (mut poor, mut even) = (Vec::new(), VecDeque::new());
    for (member, own) in &mut assignment {
        if own.len() < least {
            poor.push(member.clone());
        } else if own.len() >= most && more_left > 0 {
            more_left -= 1;
            own.truncate(most);
        } else {
            own.truncate(least);
            even.push_back(member.clone());
        }
    }
    let dealt: BTreeSet<TopicPartition> = assignment.values().flatten().cloned().collect();
    let mut turn = 0;
    for partition in all.into_iter().filter(|partition| !dealt.contains(partition)) {
        let member = match (turn < poor.len(), poor.is_empty()) {
            (true, _) => poor[turn].clone(),
            (false, false) => {
                turn = 0;
                poor[0].clone()
            }
            (false, true) => even.pop_front().expect("there are as many places as partitions"),
        };
        let own = assignment.get_mut(&member).expect("every member has an entry");
        own.push(partition);
        if turn < poor.len() {
            if own.len() == least {
                even.push_back(poor.remove(turn));
            } else {
                turn += 1;
            }
        }
    }
    assignment
}

/// Members subscribe to different topics: who has less gets more, as long as that brings two closer to each other.
struct Balance<'a> {
    /// Who may have the partitions of a topic.
    takers: BTreeMap<&'a Str, Vec<&'a Str>>,
    sizes: BTreeMap<&'a Str, usize>,
    /// With whether its owner had it before.
    owner: BTreeMap<TopicPartition, (&'a Str, bool)>,
    left: Vec<TopicPartition>,
}

impl<'a> Balance<'a> {
    fn new(members: &'a [Subscriber], kept: Assignment, mut all: Vec<TopicPartition>) -> Balance<'a> {
        let mut takers: BTreeMap<&Str, Vec<&Str>> = BTreeMap::new();
        for member in members {
            for topic in member.topics.iter().collect::<BTreeSet<_>>() {
                takers.entry(topic).or_default().push(&member.member_id);
            }
        }
        takers.values_mut().for_each(|all| all.sort());
        let sizes = members.iter().map(|member| (&member.member_id, kept[&member.member_id].len())).collect();
        let owner: BTreeMap<TopicPartition, (&Str, bool)> = (members.iter())
            .flat_map(|member| {
                kept[&member.member_id].iter().map(|own| (own.clone(), (&member.member_id, true)))
            })
            .collect();
        all.retain(|partition| !owner.contains_key(partition));
        // Those with few takers first: the others have more choice afterwards.
        all.sort_by_key(|partition| takers[&partition.topic].len());
        Balance { takers, sizes, owner, left: all }
    }

    /// The poorest of those who may have it.
    fn poorest(&self, partition: &TopicPartition) -> &'a Str {
        let takers = self.takers[&partition.topic].iter();
        takers.min_by_key(|member| self.sizes[*member]).expect("somebody subscribes to it")
    }

    fn give(&mut self, partition: &TopicPartition, to: &'a Str) {
        *self.sizes.get_mut(to).expect("every member has a size") += 1;
        if let Some((from, _)) = self.owner.insert(partition.clone(), (to, false)) {
            *self.sizes.get_mut(from).expect("every member has a size") -= 1;
        }
    }

    /// One round over what was (not) its owner's before; whether something moved.
    fn level(&mut self, had_before: bool) -> bool {
        let mut moved = false;
        for partition in self.owner.keys().cloned().collect::<Vec<_>>() {
            let (owner, before) = self.owner[&partition];
            let to = self.poorest(&partition);
            if before == had_before && self.sizes[to] + 1 < self.sizes[owner] {
                self.give(&partition, to);
                moved = true;
            }
        }
        moved
    }

    fn found(mut self) -> Assignment {
        for partition in std::mem::take(&mut self.left) {
            let to = self.poorest(&partition);
            self.give(&partition, to);
        }
        // Every move makes the sum of the squares smaller, so this ends.
        while self.level(false) || self.level(true) {}
        let mut assignment: Assignment =
            self.sizes.keys().map(|member| ((*member).clone(), Vec::new())).collect();
        for (partition, (owner, _)) in self.owner {
            assignment.get_mut(owner).expect("every member has an entry").push(partition);
        }
        assignment
    }
}

/// Takes out what another member owns still: it gets that when the other has let go, in the next round.
pub(super) fn withhold(members: &[Subscriber], assignment: &mut Assignment) {
    let owners = owners(members);
    for (member, own) in assignment {
        own.retain(|partition| match owners.get(partition) {
            None => true,
            Some(Owner::One(owner, _)) => owner == member,
            Some(Owner::Contested(_)) => false,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Assignor;
    use super::*;

    pub fn shown(assignment: &Assignment) -> String {
        let line = |(id, all): (&Str, &Vec<TopicPartition>)| {
            format!("{id}: {}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assignment.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// `a`'s partitions, of topics of a letter.
    fn member(id: &'static str, topics: &str, owned: &str, generation: i32) -> Subscriber {
        let partition = |text: &str| {
            let (topic, partition) = text.split_once('-').unwrap();
            TopicPartition::new(topic, partition.parse().unwrap())
        };
        Subscriber {
            member_id: id.into(),
            instance_id: None,
            topics: topics.split_whitespace().map(Str::from).collect(),
            owned: owned.split_whitespace().map(partition).collect(),
            generation,
        }
    }

    fn dealt(assignor: Assignor, members: &[Subscriber], partitions: &[(&'static str, i32)]) -> String {
        let partitions = partitions.iter().map(|(topic, count)| (Str::from_static(topic), *count)).collect();
        shown(&assignor.assign(members, &partitions))
    }

    #[test]
    fn at_first_the_partitions_go_round() {
        let members = [member("b", "t", "", -1), member("a", "t", "", -1)];
        assert_eq!(dealt(Assignor::Sticky, &members, &[("t", 5)]), "a: t-0 t-2 t-4; b: t-1 t-3");
        assert_eq!(dealt(Assignor::CooperativeSticky, &members, &[("t", 1)]), "a: t-0; b: ");
        assert_eq!(dealt(Assignor::Sticky, &[], &[("t", 1)]), "");
    }

    #[test]
    fn who_comes_gets_what_the_others_have_too_much() {
        let members =
            [member("a", "t", "t-0 t-2 t-4", 1), member("b", "t", "t-1 t-3", 1), member("c", "t", "", -1)];
        assert_eq!(dealt(Assignor::Sticky, &members, &[("t", 6)]), "a: t-0 t-2; b: t-1 t-3; c: t-4 t-5");
        // c waits for t-4 until a has let go; nobody has t-5.
        assert_eq!(
            dealt(Assignor::CooperativeSticky, &members, &[("t", 6)]),
            "a: t-0 t-2; b: t-1 t-3; c: t-5"
        );
    }

    #[test]
    fn of_two_claims_the_later_generation_counts_and_of_equal_ones_neither() {
        let members = [member("a", "t", "t-0", 1), member("b", "t", "t-0", 2)];
        assert_eq!(dealt(Assignor::CooperativeSticky, &members, &[("t", 2)]), "a: t-1; b: t-0");
        let members = [member("a", "t", "t-0", 2), member("b", "t", "t-0", 2)];
        assert_eq!(dealt(Assignor::CooperativeSticky, &members, &[("t", 2)]), "a: ; b: t-1");
    }

    #[test]
    fn different_subscriptions_are_levelled_and_what_is_owned_stays() {
        let members =
            [member("a", "t u", "t-0 t-1 u-0 u-1", 3), member("b", "u", "", -1), member("c", "t", "", -1)];
        assert_eq!(
            dealt(Assignor::Sticky, &members, &[("t", 3), ("u", 2)]),
            "a: t-1 u-1; b: u-0; c: t-0 t-2",
        );
        // What is gone, or no longer subscribed to, is not kept.
        let members = [member("a", "u", "t-0 u-0 u-9", 3), member("b", "t u", "", -1)];
        assert_eq!(dealt(Assignor::Sticky, &members, &[("t", 1), ("u", 1)]), "a: u-0; b: t-0");
    }

    #[test]
    fn assignments_are_balanced_whole_and_sticky_whatever_members_come_and_go() {
        let mut seed = 7_u64;
        let mut draw = move |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let partitions = BTreeMap::from([(Str::from("t"), 7), (Str::from("u"), 4)]);
        let mut before = Assignment::new();
        for round in 0..200 {
            let names: BTreeSet<String> = (0..1 + draw(6)).map(|_| format!("m{}", draw(9))).collect();
            let members: Vec<Subscriber> = (names.iter())
                .map(|name| Subscriber {
                    member_id: name.as_str().into(),
                    instance_id: None,
                    topics: vec!["t".into(), "u".into()],
                    owned: before.get(&Str::from(name.as_str())).cloned().unwrap_or_default(),
                    generation: round,
                })
                .collect();
            let dealt = Assignor::Sticky.assign(&members, &partitions);
            let sizes: Vec<usize> = dealt.values().map(Vec::len).collect();
            assert_eq!(sizes.iter().sum::<usize>(), 11, "{dealt:?}");
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{dealt:?}");
            for member in &members {
                let (had, has) = (&member.owned, &dealt[&member.member_id]);
                let kept = had.iter().filter(|partition| has.contains(partition)).count();
                assert!(kept >= had.len().min(11 / members.len()), "{had:?} {has:?}");
            }
            before = dealt;
        }
    }
}
