//! Requests: one file per API, and here the way from a frame to its answer.

mod access;
mod acls;
mod alter_log_dirs;
mod api_versions;
mod client_quotas;
mod configs;
mod control;
mod delegation_tokens;
mod describe_cluster;
mod describe_configs;
mod dynamic_configs;
mod features;
mod fetch;
mod framing;
mod groups;
mod guard;
mod init_producer_id;
mod list_offsets;
mod loggers;
mod metadata;
mod offsets;
mod produce;
mod reassignments;
mod sasl;
mod scram_users;
mod throttle;
mod topics;
mod transactions;
mod txn_markers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Flood, and_more};
use broker_core::quota::QuotaKind;
use bytes::{Bytes, BytesMut};
use wire::Str;
use wire::jute::Reader;
use wire::kafka::error::ErrorTally;
use wire::kafka::{Api, ApiKey, ErrorCode, Message, Request, RequestHeader, ResponseHeader};

use crate::broker::Broker;
use crate::loggers::REQUESTS;
use crate::net::{Answer, Peer, Service};
use crate::security::Told;
pub use api_versions::{downgrade as versions_downgrade, respond as versions};
pub use dynamic_configs::{check_dynamic, check_threads};
pub use txn_markers::write_markers;

/// The APIs that are answered, by key; all others close the connection, as a version out of range does.
pub const IMPLEMENTED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::ControlledShutdown,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::CreateDelegationToken,
    ApiKey::RenewDelegationToken,
    ApiKey::ExpireDelegationToken,
    ApiKey::DescribeDelegationToken,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::AlterPartition,
    ApiKey::Envelope,
    ApiKey::DescribeCluster,
    ApiKey::AllocateProducerIds,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::DescribeClientQuotas,
    ApiKey::AlterClientQuotas,
    ApiKey::UpdateFeatures,
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::AlterUserScramCredentials,
    ApiKey::ConsumerGroupHeartbeat,
];

/// One request on its way.
pub struct Call<'a> {
    pub broker: &'a Arc<Broker>,
    pub peer: &'a Peer,
    pub header: &'a RequestHeader,
    /// Bytes of the request.
    pub size: usize,
    /// Of these, those behind its header.
    body: usize,
    /// Set where the time that requests take is limited.
    watch: Option<&'a throttle::Stopwatch>,
    /// Of a Fetch: another broker asks.
    by_follower: AtomicBool,
}

impl Call<'_> {
    /// The request's version; for the few answers that differ by more than fields.
    pub fn version(&self) -> i16 {
        self.header.request_api_version
    }

    /// The request has its answer.
    fn count(&self, api: &Api, took: std::time::Duration) {
        let traffic = &self.broker.traffic;
        traffic.answered(api, self.version(), self.body, took);
        if let Some(by_follower) = self.fetched_by(api.key) {
            traffic.fetched(by_follower, self.body, took);
        }
    }

    /// Of a Fetch: whether another broker asks.
    fn fetched_by(&self, key: ApiKey) -> Option<bool> {
        (key == ApiKey::Fetch).then(|| self.by_follower.load(Ordering::Relaxed))
    }

    /// The request is answered with this.
    fn count_errors(&self, key: ApiKey, response: &impl Message) {
        let mut tally = ErrorTally::default();
        response.count_errors(&mut tally);
        self.broker.traffic.errors(key.api(), self.version(), tally);
    }

    /// What the client calls itself, or nothing.
    pub fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or("")
    }
}

/// What is left of a request when its header has been read.
struct Body<'a, 'b> {
    call: &'a Call<'b>,
    api: &'static Api,
    reader: Reader,
}

impl Body<'_, '_> {
    fn read<R: Request>(&mut self) -> Option<R> {
        match R::read(&mut self.reader, self.call.version()) {
            Ok(request) => Some(request),
            Err(error) => {
                tracing::warn!(
                    "Closing connection from {}: {} v{} cannot be read: {error}",
                    self.call.peer.address,
                    self.api.name,
                    self.call.version()
                );
                None
            }
        }
    }

