//! Replica lists as the controller writes them: in `/brokers/topics/T`, and the requests of old in
//! `/admin/reassign_partitions`. Both nodes are read again for each write, as others may write them too.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::controller::{Assignment, TopicPartition, WriteError};
use zookeeper_client::Error;

use super::nodes;
use super::writes::{Deposed, Pen, settle};
use crate::zk::{RETRY_PAUSE, TopicNode, ZkError};

impl Pen {
    /// Replaces the lists of these partitions, and leaves those of others as they are.
    pub(super) async fn set_assignments(
        &self,
        topic: &str,
        partitions: &BTreeMap<i32, Assignment>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        let path = nodes::topic_path(topic);
        let done = self
            .rewrite(&path, |data| {
                let mut node = TopicNode::parse(&path, data)?;
                partitions.iter().for_each(|(&partition, assignment)| put(&mut node, partition, assignment));
                Ok(Some(node.json()))
            })
            .await?;
        if done.is_ok() {
            for (partition, assignment) in partitions {
                tracing::info!(
                    "Successfully updated assignment of partition {topic}-{partition} to {}",
                    describe(assignment)
                );
            }
        }
        Ok(done)
    }

    /// Takes these partitions out of the old node; it goes when none is left.
    pub(super) async fn drop_legacy(
        &self,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        let path = nodes::REASSIGNMENTS;
        tracing::info!(
            "Removing partitions {:?} from the list of reassigned partitions in zookeeper",
            partitions.iter().map(|tp| format!("{}-{}", tp.topic, tp.partition)).collect::<Vec<_>>()
        );
        self.rewrite(path, |data| {
            let mut left = nodes::reassignments(data)?;
            left.retain(|tp, _| !partitions.contains(tp));
            Ok((!left.is_empty()).then(|| nodes::encode_reassignments(&left)))
        })
        .await
    }

    /// Replaces a node's data by what is made of it; `None` deletes it. The result is the new version.
    async fn rewrite(
        &self,
        path: &str,
        change: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, ZkError>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        loop {
            let Some((old, stat)) = self.zk.get(path).await? else { return Ok(Err(WriteError::Failed)) };
            let new = match change(&old) {
                Ok(new) => new,
                Err(error) => {
                    tracing::error!("{error}");
                    return Ok(Err(WriteError::Failed));
                }
            };
            if new.as_ref() == Some(&old) {
                return Ok(Ok(stat.version));
            }
            let sent = self.send(path, |writer| match &new {
                Some(new) => writer.add_set_data(path, new, Some(stat.version)),
                None => writer.add_delete(path, Some(stat.version)),
            })?;
            match settle(path, sent.await) {
                Ok(Ok(_)) => return Ok(Ok(stat.version + 1)),
                Ok(Err(Error::BadVersion)) => {}
                Ok(Err(error)) => {
                    tracing::warn!("Writing {path}: {error}");
                    return Ok(Err(WriteError::Failed));
                }
                Err(Deposed::ZooKeeper(ZkError::Operation { source: Error::ConnectionLoss, .. })) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(deposed) => return Err(deposed),
            }
        }
    }
}

fn put(node: &mut TopicNode, partition: i32, assignment: &Assignment) {
    node.partitions.insert(partition, assignment.replicas.clone());
    for (lists, list) in [(&mut node.adding, &assignment.adding), (&mut node.removing, &assignment.removing)]
    {
        if list.is_empty() {
            lists.remove(&partition);
        } else {
            lists.insert(partition, list.clone());
        }
    }
}

fn describe(assignment: &Assignment) -> String {
    let join = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "ReplicaAssignment(replicas={}, addingReplicas={}, removingReplicas={})",
        join(&assignment.replicas),
        join(&assignment.adding),
        join(&assignment.removing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partitions_lists_come_and_go_and_others_stay() {
        let begun = concat!(
            r#"{"removing_replicas":{"0":[1]},"partitions":{"0":[3,2,1],"1":[1,2]},"#,
            r#""topic_id":"L4TXRCAySCGe7LmWsDch3w","adding_replicas":{"0":[3]},"version":3}"#
        );
        let mut node = TopicNode::parse("/t", begun.as_bytes()).unwrap();
        let target = Assignment { replicas: vec![3, 2], ..Assignment::default() };
        put(&mut node, 0, &target);
        let ended = String::from_utf8(node.json()).unwrap();
        assert!(
            ended.starts_with(r#"{"removing_replicas":{},"partitions":{"0":[3,2],"1":[1,2]}"#),
            "{ended}"
        );
        let moving = Assignment { replicas: vec![3, 2, 1], adding: vec![3], removing: vec![1] };
        put(&mut node, 0, &moving);
        assert_eq!(String::from_utf8(node.json()).unwrap(), begun);
        assert_eq!(
            describe(&moving),
            "ReplicaAssignment(replicas=3,2,1, addingReplicas=3, removingReplicas=1)"
        );
    }
}
