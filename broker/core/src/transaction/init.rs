//! InitProducerId with a transactional id: a producer and an epoch that shut the one before out.

use super::end::Asked;
use super::event::{Effect, Response, Token};
use super::state::{NO_EPOCH, NO_PRODUCER_ID, State, Transaction, Transit, is_exhausted};
use super::{Coordinator, ThenChange};
use crate::error::ErrorCode;
use wire::Str;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InitRequest {
    pub id: Str,
    pub timeout_ms: i32,
    pub expected: Option<(i64, i16)>,
}

/// What is to be done.
enum Decision {
    Change(Transit),
    /// A transaction is open: it is aborted first, under this epoch, and the client asks again.
    Fence(i16),
    NeedsId,
}

pub(super) fn refuse(token: Token, error: ErrorCode, out: &mut Vec<Effect>) {
    let response = Response::Init { error, producer_id: NO_PRODUCER_ID, producer_epoch: NO_EPOCH };
    out.push(Effect::Reply { token, response });
}

pub(super) fn reply(token: Token, error: ErrorCode, transit: &Transit, out: &mut Vec<Effect>) {
    if !error.is_ok() {
        return refuse(token, error, out);
    }
    let (producer_id, producer_epoch) = (transit.producer_id, transit.producer_epoch);
    out.push(Effect::Reply { token, response: Response::Init { error, producer_id, producer_epoch } });
}

impl Coordinator {
    pub(super) fn init(&mut self, now: i64, token: Token, request: InitRequest, out: &mut Vec<Effect>) {
        if request.id.is_empty() {
            return refuse(token, ErrorCode::INVALID_REQUEST, out);
        }
        if !(1..=self.config.timeout_ms_max).contains(&request.timeout_ms) {
            return refuse(token, ErrorCode::INVALID_TRANSACTION_TIMEOUT, out);
        }
        let spare = self.spare_ids.front().copied();
        let (partition, active, appends) = match self.active(&request.id) {
            Ok(found) => found,
            Err(error) => return refuse(token, error, out),
        };
        let mut used = false;
        let decision = match active.transactions.get_mut(&request.id) {
            Some(transaction) => decide(now, transaction, &request, spare, &mut used),
            None => match spare {
                Some(id) => {
                    used = true;
                    let new = Transaction::new(request.id.clone(), id, request.timeout_ms, now);
                    let transaction = active.transactions.entry(request.id.clone()).or_insert(new);
                    decide(now, transaction, &request, None, &mut false)
                }
                None => Ok(Decision::NeedsId),
            },
        };
        let epoch = active.epoch;
        match decision {
            Err(error) => refuse(token, error, out),
            Ok(Decision::Change(transit)) => {
                appends.change(partition, epoch, &request.id, transit, ThenChange::Init(token), out);
            }
            Ok(Decision::Fence(fenced)) => {
                self.fence(now, &request.id, fenced, Asked::Init(token), out);
            }
            Ok(Decision::NeedsId) => {
                self.awaiting_id.push_back((token, request));
                out.push(Effect::ClaimProducerId);
            }
        }
        if used {
            self.spare_ids.pop_front();
        }
    }

    pub(super) fn producer_id(&mut self, now: i64, result: Result<i64, ErrorCode>, out: &mut Vec<Effect>) {
        let waiting = self.awaiting_id.pop_front();
        match (result, waiting) {
            (Ok(id), waiting) => {
                self.spare_ids.push_back(id);
                if let Some((token, request)) = waiting {
                    self.init(now, token, request, out);
                }
            }
            (Err(error), Some((token, _))) => refuse(token, error, out),
            (Err(_), None) => {}
        }
    }
}

fn decide(
    now: i64,
    transaction: &mut Transaction,
    request: &InitRequest,
    spare: Option<i64>,
    used: &mut bool,
) -> Result<Decision, ErrorCode> {
    if transaction.pending.is_some() {
        return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
    }
    let is_its_own = |(id, epoch): (i64, i16)| {
        transaction.producer_epoch == NO_EPOCH
            || id == transaction.producer_id
            || (id == transaction.last_producer_id && is_exhausted(epoch))
    };
    if !request.expected.is_none_or(is_its_own) {
        return Err(ErrorCode::PRODUCER_FENCED);
    }
    match transaction.state {
        State::PrepareCommit | State::PrepareAbort => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
        State::Ongoing => {
            transaction.prepare_fence().map(Decision::Fence).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)
        }
        State::Empty | State::CompleteCommit | State::CompleteAbort => {
            let current = |(_, epoch)| epoch == transaction.producer_epoch;
            if is_exhausted(transaction.producer_epoch) && request.expected.is_none_or(current) {
                let Some(id) = spare else { return Ok(Decision::NeedsId) };
                *used = true;
                let keep_last = request.expected.is_some();
                let transit = transaction.prepare_rotation(id, request.timeout_ms, keep_last, now);
                return Ok(Decision::Change(transit));
            }
            let expected = request.expected.map(|(_, epoch)| epoch);
            transaction.prepare_next_epoch(request.timeout_ms, expected, now).map(Decision::Change)
        }
        State::Dead | State::PrepareEpochFence => unreachable!("these are never a state, only pending"),
    }
}
