//! Where a follower's log parts from its leader's, as before `inter.broker.protocol.version` 2.7-IV1: in every new leader epoch
//! the leader is asked where the follower's last epoch ends, and nothing is fetched before what goes further has been cut.
//! Since then the answer to a Fetch tells.

use std::time::Instant;

use broker_core::partition::{EpochEnd, NextFetch};
use wire::kafka::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use wire::kafka::{ErrorCode, Uuid};

use super::{Follower, Name, Roster, Wanted, key};
use crate::peers::PeerError;
use crate::shard::{FollowerPart, LeaderPart, LeaderRecords};

/// What the end of the follower's last epoch on the leader means.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    /// The log is a part of the leader's.
    Sound,
    /// The log is cut by this; `done`: it is sound then, and need not be compared again.
    Cut { end: EpochEnd, done: bool },
}

fn compared(next: &NextFetch, end: EpochEnd) -> Comparison {
    if end.end_offset < 0 {
        // The leader does not know: back to what is committed.
        Comparison::Cut { end: EpochEnd::UNKNOWN, done: true }
    } else if end.epoch >= 0 && end.epoch != next.last_fetched_epoch {
        Comparison::Cut { end, done: false }
    } else if end.end_offset < next.offset {
        // The leader has that epoch, or is too old to tell of epochs in its answer.
        Comparison::Cut { end, done: true }
    } else {
        Comparison::Sound
    }
}

impl Follower {
    /// Whether the partition may be fetched.
    pub(super) fn is_sound(&self, part: &FollowerPart) -> bool {
        self.protocol.truncates_on_fetch() || self.sound.get(&key(part)) == Some(&part.next.leader_epoch)
    }

    /// Compares the logs of partitions that are in a new leader epoch; what has to be cut, to be handed in.
    pub(super) async fn compare(&mut self, roster: &Roster) -> Result<Vec<LeaderPart>, PeerError> {
        if self.protocol.truncates_on_fetch() {
            return Ok(Vec::new());
        }
        if self.sound.len() > 2 * roster.parts.len() {
            self.sound.retain(|name, _| roster.parts.contains_key(name));
        }
        let mut cuts = Vec::new();
        let asked = self.whom_to_compare(roster, &mut cuts);
        if asked.is_empty() {
            return Ok(cuts);
        }
        let connection = self.connection().await?;
        let request = request(self.broker.id, &asked);
        let response = connection.call_up_to(&request, self.protocol.offset_for_leader_epoch()).await?;
        for topic in response.topics {
            for one in topic.partitions {
                let name = (topic.topic.clone(), one.partition);
                let Some((id, next)) = asked.get(&name) else { continue };
                if !one.error_code.is_ok() {
                    self.delay(&part(&name, *id, *next), one.error_code);
                    continue;
                }
                let end = EpochEnd { epoch: one.leader_epoch, end_offset: one.end_offset };
                let comparison = compared(next, end);
                if !matches!(comparison, Comparison::Cut { done: false, .. }) {
                    self.sound.insert(name.clone(), next.leader_epoch);
                }
                if let Comparison::Cut { end, .. } = comparison {
                    cuts.push(cut(&part(&name, *id, *next), end));
                }
            }
        }
        // Of whom nothing was said is asked again in a while.
        let silent = asked.iter().filter(|(name, (_, next))| {
            let told = self.sound.get(*name) == Some(&next.leader_epoch) || self.delayed.contains_key(*name);
            !told && !cuts.iter().any(|cut| cut.topic == name.0 && cut.partition == name.1)
        });
        let silent: Vec<FollowerPart> = silent.map(|(name, (id, next))| part(name, *id, *next)).collect();
        for part in silent {
            self.delay(&part, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        Ok(cuts)
    }

    /// Whose logs the leader is to be asked about. Those without epochs were cut to the high watermark when they began to
    /// follow; before 0.11.0-IV2 that is what is done with all.
    fn whom_to_compare(&mut self, roster: &Roster, cuts: &mut Vec<LeaderPart>) -> Wanted {
        let now = Instant::now();
        let mut asked = Wanted::new();
        for (name, (id, next)) in &roster.parts {
            let waits = |name| {
                let delay = self.delayed.get(name);
                delay.is_some_and(|delay| next.leader_epoch <= delay.epoch && delay.until > now)
            };
            if self.sound.get(name) == Some(&next.leader_epoch) || waits(name) {
                continue;
            }
            if next.last_fetched_epoch >= 0 && self.protocol.asks_for_epoch_ends() {
                asked.insert(name.clone(), (*id, *next));
                continue;
            }
            self.sound.insert(name.clone(), next.leader_epoch);
            if next.last_fetched_epoch >= 0 {
                cuts.push(cut(&part(name, *id, *next), EpochEnd::UNKNOWN));
            }
        }
        asked
    }
}

fn part((topic, partition): &Name, id: Uuid, next: NextFetch) -> FollowerPart {
    FollowerPart { topic: topic.clone(), id, partition: *partition, next }
}

fn cut(part: &FollowerPart, end: EpochEnd) -> LeaderPart {
    LeaderPart {
        topic: part.topic.clone(),
        id: part.id,
        partition: part.partition,
        leader_epoch: part.next.leader_epoch,
        offset: part.next.offset,
        // Nothing is told of these here, and a cut does not look at them.
        high_watermark: -1,
        log_start: -1,
        body: LeaderRecords::Diverging(end),
    }
}

fn request(replica_id: i32, asked: &Wanted) -> OffsetForLeaderEpochRequest {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for ((name, partition), (_, next)) in asked {
        let one = OffsetForLeaderPartition {
            partition: *partition,
            current_leader_epoch: next.leader_epoch,
            leader_epoch: next.last_fetched_epoch,
        };
        match topics.last_mut().filter(|topic| topic.topic == *name) {
            Some(topic) => topic.partitions.push(one),
            None => topics.push(OffsetForLeaderTopic { topic: name.clone(), partitions: vec![one] }),
        }
    }
    OffsetForLeaderEpochRequest { replica_id, topics }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_compared_until_its_last_epoch_is_the_leaders() {
        let next = NextFetch { leader: 2, leader_epoch: 7, offset: 10, last_fetched_epoch: 5, log_start: 0 };
        let told = |epoch, end_offset| compared(&next, EpochEnd { epoch, end_offset });
        let cut = |epoch, end_offset, done| Comparison::Cut { end: EpochEnd { epoch, end_offset }, done };
        assert_eq!(told(5, 10), Comparison::Sound);
        assert_eq!(told(5, 12), Comparison::Sound);
        assert_eq!(told(5, 8), cut(5, 8, true));
        assert_eq!(told(3, 6), cut(3, 6, false), "the leader has never had that epoch");
        assert_eq!(told(-1, 8), cut(-1, 8, true), "version 0 names no epoch");
        assert_eq!(told(-1, -1), cut(-1, -1, true));
    }

    #[test]
    fn partitions_of_a_topic_are_asked_for_together() {
        let next = NextFetch { leader: 2, leader_epoch: 7, offset: 10, last_fetched_epoch: 5, log_start: 0 };
        let names = [("a".into(), 0), ("a".into(), 1), ("b".into(), 0)];
        let asked: Wanted = names.into_iter().map(|name| (name, (Uuid::ZERO, next))).collect();
        let request = request(1, &asked);
        assert_eq!(request.topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [2, 1]);
        let one = &request.topics[0].partitions[0];
        assert_eq!((one.current_leader_epoch, one.leader_epoch), (7, 5));
    }
}
