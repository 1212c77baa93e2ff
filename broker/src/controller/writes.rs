//! What the controller writes: always in one transaction with a check of `/controller_epoch`, so that a controller
//! that has been replaced writes nothing. The states of many partitions go into few transactions, as most of what a
//! transaction costs is the same for one node and for fifty; where one of those is refused, each state gets its own.

use std::collections::BTreeSet;
use std::pin::Pin;

use broker_core::controller::{OpId, PartitionState, TopicPartition, Write, WriteError};
use zookeeper_client::{CheckWriteError, CheckWriter, Error, MultiWriteResult};

use super::claim::Mandate;
use super::nodes;
use crate::zk::{RETRY_PAUSE, Zk, ZkError};

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

/// States in one transaction.
const BATCH: usize = 50;

/// Writes of several states in one transaction, and the places of those writes.
struct Batch<'a> {
    places: Vec<usize>,
    /// Creating them: the parents that they may lack, one transaction for each.
    parents: Vec<(String, Sent<'a>)>,
    sent: Sent<'a>,
}

/// The controller's pen.
#[derive(Debug, Clone)]
pub struct Pen {
    pub zk: Zk,
    pub mandate: Mandate,
}

impl Pen {
    /// Sends one change behind the check; it is on its way when this returns.
    pub(super) fn send<'a>(
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
        self.send(path, |writer| writer.add_create(path, data, &self.zk.persistent(path)))
    }

    fn send_delete(&self, path: &str) -> Result<Sent<'_>, ZkError> {
        self.send(path, |writer| writer.add_delete(path, None))
    }

    fn send_set(&self, path: &str, data: &[u8], version: i32) -> Result<Sent<'_>, ZkError> {
        self.send(path, |writer| writer.add_set_data(path, data, Some(version)))
    }

    /// All of these writes, and what came of each. They are all on their way before the first answer is awaited.
    pub async fn write_all(
        &self,
        writes: Vec<(OpId, Write)>,
    ) -> Result<Vec<(OpId, Result<i32, WriteError>)>, Deposed> {
        let mut results: Vec<Option<Result<i32, WriteError>>> = vec![None; writes.len()];
        for batch in self.send_batches(&writes)? {
            for (path, parent) in batch.parents {
                // One that is there already is fine; of any other failure the states' own transaction tells.
                self.settled(&path, parent.await)?;
            }
            // Refused or lost: each by itself, which also tells a write of ours from another's.
            let Some(outcome) = self.settled("states", batch.sent.await)? else { continue };
            let versions = outcome.iter().filter_map(|one| match one {
                MultiWriteResult::SetData { stat } => Some(stat.version),
                MultiWriteResult::Create { path, .. } if path.ends_with("/state") => Some(0),
                _ => None,
            });
            for (place, version) in batch.places.into_iter().zip(versions) {
                results[place] = Some(Ok(version));
            }
        }
        let mut alone = Vec::new();
        for (place, (_, write)) in writes.iter().enumerate().filter(|(place, _)| results[*place].is_none()) {
            alone.push((place, write, self.begin(write)?));
        }
        for (place, write, sent) in alone {
            results[place] = Some(match self.finish(write, sent).await {
                Ok(result) => result,
                Err(Deposed::ZooKeeper(error)) if !error.session_over() => {
                    tracing::error!("{error}");
                    Err(WriteError::Failed)
                }
                Err(deposed) => return Err(deposed),
            });
        }
        let results = results.into_iter().map(|result| result.unwrap_or(Err(WriteError::Failed)));
        Ok(writes.iter().map(|(op, _)| *op).zip(results).collect())
    }

    /// What a transaction did, if it did; an error only where the controller's time is over.
    fn settled(&self, path: &str, outcome: Outcome) -> Result<Option<Vec<MultiWriteResult>>, Deposed> {
        match settle(path, outcome) {
            Ok(outcome) => Ok(outcome.ok()),
            Err(Deposed::ZooKeeper(error)) if !error.session_over() => Ok(None),
            Err(deposed) => Err(deposed),
        }
    }

    /// States that are made, and states that are replaced, so many to a transaction.
    fn send_batches(&self, writes: &[(OpId, Write)]) -> Result<Vec<Batch<'_>>, ZkError> {
        let places = |wanted: fn(&Write) -> bool| {
            let found = writes.iter().enumerate().filter(move |(_, (_, write))| wanted(write));
            found.map(|(place, _)| place).collect::<Vec<usize>>()
        };
        let made = places(|write| matches!(write, Write::CreateState { .. }));
        let replaced = places(|write| matches!(write, Write::SetState { .. }));
        let mut batches = Vec::new();
        for places in made.chunks(BATCH).chain(replaced.chunks(BATCH)).filter(|places| places.len() > 1) {
            let chosen = || places.iter().map(|&place| &writes[place].1);
            let parents = self.send_parents(chosen())?;
            let sent = self
                .send("states", |writer| chosen().try_for_each(|write| add_state(&self.zk, writer, write)))?;
            batches.push(Batch { places: places.to_vec(), parents, sent });
        }
        Ok(batches)
    }

    fn send_parents<'w>(
        &self,
        writes: impl Iterator<Item = &'w Write>,
    ) -> Result<Vec<(String, Sent<'_>)>, ZkError> {
        let topics: BTreeSet<&str> = writes
            .filter_map(|write| match write {
                Write::CreateState { partition, .. } => Some(&*partition.topic),
                _ => None,
            })
            .collect();
        let parent = |topic: &str| {
            let path = nodes::partitions_path(topic);
            let sent = self.send_create(&path, b"")?;
            Ok((path, sent))
        };
        topics.into_iter().map(parent).collect()
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
            Write::DeleteTopic { .. }
            | Write::DropDeletion { .. }
            | Write::SetAssignments { .. }
            | Write::DropLegacy { .. } => Ok(Vec::new()),
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
            Write::SetAssignments { topic, partitions } => self.set_assignments(topic, partitions).await,
            Write::DropLegacy { partitions } => self.drop_legacy(partitions).await,
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
        let partitions = self.zk.children(&nodes::partitions_path(topic)).await?;
        let paths = nodes::nodes_of_topic(topic, &partitions);
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
        let sent = paths.iter().map(|path| self.send_delete(path)).collect::<Result<Vec<_>, _>>()?;
        for (path, sent) in paths.iter().zip(sent) {
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

/// One state of a batch.
fn add_state(zk: &Zk, writer: &mut CheckWriter<'_>, write: &Write) -> Result<(), Error> {
    match write {
        Write::CreateState { partition, state } => {
            let (folder, path) = (nodes::partition_path(partition), nodes::state_path(partition));
            writer.add_create(&folder, b"", &zk.persistent(&folder))?;
            writer.add_create(&path, &nodes::encode_state(state), &zk.persistent(&path))
        }
        Write::SetState { partition, state } => writer.add_set_data(
            &nodes::state_path(partition),
            &nodes::encode_state(state),
            Some(state.version),
        ),
        // Not among those that are batched.
        Write::DeleteTopic { .. }
        | Write::DropDeletion { .. }
        | Write::SetAssignments { .. }
        | Write::DropLegacy { .. } => Ok(()),
    }
}

/// The change's own outcome; a failed check and a lost session end the controller.
pub(super) fn settle(path: &str, outcome: Outcome) -> Result<Result<Vec<MultiWriteResult>, Error>, Deposed> {
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