    /// Sends the response and has the client wait, if it has to.
    fn finish(&self, mut response: impl Message) -> Answer {
        let throttle_ms = self.call.settle(self.api.key, &mut response);
        self.call.mute(self.send(&response), throttle_ms)
    }

    fn read_checked<R: acls::Checked>(&mut self) -> Option<R> {
        let mut request: R = self.read()?;
        match request.check(self.call.version()) {
            Ok(()) => Some(request),
            Err(problem) => {
                tracing::warn!(
                    "Closing connection from {}: {}: {problem}",
                    self.call.peer.address,
                    self.api.name
                );
                None
            }
        }
    }

    fn send(&self, response: &impl Message) -> Answer {
        self.send_sized(response, 256)
    }

    /// Of about `size` bytes: a large answer does not grow, and move, as it is written.
    fn send_sized(&self, response: &impl Message, size: usize) -> Answer {
        let bytes = encode_sized(self.api, self.call.header, response, size);
        self.call.count_errors(self.api.key, response);
        Answer::Send(vec![bytes])
    }
}

/// Header and body of an answer.
fn encode(api: &Api, header: &RequestHeader, response: &impl Message) -> Bytes {
    encode_sized(api, header, response, 256)
}

fn encode_sized(api: &Api, header: &RequestHeader, response: &impl Message, size: usize) -> Bytes {
    let version = header.request_api_version;
    let mut bytes = BytesMut::with_capacity(size);
    let head = ResponseHeader { correlation_id: header.correlation_id };
    head.write(&mut bytes, api.response_header_version(version));
    response.write(&mut bytes, version);
    bytes.freeze()
}

/// Reads the body, has it answered, sends the answer.
macro_rules! answer {
    ($body:ident, $handler:path) => {
        match $body.read() {
            Some(request) => {
                let response = $handler($body.call, request).await;
                $body.finish(response)
            }
            None => Answer::Close,
        }
    };
    ($body:ident, checked $handler:path) => {
        match $body.read_checked() {
            Some(request) => {
                let response = $handler($body.call, request).await;
                $body.finish(response)
            }
            None => Answer::Close,
        }
    };
}

/// The frame's first bytes, for the log.
fn unreadable(peer: &Peer, reason: &dyn std::fmt::Display) -> Answer {
    // Whoever reaches a port can have this written.
    static CLOSED: Flood = Flood::new(10);
    if let Some(more) = CLOSED.admits() {
        tracing::warn!("Closing connection from {}: {reason}{}", peer.address, and_more(more));
    }
    Answer::Close
}

/// A broker that answers frames.
pub struct Answerer(pub Arc<Broker>);

impl Service for Answerer {
    async fn answer(&self, peer: &Arc<Peer>, frame: Bytes) -> Answer {
        if !self.0.quotas.is_in_use(QuotaKind::Request) {
            return self.answer_timed(peer, frame, None).await;
        }
        let watch = throttle::Stopwatch::default();
        watch.time(self.answer_timed(peer, frame, Some(&watch))).await
    }

    fn told(&self) -> Told {
        Told { features_epoch: self.0.features_epoch(), unstable: self.0.serves_unstable() }
    }
}

