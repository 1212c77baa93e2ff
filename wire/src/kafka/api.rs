//! The table of APIs: key, name, versions, and which header goes with which version.

use super::shape::{Draw, Shape, Value};
use super::*;

/// What is known of one API of Kafka 3.5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    /// As `ApiVersions` tools print it.
    pub name: &'static str,
    /// The versions that are declared here, the unstable last one of two APIs included.
    pub versions: (i16, i16),
    /// The versions that a broker in ZooKeeper mode answers and advertises; `None` for KRaft's own APIs.
    pub broker_versions: Option<(i16, i16)>,
    /// First flexible version; `i16::MAX` where there is none.
    pub flexible_from: i16,
}

impl Api {
    /// What a broker answers that is also told to answer versions that may still change (`unstable.api.versions.enable`):
    /// the last one of two APIs.
    pub fn broker_versions_with_unstable(&self) -> Option<(i16, i16)> {
        match self.key {
            ApiKey::AddPartitionsToTxn | ApiKey::ConsumerGroupHeartbeat => Some(self.versions),
            _ => self.broker_versions,
        }
    }

    /// 0 (only ControlledShutdown v0: no client id), 1, or 2 (tagged fields).
    pub fn request_header_version(&self, version: i16) -> i16 {
        match self.key {
            ApiKey::ControlledShutdown if version == 0 => 0,
            _ if version >= self.flexible_from => 2,
            _ => 1,
        }
    }

    /// 0, or 1 (tagged fields). ApiVersions always answers with 0, so that any client can read it.
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.key != ApiKey::ApiVersions && version >= self.flexible_from)
    }
}

/// A request's type knows its API and its response.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

macro_rules! flexible_from {
    (none) => {
        i16::MAX
    };
    ($from:literal) => {
        $from
    };
}

macro_rules! broker_versions {
    (none) => {
        None
    };
    ($low:literal..=$high:literal) => {
        Some(($low, $high))
    };
}

macro_rules! apis {
    ($($key:literal $name:ident $low:literal..=$high:literal flexible $flexible:tt
        zookeeper_broker ($($broker:tt)+) $request:ident $response:ident;)+) => {
        /// The API that a request header names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)+
        }

        /// All APIs, by ascending key; the index is the key.
        pub const APIS: &[Api] = &[$(Api {
            key: ApiKey::$name,
            name: stringify!($name),
            versions: ($low, $high),
            broker_versions: broker_versions!($($broker)+),
            flexible_from: flexible_from!($flexible),
        },)+];

        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = $response;
        })+

        /// The body of any request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyRequest {
            $($name($request),)+
        }

        /// The body of any response.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyResponse {
            $($name($response),)+
        }

        impl AnyRequest {
            /// Reads the body after the header; `version` has to be one of the API's.
            pub fn read(key: ApiKey, from: &mut Reader, version: i16) -> Result<AnyRequest, DecodeError> {
                match key {
                    $(ApiKey::$name => Message::read(from, version).map(AnyRequest::$name),)+
                }
            }
            pub fn write(&self, to: &mut BytesMut, version: i16) {
                match self {
                    $(AnyRequest::$name(body) => body.write(to, version),)+
                }
            }
            pub fn key(&self) -> ApiKey {
                match self {
                    $(AnyRequest::$name(_) => ApiKey::$name,)+
                }
            }
            /// A request whose fields `from` decides.
            pub fn draw(key: ApiKey, from: &mut dyn Draw, version: i16) -> AnyRequest {
                match key {
                    $(ApiKey::$name => AnyRequest::$name(Shape::draw(from, version)),)+
                }
            }
            pub fn show(&self, version: i16) -> Value {
                match self {
                    $(AnyRequest::$name(body) => body.show(version),)+
                }
            }
        }

        impl AnyResponse {
            /// Reads the body after the header; `version` has to be the request's.
            pub fn read(key: ApiKey, from: &mut Reader, version: i16) -> Result<AnyResponse, DecodeError> {
                match key {
                    $(ApiKey::$name => Message::read(from, version).map(AnyResponse::$name),)+
                }
            }
            pub fn write(&self, to: &mut BytesMut, version: i16) {
                match self {
                    $(AnyResponse::$name(body) => body.write(to, version),)+
                }
            }
            pub fn key(&self) -> ApiKey {
                match self {
                    $(AnyResponse::$name(_) => ApiKey::$name,)+
                }
            }
            pub fn show(&self, version: i16) -> Value {
                match self {
                    $(AnyResponse::$name(body) => body.show(version),)+
                }
            }
        }

        $(impl From<$request> for AnyRequest {
            fn from(body: $request) -> AnyRequest {
                AnyRequest::$name(body)
            }
        }
        impl From<$response> for AnyResponse {
            fn from(body: $response) -> AnyResponse {
                AnyResponse::$name(body)
            }
        })+
    };
}

