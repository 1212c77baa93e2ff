//! What time brings: transactions that take too long are aborted, ids that nobody uses are forgotten.

use super::end::Asked;
use super::event::{Effect, Record};
use super::{Coordinator, Scans, Slot, Then, Waiting, records};
use crate::error::ErrorCode;
use wire::Str;

/// What a record takes in a batch beside its key, at most; and a batch without records.
const RECORD_OVERHEAD: usize = 24;
const BATCH_OVERHEAD: usize = 61;

impl Coordinator {
    pub(super) fn run_timers(&mut self, now: i64, out: &mut Vec<Effect>) {
        self.run_retries(now, out);
        let next = Scans {
            abort_ms: now.saturating_add(self.config.abort_interval_ms.max(1)),
            expiry_ms: now.saturating_add(self.config.expiry_interval_ms.max(1)),
        };
        let scans = *self.scans.get_or_insert(next);
        if scans.abort_ms <= now {
            self.scans = Some(Scans { abort_ms: next.abort_ms, ..scans });
            self.abort_timed_out(now, out);
        }
        if scans.expiry_ms <= now {
            self.scans = self.scans.map(|scans| Scans { expiry_ms: next.expiry_ms, ..scans });
            self.forget_expired(now, out);
        }
    }

    fn abort_timed_out(&mut self, now: i64, out: &mut Vec<Effect>) {
        let mut late: Vec<(Str, i16)> = Vec::new();
        for slot in self.slots.values_mut() {
            let Slot::Active(active) = slot else { continue };
            for transaction in active.transactions.values_mut().filter(|one| one.is_timed_out(now)) {
                match transaction.prepare_fence() {
                    Some(epoch) => late.push((transaction.id.clone(), epoch)),
                    None => out.push(Effect::Warn(format!(
                        "The transaction of {}, whose time is up, has no epoch left to abort it with",
                        transaction.id
                    ))),
                }
            }
        }
        for (id, epoch) in late {
            self.fence(now, &id, epoch, Asked::TimeOut, out);
        }
    }

    fn forget_expired(&mut self, now: i64, out: &mut Vec<Effect>) {
        let before = now.saturating_sub(self.config.id_expiration_ms);
        let bytes_max = self.config.batch_bytes_max.min(16_384);
        for (&partition, slot) in &mut self.slots {
            let Slot::Active(active) = slot else { continue };
            let (mut batch, mut ids, mut bytes) = (Vec::new(), Vec::new(), BATCH_OVERHEAD);
            let coordinator_epoch = active.epoch;
            let mut push = |batch: &mut Vec<Record>, ids: &mut Vec<(Str, i16)>| {
                let then = Then::Forget(std::mem::take(ids));
                let waiting = Waiting { partition, coordinator_epoch, then };
                self.appends.push(partition, std::mem::take(batch), waiting, out);
            };
            for transaction in active.transactions.values_mut() {
                let old = transaction.state.may_expire() && transaction.updated_ms <= before;
                if transaction.pending.is_some() || !old {
                    continue;
                }
                let record = records::tombstone(&transaction.id);
                let size = record.key.len() + RECORD_OVERHEAD;
                if bytes + size > bytes_max && !batch.is_empty() {
                    push(&mut batch, &mut ids);
                    bytes = BATCH_OVERHEAD;
                }
                transaction.prepare_dead();
                bytes += size;
                batch.push(record);
                ids.push((transaction.id.clone(), transaction.producer_epoch));
            }
            if !batch.is_empty() {
                push(&mut batch, &mut ids);
            }
        }
    }

    /// The tombstones are in the log, or they are not.
    pub(super) fn forgotten(
        &mut self,
        partition: i32,
        coordinator_epoch: i32,
        ids: Vec<(Str, i16)>,
        result: Result<(), ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let Ok(active) = self.active_in(partition, coordinator_epoch) else { return };
        if let Err(error) = result {
            out.push(Effect::Warn(format!(
                "{} transactional ids that nobody uses could not be forgotten: {}",
                ids.len(),
                error.name()
            )));
        }
        for (id, epoch) in ids {
            let Some(transaction) = active.transactions.get_mut(&id) else { continue };
            let same = transaction.pending == Some(super::state::State::Dead);
            if result.is_ok() && same && transaction.producer_epoch == epoch {
                active.transactions.remove(&id);
            } else {
                transaction.pending = None;
            }
        }
    }
}
