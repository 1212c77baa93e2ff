//! The transaction coordinator's place in the loop: its log is `__transaction_state`, whose leaders here it looks after.

use std::collections::{BTreeMap, HashMap};

use broker_core::partition::ProduceResult;
use broker_core::partition::Token;
use broker_core::transaction::{AppendId, Config, Coordinator, Effect, Event, Record, Request, Response};
use tokio::sync::oneshot;
use wire::batch::BatchBuilder;

use super::{Notice, Shard};
use crate::broker::Broker;
use crate::topics::TRANSACTION_TOPIC;

/// The coordinator, and who waits for it.
pub struct Transactions {
    coordinator: Coordinator,
    effects: Vec<Effect>,
    waiting: HashMap<Token, oneshot::Sender<Response>>,
    appends: BTreeMap<Token, AppendId>,
    timeout_ms: i64,
}

impl Transactions {
    pub fn new(broker: &Broker) -> Transactions {
        let config = &broker.config;
        let coordinator = Coordinator::new(Config {
            partitions: broker.transaction_partitions,
            timeout_ms_max: i32::try_from(config.int("transaction.max.timeout.ms")).unwrap_or(i32::MAX),
            id_expiration_ms: config.int("transactional.id.expiration.ms"),
            abort_interval_ms: config.int("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expiry_interval_ms: config.int("transaction.remove.expired.transaction.cleanup.interval.ms"),
            batch_bytes_max: usize::try_from(config.int("message.max.bytes")).unwrap_or(0),
        });
        Transactions {
            coordinator,
            effects: Vec::new(),
            waiting: HashMap::new(),
            appends: BTreeMap::new(),
            timeout_ms: config.int("request.timeout.ms"),
        }
    }
}

impl Shard {
    pub(super) fn transaction_request(&mut self, request: Request, reply: oneshot::Sender<Response>) {
        let token = Token(self.tokens(1));
        self.transactions.waiting.insert(token, reply);
        self.transaction_step(Event::Request { token, request });
    }

    /// When the coordinator wants the time, in the loop's ms.
    pub(super) fn transaction_deadline(&self) -> i64 {
        let lead = super::wall_clock() - self.clock();
        self.transactions.coordinator.deadline().map_or(i64::MAX, |at| at - lead)
    }

    pub(super) fn transaction_tick(&mut self) {
        if self.transactions.coordinator.deadline().is_some_and(|at| at <= self.turn.wall) {
            self.transaction_step(Event::Tick);
        }
    }

    /// A partition of the transaction topic got a leader here, or lost it.
    pub(super) fn transaction_role(&mut self, partition: i32, leads: Option<i32>) {
        self.transaction_step(match leads {
            Some(epoch) => Event::Elected { partition, epoch },
            None => Event::Resigned { partition },
        });
    }

    /// One step of the coordinator, and all that follows.
    pub(super) fn transaction_step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.transactions.effects);
        self.transactions.coordinator.step(self.turn.wall, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Reply { token, response } => {
                    if let Some(reply) = self.transactions.waiting.remove(&token) {
                        let _ = reply.send(response);
                    }
                }
                Effect::Append { partition, append, records } => {
                    self.transaction_append(partition, append, &records);
                }
                Effect::ClaimProducerId => {
                    let _ = self.notices.send(Notice::ClaimProducerId);
                }
                Effect::SendMarkers(markers) => {
                    let _ = self.notices.send(Notice::SendMarkers(markers));
                }
                Effect::Load { partition, epoch } => {
                    let _ = self.notices.send(Notice::LoadTransactions { partition, epoch });
                }
                Effect::Info(text) => tracing::info!("{text}"),
                Effect::Warn(text) => tracing::warn!("{text}"),
            }
        }
        self.transactions.effects = effects;
    }

    fn transaction_append(&mut self, partition: i32, append: AppendId, records: &[Record]) {
        let token = Token(self.tokens(1));
        self.transactions.appends.insert(token, append);
        let mut builder = BatchBuilder::new();
        for record in records {
            builder.push(self.turn.wall, Some(&record.key), record.value.as_deref(), &[]);
        }
        let timeout_ms = self.transactions.timeout_ms;
        self.append_own(TRANSACTION_TOPIC, partition, token, -1, timeout_ms, builder);
    }

    /// Whether the answer was to an append of the coordinator, which then hears of it.
    pub(super) fn transaction_appended(&mut self, token: Token, result: &ProduceResult) -> bool {
        let Some(append) = self.transactions.appends.remove(&token) else { return false };
        let result = if result.error.is_ok() { Ok(()) } else { Err(result.error) };
        self.transaction_step(Event::Appended { append, result });
        true
    }
}
