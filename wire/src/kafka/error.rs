//! The error codes of Kafka 3.5.1: name, exception class, whether a retry may help, and default message, as clients
//! and tools print them.

use std::fmt;

/// An error code as it stands in a response. Codes that 3.5.1 does not know count as `UNKNOWN_SERVER_ERROR`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i16);

struct Facts {
    #[cfg_attr(not(test), expect(dead_code, reason = "the index gives it; the test checks that"))]
    code: i16,
    name: &'static str,
    retriable: bool,
    invalid_metadata: bool,
    exception: &'static str,
    message: &'static str,
}

impl ErrorCode {
    /// The protocol's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The simple name of the Java exception class; `""` for `NONE`.
    pub fn exception(self) -> &'static str {
        self.facts().exception
    }

    /// The text that clients print where the response carries none; `""` for `NONE`.
    pub fn message(self) -> &'static str {
        self.facts().message
    }

    /// May the same request succeed later?
    pub fn is_retriable(self) -> bool {
        self.facts().retriable
    }

    /// Does the error say that the client's metadata is out of date?
    pub fn is_invalid_metadata(self) -> bool {
        self.facts().invalid_metadata
    }

    pub fn is_ok(self) -> bool {
        self == ErrorCode::NONE
    }

    /// `Err(self)` unless the code is `NONE`.
    pub fn ok(self) -> Result<(), ErrorCode> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    fn facts(self) -> &'static Facts {
        // The table starts at -1 and has no holes.
        &FACTS[self.index()]
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ErrorCode {}

/// The errors of one response, by how deep they stand: 0 is the response's own. What went well costs no allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorTally {
    depth: usize,
    ok: [u64; ErrorTally::DEPTHS],
    failed: Vec<(usize, ErrorCode)>,
}

impl ErrorTally {
    /// Nothing stands deeper than this less one.
    const DEPTHS: usize = 5;

    pub fn note(&mut self, error: ErrorCode) {
        if error.is_ok() {
            self.ok[self.depth.min(ErrorTally::DEPTHS - 1)] += 1;
        } else {
            self.failed.push((self.depth, error));
        }
    }

    /// Notes what a struct in the one at hand holds.
    pub fn within(&mut self, note: impl FnOnce(&mut ErrorTally)) {
        self.depth += 1;
        note(self);
        self.depth -= 1;
    }

    /// How often there is [`ErrorCode::NONE`] so deep.
    pub fn ok(&self, depth: usize) -> u64 {
        self.ok.get(depth).copied().unwrap_or(0)
    }

    /// The others, with their depths.
    pub fn failed(&self) -> &[(usize, ErrorCode)] {
        &self.failed
    }

    /// How many there are from this depth on.
    pub fn count_from(&self, depth: usize) -> u64 {
        let ok: u64 = self.ok.iter().skip(depth).sum();
        ok + self.failed.iter().filter(|(its, _)| *its >= depth).count() as u64
    }

    /// Forgets what stands at such depths.
    pub fn forget(&mut self, depths: impl std::ops::RangeBounds<usize>) {
        self.ok
            .iter_mut()
            .enumerate()
            .filter(|(depth, _)| depths.contains(depth))
            .for_each(|(_, ok)| *ok = 0);
        self.failed.retain(|(depth, _)| !depths.contains(depth));
    }
}

impl ErrorCode {
    /// How many codes 3.5.1 knows.
    pub const COUNT: usize = FACTS.len();

    /// From 0 to [`ErrorCode::COUNT`]; those that are not known stand where `UNKNOWN_SERVER_ERROR` does.
    pub fn index(self) -> usize {
        usize::try_from(i32::from(self.0) + 1).ok().filter(|at| *at < FACTS.len()).unwrap_or(0)
    }

    /// What [`ErrorCode::index`] stands for.
    pub fn at(index: usize) -> ErrorCode {
        ErrorCode(index as i16 - 1)
    }
}

macro_rules! errors {
    ($($code:literal $name:ident $retry:ident $exception:literal $message:literal;)+) => {
        impl ErrorCode {
            $(pub const $name: ErrorCode = ErrorCode($code);)+
        }

        const FACTS: &[Facts] = &[$(Facts {
            code: $code,
            name: stringify!($name),
            retriable: Retry::$retry as u8 > 0,
            invalid_metadata: Retry::$retry as u8 > 1,
            exception: $exception,
            message: $message,
        },)+];
    };
}

