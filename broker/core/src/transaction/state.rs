//! One transactional id: its producer, its transaction, and how it gets from one state to the next.
//!
//! A change is prepared (from then on `pending`), appended to the log, and takes effect when the append is replicated. One
//! change is under way at most.

use super::event::TopicPartition;
use crate::error::ErrorCode;
use std::collections::BTreeSet;
use wire::Str;

pub(super) const NO_PRODUCER_ID: i64 = -1;
pub(super) const NO_EPOCH: i16 = -1;
const NO_TIME: i64 = -1;

/// In the order of their numbers in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    /// Its tombstone is on the way; never in the log.
    Dead,
    /// A new epoch keeps the producer out while its transaction is being aborted; never in the log.
    PrepareEpochFence,
}

const STATES: [(State, &str); 8] = [
    (State::Empty, "Empty"),
    (State::Ongoing, "Ongoing"),
    (State::PrepareCommit, "PrepareCommit"),
    (State::PrepareAbort, "PrepareAbort"),
    (State::CompleteCommit, "CompleteCommit"),
    (State::CompleteAbort, "CompleteAbort"),
    (State::Dead, "Dead"),
    (State::PrepareEpochFence, "PrepareEpochFence"),
];

impl State {
    pub fn number(self) -> i8 {
        self as i8
    }

    pub fn from_number(number: i8) -> Option<State> {
        STATES.iter().map(|(state, _)| *state).find(|state| state.number() == number)
    }

    pub fn name(self) -> &'static str {
        STATES[self as usize].1
    }

    pub fn from_name(name: &str) -> Option<State> {
        STATES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }

    fn follows(self, before: State) -> bool {
        use State::*;
        match self {
            Empty => matches!(before, Empty | CompleteCommit | CompleteAbort),
            Ongoing => matches!(before, Ongoing | Empty | CompleteCommit | CompleteAbort),
            PrepareCommit | PrepareEpochFence => before == Ongoing,
            PrepareAbort => matches!(before, Ongoing | PrepareEpochFence),
            CompleteCommit => before == PrepareCommit,
            CompleteAbort => before == PrepareAbort,
            Dead => matches!(before, Empty | CompleteCommit | CompleteAbort),
        }
    }

    /// Nothing is under way, so the id may be forgotten when it is old.
    pub fn may_expire(self) -> bool {
        State::Dead.follows(self)
    }
}

/// What a transactional id is about to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transit {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_producer_epoch: i16,
    pub timeout_ms: i32,
    pub state: State,
    pub partitions: BTreeSet<TopicPartition>,
    pub start_ms: i64,
    pub updated_ms: i64,
}

/// Markers that are being written before the transaction is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Completing {
    pub transit: Transit,
    /// To be sent again.
    pub unsent: BTreeSet<TopicPartition>,
    /// All are written; the record that says so may have to be appended again.
    pub appending: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub id: Str,
    pub producer_id: i64,
    /// The one before the last change of ids; not in the log.
    pub last_producer_id: i64,
    pub producer_epoch: i16,
    /// Likewise of epochs.
    pub last_producer_epoch: i16,
    pub timeout_ms: i32,
    pub state: State,
    pub partitions: BTreeSet<TopicPartition>,
    /// -1: none was begun.
    pub start_ms: i64,
    pub updated_ms: i64,
    /// A change on its way to the log.
    pub pending: Option<State>,
    /// A new epoch that fences was taken but could not be written: the next try does not take another.
    pub fence_failed: bool,
    pub completing: Option<Completing>,
}

pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

impl Transaction {
    /// Nobody's yet: its first InitProducerId gives it epoch 0.
    pub fn new(id: Str, producer_id: i64, timeout_ms: i32, now: i64) -> Transaction {
        Transaction {
            id,
            producer_id,
            last_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_EPOCH,
            last_producer_epoch: NO_EPOCH,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start_ms: NO_TIME,
            updated_ms: now,
            pending: None,
            fence_failed: false,
            completing: None,
        }
    }

    /// As it is.
    pub fn transit(&self, state: State, updated_ms: i64) -> Transit {
        Transit {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            last_producer_epoch: self.last_producer_epoch,
            timeout_ms: self.timeout_ms,
            state,
            partitions: self.partitions.clone(),
            start_ms: self.start_ms,
            updated_ms,
        }
    }

