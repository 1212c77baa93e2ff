//! OffsetCommit, TxnOffsetCommit, OffsetFetch.

use std::collections::HashSet;

use super::event::{Effect, Response, Token};
use super::offsets::{Offset, TopicPartition};
use super::records::offset_record;
use super::state::{Group, State};
use super::{Coordinator, Cx, Then};
use crate::error::ErrorCode;
use wire::Str;
use wire::kafka::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::kafka::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use wire::kafka::txn_offset_commit::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use wire::kafka::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

const NO_OFFSET: i64 = -1;

/// Either kind of commit.
struct Commit {
    token: Token,
    generation: i32,
    member_id: Str,
    instance_id: Option<Str>,
    /// A transactional one's producer.
    producer: Option<(i64, i16)>,
    topics: Vec<(Str, Vec<(i32, Offset)>)>,
}

/// A transaction's commit by nobody is a plain one.
const NO_PRODUCER: i64 = -1;
const NO_EPOCH: i16 = -1;

/// A commit on its way to the log.
#[derive(Debug)]
pub(super) struct Committing {
    token: Token,
    producer_id: Option<i64>,
    offsets: Vec<(TopicPartition, Offset)>,
    /// The request's topics and partitions, with what is wrong with each of them already.
    topics: Vec<(Str, Vec<(i32, ErrorCode)>)>,
}

impl Commit {
    /// The answer if every partition that is not wrong in itself gets this error.
    fn answer(self, offsets: Vec<(TopicPartition, Offset)>, metadata_max: usize) -> Committing {
        let status = |offset: &Offset| match fits(offset, metadata_max) {
            true => ErrorCode::NONE,
            false => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        };
        let of = |partitions: Vec<(i32, Offset)>| {
            partitions.iter().map(|(n, offset)| (*n, status(offset))).collect()
        };
        Committing {
            token: self.token,
            producer_id: self.producer.map(|(id, _)| id),
            offsets,
            topics: self.topics.into_iter().map(|(topic, partitions)| (topic, of(partitions))).collect(),
        }
    }
}

fn fits(offset: &Offset, metadata_max: usize) -> bool {
    offset.metadata.len() <= metadata_max || offset.metadata.encode_utf16().count() <= metadata_max
}

impl Committing {
    pub(super) fn apply(&self, group: &mut Group, result: Result<i64, ErrorCode>) {
        match (self.producer_id, result) {
            (None | Some(NO_PRODUCER), Ok(at)) => group.offsets.appended(&self.offsets, at),
            (None | Some(NO_PRODUCER), Err(_)) => group.offsets.append_failed(&self.offsets),
            (Some(id), Ok(at)) => group.offsets.txn_appended(id, &self.offsets, at),
            (Some(id), Err(_)) => group.offsets.txn_append_failed(id, &self.offsets),
        }
    }

    pub(super) fn reply(self, result: Result<i64, ErrorCode>, out: &mut Vec<Effect>) {
        let error = result.map_or_else(append_error, |_| ErrorCode::NONE);
        self.reply_with(error, out);
    }

    /// Every partition gets this error but those that have one of their own.
    fn reply_with(self, error: ErrorCode, out: &mut Vec<Effect>) {
        let of = |own: ErrorCode| if own.is_ok() { error } else { own };
        let response = if self.producer_id.is_some() {
            let topics = self.topics.into_iter().map(|(name, partitions)| TxnOffsetCommitResponseTopic {
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(n, own)| TxnOffsetCommitResponsePartition {
                        partition_index: n,
                        error_code: of(own),
                    })
                    .collect(),
            });
            let topics = topics.collect();
            Response::TxnOffsetCommit(TxnOffsetCommitResponse {
                topics,
                ..TxnOffsetCommitResponse::default()
            })
        } else {
            let topics = self.topics.into_iter().map(|(name, partitions)| OffsetCommitResponseTopic {
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(n, own)| OffsetCommitResponsePartition { partition_index: n, error_code: of(own) })
                    .collect(),
            });
            let topics = topics.collect();
            Response::OffsetCommit(OffsetCommitResponse { topics, ..OffsetCommitResponse::default() })
        };
        out.push(Effect::Reply { token: self.token, response });
    }
}

/// What a failed append of offsets is to the client.
fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::INVALID_COMMIT_OFFSET_SIZE
        }
        other => other,
    }
}

