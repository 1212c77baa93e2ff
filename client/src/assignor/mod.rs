//! How the leader of a group deals partitions out: Kafka's four assignors, without their regard for racks.

mod sticky;

use crate::TopicPartition;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::Message;
use wire::kafka::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolSubscription, CooperativeUserData, StickyUserData,
};

/// A member, the topics it subscribes to, and what it says it owns.
#[derive(Debug, Clone)]
pub struct Subscriber {
    pub member_id: Str,
    /// Of a static member: it sorts by this, so that it keeps its range when it comes back.
    pub instance_id: Option<Str>,
    pub topics: Vec<Str>,
    pub owned: Vec<TopicPartition>,
    /// In which it got what it owns; -1: none.
    pub generation: i32,
}

/// Each member's partitions.
pub type Assignment = BTreeMap<Str, Vec<TopicPartition>>;

/// An entry of `partition.assignment.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    Range,
    RoundRobin,
    Sticky,
    CooperativeSticky,
}

const ALL: [(Assignor, &str, &str); 4] = [
    (Assignor::Range, "range", "RangeAssignor"),
    (Assignor::RoundRobin, "roundrobin", "RoundRobinAssignor"),
    (Assignor::Sticky, "sticky", "StickyAssignor"),
    (Assignor::CooperativeSticky, "cooperative-sticky", "CooperativeStickyAssignor"),
];

impl Assignor {
    /// By the name of Java's class.
    pub fn of_class(class: &str) -> Option<Assignor> {
        let class = class.strip_prefix("org.apache.kafka.clients.consumer.")?;
        ALL.iter().find(|(_, _, known)| *known == class).map(|(assignor, ..)| *assignor)
    }

    /// By the name that members give it in their group.
    pub fn of_name(name: &str) -> Option<Assignor> {
        ALL.iter().find(|(_, known, _)| *known == name).map(|(assignor, ..)| *assignor)
    }

    pub fn name(self) -> Str {
        let (_, name, _) = ALL.iter().find(|(known, ..)| *known == self).expect("the table has all of them");
        Str::from_static(name)
    }

    /// Members keep what they own while the group rebalances, and let go only of what another is to have.
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// What a member adds to its subscription; `owned` it got in `generation`, if it got anything yet.
    pub fn user_data(self, owned: Option<&[TopicPartition]>, generation: i32) -> Option<Bytes> {
        match self {
            Assignor::Range | Assignor::RoundRobin => None,
            Assignor::Sticky => {
                let previous_assignment = by_topic(owned?);
                Some(StickyUserData { previous_assignment, generation }.encode(1))
            }
            Assignor::CooperativeSticky => Some(CooperativeUserData { generation }.encode(0)),
        }
    }

    /// What a member says it owns, and since which generation.
    pub fn owned(self, subscription: &ConsumerProtocolSubscription) -> (Vec<TopicPartition>, i32) {
        let told = || subscription.owned_partitions.iter().map(|topic| (&topic.topic, &topic.partitions));
        match self {
            Assignor::Sticky => {
                let none = Bytes::new();
                let data = subscription.user_data.as_ref().unwrap_or(&none);
                // Members before 2.3 tell no generation.
                let read = StickyUserData::decode(data, 1).or_else(|_| StickyUserData::decode(data, 0));
                let Ok(read) = read else { return (Vec::new(), -1) };
                let all = read.previous_assignment.iter().map(|topic| (&topic.topic, &topic.partitions));
                (partitions_of(all), read.generation)
            }
            _ if subscription.generation_id >= 0 => (partitions_of(told()), subscription.generation_id),
            _ => {
                let data = subscription.user_data.as_ref();
                let read = data.and_then(|data| CooperativeUserData::decode(data, 0).ok());
                (partitions_of(told()), read.map_or(-1, |read| read.generation))
            }
        }
    }

    /// Deals out; `partitions` counts those of each topic that exists.
    pub fn assign(self, members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Assignment {
        match self {
            Assignor::Range => ranges(members, partitions),
            Assignor::RoundRobin => round_robin(members, partitions),
            Assignor::Sticky => sticky::assign(members, partitions),
            Assignor::CooperativeSticky => {
                let mut assignment = sticky::assign(members, partitions);
                sticky::withhold(members, &mut assignment);
                assignment
            }
        }
    }
}

fn partitions_of<'a>(topics: impl Iterator<Item = (&'a Str, &'a Vec<i32>)>) -> Vec<TopicPartition> {
    topics
        .flat_map(|(topic, all)| all.iter().map(|partition| TopicPartition::new(topic.clone(), *partition)))
        .collect()
}

pub(crate) fn by_topic(partitions: &[TopicPartition]) -> Vec<AssignmentTopicPartition> {
    let mut topics: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic =
        |(topic, partitions): (&Str, _)| AssignmentTopicPartition { topic: topic.clone(), partitions };
    topics.into_iter().map(topic).collect()
}

fn nothing(members: &[Subscriber]) -> Assignment {
    members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect()
}

/// Static members come first, by their instance ids.
fn by_instance(a: &Subscriber, b: &Subscriber) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.member_id.cmp(&b.member_id),
    }
}