impl Answerer {
    async fn answer_timed(&self, peer: &Peer, frame: Bytes, watch: Option<&throttle::Stopwatch>) -> Answer {
        let size = frame.len();
        let mut reader = Reader::new(frame);
        let header = match RequestHeader::read(&mut reader) {
            Ok(header) => header,
            Err(error) => return unreadable(peer, &format_args!("request header: {error}")),
        };
        let version = header.request_api_version;
        let known = header.api().filter(|api| IMPLEMENTED.contains(&api.key));
        let Some(api) = known else {
            return unreadable(peer, &format_args!("API key {} is not supported", header.request_api_key));
        };
        let served = api_versions::served(api, self.0.serves_unstable());
        let in_range = served.is_some_and(|(low, high)| (low..=high).contains(&version));
        if api.key == ApiKey::ApiVersions && !in_range {
            let mut tally = ErrorTally::default();
            tally.note(ErrorCode::UNSUPPORTED_VERSION);
            self.0.traffic.errors(api, version, tally);
            return Answer::Send(vec![api_versions::downgrade(&header)]);
        }
        if !in_range {
            return unreadable(peer, &format_args!("{} version {version} is not supported", api.name));
        }
        let by_follower = AtomicBool::new(false);
        let body = reader.remaining();
        let call = Call { broker: &self.0, peer, header: &header, size, body, watch, by_follower };
        let begun = std::time::Instant::now();
        let answer = answer_call(&call, api, reader).await;
        let took = begun.elapsed();
        call.count(api, took);
        if tracing::enabled!(target: REQUESTS, tracing::Level::DEBUG) {
            tell(&call, api, took);
        }
        call.charge_rest();
        answer
    }
}

/// A line for each request, as Kafka's `kafka.request.logger` has it at DEBUG.
fn tell(call: &Call<'_>, api: &Api, took: std::time::Duration) {
    tracing::debug!(
        target: REQUESTS,
        "Completed request:{{\"requestHeader\":{{\"requestApiKey\":{},\"requestApiVersion\":{},\"correlationId\":{},\
         \"clientId\":{:?},\"requestApiKeyName\":\"{}\"}},\"requestSizeBytes\":{},\"connection\":\"{}\",\
         \"totalTimeMs\":{:.3},\"principal\":\"{}\",\"listener\":\"{}\"}}",
        call.header.request_api_key,
        call.version(),
        call.header.correlation_id,
        call.client_id(),
        api.name,
        call.size,
        call.peer.address,
        took.as_secs_f64() * 1e3,
        call.peer.principal(),
        call.peer.listener,
    );
}

