//! Topic deletion: everyone forgets the topic, every replica deletes its log, ZooKeeper's nodes go last. A replica
//! whose broker is away, or failed, holds everything up until that broker is back. While one of its partitions is being
//! reassigned a topic goes on living, and nothing new is begun with it; it is deleted afterwards.

use super::event::{Effect, Obstacle, Write};
use super::state::TopicPartition;
use super::{Controller, Liveness, Purpose};
use crate::error::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::{StopReplicaRequest, StopReplicaResponse};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// To be tried when the broker is there (again).
    Waiting,
    /// StopReplica is on its way.
    Started,
    /// It stays as it is until the broker restarts.
    Refused(ErrorCode),
    Done,
}

#[derive(Debug, Default)]
pub(super) struct Deletion {
    /// By partition and broker.
    replicas: BTreeMap<(i32, i32), Progress>,
    /// The nodes are being deleted.
    finishing: bool,
    /// What was told last of why it does not go on.
    obstacles: Vec<(Obstacle, Vec<i32>)>,
}

impl Deletion {
    /// Whether something is in its way.
    pub fn waits(&self) -> bool {
        !self.obstacles.is_empty()
    }

    /// Replicas that are not deleted yet.
    pub fn left(&self) -> usize {
        self.replicas.values().filter(|progress| **progress != Progress::Done).count()
    }

    /// Replicas that cannot be deleted now.
    pub fn ineligible(&self) -> usize {
        self.obstacles.iter().map(|(_, partitions)| partitions.len()).sum()
    }
}

impl Controller {
    pub(super) fn delete_topics(&mut self, topics: BTreeSet<Str>, out: &mut Vec<Effect>) {
        for topic in topics {
            if !self.topics.contains_key(&topic) || !self.config.delete_topics {
                self.write(Purpose::Forget, Write::DropDeletion { topic }, out);
                continue;
            }
            if self.is_moving(&topic) {
                if self.postponed.insert(topic.clone()) {
                    let obstacles = vec![(Obstacle::Reassigned, self.moving(&topic))];
                    out.push(Effect::DeletionWaits { topic, obstacles });
                }
                continue;
            }
            let Some(entry) = self.topics.get_mut(&topic).filter(|entry| entry.deletion.is_none()) else {
                continue;
            };
            let mut deletion = Deletion::default();
            for (&partition, state) in &entry.partitions {
                for &broker in &state.assignment.replicas {
                    deletion.replicas.insert((partition, broker), Progress::Waiting);
                }
                self.outbox.metadata(TopicPartition { topic: topic.clone(), partition });
            }
            entry.deletion = Some(deletion);
            self.resume_deletion(&topic, out);
        }
    }

    /// Goes on where it can: replicas that wait for nothing, or the nodes when all replicas are gone.
    pub(super) fn resume_deletion(&mut self, topic: &Str, out: &mut Vec<Effect>) {
        let Some(entry) = self.topics.get(topic) else { return };
        let Some(deletion) = &entry.deletion else { return };
        // A write under way would bring the state node back.
        let busy = entry.partitions.values().any(|partition| partition.writing.is_some());
        if busy || deletion.finishing {
            return;
        }
        let waiting: Vec<(i32, i32)> = deletion
            .replicas
            .iter()
            .filter(|&(&(partition, broker), &progress)| {
                progress == Progress::Waiting
                    && self.is_online(broker, &TopicPartition { topic: topic.clone(), partition })
            })
            .map(|(&replica, _)| replica)
            .collect();
        let done = deletion.replicas.values().all(|&progress| progress == Progress::Done);
        for &(partition, broker) in &waiting {
            self.outbox.stop(broker, TopicPartition { topic: topic.clone(), partition }, true);
        }
        let Some(deletion) = self.topics.get_mut(topic).and_then(|entry| entry.deletion.as_mut()) else {
            return;
        };
        for replica in waiting {
            deletion.replicas.insert(replica, Progress::Started);
        }
        self.tell_obstacles(topic, out);
        let Some(deletion) = self.topics.get_mut(topic).and_then(|entry| entry.deletion.as_mut()) else {
            return;
        };
        if done {
            deletion.finishing = true;
            self.write(Purpose::DeleteTopic(topic.clone()), Write::DeleteTopic { topic: topic.clone() }, out);
        }
    }

