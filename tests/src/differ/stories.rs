//! What sessions are about: which requests come how often, and who makes them.

use wire::kafka::ApiKey;

/// Which requests a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// APIs, and how often each comes.
    These(&'static [(ApiKey, u32)]),
    /// Every API, as often as any other.
    All,
}

/// Where a session's connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Where nobody has to log in, and everybody has all rights.
    Open,
    /// Behind a login, as these users: one for each connection.
    Users([&'static str; 3]),
    /// Where one has to log in, and has not.
    Strangers,
}

/// A kind of session.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    pub name: &'static str,
    pub requests: Requests,
    pub door: Door,
    /// No request has a version above this one.
    pub highest: i16,
    /// The bytes of each request are damaged.
    pub is_damaged: bool,
    /// There are no ACLs, quotas and credentials at its beginning.
    pub is_cleared: bool,
    /// Its users begin with some rights.
    pub has_rights: bool,
}

const OPEN: Story = Story {
    name: "",
    requests: Requests::All,
    door: Door::Open,
    highest: i16::MAX,
    is_damaged: false,
    is_cleared: false,
    has_rights: false,
};

impl Story {
    /// The versions of an API that its sessions have.
    pub fn versions(&self, key: ApiKey) -> (i16, i16) {
        let (low, high) = key.api().broker_versions.expect("a broker's API");
        let is_offsets = matches!(key, ApiKey::OffsetCommit | ApiKey::OffsetFetch);
        // The first version of these is about ZooKeeper, in Java: who has that one has no other.
        match self.highest {
            i16::MAX if is_offsets => (low + 1, high),
            _ if is_offsets => (low, low),
            highest => (low.min(highest), high.min(highest)),
        }
    }
}

pub const STORIES: &[Story] = &[
    Story {
        name: "groups",
        requests: Requests::These(&[
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
        ]),
        ..OPEN
    },
    Story {
        name: "records",
        requests: Requests::These(&[
            (ApiKey::Produce, 10),
            (ApiKey::Fetch, 8),
            (ApiKey::ListOffsets, 5),
            (ApiKey::DeleteRecords, 2),
            (ApiKey::OffsetForLeaderEpoch, 2),
            (ApiKey::InitProducerId, 1),
            (ApiKey::DescribeProducers, 2),
            (ApiKey::DescribeLogDirs, 1),
            (ApiKey::AlterReplicaLogDirs, 2),
        ]),
        ..OPEN
    },
    Story {
        name: "topics",
        requests: Requests::These(&[
            (ApiKey::CreateTopics, 6),
            (ApiKey::DeleteTopics, 3),
            (ApiKey::CreatePartitions, 4),
            (ApiKey::Metadata, 5),
            (ApiKey::DescribeConfigs, 3),
            (ApiKey::AlterConfigs, 3),
            (ApiKey::IncrementalAlterConfigs, 4),
            (ApiKey::DescribeLogDirs, 1),
        ]),
        ..OPEN
    },
    Story {
        name: "transactions",
        requests: Requests::These(&[
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
        ]),
        ..OPEN
    },
    Story {
        name: "cluster",
        requests: Requests::These(&[
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
        ]),
        ..OPEN
    },
    Story {
        name: "the oldest clients",
        requests: Requests::These(&[
            (ApiKey::Metadata, 3),
            (ApiKey::Produce, 8),
            (ApiKey::Fetch, 6),
            (ApiKey::ListOffsets, 4),
            (ApiKey::OffsetCommit, 4),
            (ApiKey::OffsetFetch, 4),
            (ApiKey::FindCoordinator, 1),
            (ApiKey::ControlledShutdown, 1),
        ]),
        highest: 2,
        ..OPEN
    },
    Story {
        name: "acls",
        requests: Requests::These(&[
            (ApiKey::CreateAcls, 6),
            (ApiKey::DescribeAcls, 6),
            (ApiKey::DeleteAcls, 4),
        ]),
        is_cleared: true,
        ..OPEN
    },
    Story {
        name: "users and quotas",
        requests: Requests::These(&[
            (ApiKey::AlterUserScramCredentials, 4),
            (ApiKey::DescribeUserScramCredentials, 4),
            (ApiKey::AlterClientQuotas, 8),
            (ApiKey::DescribeClientQuotas, 8),
        ]),
        is_cleared: true,
        ..OPEN
    },
    Story {
        name: "delegation tokens",
        requests: Requests::These(&[
            (ApiKey::CreateDelegationToken, 6),
            (ApiKey::RenewDelegationToken, 4),
            (ApiKey::ExpireDelegationToken, 3),
            (ApiKey::DescribeDelegationToken, 6),
            (ApiKey::SaslHandshake, 1),
        ]),
        door: Door::Users(["admin", "alice", "bob"]),
        is_cleared: true,
        ..OPEN
    },
    Story {
        name: "tokens where nobody logs in",
        requests: Requests::These(&[
            (ApiKey::CreateDelegationToken, 1),
            (ApiKey::RenewDelegationToken, 1),
            (ApiKey::ExpireDelegationToken, 1),
            (ApiKey::DescribeDelegationToken, 1),
            (ApiKey::SaslHandshake, 1),
            (ApiKey::SaslAuthenticate, 1),
            (ApiKey::ApiVersions, 1),
        ]),
        ..OPEN
    },
    Story {
        name: "without any right",
        requests: Requests::All,
        door: Door::Users(["nobody", "nobody", "nobody"]),
        is_cleared: true,
        ..OPEN
    },
    Story {
        name: "with some rights",
        requests: Requests::All,
        door: Door::Users(["alice", "alice", "bob"]),
        is_cleared: true,
        has_rights: true,
        ..OPEN
    },
    Story {
        name: "logins",
        requests: Requests::These(&[
            (ApiKey::SaslHandshake, 8),
            (ApiKey::SaslAuthenticate, 12),
            (ApiKey::ApiVersions, 2),
            (ApiKey::Metadata, 1),
        ]),
        door: Door::Strangers,
        is_cleared: true,
        ..OPEN
    },
    Story { name: "damaged requests", requests: Requests::All, is_damaged: true, ..OPEN },
];

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::APIS;

    #[test]
    fn every_api_is_in_some_story_of_its_own() {
        for api in APIS.iter().filter(|api| api.broker_versions.is_some()) {
            let told = |story: &Story| match story.requests {
                Requests::These(requests) => requests.iter().any(|(key, _)| *key == api.key),
                Requests::All => false,
            };
            assert!(STORIES.iter().any(told), "{}", api.name);
        }
    }
}
