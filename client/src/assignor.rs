//! The range assignor: each topic's partitions in order, in ranges of nearly equal length, to the members that
//! subscribe to the topic, in order of their names.

use crate::TopicPartition;
use std::collections::BTreeMap;
use wire::Str;

/// A member and the topics it subscribes to.
#[derive(Debug, Clone)]
pub struct Subscriber {
    pub member_id: Str,
    /// Of a static member: it sorts by this, so that it keeps its range when it comes back.
    pub instance_id: Option<Str>,
    pub topics: Vec<Str>,
}

/// Each member's partitions; `partitions` counts those of each topic that exists.
pub fn assign_ranges(
    members: &[Subscriber],
    partitions: &BTreeMap<Str, i32>,
) -> BTreeMap<Str, Vec<TopicPartition>> {
    let mut assignment: BTreeMap<Str, Vec<TopicPartition>> =
        members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
    for (topic, count) in partitions {
        let mut subscribers: Vec<&Subscriber> =
            members.iter().filter(|member| member.topics.contains(topic)).collect();
        // Static members come first, by their instance ids.
        subscribers.sort_by(|a, b| match (&a.instance_id, &b.instance_id) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => a.member_id.cmp(&b.member_id),
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &'static str, instance: Option<&'static str>, topics: &[&'static str]) -> Subscriber {
        Subscriber {
            member_id: Str::from_static(id),
            instance_id: instance.map(Str::from_static),
            topics: topics.iter().map(|topic| Str::from_static(topic)).collect(),
        }
    }

    fn shown(members: &[Subscriber], partitions: &[(&'static str, i32)]) -> String {
        let partitions = partitions.iter().map(|(topic, count)| (Str::from_static(topic), *count)).collect();
        let assignment = assign_ranges(members, &partitions);
        let lines: Vec<String> = (assignment.iter())
            .map(|(id, all)| {
                format!("{id}: {}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            })
            .collect();
        lines.join("; ")
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
}
