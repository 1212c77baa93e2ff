//! What sessions are about: which requests come how often.

use wire::kafka::ApiKey;

/// A kind of session.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    pub name: &'static str,
    /// APIs, and how often each comes.
    pub requests: &'static [(ApiKey, u32)],
}

pub const STORIES: &[Story] = &[
    Story {
        name: "groups",
        requests: &[
            (ApiKey::JoinGroup, 8),
            (ApiKey::SyncGroup, 6),
            (ApiKey::Heartbeat, 4),
            (ApiKey::LeaveGroup, 3),
            (ApiKey::OffsetCommit, 5),
            (ApiKey::OffsetFetch, 4),
            (ApiKey::FindCoordinator, 1),
            (ApiKey::DescribeGroups, 4),
            (ApiKey::ListGroups, 2),
            (ApiKey::DeleteGroups, 2),
            (ApiKey::OffsetDelete, 2),
        ],
    },
    Story {
        name: "records",
        requests: &[
            (ApiKey::Produce, 10),
            (ApiKey::Fetch, 8),
            (ApiKey::ListOffsets, 5),
            (ApiKey::DeleteRecords, 2),
            (ApiKey::OffsetForLeaderEpoch, 2),
            (ApiKey::InitProducerId, 1),
            (ApiKey::DescribeProducers, 2),
            (ApiKey::DescribeLogDirs, 1),
        ],
    },
    Story {
        name: "topics",
        requests: &[
            (ApiKey::CreateTopics, 6),
            (ApiKey::DeleteTopics, 3),
            (ApiKey::CreatePartitions, 4),
            (ApiKey::Metadata, 5),
            (ApiKey::DescribeConfigs, 3),
            (ApiKey::AlterConfigs, 3),
            (ApiKey::IncrementalAlterConfigs, 4),
            (ApiKey::DescribeLogDirs, 1),
        ],
    },
    Story {
        name: "transactions",
        requests: &[
            (ApiKey::InitProducerId, 5),
            (ApiKey::AddPartitionsToTxn, 5),
            (ApiKey::AddOffsetsToTxn, 3),
            (ApiKey::TxnOffsetCommit, 3),
            (ApiKey::EndTxn, 5),
            (ApiKey::Produce, 4),
            (ApiKey::Fetch, 2),
            (ApiKey::ListOffsets, 2),
            (ApiKey::OffsetFetch, 2),
            (ApiKey::DescribeTransactions, 3),
            (ApiKey::ListTransactions, 2),
            (ApiKey::DescribeProducers, 2),
            (ApiKey::WriteTxnMarkers, 1),
            (ApiKey::FindCoordinator, 1),
        ],
    },
    Story {
        name: "cluster",
        requests: &[
            (ApiKey::ApiVersions, 3),
            (ApiKey::DescribeCluster, 2),
            (ApiKey::Metadata, 2),
            (ApiKey::ElectLeaders, 3),
            (ApiKey::AlterPartitionReassignments, 3),
            (ApiKey::ListPartitionReassignments, 2),
            (ApiKey::DescribeConfigs, 2),
            (ApiKey::AlterConfigs, 1),
            (ApiKey::IncrementalAlterConfigs, 2),
            (ApiKey::UpdateFeatures, 2),
            (ApiKey::AllocateProducerIds, 1),
            (ApiKey::AlterPartition, 2),
            (ApiKey::ControlledShutdown, 1),
            (ApiKey::LeaderAndIsr, 1),
            (ApiKey::StopReplica, 1),
            (ApiKey::UpdateMetadata, 1),
            (ApiKey::FindCoordinator, 1),
            (ApiKey::Envelope, 1),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::APIS;

    #[test]
    fn every_api_without_security_quotas_and_folders_is_in_some_story() {
        let elsewhere = [17, 29, 30, 31, 34, 36, 38, 39, 40, 41, 48, 49, 50, 51];
        for api in APIS.iter().filter(|api| api.broker_versions.is_some()) {
            let told = STORIES.iter().any(|story| story.requests.iter().any(|(key, _)| *key == api.key));
            assert_eq!(told, !elsewhere.contains(&(api.key as i16)), "{}", api.name);
        }
    }
}
