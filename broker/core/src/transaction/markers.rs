//! Between the decision and the end: markers to every partition of the transaction, again until each is written.

use super::event::{Effect, MarkerOutcome, Markers, TopicPartition};
use super::state::{Completing, State, Transaction};
use super::{Coordinator, Slot, ThenChange};
use crate::error::ErrorCode;
use wire::Str;

/// Pause before a marker, or the record of the end, is tried again.
const RETRY_MS: i64 = 50;

impl Transaction {
    /// The decision is in the log: from now on nothing is pending but the end.
    pub(super) fn begin_completion(&mut self, now: i64) {
        let transit = self.prepare_complete(now);
        let unsent = self.partitions.clone();
        self.completing = Some(Completing { transit, unsent, appending: false });
    }
}

impl Coordinator {
    /// Sends what is to be sent; when nothing is left to be written, the end goes to the log.
    pub(super) fn send_markers(
        &mut self,
        partition: i32,
        coordinator_epoch: i32,
        id: &Str,
        out: &mut Vec<Effect>,
    ) {
        let Some(Slot::Active(active)) = self.slots.get_mut(&partition) else { return };
        if active.epoch != coordinator_epoch {
            return;
        }
        let Some(transaction) = active.transactions.get_mut(id) else { return };
        let Some(completing) = &mut transaction.completing else { return };
        if transaction.partitions.is_empty() {
            if !completing.appending {
                completing.appending = true;
                let transit = completing.transit.clone();
                self.appends.change(partition, coordinator_epoch, id, transit, ThenChange::Complete, out);
            }
            return;
        }
        let partitions: Vec<TopicPartition> = std::mem::take(&mut completing.unsent).into_iter().collect();
        if !partitions.is_empty() {
            out.push(Effect::SendMarkers(Markers {
                transactional_id: id.clone(),
                coordinator_epoch,
                producer_id: transaction.producer_id,
                producer_epoch: transaction.producer_epoch,
                commit: transaction.state == State::PrepareCommit,
                partitions,
            }));
        }
    }

    pub(super) fn markers_written(
        &mut self,
        now: i64,
        id: &Str,
        coordinator_epoch: i32,
        outcomes: Vec<(TopicPartition, MarkerOutcome)>,
        out: &mut Vec<Effect>,
    ) {
        let partition = self.partition_for(id);
        let Ok(active) = self.active_in(partition, coordinator_epoch) else { return };
        let Some(transaction) = active.transactions.get_mut(id) else { return };
        let Some(completing) = &mut transaction.completing else { return };
        let mut again = false;
        for (one, outcome) in outcomes {
            if !transaction.partitions.contains(&one) {
                continue;
            }
            match judge(outcome) {
                Judgement::Done => {
                    transaction.partitions.remove(&one);
                }
                Judgement::Again => {
                    completing.unsent.insert(one);
                    again = true;
                }
                Judgement::Odd(error) => {
                    let (topic, n) = &one;
                    out.push(Effect::Warn(format!(
                        "The marker of {id} on {topic}-{n} was refused, trying again: {}",
                        error.name()
                    )));
                    completing.unsent.insert(one);
                    again = true;
                }
                Judgement::Overtaken(error) => {
                    // A later producer, or a later coordinator, has written there: this end is not ours to write.
                    out.push(Effect::Warn(format!(
                        "The markers of {id} in coordinator epoch {coordinator_epoch} are given up: {}",
                        error.name()
                    )));
                    transaction.completing = None;
                    return;
                }
            }
        }
        if again {
            self.retries.insert((now + RETRY_MS, id.clone()));
        } else {
            self.send_markers(partition, coordinator_epoch, id, out);
        }
    }

    /// The end is in the log, or it is not.
    pub(super) fn completed(
        &mut self,
        now: i64,
        partition: i32,
        coordinator_epoch: i32,
        id: &Str,
        error: ErrorCode,
        out: &mut Vec<Effect>,
    ) {
        let Ok(active) = self.active_in(partition, coordinator_epoch) else { return };
        let Some(transaction) = active.transactions.get_mut(id) else { return };
        match error {
            ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                if let Some(completing) = &mut transaction.completing {
                    completing.appending = false;
                    self.retries.insert((now + RETRY_MS, id.clone()));
                }
            }
            ErrorCode::NONE => transaction.completing = None,
            error => {
                transaction.completing = None;
                out.push(Effect::Warn(format!(
                    "The end of the transaction of {id} cannot be written: {}",
                    error.name()
                )));
            }
        }
    }

    pub(super) fn run_retries(&mut self, now: i64, out: &mut Vec<Effect>) {
        while let Some((_, id)) = self.retries.first().filter(|(at, _)| *at <= now).cloned() {
            self.retries.pop_first();
            let partition = self.partition_for(&id);
            if let Some(Slot::Active(active)) = self.slots.get(&partition) {
                let epoch = active.epoch;
                self.send_markers(partition, epoch, &id, out);
            }
        }
    }
}

enum Judgement {
    Done,
    Again,
    Odd(ErrorCode),
    Overtaken(ErrorCode),
}

fn judge(outcome: MarkerOutcome) -> Judgement {
    let error = match outcome {
        // A partition that was deleted, or whose format knows no transactions, has nothing to end.
        MarkerOutcome::Written | MarkerOutcome::Gone => return Judgement::Done,
        MarkerOutcome::Failed(error) => error,
    };
    match error {
        ErrorCode::NONE | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT | ErrorCode::UNSUPPORTED_VERSION => {
            Judgement::Done
        }
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_LEADER_OR_FOLLOWER
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::KAFKA_STORAGE_ERROR => Judgement::Again,
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::TRANSACTION_COORDINATOR_FENCED => {
            Judgement::Overtaken(error)
        }
        other => Judgement::Odd(other),
    }
}
