//! AddPartitionsToTxn and EndTxn, and the end that time or a new producer brings about.

use super::event::{Effect, Response, Token, TopicPartition};
use super::state::{NO_EPOCH, State, Transaction};
use super::{Coordinator, ThenChange, init};
use crate::error::ErrorCode;
use std::collections::BTreeSet;
use wire::Str;

/// Who wants a transaction to end.
#[derive(Debug)]
pub(super) enum Asked {
    Client(Token),
    /// A new producer with the same id, which has to come again when this is done.
    Init(Token),
    TimeOut,
}

impl Asked {
    fn reply(self, error: ErrorCode, id: &Str, out: &mut Vec<Effect>) {
        match self {
            Asked::Client(token) => out.push(Effect::Reply { token, response: Response::Done(error) }),
            Asked::Init(token) if error.is_ok() => {
                init::refuse(token, ErrorCode::CONCURRENT_TRANSACTIONS, out);
            }
            Asked::Init(token) => init::refuse(token, error, out),
            Asked::TimeOut if error.is_ok() => {
                out.push(Effect::Info(format!("Aborting the transaction of {id}, whose time is up")));
            }
            Asked::TimeOut => out.push(Effect::Warn(format!(
                "The transaction of {id}, whose time is up, could not be aborted yet: {}",
                error.name()
            ))),
        }
    }
}

/// A producer's request may be about its own transaction only. Errors: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED.
fn check_producer(
    transaction: Option<&mut Transaction>,
    producer: (i64, i16),
) -> Result<&mut Transaction, ErrorCode> {
    let transaction = transaction.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
    if transaction.producer_id != producer.0 {
        return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    if transaction.producer_epoch != producer.1 {
        return Err(ErrorCode::PRODUCER_FENCED);
    }
    Ok(transaction)
}

impl Coordinator {
    pub(super) fn add_partitions(
        &mut self,
        now: i64,
        token: Token,
        id: &Str,
        producer: (i64, i16),
        partitions: Vec<TopicPartition>,
        out: &mut Vec<Effect>,
    ) {
        let mut add = || {
            if id.is_empty() {
                return Err(ErrorCode::INVALID_REQUEST);
            }
            let (partition, active, appends) = self.active(id)?;
            let transaction = check_producer(active.transactions.get_mut(id), producer)?;
            let ending = matches!(transaction.state, State::PrepareCommit | State::PrepareAbort);
            if transaction.pending.is_some() || ending {
                return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
            }
            if transaction.state == State::Ongoing
                && partitions.iter().all(|one| transaction.partitions.contains(one))
            {
                return Err(ErrorCode::NONE);
            }
            let transit = transaction.prepare_add(partitions.iter().cloned(), now);
            appends.change(partition, active.epoch, id, transit, ThenChange::Add(token), out);
            Ok(())
        };
        if let Err(error) = add() {
            out.push(Effect::Reply { token, response: Response::Done(error) });
        }
    }

    /// For each of the partitions whether the transaction has it. That a change is under way does not count: the
    /// append itself is checked once more.
    pub(super) fn verify(
        &mut self,
        id: &Str,
        producer: (i64, i16),
        partitions: &[TopicPartition],
    ) -> Vec<ErrorCode> {
        match self.written_partitions(id, producer) {
            Err(error) => vec![error; partitions.len()],
            Ok(known) => {
                let verdict = |one| match known.contains(one) {
                    true => ErrorCode::NONE,
                    false => ErrorCode::INVALID_TXN_STATE,
                };
                partitions.iter().map(verdict).collect()
            }
        }
    }

    /// Those of a transaction that is not ending.
    fn written_partitions(
        &mut self,
        id: &Str,
        producer: (i64, i16),
    ) -> Result<&BTreeSet<TopicPartition>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let (_, active, _) = self.active(id)?;
        let transaction = check_producer(active.transactions.get_mut(id), producer)?;
        match transaction.state {
            State::PrepareCommit | State::PrepareAbort => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            _ => Ok(&transaction.partitions),
        }
    }

    pub(super) fn end(
        &mut self,
        now: i64,
        token: Token,
        id: &Str,
        producer: (i64, i16),
        commit: bool,
        out: &mut Vec<Effect>,
    ) {
        let mut end = || {
            if id.is_empty() {
                return Err(ErrorCode::INVALID_REQUEST);
            }
            let (partition, active, appends) = self.active(id)?;
            let transaction = check_producer(active.transactions.get_mut(id), producer)?;
            if transaction.pending.is_some() {
                return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
            }
            match (transaction.state, commit) {
                (State::Ongoing, _) => {}
                (State::CompleteCommit, true) | (State::CompleteAbort, false) => return Err(ErrorCode::NONE),
                (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                    return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
                }
                _ => return Err(ErrorCode::INVALID_TXN_STATE),
            }
            let transit = transaction.prepare_end(commit, now);
            let then = ThenChange::End { asked: Asked::Client(token), fences: false };
            appends.change(partition, active.epoch, id, transit, then, out);
            Ok(())
        };
        if let Err(error) = end() {
            out.push(Effect::Reply { token, response: Response::Done(error) });
        }
    }

    /// Aborts the open transaction under a new epoch, which `prepare_fence` gave: its producer is shut out from now on.
    pub(super) fn fence(&mut self, now: i64, id: &Str, epoch: i16, asked: Asked, out: &mut Vec<Effect>) {
        let Ok((partition, active, appends)) = self.active(id) else {
            return asked.reply(ErrorCode::NOT_COORDINATOR, id, out);
        };
        let Some(transaction) = active.transactions.get_mut(id) else {
            return asked.reply(ErrorCode::NOT_COORDINATOR, id, out);
        };
        transaction.pending = None;
        transaction.producer_epoch = epoch;
        transaction.last_producer_epoch = NO_EPOCH;
        let transit = transaction.prepare_end(false, now);
        appends.change(partition, active.epoch, id, transit, ThenChange::End { asked, fences: true }, out);
    }

    /// The decision is in the log, or it is not: who asked hears of it, then the markers go out.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn decided(
        &mut self,
        now: i64,
        partition: i32,
        coordinator_epoch: i32,
        id: &Str,
        asked: Asked,
        fences: bool,
        error: ErrorCode,
        out: &mut Vec<Effect>,
    ) {
        let transaction = self
            .active_in(partition, coordinator_epoch)
            .ok()
            .and_then(|active| active.transactions.get_mut(id));
        if !error.is_ok() {
            if let Some(transaction) = transaction.filter(|_| fences) {
                transaction.fence_failed = true;
            }
            return asked.reply(error, id, out);
        }
        asked.reply(ErrorCode::NONE, id, out);
        if let Some(transaction) = transaction {
            transaction.begin_completion(now);
            self.send_markers(partition, coordinator_epoch, id, out);
        }
    }
}