    /// Says why the deletion does not go on, where that has changed.
    fn tell_obstacles(&mut self, topic: &Str, out: &mut Vec<Effect>) {
        let Some(deletion) = self.topics.get(topic).and_then(|entry| entry.deletion.as_ref()) else { return };
        let mut obstacles: Vec<(Obstacle, Vec<i32>)> = Vec::new();
        for (&(partition, broker), &progress) in &deletion.replicas {
            let obstacle = match progress {
                Progress::Started | Progress::Done => continue,
                Progress::Refused(error) => Obstacle::Refused { broker, error },
                Progress::Waiting => {
                    match self.liveness(broker, &TopicPartition { topic: topic.clone(), partition }) {
                        Liveness::Online => continue,
                        Liveness::ShuttingDown => Obstacle::ShuttingDown { broker },
                        _ if self.brokers.contains_key(&broker) => Obstacle::DirFailed { broker },
                        _ => Obstacle::Away { broker },
                    }
                }
            };
            match obstacles.iter_mut().find(|(known, _)| *known == obstacle) {
                Some((_, partitions)) => partitions.push(partition),
                None => obstacles.push((obstacle, vec![partition])),
            }
        }
        let Some(deletion) = self.topics.get_mut(topic).and_then(|entry| entry.deletion.as_mut()) else {
            return;
        };
        if deletion.obstacles != obstacles {
            deletion.obstacles.clone_from(&obstacles);
            out.push(Effect::DeletionWaits { topic: topic.clone(), obstacles });
        }
    }

    /// The partitions of the topic that are being reassigned.
    fn moving(&self, topic: &Str) -> Vec<i32> {
        let entry = self.topics.get(topic);
        let moving =
            entry.into_iter().flat_map(|entry| &entry.partitions).filter(|(_, state)| state.is_moving());
        moving.map(|(&partition, _)| partition).collect()
    }

    /// A reassignment that stood in the way of its topic's deletion may have ended.
    pub(super) fn resume_postponed(&mut self, topic: &Str, out: &mut Vec<Effect>) {
        if !self.is_moving(topic) && self.postponed.remove(topic) {
            self.delete_topics(BTreeSet::from([topic.clone()]), out);
        }
    }

    pub(super) fn resume_deletions(&mut self, out: &mut Vec<Effect>) {
        let deleting: Vec<Str> =
            self.topics.iter().filter(|(_, t)| t.deletion.is_some()).map(|(name, _)| name.clone()).collect();
        deleting.iter().for_each(|topic| self.resume_deletion(topic, out));
    }

    /// The brokers are gone, and with them the answers they owe.
    pub(super) fn halt_deletions_on(&mut self, brokers: &[i32], out: &mut Vec<Effect>) {
        let mut halted = Vec::new();
        for (name, topic) in &mut self.topics {
            let Some(deletion) = &mut topic.deletion else { continue };
            for (_, progress) in deletion.replicas.iter_mut().filter(|((_, id), _)| brokers.contains(id)) {
                if *progress != Progress::Done {
                    *progress = Progress::Waiting;
                }
            }
            halted.push(name.clone());
        }
        halted.iter().for_each(|topic| self.tell_obstacles(topic, out));
    }

    pub(super) fn replicas_stopped(
        &mut self,
        broker: i32,
        request: &StopReplicaRequest,
        response: &StopReplicaResponse,
        out: &mut Vec<Effect>,
    ) {
        let failed: BTreeMap<(&Str, i32), ErrorCode> = response
            .partition_errors
            .iter()
            .filter(|partition| partition.error_code != ErrorCode::NONE)
            .map(|partition| ((&partition.topic_name, partition.partition_index), partition.error_code))
            .collect();
        let mut touched = BTreeSet::new();
        for topic in &request.topic_states {
            let entry = self.topics.get_mut(&topic.topic_name);
            let Some(deletion) = entry.and_then(|entry| entry.deletion.as_mut()) else { continue };
            for partition in topic.partition_states.iter().filter(|partition| partition.delete_partition) {
                if let Some(progress) = deletion.replicas.get_mut(&(partition.partition_index, broker))
                    && matches!(progress, Progress::Started | Progress::Refused(_))
                {
                    // A refusal may be the late answer to what the broker's former life was told, and the one of this life on its way.
                    let error = failed.get(&(&topic.topic_name, partition.partition_index)).copied();
                    *progress = match error.unwrap_or(response.error_code) {
                        ErrorCode::NONE => Progress::Done,
                        error => Progress::Refused(error),
                    };
                    touched.insert(topic.topic_name.clone());
                }
            }
        }
        touched.iter().for_each(|topic| self.resume_deletion(topic, out));
    }

    pub(super) fn topic_deleted(&mut self, topic: &Str, ok: bool, out: &mut Vec<Effect>) {
        if ok {
            self.remove_topic(topic, out);
        } else if let Some(deletion) = self.topics.get_mut(topic).and_then(|entry| entry.deletion.as_mut()) {
            deletion.finishing = false;
        }
    }
}
