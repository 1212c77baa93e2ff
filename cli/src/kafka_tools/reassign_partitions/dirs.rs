//! Replicas and the log directories that they are in, or on their way to.

use super::{Failure, join, s};
use client::cluster::Target;
use client::{Admin, ClientError};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use wire::Str;
use wire::kafka::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::kafka::describe_log_dirs::DescribableLogDirTopic;
use wire::kafka::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest, ErrorCode};

/// Pause before a replica that is not there yet is moved again.
const PAUSE: Duration = Duration::from_millis(100);

/// A partition on a broker; they are listed by broker first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    pub broker: i32,
    pub topic: Str,
    pub partition: i32,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.broker)
    }
}

/// Directories by replica.
pub type Dirs = BTreeMap<Replica, String>;

/// Where a replica is that is to be in `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirState {
    current: Option<String>,
    /// The directory that it is being moved to.
    future: Option<String>,
    target: String,
}

impl DirState {
    pub fn is_done(&self) -> bool {
        self.current.is_some() && self.future.is_none()
    }

    pub fn name(&self) -> &'static str {
        match (&self.current, &self.future) {
            (None, _) => "missing",
            (Some(_), Some(_)) => "moving",
            (Some(current), None) if *current == self.target => "completed",
            _ => "elsewhere",
        }
    }

    pub fn describe(&self, replica: &Replica) -> String {
        let Replica { broker, topic, partition } = replica;
        match (&self.current, &self.future) {
            (None, _) => format!(
                "Partition {topic}-{partition} is not found in any live log dir on broker {broker}. There is likely an \
                 offline log directory on the broker."
            ),
            (Some(_), Some(future)) if *future == self.target => {
                format!("Reassignment of replica {replica} is still in progress.")
            }
            (Some(_), Some(future)) => format!(
                "Partition {topic}-{partition} on broker {broker} is being moved to log dir {future} instead of {}.",
                self.target
            ),
            (Some(current), None) if *current == self.target => {
                format!("Reassignment of replica {replica} completed successfully.")
            }
            (Some(current), None) => format!(
                "Partition {topic}-{partition} on broker {broker} is not being moved from log dir {current} to {}.",
                self.target
            ),
        }
    }
}

/// Where the replicas are that are to be in these directories.
pub async fn states(admin: &Admin, targets: &Dirs) -> Result<BTreeMap<Replica, DirState>, Failure> {
    let state = |target: &String| DirState { current: None, future: None, target: target.clone() };
    let mut states: BTreeMap<Replica, DirState> =
        targets.iter().map(|(replica, target)| (replica.clone(), state(target))).collect();
    let mut asked: BTreeMap<i32, BTreeMap<Str, Vec<i32>>> = BTreeMap::new();
    for replica in targets.keys() {
        let topics = asked.entry(replica.broker).or_default();
        topics.entry(replica.topic.clone()).or_default().push(replica.partition);
    }
    for (broker, topics) in asked {
        let topics =
            topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic { topic, partitions });
        let request = DescribeLogDirsRequest { topics: Some(topics.collect()) };
        let response = admin.call(&Target::Broker(broker), &request, |response| response.error_code).await?;
        for dir in response.results {
            for topic in dir.topics {
                for partition in topic.partitions {
                    let (topic, partition, future) =
                        (topic.name.clone(), partition.partition_index, partition.is_future_key);
                    let Some(state) = states.get_mut(&Replica { broker, topic, partition }) else { continue };
                    let place = if future { &mut state.future } else { &mut state.current };
                    *place = Some(dir.log_dir.to_string());
                }
            }
        }
    }
    Ok(states)
}

/// Those that are being moved, and where they are now: to move them there stops that.
pub async fn under_way(admin: &Admin, targets: &Dirs) -> Result<Dirs, Failure> {
    let states = states(admin, targets).await?.into_iter();
    Ok(states
        .filter_map(|(replica, state)| {
            state.current.filter(|_| state.future.is_some()).map(|dir| (replica, dir))
        })
        .collect())
}

/// Starts moves; replicas that are not on their broker yet are awaited.
pub async fn start(admin: &Admin, mut pending: Dirs, timeout_ms: i64) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    loop {
        let mut begun = Vec::new();
        for (replica, code) in alter(admin, &pending).await? {
            match code {
                ErrorCode::NONE => begun.push(replica),
                ErrorCode::REPLICA_NOT_AVAILABLE => {}
                code => {
                    let why = format!("Failed to alter dir for {replica}");
                    let cause = super::throwable(&ClientError::from(code));
                    let exception = "kafka.common.AdminCommandFailedException";
                    return Err(Failure::Exception(super::Exception {
                        trace: format!("{exception}: {why}\nCaused by: {cause}"),
                        message: why,
                    }));
                }
            }
        }
        if !begun.is_empty() {
            println!("Successfully started log directory move{} for: {}", s(begun.len()), join(&begun));
        }
        pending.retain(|replica, _| !begun.contains(replica));
        if pending.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::Terse(format!(
                "Timed out before log directory move{} could be started for: {}",
                s(pending.len()),
                join(pending.keys())
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn alter(admin: &Admin, dirs: &Dirs) -> Result<BTreeMap<Replica, ErrorCode>, Failure> {
    let mut by_broker: BTreeMap<i32, BTreeMap<&String, BTreeMap<Str, Vec<i32>>>> = BTreeMap::new();
    for (replica, dir) in dirs {
        let topics = by_broker.entry(replica.broker).or_default().entry(dir).or_default();
        topics.entry(replica.topic.clone()).or_default().push(replica.partition);
    }
    let mut results = BTreeMap::new();
    for (broker, dirs) in by_broker {
        let dirs = dirs.into_iter().map(|(dir, topics)| AlterReplicaLogDir {
            path: dir.as_str().into(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| AlterReplicaLogDirTopic { name, partitions })
                .collect(),
        });
        let request = AlterReplicaLogDirsRequest { dirs: dirs.collect() };
        let response = admin.call(&Target::Broker(broker), &request, |_| ErrorCode::NONE).await?;
        for topic in response.results {
            for partition in topic.partitions {
                let (topic, code) = (topic.topic_name.clone(), partition.error_code);
                results.insert(Replica { broker, topic, partition: partition.partition_index }, code);
            }
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_where_it_should_be_on_its_way_or_elsewhere() {
        let replica = Replica { broker: 2, topic: "t".into(), partition: 0 };
        let check = |current: Option<&str>, future: Option<&str>| {
            let dir = |dir: Option<&str>| dir.map(str::to_owned);
            let state = DirState { current: dir(current), future: dir(future), target: "/b".to_owned() };
            (state.describe(&replica), state.is_done())
        };
        assert_eq!(
            check(Some("/b"), None),
            ("Reassignment of replica t-0-2 completed successfully.".into(), true)
        );
        assert_eq!(
            check(Some("/a"), Some("/b")),
            ("Reassignment of replica t-0-2 is still in progress.".into(), false)
        );
        assert_eq!(
            check(Some("/a"), Some("/c")),
            ("Partition t-0 on broker 2 is being moved to log dir /c instead of /b.".into(), false)
        );
        assert_eq!(
            check(Some("/a"), None),
            ("Partition t-0 on broker 2 is not being moved from log dir /a to /b.".into(), true)
        );
        assert!(
            check(None, None).0.starts_with("Partition t-0 is not found in any live log dir on broker 2.")
        );
    }
}
