//! DescribeTransactions, ListTransactions.

use super::state::State;
use super::{Coordinator, Slot};
use crate::error::ErrorCode;
use wire::Str;
use wire::kafka::describe_transactions::{TopicData, TransactionState};
use wire::kafka::list_transactions::{self, ListTransactionsResponse};

impl Coordinator {
    pub(super) fn describe(&mut self, id: Str) -> TransactionState {
        let failed =
            |error_code, id| TransactionState { error_code, transactional_id: id, ..Default::default() };
        if id.is_empty() && !self.stopped {
            return failed(ErrorCode::INVALID_REQUEST, id);
        }
        let active = match self.active(&id) {
            Ok((_, active, _)) => active,
            Err(error) => return failed(error, id),
        };
        let Some(transaction) = active.transactions.get(&id) else {
            return failed(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND, id);
        };
        let mut topics: Vec<TopicData> = Vec::new();
        for (topic, partition) in &transaction.partitions {
            match topics.last_mut().filter(|last| last.topic == *topic) {
                Some(last) => last.partitions.push(*partition),
                None => topics.push(TopicData { topic: topic.clone(), partitions: vec![*partition] }),
            }
        }
        TransactionState {
            error_code: ErrorCode::NONE,
            transactional_id: id,
            transaction_state: Str::from_static(transaction.state.name()),
            transaction_timeout_ms: transaction.timeout_ms,
            transaction_start_time_ms: transaction.start_ms,
            producer_id: transaction.producer_id,
            producer_epoch: transaction.producer_epoch,
            topics,
        }
    }

    pub(super) fn list(&self, states: &[Str], producer_ids: &[i64]) -> ListTransactionsResponse {
        let mut response = ListTransactionsResponse::default();
        if self.stopped {
            response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
            return response;
        }
        if self.slots.values().any(|slot| matches!(slot, Slot::Loading(_))) {
            response.error_code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
            return response;
        }
        let mut wanted = Vec::new();
        for name in states {
            match State::from_name(name) {
                Some(state) => wanted.push(state),
                None if response.unknown_state_filters.contains(name) => {}
                None => response.unknown_state_filters.push(name.clone()),
            }
        }
        let transactions = self.slots.values().filter_map(|slot| match slot {
            Slot::Active(active) => Some(active.transactions.values()),
            Slot::Loading(_) => None,
        });
        let matching = transactions.flatten().filter(|one| {
            (producer_ids.is_empty() || producer_ids.contains(&one.producer_id))
                && (states.is_empty() || wanted.contains(&one.state))
        });
        response.transaction_states = matching
            .map(|one| list_transactions::TransactionState {
                transactional_id: one.id.clone(),
                producer_id: one.producer_id,
                transaction_state: Str::from_static(one.state.name()),
            })
            .collect();
        response
    }
}