impl Coordinator {
    pub(super) fn offset_commit(
        &mut self,
        now: i64,
        token: Token,
        request: OffsetCommitRequest,
        out: &mut Vec<Effect>,
    ) {
        let expire_timestamp =
            (request.retention_time_ms != -1).then(|| now.saturating_add(request.retention_time_ms));
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                let offset = Offset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or_default(),
                    commit_timestamp: match partition.commit_timestamp {
                        -1 => now,
                        timestamp => timestamp,
                    },
                    expire_timestamp,
                };
                (partition.partition_index, offset)
            });
            (topic.name, partitions.collect())
        });
        let commit = Commit {
            token,
            generation: request.generation_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            producer: None,
            topics: topics.collect(),
        };
        self.commit(now, &request.group_id, commit, out);
    }

    pub(super) fn txn_offset_commit(
        &mut self,
        now: i64,
        token: Token,
        request: TxnOffsetCommitRequest,
        out: &mut Vec<Effect>,
    ) {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                let offset = Offset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or_default(),
                    commit_timestamp: now,
                    expire_timestamp: None,
                };
                (partition.partition_index, offset)
            });
            (topic.name, partitions.collect())
        });
        let commit = Commit {
            token,
            generation: request.generation_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            producer: Some((request.producer_id, request.producer_epoch)),
            topics: topics.collect(),
        };
        self.commit(now, &request.group_id, commit, out);
    }

    fn commit(&mut self, now: i64, group_id: &Str, commit: Commit, out: &mut Vec<Effect>) {
        let transactional = commit.producer.is_some();
        let checked = match self.check(group_id, !transactional) {
            Ok(()) if !transactional && commit.generation >= 0 && !self.groups.contains_key(group_id) => {
                Err(ErrorCode::ILLEGAL_GENERATION)
            }
            checked => checked,
        };
        if let Err(error) = checked {
            return commit.answer(Vec::new(), usize::MAX).reply_with(error, out);
        }
        // Nobody needs to be a member in order to commit: simple consumers are not.
        self.group_or_new(now, group_id);
        if let Some((producer_id, _)) = commit.producer {
            self.open.entry(producer_id).or_default().insert(group_id.clone());
        }
        self.with(now, group_id, out, |group, cx| group.commit(commit, cx));
    }

    pub(super) fn offset_fetch(
        &mut self,
        token: Token,
        request: OffsetFetchRequest,
        errors_by_partition: bool,
        out: &mut Vec<Effect>,
    ) {
        let require_stable = request.require_stable;
        let response = if request.groups.is_empty() {
            let wanted = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect::<Vec<_>>()
            });
            let fetched = self.fetch(&request.group_id, wanted.as_deref(), require_stable);
            flat_response(fetched, wanted.unwrap_or_default(), errors_by_partition)
        } else {
            let groups = request.groups.into_iter().map(|group| {
                let wanted = group.topics.map(|topics| {
                    topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect::<Vec<_>>()
                });
                let (error_code, topics) =
                    match self.fetch(&group.group_id, wanted.as_deref(), require_stable) {
                        Ok(topics) => (ErrorCode::NONE, topics),
                        Err(error) => (error, Vec::new()),
                    };
                OffsetFetchResponseGroup { group_id: group.group_id, topics, error_code }
            });
            OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }
        };
        out.push(Effect::Reply { token, response: Response::OffsetFetch(response) });
    }

    /// The offsets of these partitions, or of all that there are.
    fn fetch(
        &self,
        group_id: &str,
        wanted: Option<&[(Str, Vec<i32>)]>,
        require_stable: bool,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
        self.check(group_id, true)?;
        let group = self.groups.get(group_id);
        let all: Vec<(Str, Vec<i32>)>;
        let wanted = match wanted {
            Some(wanted) => wanted,
            None => {
                all = group.map(all_partitions).unwrap_or_default();
                &all
            }
        };
        let of = |topic: &Str, n: i32| fetched(group, (topic.clone(), n), require_stable);
        let topics = wanted.iter().map(|(name, partitions)| OffsetFetchResponseTopics {
            name: name.clone(),
            partitions: partitions.iter().map(|n| of(name, *n)).collect(),
        });
        Ok(topics.collect())
    }
}

fn all_partitions(group: &Group) -> Vec<(Str, Vec<i32>)> {
    let mut topics: Vec<(Str, Vec<i32>)> = Vec::new();
    for (topic, partition) in group.offsets.partitions() {
        match topics.last_mut().filter(|(name, _)| name == topic) {
            Some((_, partitions)) => partitions.push(*partition),
            None => topics.push((topic.clone(), vec![*partition])),
        }
    }
    topics
}