/// Each topic's partitions in order, in ranges of nearly equal length, to the members that subscribe to it.
fn ranges(members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Assignment {
    let mut assignment = nothing(members);
    for (topic, count) in partitions {
        let mut subscribers: Vec<&Subscriber> =
            members.iter().filter(|member| member.topics.contains(topic)).collect();
        subscribers.sort_by(|a, b| by_instance(a, b));
        let (each, more) = match subscribers.len() as i32 {
            0 => continue,
            members => (count / members, count % members),
        };
        let mut next = 0;
        for (at, member) in subscribers.iter().enumerate() {
            let end = next + each + i32::from((at as i32) < more);
            let range = (next..end).map(|partition| TopicPartition::new(topic.clone(), partition));
            assignment.get_mut(&member.member_id).expect("every member has an entry").extend(range);
            next = end;
        }
    }
    assignment
}

/// All partitions in order, each to the next member that subscribes to its topic.
fn round_robin(members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Assignment {
    let mut assignment = nothing(members);
    let mut circle: Vec<&Subscriber> = members.iter().collect();
    circle.sort_by(|a, b| by_instance(a, b));
    let mut next = 0;
    for partition in subscribed(members, partitions) {
        while !circle[next].topics.contains(&partition.topic) {
            next = (next + 1) % circle.len();
        }
        assignment.get_mut(&circle[next].member_id).expect("every member has an entry").push(partition);
        next = (next + 1) % circle.len();
    }
    assignment
}

/// The partitions of all topics that somebody subscribes to, in order.
fn subscribed(members: &[Subscriber], partitions: &BTreeMap<Str, i32>) -> Vec<TopicPartition> {
    let wanted: BTreeSet<&Str> = members.iter().flat_map(|member| &member.topics).collect();
    let topics = partitions.iter().filter(|(topic, _)| wanted.contains(topic));
    topics.flat_map(|(topic, count)| (0..*count).map(|at| TopicPartition::new(topic.clone(), at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &'static str, instance: Option<&'static str>, topics: &[&'static str]) -> Subscriber {
        Subscriber {
            member_id: Str::from_static(id),
            instance_id: instance.map(Str::from_static),
            topics: topics.iter().map(|topic| Str::from_static(topic)).collect(),
            owned: Vec::new(),
            generation: -1,
        }
    }

    fn shown(members: &[Subscriber], partitions: &[(&'static str, i32)]) -> String {
        dealt(Assignor::Range, members, partitions)
    }

    fn dealt(assignor: Assignor, members: &[Subscriber], partitions: &[(&'static str, i32)]) -> String {
        let partitions = partitions.iter().map(|(topic, count)| (Str::from_static(topic), *count)).collect();
        sticky::tests::shown(&assignor.assign(members, &partitions))
    }

    #[test]
    fn the_first_members_get_one_more() {
        let members = [member("b", None, &["t", "u"]), member("a", None, &["t", "u"])];
        assert_eq!(shown(&members, &[("t", 3), ("u", 3)]), "a: t-0 t-1 u-0 u-1; b: t-2 u-2");
    }

    #[test]
    fn members_without_the_topic_and_topics_without_members_are_left_out() {
        let members = [member("a", None, &["t"]), member("b", None, &["u"])];
        assert_eq!(shown(&members, &[("t", 1), ("u", 2), ("v", 5)]), "a: t-0; b: u-0 u-1");
    }

    #[test]
    fn static_members_come_first_by_their_instance() {
        let members =
            [member("a", None, &["t"]), member("z", Some("1"), &["t"]), member("y", Some("2"), &["t"])];
        assert_eq!(shown(&members, &[("t", 4)]), "a: t-3; y: t-2; z: t-0 t-1");
    }

    #[test]
    fn round_robin_passes_over_who_has_not_the_topic() {
        let members = [member("a", None, &["t", "u"]), member("b", None, &["u"]), member("c", None, &["t"])];
        assert_eq!(
            dealt(Assignor::RoundRobin, &members, &[("t", 3), ("u", 2)]),
            "a: t-0 t-2 u-1; b: u-0; c: t-1"
        );
    }

    #[test]
    fn what_a_sticky_member_says_it_owned_can_be_read_again() {
        let owned = [TopicPartition::new("u", 1), TopicPartition::new("t", 0), TopicPartition::new("u", 0)];
        let subscription = ConsumerProtocolSubscription {
            user_data: Assignor::Sticky.user_data(Some(&owned), 7),
            ..Default::default()
        };
        let (read, generation) = Assignor::Sticky.owned(&subscription);
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-0", "u-1", "u-0"]);
        assert_eq!(generation, 7);
        let garbage = ConsumerProtocolSubscription {
            user_data: Some(Bytes::from_static(b"\x7f")),
            ..Default::default()
        };
        assert_eq!(Assignor::Sticky.owned(&garbage), (Vec::new(), -1));
    }

    #[test]
    fn assignors_have_the_names_of_javas_classes() {
        assert_eq!(
            Assignor::of_class("org.apache.kafka.clients.consumer.StickyAssignor"),
            Some(Assignor::Sticky)
        );
        assert_eq!(Assignor::of_class("StickyAssignor"), None);
        assert_eq!(Assignor::of_name("cooperative-sticky"), Some(Assignor::CooperativeSticky));
        assert_eq!(&*Assignor::RoundRobin.name(), "roundrobin");
    }
}
