//! The transaction coordinator: which producer a transactional id has, and how its transactions end.
//!
//! A [`Coordinator`] looks after the transactional ids whose partition of `__transaction_state` this broker leads. It knows
//! neither versions nor authorization; it takes [`Event`]s and emits [`Effect`]s. What it decides is a record first: a
//! change takes effect, and is answered, once [`Event::Appended`] says that it is replicated. A transaction ends in three
//! steps: the decision in the log, a marker on each partition that it wrote to, and "complete" in the log; whoever reads
//! a decision without its end back from the log writes the markers again. The leader epoch of the partition goes with
//! each marker, so that what an earlier coordinator still sends is refused.
//!
//! * `state`: a transactional id, and what may follow what. `records`: what is in the log; `load`: reading it back.
//! * `init`, `end`, `admin`: the requests. `markers`: between the decision and the end. `expire`: what time brings.

mod admin;
mod end;
mod event;
mod expire;
mod init;
mod load;
mod markers;
mod records;
#[cfg(test)]
mod simulation;
mod state;
#[cfg(test)]
mod tests;

pub use event::*;

use crate::error::ErrorCode;
use init::InitRequest;
use load::Loader;
use state::{Transaction, Transit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::Str;

/// A partition of `__transaction_state` that this broker leads.
#[derive(Debug)]
enum Slot {
    Loading(Loader),
    Active(Active),
}

#[derive(Debug, Default)]
struct Active {
    /// Leader epoch: the coordinator's own.
    epoch: i32,
    transactions: BTreeMap<Str, Transaction>,
}

/// All transactional ids of this broker.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    stopped: bool,
    slots: BTreeMap<i32, Slot>,
    appends: Appends,
    /// Producer ids that were claimed and not needed.
    spare_ids: VecDeque<i64>,
    /// Those who wait for a producer id, one claim each.
    awaiting_id: VecDeque<(Token, InitRequest)>,
    /// Markers, or the record behind them, to be tried again at that time.
    retries: BTreeSet<(i64, Str)>,
    /// When to look for transactions that take too long, and for ids that are too old.
    scans: Option<Scans>,
}

#[derive(Debug, Clone, Copy)]
struct Scans {
    abort_ms: i64,
    expiry_ms: i64,
}

/// Appends whose end is awaited.
#[derive(Debug, Default)]
struct Appends {
    next: u64,
    waiting: BTreeMap<AppendId, Waiting>,
}

/// What goes on when an append is done.
#[derive(Debug)]
struct Waiting {
    partition: i32,
    coordinator_epoch: i32,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Change {
        id: Str,
        transit: Transit,
        then: ThenChange,
    },
    /// Ids that have been forgotten, and the epochs of their producers.
    Forget(Vec<(Str, i16)>),
}

/// Who waits for the change.
#[derive(Debug)]
enum ThenChange {
    Init(Token),
    Add(Token),
    End { asked: end::Asked, fences: bool },
    Complete,
}

impl Appends {
    fn push(&mut self, partition: i32, records: Vec<Record>, waiting: Waiting, out: &mut Vec<Effect>) {
        let append = AppendId(self.next);
        self.next += 1;
        self.waiting.insert(append, waiting);
        out.push(Effect::Append { partition, append, records });
    }

    /// A change of one transactional id.
    fn change(
        &mut self,
        partition: i32,
        coordinator_epoch: i32,
        id: &Str,
        transit: Transit,
        then: ThenChange,
        out: &mut Vec<Effect>,
    ) {
        let records = vec![records::record(id, &transit)];
        let then = Then::Change { id: id.clone(), transit, then };
        self.push(partition, records, Waiting { partition, coordinator_epoch, then }, out);
    }
}

impl Coordinator {
    pub fn new(config: Config) -> Coordinator {
        Coordinator {
            config,
            stopped: false,
            slots: BTreeMap::new(),
            appends: Appends::default(),
            spare_ids: VecDeque::new(),
            awaiting_id: VecDeque::new(),
            retries: BTreeSet::new(),
            scans: None,
        }
    }

    /// The partition of `__transaction_state` that an id belongs to: Java's hash of the name.
    pub fn partition_for(&self, id: &str) -> i32 {
        crate::group::java_hash(id).checked_abs().unwrap_or(0) % self.config.partitions.max(1)
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<i64> {
        let scans = self.scans.filter(|_| !self.slots.is_empty());
        let scan = scans.map(|scans| scans.abort_ms.min(scans.expiry_ms));
        scan.into_iter().chain(self.retries.first().map(|(at, _)| *at)).min()
    }

    /// One event, at `now` (ms since 1970), and all that follows from it.
    pub fn step(&mut self, now: i64, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Request { token, request } => self.request(now, token, request, out),
            Event::Appended { append, result } => self.appended(now, append, result, out),
            Event::ProducerId(result) => self.producer_id(now, result, out),
            Event::MarkersWritten { transactional_id, coordinator_epoch, outcomes } => {
                self.markers_written(now, &transactional_id, coordinator_epoch, outcomes, out);
            }
            Event::Elected { partition, epoch } => self.elected(now, partition, epoch, out),
            Event::Loaded { partition, epoch, entry } => self.loaded(partition, epoch, &entry, out),
            Event::LoadDone { partition, epoch } => self.load_done(now, partition, epoch, out),
            Event::Resigned { partition } => {
                self.slots.remove(&partition);
            }
            Event::Tick => {}
            Event::Stop => self.stopped = true,
        }
        self.run_timers(now, out);
    }