fn fetched(
    group: Option<&Group>,
    partition: TopicPartition,
    require_stable: bool,
) -> OffsetFetchResponsePartitions {
    let mut answer = OffsetFetchResponsePartitions {
        partition_index: partition.1,
        committed_offset: NO_OFFSET,
        committed_leader_epoch: -1,
        metadata: Some(Str::new()),
        error_code: ErrorCode::NONE,
    };
    let Some(group) = group else { return answer };
    if require_stable && group.offsets.is_unstable(&partition) {
        answer.error_code = ErrorCode::UNSTABLE_OFFSET_COMMIT;
    } else if let Some(offset) = group.offsets.get(&partition) {
        answer.committed_offset = offset.offset;
        answer.committed_leader_epoch = offset.leader_epoch;
        answer.metadata = Some(offset.metadata.clone());
    }
    answer
}

/// The shape of versions below 8: one group, and with 0 and 1 no place for its error but the partitions.
fn flat_response(
    fetched: Result<Vec<OffsetFetchResponseTopics>, ErrorCode>,
    wanted: Vec<(Str, Vec<i32>)>,
    errors_by_partition: bool,
) -> OffsetFetchResponse {
    let (error_code, topics) = match fetched {
        Ok(topics) => (ErrorCode::NONE, topics),
        Err(error) if errors_by_partition => {
            let refused = |n: i32| OffsetFetchResponsePartitions {
                partition_index: n,
                committed_offset: NO_OFFSET,
                committed_leader_epoch: -1,
                metadata: Some(Str::new()),
                error_code: error,
            };
            let topics = wanted.into_iter().map(|(name, partitions)| OffsetFetchResponseTopics {
                name,
                partitions: partitions.into_iter().map(refused).collect(),
            });
            (error, topics.collect())
        }
        Err(error) => (error, Vec::new()),
    };
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code, ..OffsetFetchResponse::default() }
}

impl Group {
    fn commit(&mut self, commit: Commit, cx: &mut Cx<'_>) {
        if let Err(error) = self.check_commit(&commit) {
            return commit.answer(Vec::new(), usize::MAX).reply_with(error, cx.out);
        }
        if self.members.contains_key(&commit.member_id) && commit.producer.is_none() {
            self.keep_alive(&commit.member_id, cx.now);
        }
        let metadata_max = cx.config.metadata_max;
        let mut offsets = Vec::new();
        for (topic, partitions) in &commit.topics {
            let fitting = partitions.iter().filter(|(_, offset)| fits(offset, metadata_max));
            offsets.extend(fitting.map(|(n, offset)| ((topic.clone(), *n), offset.clone())));
        }
        // Of a partition that is named twice the last offset counts.
        let mut seen = HashSet::new();
        offsets.reverse();
        offsets.retain(|(partition, _): &(TopicPartition, Offset)| seen.insert(partition.clone()));
        offsets.reverse();
        if offsets.is_empty() {
            return commit.answer(offsets, metadata_max).reply_with(ErrorCode::NONE, cx.out);
        }
        // Java cannot write a producer's records without its epoch, and stumbles.
        if commit.producer.is_some_and(|(id, epoch)| id != NO_PRODUCER && epoch == NO_EPOCH) {
            let error = ErrorCode::UNKNOWN_SERVER_ERROR;
            return commit.answer(Vec::new(), usize::MAX).reply_with(error, cx.out);
        }
        match commit.producer {
            None | Some((NO_PRODUCER, _)) => self.offsets.prepare(&offsets),
            Some((id, _)) => self.offsets.prepare_txn(id, &offsets),
        }
        let records = offsets
            .iter()
            .map(|(partition, offset)| offset_record(&self.id, partition, Some(offset), cx.config.protocol))
            .collect();
        let producer = commit.producer.filter(|(id, _)| *id != NO_PRODUCER);
        let committing = commit.answer(offsets, metadata_max);
        cx.append(self, records, producer, Then::Offsets(committing));
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let transactional = commit.producer.is_some();
        let empty = self.state == State::Empty;
        if self.state == State::Dead {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        // Admin clients, and consumers that assign partitions themselves.
        if commit.generation < 0 && empty {
            return Ok(());
        }
        if commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some() {
            self.check_member(&commit.member_id, commit.instance_id.as_ref())?;
            if commit.generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !transactional && !empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        // It knows this generation from the JoinGroup response already.
        if !transactional && self.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }
}
