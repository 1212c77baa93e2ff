//! The world's clock, and the wires between brokers and clients.

use super::broker::{Request, Response};
use broker_core::{group, transaction};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Broker(i32),
    Client(usize),
}

#[derive(Debug)]
pub enum Body {
    Request(Request),
    Response(Response),
}

/// One end of a call to the other. Nothing reaches a process that started after it was sent.
#[derive(Debug)]
pub struct Message {
    pub from: Party,
    pub to: Party,
    pub life: u32,
    pub call: u64,
    pub body: Body,
}

#[derive(Debug)]
pub enum Happening {
    Turn {
        broker: i32,
    },
    Arrive(Box<Message>),
    Boot {
        broker: i32,
    },
    Client {
        at: usize,
    },
    Admin,
    Fault,
    /// What stands in ZooKeeper is looked at.
    Watch,
}

/// Time, chance, and what is under way.
pub struct Net {
    pub now: u64,
    pub rng: ChaCha8Rng,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    /// Nothing gets from the first to the second before then.
    pub cuts: BTreeMap<(Party, Party), u64>,
    /// The life of each broker that is up.
    pub lives: BTreeMap<i32, u32>,
    /// Of a hundred messages.
    pub loss: u32,
    pub delay_ms: u64,
    pub calm: bool,
    /// A replica that is not in sync may lead where no other can.
    pub unclean: bool,
    /// What values stand for that are looked into: the records of coordinators.
    pub contents: Vec<Bytes>,
    /// Settings of all coordinators.
    pub transactions: transaction::Config,
    pub groups: group::Config,
    /// The last one that was claimed.
    pub producer_ids: i64,
    tracing: bool,
    pub trace: Vec<String>,
}

impl Net {
    pub fn new(rng: ChaCha8Rng, loss: u32, delay_ms: u64, tracing: bool) -> Net {
        Net {
            now: 0,
            rng,
            queue: BTreeMap::new(),
            sequence: 0,
            cuts: BTreeMap::new(),
            lives: BTreeMap::new(),
            loss,
            delay_ms,
            calm: false,
            unclean: false,
            contents: vec![],
            transactions: transaction::Config::default(),
            groups: group::Config::default(),
            producer_ids: 100_000,
            tracing,
            trace: vec![],
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            self.trace.push(format!("{:>6} {}", self.now, line()));
        }
    }

    pub fn is_tracing(&self) -> bool {
        self.tracing
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn schedule(&mut self, after: u64, happening: Happening) {
        let number = self.number();
        self.queue.insert((self.now + after, number), happening);
    }

    pub fn next_at(&self) -> u64 {
        self.queue.first_key_value().map_or(u64::MAX, |((at, _), _)| *at)
    }

    pub fn pop(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        Some(happening)
    }

    /// What a lost tail leaves behind of its process's messages.
    pub fn forget_requests_of(&mut self, broker: i32) {
        self.queue.retain(|_, happening| {
            !matches!(happening, Happening::Arrive(message) if message.from == Party::Broker(broker))
        });
    }

    /// A request that is still under way is not any more.
    pub fn forget(&mut self, call: u64) {
        self.queue.retain(|_, happening| {
            let Happening::Arrive(message) = happening else { return true };
            message.call != call || matches!(message.body, Body::Response(_))
        });
    }

    /// A request; its number comes back.
    pub fn call(&mut self, from: Party, to: Party, request: Request) -> u64 {
        let call = self.number();
        self.send(from, to, call, Body::Request(request));
        call
    }

    pub fn answer(&mut self, from: Party, to: Party, call: u64, response: Response) {
        self.send(from, to, call, Body::Response(response));
    }

    fn send(&mut self, from: Party, to: Party, call: u64, body: Body) {
        let life = match to {
            Party::Client(_) => 0,
            Party::Broker(id) => match self.lives.get(&id) {
                Some(life) => *life,
                None => return,
            },
        };
        let mut delay = if self.calm { 1 } else { self.rng.random_range(1..=self.delay_ms) };
        if !self.calm {
            let cut = self.cuts.get(&(from, to)).copied().unwrap_or(0);
            // A cut connection may deliver late what it holds, or break.
            if cut > self.now {
                if self.chance(50) {
                    return;
                }
                delay += cut - self.now;
            } else if self.rng.random_range(0..100) < self.loss {
                return;
            }
        }
        self.schedule(delay, Happening::Arrive(Box::new(Message { from, to, life, call, body })));
    }
}
