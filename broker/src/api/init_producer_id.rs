//! InitProducerId: a fresh id for an idempotent producer, from a block claimed in ZooKeeper; a transactional one's is the
//! coordinator's to give.

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType};
use wire::kafka::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse};

use super::access::{NO_CLUSTER, NO_TRANSACTIONAL_ID};
use super::{Call, transactions};

pub async fn answer(call: &Call<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused =
        |error_code| InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
    if let Err(error) = check_rights(call, &request) {
        return refused(error);
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refused(ErrorCode::INVALID_REQUEST);
    }
    if let Some(id) = request.transactional_id.clone() {
        return transactions::init(call, id, &request).await;
    }
    match call.broker.next_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error) => {
            tracing::error!("Claiming producer ids: {error}");
            refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        }
    }
}

/// A producer without transactions needs to be allowed idempotent writes, or to write any topic at all.
fn check_rights(call: &Call<'_>, request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    match &request.transactional_id {
        Some(id) if call.may(Operation::Write, ResourceType::TransactionalId, id) => Ok(()),
        Some(_) => Err(NO_TRANSACTIONAL_ID),
        None if call.may_quietly(Operation::IdempotentWrite, ResourceType::Cluster, CLUSTER_NAME)
            || call.may_on_some(Operation::Write, ResourceType::Topic) =>
        {
            Ok(())
        }
        None => Err(NO_CLUSTER),
    }
}
