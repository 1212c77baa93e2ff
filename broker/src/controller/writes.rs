//! What the controller writes: each node in one transaction with a check of `/controller_epoch`, so that a controller
//! that has been replaced writes nothing.

use std::pin::Pin;

use broker_core::controller::{PartitionState, TopicPartition, Write, WriteError};
use zookeeper_client::{CheckWriteError, CheckWriter, Error, MultiWriteResult};

use super::claim::Mandate;
use super::nodes;
use crate::zk::{PERSISTENT, RETRY_PAUSE, Zk, ZkError};

/// Why the controller must stop.
#[derive(Debug, thiserror::Error)]
pub enum Deposed {
    #[error("another controller has taken over")]
    Moved,
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
}

type Outcome = Result<Vec<MultiWriteResult>, CheckWriteError>;
/// A transaction that has been sent.
pub type Sent<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// The controller's pen.
#[derive(Debug, Clone)]
pub struct Pen {
    pub zk: Zk,
    pub mandate: Mandate,
}

impl Pen {
    /// Sends one change behind the check; it is on its way when this returns.
    fn send<'a>(
        &'a self,
        path: &str,
        change: impl FnOnce(&mut CheckWriter<'a>) -> Result<(), Error>,
    ) -> Result<Sent<'a>, ZkError> {
        let failed = |source| ZkError::Operation { operation: "multi", path: path.to_owned(), source };
        let checked = self.zk.client().new_check_writer(nodes::CONTROLLER_EPOCH, Some(self.mandate.version));
        let mut writer = checked.map_err(failed)?;
        change(&mut writer).map_err(failed)?;
        Ok(Box::pin(writer.commit()))
    }

    fn send_create(&self, path: &str, data: &[u8]) -> Result<Sent<'_>, ZkError> {
        self.send(path, |writer| writer.add_create(path, data, &PERSISTENT))
    }

    fn send_delete(&self, path: &str) -> Result<Sent<'_>, ZkError> {
        self.send(path, |writer| writer.add_delete(path, None))
    }

    fn send_set(&self, path: &str, data: &[u8], version: i32) -> Result<Sent<'_>, ZkError> {
        self.send(path, |writer| writer.add_set_data(path, data, Some(version)))
    }

    /// Sends all that a state's write takes; parents of a new state go first.
    pub fn begin(&self, write: &Write) -> Result<Vec<Sent<'_>>, ZkError> {
        match write {
            Write::CreateState { partition, state } => Ok(vec![
                self.send_create(&nodes::partitions_path(&partition.topic), b"")?,
                self.send_create(&nodes::partition_path(partition), b"")?,
                self.send_create(&nodes::state_path(partition), &nodes::encode_state(state))?,
            ]),
            Write::SetState { partition, state } => {
                let path = nodes::state_path(partition);
                Ok(vec![self.send_set(&path, &nodes::encode_state(state), state.version)?])
            }
            Write::DeleteTopic { .. } | Write::DropDeletion { .. } => Ok(Vec::new()),
        }
    }

    /// Waits for what [`Pen::begin`] sent, and sends it again as long as connections are lost.
    pub async fn finish(
        &self,
        write: &Write,
        sent: Vec<Sent<'_>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        let mut sent = sent;
        loop {
            match self.outcome(write, sent).await {
                Err(Deposed::ZooKeeper(ZkError::Operation { source: Error::ConnectionLoss, .. })) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    sent = self.begin(write)?;
                }
                done => return done,
            }
        }
    }

    async fn outcome(&self, write: &Write, sent: Vec<Sent<'_>>) -> Result<Result<i32, WriteError>, Deposed> {
        match write {
            Write::CreateState { partition, .. } | Write::SetState { partition, .. } => {
                self.state_outcome(partition, sent).await
            }
            Write::DeleteTopic { topic } => self.delete_topic(topic).await.map(|()| Ok(0)),
            Write::DropDeletion { topic } => {
                let path = format!("{}/{topic}", nodes::DELETIONS);
                let sent = self.send_delete(&path)?;
                settle(&path, sent.await).map(|_| Ok(0))
            }
        }
    }

    async fn state_outcome(
        &self,
        partition: &TopicPartition,
        sent: Vec<Sent<'_>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        let path = nodes::state_path(partition);
        let mut last = Err(WriteError::Failed);
        for one in sent {
            last = match settle(&path, one.await)? {
                Ok(results) => Ok(match results.first() {
                    Some(MultiWriteResult::SetData { stat }) => stat.version,
                    _ => 0,
                }),
                Err(Error::NodeExists | Error::BadVersion) => Err(WriteError::Conflict),
                Err(error) => {
                    tracing::warn!("Writing {path}: {error}");
                    Err(WriteError::Failed)
                }
            };
        }
        Ok(last)
    }

    /// Children first; what is gone already is fine.
    async fn delete_topic(&self, topic: &str) -> Result<(), Deposed> {
        let partitions = nodes::partitions_path(topic);
        let ids = self.zk.children(&partitions).await?;
        let states = ids.iter().map(|id| format!("{partitions}/{id}/state"));
        let parents = ids.iter().map(|id| format!("{partitions}/{id}"));
        let rest = [
            partitions.clone(),
            nodes::topic_path(topic),
            format!("/config/topics/{topic}"),
            format!("{}/{topic}", nodes::DELETIONS),
        ];
        let paths: Vec<String> = states.chain(parents).chain(rest).collect();
        let sent = paths.iter().map(|path| self.send_delete(path)).collect::<Result<Vec<_>, _>>()?;
        for (path, one) in paths.iter().zip(sent) {
            match settle(path, one.await)? {
                Ok(_) | Err(Error::NoNode) => {}
                Err(source) => {
                    return Err(ZkError::Operation { operation: "delete", path: path.clone(), source }.into());
                }
            }
        }
        Ok(())
    }

    /// Deletes nodes that nobody needs any more; those that are gone already are fine.
    pub async fn delete_all(&self, paths: &[String]) -> Result<(), Deposed> {
        for path in paths {
            let sent = self.send_delete(path)?;
            if let Err(error) = settle(path, sent.await)?
                && error != Error::NoNode
            {
                tracing::warn!("Deleting {path}: {error}");
            }
        }
        Ok(())
    }

    /// A partition's state as it stands.
    pub async fn read_state(&self, partition: &TopicPartition) -> Result<Option<PartitionState>, Deposed> {
        let path = nodes::state_path(partition);
        let found = self.zk.get(&path).await?;
        Ok(found.map(|(data, stat)| nodes::partition_state(&path, &data, stat.version)).transpose()?)
    }
}

/// The change's own outcome; a failed check and a lost session end the controller.
fn settle(path: &str, outcome: Outcome) -> Result<Result<Vec<MultiWriteResult>, Error>, Deposed> {
    let lost =
        |source| Deposed::ZooKeeper(ZkError::Operation { operation: "multi", path: path.to_owned(), source });
    match outcome {
        Ok(results) => Ok(Ok(results)),
        Err(CheckWriteError::CheckFailed { source: Error::BadVersion | Error::NoNode }) => {
            Err(Deposed::Moved)
        }
        Err(CheckWriteError::OperationFailed { source, .. }) => Ok(Err(source)),
        Err(CheckWriteError::CheckFailed { source } | CheckWriteError::RequestFailed { source }) => {
            Err(lost(source))
        }
    }
}