impl ApiKey {
    /// The API with this key, if 3.5.1 has one.
    pub fn from_i16(key: i16) -> Option<ApiKey> {
        usize::try_from(key).ok().and_then(|key| APIS.get(key)).map(|api| api.key)
    }

    pub fn api(self) -> &'static Api {
        &APIS[self as usize]
    }
}

apis! {
    0 Produce 0..=9 flexible 9 zookeeper_broker (0..=9) ProduceRequest ProduceResponse;
    1 Fetch 0..=15 flexible 12 zookeeper_broker (0..=15) FetchRequest FetchResponse;
    2 ListOffsets 0..=8 flexible 6 zookeeper_broker (0..=8) ListOffsetsRequest ListOffsetsResponse;
    3 Metadata 0..=12 flexible 9 zookeeper_broker (0..=12) MetadataRequest MetadataResponse;
    4 LeaderAndIsr 0..=7 flexible 4 zookeeper_broker (0..=7) LeaderAndIsrRequest LeaderAndIsrResponse;
    5 StopReplica 0..=4 flexible 2 zookeeper_broker (0..=4) StopReplicaRequest StopReplicaResponse;
    6 UpdateMetadata 0..=8 flexible 6 zookeeper_broker (0..=8) UpdateMetadataRequest UpdateMetadataResponse;
    7 ControlledShutdown 0..=3 flexible 3 zookeeper_broker (0..=3) ControlledShutdownRequest ControlledShutdownResponse;
    8 OffsetCommit 0..=8 flexible 8 zookeeper_broker (0..=8) OffsetCommitRequest OffsetCommitResponse;
    9 OffsetFetch 0..=8 flexible 6 zookeeper_broker (0..=8) OffsetFetchRequest OffsetFetchResponse;
    10 FindCoordinator 0..=4 flexible 3 zookeeper_broker (0..=4) FindCoordinatorRequest FindCoordinatorResponse;
    11 JoinGroup 0..=9 flexible 6 zookeeper_broker (0..=9) JoinGroupRequest JoinGroupResponse;
    12 Heartbeat 0..=4 flexible 4 zookeeper_broker (0..=4) HeartbeatRequest HeartbeatResponse;
    13 LeaveGroup 0..=5 flexible 4 zookeeper_broker (0..=5) LeaveGroupRequest LeaveGroupResponse;
    14 SyncGroup 0..=5 flexible 4 zookeeper_broker (0..=5) SyncGroupRequest SyncGroupResponse;
    15 DescribeGroups 0..=5 flexible 5 zookeeper_broker (0..=5) DescribeGroupsRequest DescribeGroupsResponse;
    16 ListGroups 0..=4 flexible 3 zookeeper_broker (0..=4) ListGroupsRequest ListGroupsResponse;
    17 SaslHandshake 0..=1 flexible none zookeeper_broker (0..=1) SaslHandshakeRequest SaslHandshakeResponse;
    18 ApiVersions 0..=3 flexible 3 zookeeper_broker (0..=3) ApiVersionsRequest ApiVersionsResponse;
    19 CreateTopics 0..=7 flexible 5 zookeeper_broker (0..=7) CreateTopicsRequest CreateTopicsResponse;
    20 DeleteTopics 0..=6 flexible 4 zookeeper_broker (0..=6) DeleteTopicsRequest DeleteTopicsResponse;
    21 DeleteRecords 0..=2 flexible 2 zookeeper_broker (0..=2) DeleteRecordsRequest DeleteRecordsResponse;
    22 InitProducerId 0..=4 flexible 2 zookeeper_broker (0..=4) InitProducerIdRequest InitProducerIdResponse;
    23 OffsetForLeaderEpoch 0..=4 flexible 4 zookeeper_broker (0..=4) OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    24 AddPartitionsToTxn 0..=4 flexible 3 zookeeper_broker (0..=3) AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
    25 AddOffsetsToTxn 0..=3 flexible 3 zookeeper_broker (0..=3) AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
    26 EndTxn 0..=3 flexible 3 zookeeper_broker (0..=3) EndTxnRequest EndTxnResponse;
    27 WriteTxnMarkers 0..=1 flexible 1 zookeeper_broker (0..=1) WriteTxnMarkersRequest WriteTxnMarkersResponse;
    28 TxnOffsetCommit 0..=3 flexible 3 zookeeper_broker (0..=3) TxnOffsetCommitRequest TxnOffsetCommitResponse;
    29 DescribeAcls 0..=3 flexible 2 zookeeper_broker (0..=3) DescribeAclsRequest DescribeAclsResponse;
    30 CreateAcls 0..=3 flexible 2 zookeeper_broker (0..=3) CreateAclsRequest CreateAclsResponse;
    31 DeleteAcls 0..=3 flexible 2 zookeeper_broker (0..=3) DeleteAclsRequest DeleteAclsResponse;
    32 DescribeConfigs 0..=4 flexible 4 zookeeper_broker (0..=4) DescribeConfigsRequest DescribeConfigsResponse;
    33 AlterConfigs 0..=2 flexible 2 zookeeper_broker (0..=2) AlterConfigsRequest AlterConfigsResponse;
    34 AlterReplicaLogDirs 0..=2 flexible 2 zookeeper_broker (0..=2) AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
    35 DescribeLogDirs 0..=4 flexible 2 zookeeper_broker (0..=4) DescribeLogDirsRequest DescribeLogDirsResponse;
    36 SaslAuthenticate 0..=2 flexible 2 zookeeper_broker (0..=2) SaslAuthenticateRequest SaslAuthenticateResponse;
    37 CreatePartitions 0..=3 flexible 2 zookeeper_broker (0..=3) CreatePartitionsRequest CreatePartitionsResponse;
    38 CreateDelegationToken 0..=3 flexible 2 zookeeper_broker (0..=3) CreateDelegationTokenRequest CreateDelegationTokenResponse;
    39 RenewDelegationToken 0..=2 flexible 2 zookeeper_broker (0..=2) RenewDelegationTokenRequest RenewDelegationTokenResponse;
    40 ExpireDelegationToken 0..=2 flexible 2 zookeeper_broker (0..=2) ExpireDelegationTokenRequest ExpireDelegationTokenResponse;
    41 DescribeDelegationToken 0..=3 flexible 2 zookeeper_broker (0..=3) DescribeDelegationTokenRequest DescribeDelegationTokenResponse;
    42 DeleteGroups 0..=2 flexible 2 zookeeper_broker (0..=2) DeleteGroupsRequest DeleteGroupsResponse;
    43 ElectLeaders 0..=2 flexible 2 zookeeper_broker (0..=2) ElectLeadersRequest ElectLeadersResponse;
    44 IncrementalAlterConfigs 0..=1 flexible 1 zookeeper_broker (0..=1) IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    45 AlterPartitionReassignments 0..=0 flexible 0 zookeeper_broker (0..=0) AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
    46 ListPartitionReassignments 0..=0 flexible 0 zookeeper_broker (0..=0) ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    47 OffsetDelete 0..=0 flexible none zookeeper_broker (0..=0) OffsetDeleteRequest OffsetDeleteResponse;
    48 DescribeClientQuotas 0..=1 flexible 1 zookeeper_broker (0..=1) DescribeClientQuotasRequest DescribeClientQuotasResponse;
    49 AlterClientQuotas 0..=1 flexible 1 zookeeper_broker (0..=1) AlterClientQuotasRequest AlterClientQuotasResponse;
    50 DescribeUserScramCredentials 0..=0 flexible 0 zookeeper_broker (0..=0) DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
    51 AlterUserScramCredentials 0..=0 flexible 0 zookeeper_broker (0..=0) AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse;
    52 Vote 0..=0 flexible 0 zookeeper_broker (none) VoteRequest VoteResponse;
    53 BeginQuorumEpoch 0..=0 flexible none zookeeper_broker (none) BeginQuorumEpochRequest BeginQuorumEpochResponse;
    54 EndQuorumEpoch 0..=0 flexible none zookeeper_broker (none) EndQuorumEpochRequest EndQuorumEpochResponse;
    55 DescribeQuorum 0..=1 flexible 0 zookeeper_broker (none) DescribeQuorumRequest DescribeQuorumResponse;
    56 AlterPartition 0..=3 flexible 0 zookeeper_broker (0..=3) AlterPartitionRequest AlterPartitionResponse;
    57 UpdateFeatures 0..=1 flexible 0 zookeeper_broker (0..=1) UpdateFeaturesRequest UpdateFeaturesResponse;
    58 Envelope 0..=0 flexible 0 zookeeper_broker (0..=0) EnvelopeRequest EnvelopeResponse;
    59 FetchSnapshot 0..=0 flexible 0 zookeeper_broker (none) FetchSnapshotRequest FetchSnapshotResponse;
    60 DescribeCluster 0..=0 flexible 0 zookeeper_broker (0..=0) DescribeClusterRequest DescribeClusterResponse;
    61 DescribeProducers 0..=0 flexible 0 zookeeper_broker (0..=0) DescribeProducersRequest DescribeProducersResponse;
    62 BrokerRegistration 0..=1 flexible 0 zookeeper_broker (none) BrokerRegistrationRequest BrokerRegistrationResponse;
    63 BrokerHeartbeat 0..=0 flexible 0 zookeeper_broker (none) BrokerHeartbeatRequest BrokerHeartbeatResponse;
    64 UnregisterBroker 0..=0 flexible 0 zookeeper_broker (none) UnregisterBrokerRequest UnregisterBrokerResponse;
    65 DescribeTransactions 0..=0 flexible 0 zookeeper_broker (0..=0) DescribeTransactionsRequest DescribeTransactionsResponse;
    66 ListTransactions 0..=0 flexible 0 zookeeper_broker (0..=0) ListTransactionsRequest ListTransactionsResponse;
    67 AllocateProducerIds 0..=0 flexible 0 zookeeper_broker (0..=0) AllocateProducerIdsRequest AllocateProducerIdsResponse;
    68 ConsumerGroupHeartbeat 0..=0 flexible 0 zookeeper_broker (none) ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_an_api_is_its_key() {
        for (at, api) in APIS.iter().enumerate() {
            assert_eq!(api.key as usize, at, "{}", api.name);
        }
        assert_eq!(ApiKey::from_i16(-1), None);
        assert_eq!(ApiKey::from_i16(69), None);
    }

    #[test]
    fn a_broker_on_zookeeper_advertises_60_apis_and_one_that_is_unstable() {
        let unstable = APIS.iter().filter_map(|api| Some((api.key, api.broker_versions_with_unstable()?)));
        let unstable: Vec<_> = unstable.collect();
        assert_eq!(unstable.len(), 61);
        assert!(unstable.contains(&(ApiKey::AddPartitionsToTxn, (0, 4))));
        assert!(unstable.contains(&(ApiKey::ConsumerGroupHeartbeat, (0, 0))));
        assert_eq!(APIS.iter().filter(|api| api.broker_versions.is_some()).count(), 60);
    }
}
