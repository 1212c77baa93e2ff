//! What this broker follows, by leader, in the order in which it last changed: a fetcher that tells which changes it knows
//! hears of the others alone, however many partitions it follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::Str;

use super::{FollowerNews, FollowerPart};

type Name = (Str, i32);

/// By leader.
#[derive(Debug, Default)]
pub struct Following {
    leaders: HashMap<i32, Followed>,
}

/// The partitions that follow one leader. A change has a number, 1 or above.
#[derive(Debug, Default)]
struct Followed {
    newest: u64,
    changed: HashMap<Name, u64>,
    in_order: BTreeMap<u64, Name>,
    /// Changes that were an end: they are forgotten when the fetcher knows of them.
    ends: BTreeSet<u64>,
}

impl Followed {
    fn change(&mut self, name: Name) {
        self.newest += 1;
        if let Some(before) = self.changed.insert(name.clone(), self.newest) {
            self.in_order.remove(&before);
        }
        self.in_order.insert(self.newest, name);
    }

    fn forget(&mut self, known: u64) {
        let behind = self.ends.split_off(&known.saturating_add(1));
        for end in std::mem::replace(&mut self.ends, behind) {
            // One that came back since has another number.
            if let Some(name) = self.in_order.remove(&end) {
                self.changed.remove(&name);
            }
        }
    }
}

impl Following {
    /// The partition follows this leader from now on, or anew.
    pub fn begins(&mut self, leader: i32, topic: Str, partition: i32) {
        self.leaders.entry(leader).or_default().change((topic, partition));
    }

    /// What is to be asked of the leader for the partition may be something else now, or nothing.
    pub fn changes(&mut self, leader: i32, topic: Str, partition: i32) {
        if let Some(followed) = self.leaders.get_mut(&leader) {
            let name = (topic, partition);
            if followed.changed.contains_key(&name) {
                followed.change(name);
            }
        }
    }

    /// The changes that a fetcher does not know which knows all up to `known`; `look` tells what is to be asked now. Asking
    /// once more with the same number gives them once more.
    pub fn news(
        &mut self,
        leader: i32,
        known: u64,
        mut look: impl FnMut(&Name) -> Option<FollowerPart>,
    ) -> FollowerNews {
        let Some(followed) = self.leaders.get_mut(&leader) else {
            return FollowerNews { newest: known, ..FollowerNews::default() };
        };
        followed.forget(known);
        let mut news = FollowerNews { newest: followed.newest, ..FollowerNews::default() };
        for (&change, name) in followed.in_order.range(known.saturating_add(1)..) {
            match look(name) {
                Some(part) => news.changed.push(part),
                None => {
                    news.gone.push(name.clone());
                    followed.ends.insert(change);
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::partition::NextFetch;
    use wire::kafka::Uuid;

    fn part((topic, partition): &Name) -> Option<FollowerPart> {
        let next = NextFetch { leader: 1, leader_epoch: 0, offset: 0, last_fetched_epoch: 0, log_start: 0 };
        Some(FollowerPart { topic: topic.clone(), id: Uuid::ZERO, partition: *partition, next })
    }

    fn numbers(news: &FollowerNews) -> (Vec<i32>, Vec<i32>) {
        let changed = news.changed.iter().map(|part| part.partition).collect();
        (changed, news.gone.iter().map(|(_, partition)| *partition).collect())
    }

    #[test]
    fn a_fetcher_hears_of_what_it_does_not_know() {
        let mut following = Following::default();
        let topic = || Str::from_static("t");
        for partition in 0..3 {
            following.begins(1, topic(), partition);
        }
        let all = following.news(1, 0, part);
        assert_eq!(numbers(&all), (vec![0, 1, 2], vec![]));
        assert_eq!(
            numbers(&following.news(1, 0, part)),
            numbers(&all),
            "an answer that was lost is given again"
        );
        assert_eq!(numbers(&following.news(1, all.newest, part)), (vec![], vec![]));
        following.changes(1, topic(), 1);
        following.changes(1, topic(), 1);
        following.changes(1, topic(), 9);
        following.changes(2, topic(), 0);
        let news = following.news(1, all.newest, part);
        assert_eq!(numbers(&news), (vec![1], vec![]), "once, and nothing that is not followed");
        assert_eq!(following.news(2, 0, part).newest, 0);
    }

    #[test]
    fn what_ended_is_told_until_it_is_known_and_may_come_back() {
        let mut following = Following::default();
        let topic = || Str::from_static("t");
        following.begins(1, topic(), 0);
        following.begins(1, topic(), 1);
        let known = following.news(1, 0, part).newest;
        following.changes(1, topic(), 0);
        let look = |name: &Name| if name.1 == 0 { None } else { part(name) };
        for _ in 0..2 {
            assert_eq!(numbers(&following.news(1, known, look)), (vec![], vec![0]));
        }
        let newest = following.news(1, known, look).newest;
        assert_eq!(numbers(&following.news(1, newest, look)), (vec![], vec![]));
        assert_eq!(numbers(&following.news(1, 0, look)), (vec![1], vec![]), "it is forgotten");
        following.begins(1, topic(), 0);
        assert_eq!(numbers(&following.news(1, newest, part)), (vec![0], vec![]));
        following.changes(1, topic(), 0);
        let ended = following.news(1, newest, look);
        assert_eq!(numbers(&ended), (vec![], vec![0]));
        following.begins(1, topic(), 0);
        assert_eq!(
            numbers(&following.news(1, ended.newest, part)),
            (vec![0], vec![]),
            "back before it was forgotten"
        );
        assert_eq!(numbers(&following.news(1, 0, part)), (vec![1, 0], vec![]));
    }
}