/// Has a request answered by whoever answers its kind.
async fn answer_call(call: &Call<'_>, api: &'static Api, reader: Reader) -> Answer {
    let peer = call.peer;
    let mut body = Body { call, api, reader };
    match api.key {
        ApiKey::ApiVersions => answer!(body, api_versions::answer),
        ApiKey::Metadata => match body.read() {
            Some(request) => {
                let mut response = metadata::answer(call, request).await;
                let throttle_ms = call.settle(api.key, &mut response);
                call.mute(body.send_sized(&response, response.size()), throttle_ms)
            }
            None => Answer::Close,
        },
        ApiKey::Produce => match body.read() {
            Some(request) => produce::answer(call, request).await,
            None => Answer::Close,
        },
        ApiKey::Fetch => match body.read() {
            Some(request) => {
                let response = fetch::answer(call, request).await;
                let throttle_ms = response.throttle_time_ms;
                call.mute(body.send_sized(&response, fetch::size(&response)), throttle_ms)
            }
            None => Answer::Close,
        },
        ApiKey::OffsetCommit => answer!(body, guard::offset_commit),
        ApiKey::OffsetFetch => answer!(body, guard::offset_fetch),
        ApiKey::FindCoordinator => answer!(body, groups::find_coordinator),
        ApiKey::JoinGroup => answer!(body, guard::join_group),
        ApiKey::Heartbeat => answer!(body, guard::heartbeat),
        ApiKey::LeaveGroup => answer!(body, guard::leave_group),
        ApiKey::SyncGroup => answer!(body, guard::sync_group),
        ApiKey::DescribeGroups => answer!(body, guard::describe_groups),
        ApiKey::ListGroups => answer!(body, guard::list_groups),
        ApiKey::DeleteGroups => answer!(body, guard::delete_groups),
        ApiKey::OffsetDelete => answer!(body, guard::offset_delete),
        ApiKey::CreateTopics => answer!(body, topics::create),
        ApiKey::DeleteTopics => answer!(body, topics::delete),
        ApiKey::CreatePartitions => answer!(body, topics::create_partitions),
        ApiKey::InitProducerId => answer!(body, init_producer_id::answer),
        ApiKey::DescribeConfigs => answer!(body, guard::describe_configs),
        ApiKey::AlterConfigs => answer!(body, guard::alter_configs),
        ApiKey::IncrementalAlterConfigs => answer!(body, guard::alter_configs_incrementally),
        ApiKey::ListOffsets => answer!(body, guard::list_offsets),
        ApiKey::LeaderAndIsr => answer!(body, guard::leader_and_isr),
        ApiKey::StopReplica => answer!(body, guard::stop_replica),
        ApiKey::UpdateMetadata => answer!(body, guard::update_metadata),
        ApiKey::AlterPartition => answer!(body, guard::alter_partition),
        ApiKey::ControlledShutdown => answer!(body, guard::controlled_shutdown),
        ApiKey::AllocateProducerIds => answer!(body, guard::allocate_producer_ids),
        ApiKey::ElectLeaders => answer!(body, guard::elect_leaders),
        ApiKey::AlterPartitionReassignments => answer!(body, guard::alter_reassignments),
        ApiKey::ListPartitionReassignments => answer!(body, guard::list_reassignments),
        ApiKey::CreateDelegationToken => answer!(body, delegation_tokens::create),
        ApiKey::RenewDelegationToken => answer!(body, delegation_tokens::renew),
        ApiKey::ExpireDelegationToken => answer!(body, delegation_tokens::expire),
        ApiKey::DescribeDelegationToken => answer!(body, delegation_tokens::describe),
        ApiKey::DeleteRecords => answer!(body, guard::delete_records),
        ApiKey::OffsetForLeaderEpoch => answer!(body, guard::epoch_ends),
        ApiKey::AlterReplicaLogDirs => answer!(body, guard::alter_log_dirs),
        ApiKey::DescribeLogDirs => answer!(body, guard::log_dirs),
        ApiKey::DescribeCluster => answer!(body, describe_cluster::answer),
        ApiKey::AddPartitionsToTxn => answer!(body, transactions::add_partitions),
        ApiKey::AddOffsetsToTxn => answer!(body, transactions::add_offsets),
        ApiKey::EndTxn => answer!(body, transactions::end),
        ApiKey::WriteTxnMarkers => answer!(body, guard::write_txn_markers),
        // Advertised as by Java, whose brokers do not forward requests in this mode either.
        ApiKey::Envelope => unreadable(peer, &"an Envelope, though requests are not forwarded"),
        ApiKey::TxnOffsetCommit => answer!(body, guard::txn_offset_commit),
        ApiKey::DescribeProducers => answer!(body, txn_markers::describe_producers),
        ApiKey::DescribeTransactions => answer!(body, transactions::describe),
        ApiKey::ListTransactions => answer!(body, transactions::list),
        ApiKey::DescribeClientQuotas => answer!(body, guard::describe_quotas),
        ApiKey::AlterClientQuotas => answer!(body, guard::alter_quotas),
        ApiKey::UpdateFeatures => answer!(body, features::update),
        ApiKey::SaslHandshake => answer!(body, sasl::handshake),
        ApiKey::SaslAuthenticate => answer!(body, sasl::authenticate),
        ApiKey::DescribeUserScramCredentials => answer!(body, guard::describe_scram),
        ApiKey::AlterUserScramCredentials => answer!(body, guard::alter_scram),
        ApiKey::DescribeAcls => answer!(body, checked acls::describe),
        ApiKey::CreateAcls => answer!(body, checked acls::create),
        ApiKey::DeleteAcls => answer!(body, checked acls::delete),
        ApiKey::ConsumerGroupHeartbeat => answer!(body, groups::consumer_heartbeat),
        _ => unreadable(peer, &format_args!("{} is not supported", api.name)),
    }
}

/// An optional error text.
fn text(message: impl Into<String>) -> Option<Str> {
    Some(Str::from(message.into()))
}