/// May a retry help: no; yes; yes, after a look at fresh metadata.
#[allow(non_camel_case_types)]
enum Retry {
    never,
    later,
    refreshed,
}

errors! {
    -1 UNKNOWN_SERVER_ERROR never "UnknownServerException" "The server experienced an unexpected error when processing the request.";
    0 NONE never "" "";
    1 OFFSET_OUT_OF_RANGE never "OffsetOutOfRangeException" "The requested offset is not within the range of offsets maintained by the server.";
    2 CORRUPT_MESSAGE later "CorruptRecordException" "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt.";
    3 UNKNOWN_TOPIC_OR_PARTITION refreshed "UnknownTopicOrPartitionException" "This server does not host this topic-partition.";
    4 INVALID_FETCH_SIZE never "InvalidFetchSizeException" "The requested fetch size is invalid.";
    5 LEADER_NOT_AVAILABLE refreshed "LeaderNotAvailableException" "There is no leader for this topic-partition as we are in the middle of a leadership election.";
    6 NOT_LEADER_OR_FOLLOWER refreshed "NotLeaderOrFollowerException" "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition.";
    7 REQUEST_TIMED_OUT later "TimeoutException" "The request timed out.";
    8 BROKER_NOT_AVAILABLE never "BrokerNotAvailableException" "The broker is not available.";
    9 REPLICA_NOT_AVAILABLE refreshed "ReplicaNotAvailableException" "The replica is not available for the requested topic-partition. Produce/Fetch requests and other requests intended only for the leader or follower return NOT_LEADER_OR_FOLLOWER if the broker is not a replica of the topic-partition.";
    10 MESSAGE_TOO_LARGE never "RecordTooLargeException" "The request included a message larger than the max message size the server will accept.";
    11 STALE_CONTROLLER_EPOCH never "ControllerMovedException" "The controller moved to another broker.";
    12 OFFSET_METADATA_TOO_LARGE never "OffsetMetadataTooLarge" "The metadata field of the offset request was too large.";
    13 NETWORK_EXCEPTION refreshed "NetworkException" "The server disconnected before a response was received.";
    14 COORDINATOR_LOAD_IN_PROGRESS later "CoordinatorLoadInProgressException" "The coordinator is loading and hence can't process requests.";
    15 COORDINATOR_NOT_AVAILABLE later "CoordinatorNotAvailableException" "The coordinator is not available.";
    16 NOT_COORDINATOR later "NotCoordinatorException" "This is not the correct coordinator.";
    17 INVALID_TOPIC_EXCEPTION never "InvalidTopicException" "The request attempted to perform an operation on an invalid topic.";
    18 RECORD_LIST_TOO_LARGE never "RecordBatchTooLargeException" "The request included message batch larger than the configured segment size on the server.";
    19 NOT_ENOUGH_REPLICAS later "NotEnoughReplicasException" "Messages are rejected since there are fewer in-sync replicas than required.";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND later "NotEnoughReplicasAfterAppendException" "Messages are written to the log, but to fewer in-sync replicas than required.";
    21 INVALID_REQUIRED_ACKS never "InvalidRequiredAcksException" "Produce request specified an invalid value for required acks.";
    22 ILLEGAL_GENERATION never "IllegalGenerationException" "Specified group generation id is not valid.";
    23 INCONSISTENT_GROUP_PROTOCOL never "InconsistentGroupProtocolException" "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list.";
    24 INVALID_GROUP_ID never "InvalidGroupIdException" "The configured groupId is invalid.";
    25 UNKNOWN_MEMBER_ID never "UnknownMemberIdException" "The coordinator is not aware of this member.";
    26 INVALID_SESSION_TIMEOUT never "InvalidSessionTimeoutException" "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms).";
    27 REBALANCE_IN_PROGRESS never "RebalanceInProgressException" "The group is rebalancing, so a rejoin is needed.";
    28 INVALID_COMMIT_OFFSET_SIZE never "InvalidCommitOffsetSizeException" "The committing offset data size is not valid.";
    29 TOPIC_AUTHORIZATION_FAILED never "TopicAuthorizationException" "Topic authorization failed.";
    30 GROUP_AUTHORIZATION_FAILED never "GroupAuthorizationException" "Group authorization failed.";
    31 CLUSTER_AUTHORIZATION_FAILED never "ClusterAuthorizationException" "Cluster authorization failed.";
    32 INVALID_TIMESTAMP never "InvalidTimestampException" "The timestamp of the message is out of acceptable range.";
    33 UNSUPPORTED_SASL_MECHANISM never "UnsupportedSaslMechanismException" "The broker does not support the requested SASL mechanism.";
    34 ILLEGAL_SASL_STATE never "IllegalSaslStateException" "Request is not valid given the current SASL state.";
    35 UNSUPPORTED_VERSION never "UnsupportedVersionException" "The version of API is not supported.";
    36 TOPIC_ALREADY_EXISTS never "TopicExistsException" "Topic with this name already exists.";
    37 INVALID_PARTITIONS never "InvalidPartitionsException" "Number of partitions is below 1.";
    38 INVALID_REPLICATION_FACTOR never "InvalidReplicationFactorException" "Replication factor is below 1 or larger than the number of available brokers.";
    39 INVALID_REPLICA_ASSIGNMENT never "InvalidReplicaAssignmentException" "Replica assignment is invalid.";
    40 INVALID_CONFIG never "InvalidConfigurationException" "Configuration is invalid.";
    41 NOT_CONTROLLER later "NotControllerException" "This is not the correct controller for this cluster.";
    42 INVALID_REQUEST never "InvalidRequestException" "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT never "UnsupportedForMessageFormatException" "The message format version on the broker does not support the request.";
    44 POLICY_VIOLATION never "PolicyViolationException" "Request parameters do not satisfy the configured policy.";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER never "OutOfOrderSequenceException" "The broker received an out of order sequence number.";
    46 DUPLICATE_SEQUENCE_NUMBER never "DuplicateSequenceException" "The broker received a duplicate sequence number.";
    47 INVALID_PRODUCER_EPOCH never "InvalidProducerEpochException" "Producer attempted to produce with an old epoch.";
    48 INVALID_TXN_STATE never "InvalidTxnStateException" "The producer attempted a transactional operation in an invalid state.";
    49 INVALID_PRODUCER_ID_MAPPING never "InvalidPidMappingException" "The producer attempted to use a producer id which is not currently assigned to its transactional id.";
    50 INVALID_TRANSACTION_TIMEOUT never "InvalidTxnTimeoutException" "The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms).";
    51 CONCURRENT_TRANSACTIONS later "ConcurrentTransactionsException" "The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing.";
    52 TRANSACTION_COORDINATOR_FENCED never "TransactionCoordinatorFencedException" "Indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer.";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED never "TransactionalIdAuthorizationException" "Transactional Id authorization failed.";
    54 SECURITY_DISABLED never "SecurityDisabledException" "Security features are disabled.";
    55 OPERATION_NOT_ATTEMPTED never "OperationNotAttemptedException" "The broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest.";
    56 KAFKA_STORAGE_ERROR refreshed "KafkaStorageException" "Disk error when trying to access log file on the disk.";
    57 LOG_DIR_NOT_FOUND never "LogDirNotFoundException" "The user-specified log directory is not found in the broker config.";
    58 SASL_AUTHENTICATION_FAILED never "SaslAuthenticationException" "SASL Authentication failed.";
    59 UNKNOWN_PRODUCER_ID never "UnknownProducerIdException" "This exception is raised by the broker if it could not locate the producer metadata associated with the producerId in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producerId are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception.";
    60 REASSIGNMENT_IN_PROGRESS never "ReassignmentInProgressException" "A partition reassignment is in progress.";
    61 DELEGATION_TOKEN_AUTH_DISABLED never "DelegationTokenDisabledException" "Delegation Token feature is not enabled.";
    62 DELEGATION_TOKEN_NOT_FOUND never "DelegationTokenNotFoundException" "Delegation Token is not found on server.";
    63 DELEGATION_TOKEN_OWNER_MISMATCH never "DelegationTokenOwnerMismatchException" "Specified Principal is not valid Owner/Renewer.";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED never "UnsupportedByAuthenticationException" "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels.";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED never "DelegationTokenAuthorizationException" "Delegation Token authorization failed.";
    66 DELEGATION_TOKEN_EXPIRED never "DelegationTokenExpiredException" "Delegation Token is expired.";
    67 INVALID_PRINCIPAL_TYPE never "InvalidPrincipalTypeException" "Supplied principalType is not supported.";
    68 NON_EMPTY_GROUP never "GroupNotEmptyException" "The group is not empty.";
    69 GROUP_ID_NOT_FOUND never "GroupIdNotFoundException" "The group id does not exist.";
    70 FETCH_SESSION_ID_NOT_FOUND later "FetchSessionIdNotFoundException" "The fetch session ID was not found.";
    71 INVALID_FETCH_SESSION_EPOCH later "InvalidFetchSessionEpochException" "The fetch session epoch is invalid.";
    72 LISTENER_NOT_FOUND refreshed "ListenerNotFoundException" "There is no listener on the leader broker that matches the listener on which metadata request was processed.";
    73 TOPIC_DELETION_DISABLED never "TopicDeletionDisabledException" "Topic deletion is disabled.";
    74 FENCED_LEADER_EPOCH refreshed "FencedLeaderEpochException" "The leader epoch in the request is older than the epoch on the broker.";
    75 UNKNOWN_LEADER_EPOCH later "UnknownLeaderEpochException" "The leader epoch in the request is newer than the epoch on the broker.";
    76 UNSUPPORTED_COMPRESSION_TYPE never "UnsupportedCompressionTypeException" "The requesting client does not support the compression type of given partition.";
    77 STALE_BROKER_EPOCH never "StaleBrokerEpochException" "Broker epoch has changed.";
    78 OFFSET_NOT_AVAILABLE later "OffsetNotAvailableException" "The leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing.";
    79 MEMBER_ID_REQUIRED never "MemberIdRequiredException" "The group member needs to have a valid member id before actually entering a consumer group.";
    80 PREFERRED_LEADER_NOT_AVAILABLE refreshed "PreferredLeaderNotAvailableException" "The preferred leader was not available.";
    81 GROUP_MAX_SIZE_REACHED never "GroupMaxSizeReachedException" "The consumer group has reached its max size.";
    82 FENCED_INSTANCE_ID never "FencedInstanceIdException" "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id.";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE refreshed "EligibleLeadersNotAvailableException" "Eligible topic partition leaders are not available.";
    84 ELECTION_NOT_NEEDED refreshed "ElectionNotNeededException" "Leader election not needed for topic partition.";
    85 NO_REASSIGNMENT_IN_PROGRESS never "NoReassignmentInProgressException" "No partition reassignment is in progress.";
    86 GROUP_SUBSCRIBED_TO_TOPIC never "GroupSubscribedToTopicException" "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.";
    87 INVALID_RECORD never "InvalidRecordException" "This record has failed the validation on broker and hence will be rejected.";
    88 UNSTABLE_OFFSET_COMMIT later "UnstableOffsetCommitException" "There are unstable offsets that need to be cleared.";
    89 THROTTLING_QUOTA_EXCEEDED later "ThrottlingQuotaExceededException" "The throttling quota has been exceeded.";
    90 PRODUCER_FENCED never "ProducerFencedException" "There is a newer producer with the same transactionalId which fences the current one.";
    91 RESOURCE_NOT_FOUND never "ResourceNotFoundException" "A request illegally referred to a resource that does not exist.";
    92 DUPLICATE_RESOURCE never "DuplicateResourceException" "A request illegally referred to the same resource twice.";
    93 UNACCEPTABLE_CREDENTIAL never "UnacceptableCredentialException" "Requested credential would not meet criteria for acceptability.";
    94 INCONSISTENT_VOTER_SET never "InconsistentVoterSetException" "Indicates that the either the sender or recipient of a voter-only request is not one of the expected voters";
    95 INVALID_UPDATE_VERSION never "InvalidUpdateVersionException" "The given update version was invalid.";
    96 FEATURE_UPDATE_FAILED never "FeatureUpdateFailedException" "Unable to update finalized features due to an unexpected server error.";
    97 PRINCIPAL_DESERIALIZATION_FAILURE never "PrincipalDeserializationException" "Request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup.";
    98 SNAPSHOT_NOT_FOUND never "SnapshotNotFoundException" "Requested snapshot was not found";
    99 POSITION_OUT_OF_RANGE never "PositionOutOfRangeException" "Requested position is not greater than or equal to zero, and less than the size of the snapshot.";
    100 UNKNOWN_TOPIC_ID refreshed "UnknownTopicIdException" "This server does not host this topic ID.";
    101 DUPLICATE_BROKER_REGISTRATION never "DuplicateBrokerRegistrationException" "This broker ID is already in use.";
    102 BROKER_ID_NOT_REGISTERED never "BrokerIdNotRegisteredException" "The given broker ID was not registered.";
    103 INCONSISTENT_TOPIC_ID refreshed "InconsistentTopicIdException" "The log's topic ID did not match the topic ID in the request";
    104 INCONSISTENT_CLUSTER_ID never "InconsistentClusterIdException" "The clusterId in the request does not match that found on the server";
    105 TRANSACTIONAL_ID_NOT_FOUND never "TransactionalIdNotFoundException" "The transactionalId could not be found";
    106 FETCH_SESSION_TOPIC_ID_ERROR later "FetchSessionTopicIdException" "The fetch session encountered inconsistent topic ID usage";
    107 INELIGIBLE_REPLICA never "IneligibleReplicaException" "The new ISR contains at least one ineligible replica.";
    108 NEW_LEADER_ELECTED never "NewLeaderElectedException" "The AlterPartition request successfully updated the partition state but the leader has changed.";
    109 OFFSET_MOVED_TO_TIERED_STORAGE never "OffsetMovedToTieredStorageException" "The requested offset is moved to tiered storage.";
    110 FENCED_MEMBER_EPOCH never "FencedMemberEpochException" "The member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin.";
    111 UNRELEASED_INSTANCE_ID never "UnreleasedInstanceIdException" "The instance ID is still used by another member in the consumer group. That member must leave first.";
    112 UNSUPPORTED_ASSIGNOR never "UnsupportedAssignorException" "The assignor or its version range is not supported by the consumer group.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_holes_so_a_code_finds_its_row() {
        for (at, facts) in FACTS.iter().enumerate() {
            assert_eq!(i32::from(facts.code), at as i32 - 1, "{}", facts.name);
        }
        assert_eq!(ErrorCode::NOT_COORDINATOR.name(), "NOT_COORDINATOR");
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_invalid_metadata());
    }

    #[test]
    fn an_unknown_code_counts_as_an_unknown_server_error() {
        for code in [113, i16::MAX, -2, i16::MIN] {
            assert_eq!(ErrorCode(code).name(), "UNKNOWN_SERVER_ERROR");
        }
    }
    #[test]
    fn errors_of_a_response_are_counted_where_they_stand_in_every_version() {
        use crate::kafka::delete_acls::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
        use crate::kafka::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
        use crate::kafka::{DeleteAclsResponse, Message};
        let partition = |error_code| PartitionData { error_code, ..Default::default() };
        let partitions = vec![partition(ErrorCode::NONE), partition(ErrorCode::OFFSET_OUT_OF_RANGE)];
        let topic = FetchableTopicResponse { partitions, ..Default::default() };
        let fetched = FetchResponse { responses: vec![topic.clone(), topic], ..Default::default() };
        let mut tally = ErrorTally::default();
        fetched.count_errors(&mut tally);
        assert_eq!((tally.ok(0), tally.ok(1), tally.ok(2), tally.count_from(1)), (1, 0, 2, 4));
        assert_eq!(tally.failed(), [(2, ErrorCode::OFFSET_OUT_OF_RANGE); 2]);
        tally.forget(..=1);
        assert_eq!((tally.count_from(0), tally.ok(0)), (4, 0));
        let acl = DeleteAclsMatchingAcl::default();
        let result = DeleteAclsFilterResult {
            error_code: ErrorCode::INVALID_REQUEST,
            matching_acls: vec![acl],
            ..Default::default()
        };
        let mut tally = ErrorTally::default();
        DeleteAclsResponse { filter_results: vec![result], ..Default::default() }.count_errors(&mut tally);
        tally.forget(2..);
        assert_eq!((tally.failed(), tally.count_from(0)), ([(1, ErrorCode::INVALID_REQUEST)].as_slice(), 1));
    }

    #[test]
    fn codes_and_their_places_in_the_table_are_one_to_one() {
        assert!((0..ErrorCode::COUNT).all(|at| ErrorCode::at(at).index() == at));
        assert_eq!(ErrorCode(113).index(), ErrorCode::UNKNOWN_SERVER_ERROR.index());
    }
}
