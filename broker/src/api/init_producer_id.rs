//! InitProducerId: a fresh id for an idempotent producer, from a block claimed in ZooKeeper; a transactional one's is the
//! coordinator's to give.

use wire::kafka::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse};

use super::{Call, transactions};

pub async fn answer(call: &Call<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused =
        |error_code| InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
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