    fn prepare(&mut self, transit: Transit) -> Transit {
        assert!(
            self.pending.is_none(),
            "{}: {:?} while {:?} is pending",
            self.id,
            transit.state,
            self.pending
        );
        assert!(transit.state.follows(self.state), "{}: {:?} after {:?}", self.id, transit.state, self.state);
        self.pending = Some(transit.state);
        transit
    }

    /// A fenced epoch, to be used at once. `None`: there is none left, which only a damaged log can bring about.
    pub fn prepare_fence(&mut self) -> Option<i16> {
        let epoch =
            if self.fence_failed { self.producer_epoch } else { self.producer_epoch.checked_add(1)? };
        self.prepare(self.transit(State::PrepareEpochFence, self.updated_ms));
        Some(epoch)
    }

    /// Errors: PRODUCER_FENCED where the client's epoch is neither this one nor the one before.
    pub fn prepare_next_epoch(
        &mut self,
        timeout_ms: i32,
        expected: Option<i16>,
        now: i64,
    ) -> Result<Transit, ErrorCode> {
        // As in Java, where this is an error of the program.
        let next = self.producer_epoch.checked_add(1).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        if is_exhausted(self.producer_epoch) {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        let (epoch, last) = match expected {
            None => (next, NO_EPOCH),
            Some(expected) if self.producer_epoch == NO_EPOCH || expected == self.producer_epoch => {
                (next, self.producer_epoch)
            }
            // It asks again, as the answer did not reach it.
            Some(expected) if expected == self.last_producer_epoch => {
                (self.producer_epoch, self.last_producer_epoch)
            }
            Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
        };
        Ok(self.prepare_init(self.producer_id, epoch, last, timeout_ms, now))
    }

    /// Epochs are used up: another producer id.
    pub fn prepare_rotation(&mut self, id: i64, timeout_ms: i32, keep_last: bool, now: i64) -> Transit {
        let last = if keep_last { self.producer_epoch } else { NO_EPOCH };
        self.prepare_init(id, 0, last, timeout_ms, now)
    }

    fn prepare_init(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        last: i16,
        timeout_ms: i32,
        now: i64,
    ) -> Transit {
        self.prepare(Transit {
            producer_id,
            producer_epoch,
            last_producer_epoch: last,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start_ms: NO_TIME,
            updated_ms: now,
        })
    }

    pub fn prepare_add(&mut self, partitions: impl IntoIterator<Item = TopicPartition>, now: i64) -> Transit {
        let mut transit = self.transit(State::Ongoing, now);
        transit.partitions.extend(partitions);
        if self.state != State::Ongoing {
            transit.start_ms = now;
        }
        self.prepare(transit)
    }

    pub fn prepare_end(&mut self, commit: bool, now: i64) -> Transit {
        let state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        self.prepare(self.transit(state, now))
    }

    pub fn prepare_complete(&mut self, now: i64) -> Transit {
        let state =
            if self.state == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
        self.fence_failed = false;
        self.prepare(Transit { partitions: BTreeSet::new(), ..self.transit(state, now) })
    }

    pub fn prepare_dead(&mut self) {
        self.prepare(self.transit(State::Dead, self.updated_ms));
    }

    /// The change is in the log.
    pub fn complete(&mut self, transit: Transit) {
        assert_eq!(self.pending, Some(transit.state), "{}", self.id);
        if transit.state == State::Empty {
            self.last_producer_id = self.producer_id;
        }
        self.producer_id = transit.producer_id;
        self.producer_epoch = transit.producer_epoch;
        self.last_producer_epoch = transit.last_producer_epoch;
        self.timeout_ms = transit.timeout_ms;
        self.state = transit.state;
        self.partitions = transit.partitions;
        if transit.state != State::Empty {
            self.start_ms = transit.start_ms;
        }
        self.updated_ms = transit.updated_ms;
        self.pending = None;
    }

    /// It goes on for longer than its producer wanted.
    pub fn is_timed_out(&self, now: i64) -> bool {
        self.pending.is_none()
            && self.state == State::Ongoing
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now
    }
}
