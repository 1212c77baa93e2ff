//! InitProducerId: a fresh id for an idempotent producer. Ids come in blocks, claimed in ZooKeeper.

use wire::kafka::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse};

use super::Call;

/// Transactional ids are refused: there is no transaction coordinator yet.
pub async fn answer(call: &Call<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused =
        |error_code| InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
    if let Some(id) = request.transactional_id {
        tracing::warn!(
            "Refusing transactional id {id} of {}: transactions are not supported yet",
            call.peer.address
        );
        return refused(ErrorCode::INVALID_REQUEST);
    }
    match call.broker.next_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error) => {
            tracing::error!("Claiming producer ids: {error}");
            refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        }
    }
}
