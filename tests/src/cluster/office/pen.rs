//! What a controller writes: the order of the broker crate's `controller::writes`.

use super::election::{Deposed, Mandate};
use super::*;

/// The controller's pen: each node in one transaction with a check of `/controller_epoch`.
#[derive(Clone)]
pub(super) struct Pen {
    pub(super) zk: Zk,
    pub(super) mandate: Mandate,
}

impl Pen {
    fn send(&self, change: Op) -> Promise<Outcome> {
        let check = Op::Check { path: nodes::CONTROLLER_EPOCH.into(), version: self.mandate.version };
        self.zk.session.begin(Op::Multi(vec![check, change]))
    }

    fn create(&self, path: String, data: Vec<u8>) -> Promise<Outcome> {
        self.send(Op::Create { path, data, flags: PERSISTENT })
    }

    pub(super) fn delete(&self, path: String) -> Promise<Outcome> {
        self.send(Op::Delete { path, version: -1 })
    }

    pub(super) fn begin(&self, write: &Write) -> Vec<Promise<Outcome>> {
        match write {
            Write::CreateState { partition, state } => vec![
                self.create(nodes::partitions_path(&partition.topic), vec![]),
                self.create(nodes::partition_path(partition), vec![]),
                self.create(nodes::state_path(partition), nodes::encode_state(state)),
            ],
            Write::SetState { partition, state } => {
                let (path, data) = (nodes::state_path(partition), nodes::encode_state(state));
                vec![self.send(Op::Set { path, data, version: state.version })]
            }
            // The rest begins with reads.
            _ => vec![],
        }
    }

    pub(super) async fn finish(
        &self,
        write: &Write,
        mut sent: Vec<Promise<Outcome>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        loop {
            match self.outcome(write, sent).await {
                Err(Deposed::Zk(ZkError::Loss)) => {
                    sleep(&self.zk.desk, RETRY_PAUSE_MS).await;
                    sent = self.begin(write);
                }
                done => return done,
            }
        }
    }

    async fn outcome(
        &self,
        write: &Write,
        sent: Vec<Promise<Outcome>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        match write {
            Write::CreateState { .. } | Write::SetState { .. } => {
                let mut last = Err(WriteError::Failed);
                for one in sent {
                    last = match settle(one.await)? {
                        Ok(Answer::Version(version)) => Ok(version),
                        Ok(_) => Ok(0),
                        Err(err::NODE_EXISTS | err::BAD_VERSION) => Err(WriteError::Conflict),
                        Err(_) => Err(WriteError::Failed),
                    };
                }
                Ok(last)
            }
            Write::DeleteTopic { topic } => self.delete_topic(topic).await.map(|()| Ok(0)),
            Write::DropDeletion { topic } => {
                settle(self.delete(format!("{}/{topic}", nodes::DELETIONS)).await).map(|_| Ok(0))
            }
            Write::SetAssignments { topic, partitions } => self.set_assignments(topic, partitions).await,
            // The old node is not used here.
            Write::DropLegacy { .. } => Ok(Err(WriteError::Failed)),
        }
    }

    async fn set_assignments(
        &self,
        topic: &str,
        partitions: &BTreeMap<i32, Assignment>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        let path = nodes::topic_path(topic);
        loop {
            let Some((old, stat)) = self.zk.get(&path).await? else { return Ok(Err(WriteError::Failed)) };
            let mut topic = nodes::topic(&old);
            topic.partitions.extend(partitions.clone());
            let data = nodes::encode_topic(&topic);
            if data == old {
                return Ok(Ok(stat.version));
            }
            let sent = self.send(Op::Set { path: path.clone(), data, version: stat.version });
            match settle(sent.await) {
                Ok(Ok(_)) => return Ok(Ok(stat.version + 1)),
                Ok(Err(err::BAD_VERSION)) => {}
                Ok(Err(_)) => return Ok(Err(WriteError::Failed)),
                Err(Deposed::Zk(ZkError::Loss)) => sleep(&self.zk.desk, RETRY_PAUSE_MS).await,
                Err(deposed) => return Err(deposed),
            }
        }
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), Deposed> {
        let partitions = self.zk.children(&nodes::partitions_path(topic)).await?;
        let paths = nodes::nodes_of_topic(topic, &partitions);
        let sent: Vec<_> = paths.into_iter().map(|path| self.delete(path)).collect();
        for one in sent {
            match settle(one.await)? {
                Ok(_) | Err(err::NO_NODE) => {}
                Err(code) => return Err(ZkError::Refused(code).into()),
            }
        }
        Ok(())
    }
}

/// The change's own outcome; a failed check and a lost session end the controller.
pub(super) fn settle(outcome: Outcome) -> Result<Result<Answer, i32>, Deposed> {
    match outcome {
        Ok(Answer::Parts(mut parts)) => Ok(Ok(parts.pop().unwrap_or(Answer::Done))),
        Ok(answer) => Ok(Ok(answer)),
        Err(ZkError::Part(0, err::BAD_VERSION | err::NO_NODE)) => Err(Deposed::Moved),
        Err(ZkError::Part(1, code)) => Ok(Err(code)),
        Err(error) => Err(Deposed::Zk(error)),
    }
}
