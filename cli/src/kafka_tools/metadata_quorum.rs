//! `kafka-metadata-quorum`: the voters of a KRaft quorum. Clusters on ZooKeeper have none, and their brokers say so.

use super::argparse::{Arg, Command, Parser, Words};
use super::{Terse, admin_of, run};
use crate::Call;
use client::cluster::Target;
use client::{Admin, ClientError};
use std::process::ExitCode;
use wire::kafka::DescribeQuorumRequest;
use wire::kafka::describe_quorum::{
    ReplicaState, RequestPartitionData, RequestTopicData, ResponsePartitionData,
};

pub const PARSER: Parser = Parser {
    prog: "kafka-metadata-quorum",
    description: "Shows the quorum of a cluster with KRaft.",
    args: &[
        Arg::text(&["--bootstrap-server"], "BOOTSTRAP_SERVER", "The brokers to start with.").required(),
        Arg::text(&["--command-config"], "COMMAND_CONFIG", "File with settings for the admin client."),
    ],
    one_of: &[],
    commands: &[Command {
        name: "describe",
        doc: "Shows the quorum.",
        args: &[
            Arg::flag(&["--status"], "Its leader, its members, and the largest lag."),
            Arg::flag(&["--replication"], "How far each member is."),
        ],
    }],
};

pub fn main(call: &Call) -> ExitCode {
    super::end_terse(PARSER.read(&call.args).map_err(Terse::from).and_then(|words| quorum(&words)))
}

fn quorum(words: &Words) -> Result<(), Terse> {
    let said = |why: &str| Err(Terse::Said(why.to_owned()));
    let config = words.text("--command-config");
    if let Some(missing) = config.filter(|path| !std::path::Path::new(path).exists()) {
        return said(&format!("Properties file {missing} does not exists!"));
    }
    let admin = Admin::new(admin_of(words.text("--bootstrap-server").unwrap_or_default(), config)?);
    match (words.has("--status"), words.has("--replication")) {
        (true, true) => {
            said("Only one of --status or --replication should be specified with describe sub-command")
        }
        (false, false) => {
            said("One of --status or --replication must be specified with describe sub-command")
        }
        (true, _) => run(status(&admin))?,
        (_, true) => run(replication(&admin))?,
    }
}

async fn describe(admin: &Admin) -> Result<ResponsePartitionData, Terse> {
    let failed = |error: ClientError| Terse::executed("describeMetadataQuorum", error);
    let request = DescribeQuorumRequest {
        topics: vec![RequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![RequestPartitionData { partition_index: 0 }],
        }],
    };
    let answer = admin.call(&Target::Any, &request, |answer| answer.error_code).await.map_err(failed)?;
    ClientError::check(answer.error_code, &None).map_err(failed)?;
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or_else(|| {
        Terse::Said("The broker's answer has no partition of __cluster_metadata".to_owned())
    })?;
    ClientError::check(partition.error_code, &None).map_err(failed)?;
    Ok(partition)
}

fn leader_of(partition: &ResponsePartitionData) -> Result<&ReplicaState, Terse> {
    let leader = partition.current_voters.iter().find(|voter| voter.replica_id == partition.leader_id);
    leader.ok_or_else(|| {
        Terse::Said(format!("The leader {} is not among the voters: ask again", partition.leader_id))
    })
}

async fn status(admin: &Admin) -> Result<(), Terse> {
    let described = admin.describe_cluster().await.map_err(|error| Terse::executed("listNodes", error))?;
    let partition = describe(admin).await?;
    let leader = leader_of(&partition)?;
    let last = partition.current_voters.iter().min_by_key(|voter| voter.log_end_offset).unwrap_or(leader);
    let lag_ms = match (
        last.replica_id == leader.replica_id,
        leader.last_caught_up_timestamp,
        last.last_caught_up_timestamp,
    ) {
        (true, ..) => 0,
        (_, leader, last) if leader >= 0 && last >= 0 => leader - last,
        _ => -1,
    };
    let ids = |replicas: &[ReplicaState]| {
        let ids: Vec<String> = replicas.iter().map(|replica| replica.replica_id.to_string()).collect();
        format!("[{}]", ids.join(","))
    };
    for (name, value) in [
        ("ClusterId", described.cluster_id.to_string()),
        ("LeaderId", partition.leader_id.to_string()),
        ("LeaderEpoch", partition.leader_epoch.to_string()),
        ("HighWatermark", partition.high_watermark.to_string()),
        ("MaxFollowerLag", (leader.log_end_offset - last.log_end_offset).to_string()),
        ("MaxFollowerLagTimeMs", lag_ms.to_string()),
        ("CurrentVoters", ids(&partition.current_voters)),
        ("CurrentObservers", ids(&partition.observers)),
    ] {
        println!("{:<24}{value}", format!("{name}:"));
    }
    Ok(())
}

async fn replication(admin: &Admin) -> Result<(), Terse> {
    let partition = describe(admin).await?;
    super::print_table(
        &["NodeId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"],
        &rows(&partition, leader_of(&partition)?),
    );
    Ok(())
}

/// The leader, then its followers, then the observers.
fn rows(partition: &ResponsePartitionData, leader: &ReplicaState) -> Vec<Vec<String>> {
    let row = |replica: &ReplicaState, status: &str| {
        vec![
            replica.replica_id.to_string(),
            replica.log_end_offset.to_string(),
            (leader.log_end_offset - replica.log_end_offset).to_string(),
            replica.last_fetch_timestamp.to_string(),
            replica.last_caught_up_timestamp.to_string(),
            status.to_owned(),
        ]
    };
    let followers = partition.current_voters.iter().filter(|one| one.replica_id != leader.replica_id);
    std::iter::once(row(leader, "Leader"))
        .chain(followers.map(|one| row(one, "Follower")))
        .chain(partition.observers.iter().map(|one| row(one, "Observer")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_comes_first_and_lags_count_from_it() {
        let replica = |replica_id, log_end_offset| ReplicaState {
            replica_id,
            log_end_offset,
            ..ReplicaState::default()
        };
        let partition = ResponsePartitionData {
            leader_id: 2,
            current_voters: vec![replica(1, 7), replica(2, 9)],
            observers: vec![replica(5, 4)],
            ..Default::default()
        };
        let rows = rows(&partition, leader_of(&partition).unwrap());
        let brief: Vec<String> = rows.iter().map(|row| format!("{} {} {}", row[0], row[2], row[5])).collect();
        assert_eq!(brief, ["2 0 Leader", "1 2 Follower", "5 5 Observer"]);
    }
}
