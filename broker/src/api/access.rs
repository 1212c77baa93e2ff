//! What a request's sender may do. Without an authorizer: everything, at no cost.

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType, Who, host_text};
use wire::Str;
use wire::kafka::{ApiKey, ErrorCode};

use super::Call;
use crate::authorizer::Authorizer;

/// Where decisions are told, as Kafka's `kafka.authorizer.logger`: what was denied at INFO, what was allowed at DEBUG.
const LOGGER: &str = "kafka.authorizer.logger";

impl Call<'_> {
    /// The authorizer, if there is one.
    pub fn authorizer(&self) -> Option<&Authorizer> {
        self.broker.authorizer.as_deref()
    }

    fn who(&self) -> Who<'_> {
        Who { principal: self.peer.principal(), host: self.peer.address.ip() }
    }

    /// Whether the sender may do this; a denial is logged.
    pub fn may(&self, operation: Operation, kind: ResourceType, name: &str) -> bool {
        self.judge(operation, kind, name, true)
    }

    /// Likewise where the sender did not ask for this very thing, so that a denial is nothing to log.
    pub fn may_quietly(&self, operation: Operation, kind: ResourceType, name: &str) -> bool {
        self.judge(operation, kind, name, false)
    }

    /// Whether the sender may do this to the cluster; a denial is logged.
    pub fn may_on_cluster(&self, operation: Operation) -> bool {
        self.may(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    fn judge(&self, operation: Operation, kind: ResourceType, name: &str, asked: bool) -> bool {
        let Some(authorizer) = self.authorizer() else { return true };
        let allowed = authorizer.allows(self.who(), operation, kind, name);
        self.tell(operation, kind, &format_args!("LITERAL:{name}"), allowed, asked);
        allowed
    }

    /// Whether there may be a resource of this kind on which the sender may do this.
    pub fn may_on_some(&self, operation: Operation, kind: ResourceType) -> bool {
        let Some(authorizer) = self.authorizer() else { return true };
        let allowed = authorizer.allows_on_some(self.who(), operation, kind);
        self.tell(operation, kind, &"UNKNOWN:NONE", allowed, true);
        allowed
    }

    fn tell(
        &self,
        operation: Operation,
        kind: ResourceType,
        name: &dyn std::fmt::Display,
        allowed: bool,
        asked: bool,
    ) {
        macro_rules! line {
            ($level:ident, $result:literal) => {
                tracing::$level!(
                    target: LOGGER,
                    "Principal = {} is {} Operation = {} from host = {} on resource = {}:{name} for request = {}",
                    self.peer.principal(),
                    $result,
                    operation.name(),
                    host_text(self.peer.address.ip()),
                    kind.name(),
                    self.header.api().map_or("UNKNOWN", |api| api.name),
                )
            };
        }
        match (allowed, asked) {
            (true, true) => line!(debug, "Allowed"),
            (true, false) => line!(trace, "Allowed"),
            (false, true) => line!(info, "Denied"),
            (false, false) => line!(trace, "Denied"),
        }
    }

    /// Bits of the operations that the sender may do on a resource, by their codes.
    pub fn operations(&self, kind: ResourceType, name: &str) -> i32 {
        let allowed = kind.operations().iter().filter(|operation| match self.authorizer() {
            Some(authorizer) => authorizer.allows(self.who(), **operation, kind, name),
            None => true,
        });
        allowed.fold(0, |bits, operation| bits | 1 << operation.code())
    }

    /// Those on the cluster: none for whoever may not even look at it.
    pub fn cluster_operations(&self) -> i32 {
        match self.may_on_cluster(Operation::Describe) {
            true => self.operations(ResourceType::Cluster, CLUSTER_NAME),
            false => 0,
        }
    }

    /// The text that goes with CLUSTER_AUTHORIZATION_FAILED where Kafka puts the refused request into it.
    pub fn refused_text(&self) -> Str {
        let Call { peer, .. } = self;
        let config = self.broker.current();
        let bound = &config.listeners.bound;
        let came_by = bound.iter().find(|endpoint| *endpoint.listener == *peer.listener);
        let protocol = came_by.map_or("PLAINTEXT", |endpoint| &endpoint.protocol);
        // What Java might have to forward to a controller, it still has the bytes of.
        let buffer = match self.header.api().is_some_and(|api| api.key == ApiKey::DescribeAcls) {
            true => "null".to_owned(),
            false => format!("java.nio.HeapByteBuffer[pos={size} lim={size} cap={size}]", size = self.size),
        };
        let text = format!(
            "Request Request(processor=0, connectionId={came_to}{address}-0, session=Session({principal},/{host}), \
             listenerName=ListenerName({listener}), securityProtocol={protocol}, buffer={buffer}, envelope=None) is not \
             authorized.",
            came_to = peer.came_to.map(|address| format!("{address}-")).unwrap_or_default(),
            address = peer.address,
            principal = peer.principal(),
            host = host_text(peer.address.ip()),
            listener = peer.listener,
        );
        text.into()
    }

    /// Takes out of `all` what the sender may not do this to.
    pub fn split<T>(
        &self,
        operation: Operation,
        kind: ResourceType,
        all: &mut Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Vec<T> {
        all.extract_if(.., |one| !self.may(operation, kind, name(one))).collect()
    }
}

/// What is answered where a right on a topic lacks.
pub const NO_TOPIC: ErrorCode = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
/// Likewise on a group.
pub const NO_GROUP: ErrorCode = ErrorCode::GROUP_AUTHORIZATION_FAILED;
/// Likewise on the cluster.
pub const NO_CLUSTER: ErrorCode = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
/// Likewise on a transactional id.
pub const NO_TRANSACTIONAL_ID: ErrorCode = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