    fn request(&mut self, now: i64, token: Token, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Init { transactional_id, timeout_ms, expected } => {
                self.init(now, token, InitRequest { id: transactional_id, timeout_ms, expected }, out);
            }
            Request::AddPartitions { transactional_id, producer_id, producer_epoch, partitions } => {
                let producer = (producer_id, producer_epoch);
                self.add_partitions(now, token, &transactional_id, producer, partitions, out);
            }
            Request::VerifyPartitions { transactional_id, producer_id, producer_epoch, partitions } => {
                let errors = self.verify(&transactional_id, (producer_id, producer_epoch), &partitions);
                out.push(Effect::Reply { token, response: Response::Verified(errors) });
            }
            Request::End { transactional_id, producer_id, producer_epoch, commit } => {
                self.end(now, token, &transactional_id, (producer_id, producer_epoch), commit, out);
            }
            Request::Describe { transactional_id } => {
                let response = Response::Describe(self.describe(transactional_id));
                out.push(Effect::Reply { token, response });
            }
            Request::List { states, producer_ids } => {
                let response = Response::List(self.list(&states, &producer_ids));
                out.push(Effect::Reply { token, response });
            }
        }
    }

    /// The partition of an id, if this broker may answer for it.
    fn active(&mut self, id: &str) -> Result<(i32, &mut Active, &mut Appends), ErrorCode> {
        if self.stopped {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let partition = self.partition_for(id);
        match self.slots.get_mut(&partition) {
            Some(Slot::Loading(_)) => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            Some(Slot::Active(active)) => Ok((partition, active, &mut self.appends)),
            None => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    /// A partition as long as this broker leads it in this epoch.
    fn active_in(&mut self, partition: i32, epoch: i32) -> Result<&mut Active, ErrorCode> {
        match self.slots.get_mut(&partition) {
            Some(Slot::Active(active)) if active.epoch == epoch => Ok(active),
            Some(Slot::Loading(_)) => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            _ => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    fn appended(&mut self, now: i64, append: AppendId, result: Result<(), ErrorCode>, out: &mut Vec<Effect>) {
        let Some(Waiting { partition, coordinator_epoch, then }) = self.appends.waiting.remove(&append)
        else {
            return;
        };
        match then {
            Then::Forget(ids) => self.forgotten(partition, coordinator_epoch, ids, result, out),
            Then::Change { id, transit, then } => {
                let result = result.map_err(append_error);
                let changed = self.change(partition, coordinator_epoch, &id, &transit, &then, result);
                let error = changed.err().unwrap_or(ErrorCode::NONE);
                match then {
                    ThenChange::Init(token) => init::reply(token, error, &transit, out),
                    ThenChange::Add(token) => {
                        out.push(Effect::Reply { token, response: Response::Done(error) });
                    }
                    ThenChange::End { asked, fences } => {
                        self.decided(now, partition, coordinator_epoch, &id, asked, fences, error, out);
                    }
                    ThenChange::Complete => {
                        self.completed(now, partition, coordinator_epoch, &id, error, out)
                    }
                }
            }
        }
    }

    /// The change is in the log, or it is not: what becomes of the transaction.
    fn change(
        &mut self,
        partition: i32,
        coordinator_epoch: i32,
        id: &Str,
        transit: &Transit,
        then: &ThenChange,
        result: Result<(), ErrorCode>,
    ) -> Result<(), ErrorCode> {
        let found = self.active_in(partition, coordinator_epoch);
        let found =
            found.and_then(|active| active.transactions.get_mut(id).ok_or(ErrorCode::NOT_COORDINATOR));
        match (result, found) {
            (Ok(()), Ok(transaction)) => {
                transaction.complete(transit.clone());
                Ok(())
            }
            (Ok(()), Err(error)) | (Err(error), Err(_)) => Err(error),
            (Err(error), Ok(transaction)) => {
                let again =
                    matches!(then, ThenChange::Complete) && error == ErrorCode::COORDINATOR_NOT_AVAILABLE;
                if !again {
                    transaction.pending = None;
                }
                Err(error)
            }
        }
    }
}

/// What a failed append is to the client.
fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => ErrorCode::UNKNOWN_SERVER_ERROR,
        other => other,
    }
}
