//! A broker's dealings with ZooKeeper, and the controller at work: the order of reads, writes and watches of the
//! broker crate's `zk` and `controller::{claim, load, writes, active}`, over simulated sessions. What is decided in
//! between is broker-core's.
//!
//! It is written as tasks that wait, as there; a task is polled when something has happened to its broker.

mod active;
mod election;
mod errands;
mod life;
mod pen;
mod zk;

use super::checks::Checks;
use super::nodes;
use super::session::{Answer, EPHEMERAL, Fired, Op, Outcome, PERSISTENT, Promise, Session, ZkError};
use broker_core::ErrorCode;
use broker_core::controller::{
    Assignment, Broker, Controller, ControllerConfig, Effect, ElectionType, Event, LEADER_DURING_DELETE,
    PartitionState, Snapshot, ToBroker, Token, Topic, TopicPartition, Write, WriteError,
};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use wire::Str;
use wire::kafka::update_metadata::UpdateMetadataTopicState;
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse, Uuid};
use wire::zk::{Stat, err};

const RETRY_PAUSE_MS: u64 = 20;
const SETBACK_MS: u64 = 100;
const BALANCE_MS: u64 = 700;
/// A broker whose machine was lost waits no longer than this to be missed.
const MISSED_MS: u64 = 5_000;

pub use errands::{Errand, administer};
pub use life::live;
pub use zk::Zk;

/// What the controller is asked; the number is the call that waits for the answer.
#[derive(Debug)]
pub enum Command {
    Alter { version: i16, request: AlterPartitionRequest },
    Shutdown { broker: i32, epoch: i64 },
    Elect { partitions: Option<Vec<TopicPartition>> },
    Reassign { partitions: BTreeMap<TopicPartition, Option<Vec<i32>>> },
}

#[derive(Debug, Clone)]
pub enum Reply {
    NotController,
    Altered(AlterPartitionResponse),
    Remaining(Result<usize, ErrorCode>),
    Elected,
    Reassigned,
}

/// Requests for one registration of one broker, one at a time.
#[derive(Debug)]
pub struct Channel {
    pub epoch: i64,
    pub queue: VecDeque<ToBroker>,
    /// The call that is under way, and when it is given up.
    pub call: Option<(u64, u64)>,
    pub retry_at: u64,
}

impl Channel {
    fn deletions(&self) -> impl Iterator<Item = Str> {
        let update = |request: &ToBroker| match request {
            ToBroker::UpdateMetadata(update) => Some(update.clone()),
            _ => None,
        };
        self.queue.iter().filter_map(update).flat_map(|update| {
            let goes = |topic: &&UpdateMetadataTopicState| {
                topic.partition_states.iter().any(|state| state.leader == LEADER_DURING_DELETE)
            };
            update.topic_states.iter().filter(goes).map(|topic| topic.topic_name.clone()).collect::<Vec<_>>()
        })
    }
}

/// What a broker's tasks and the world have in common.
#[derive(Debug)]
pub struct Desk {
    pub id: i32,
    pub now: u64,
    /// -1 before the first registration.
    pub broker_epoch: i64,
    pub registrations: u32,
    /// The controller, as far as ZooKeeper has told this broker.
    pub current: i32,
    /// The controller epoch of who governs here.
    pub governs: Option<i32>,
    /// Sessions that were opened and are to be given to the ensemble.
    pub opened: Vec<Session>,
    pub session: Option<Session>,
    /// The session of a former life, as its note on disk says.
    pub former: Option<(i64, Bytes)>,
    /// The machine was lost since the last registration, and what was not flushed may be gone.
    pub lost: bool,
    /// Topics that are there when a controller begins may have leaders that are not in sync.
    pub unclean: bool,
    pub commands: VecDeque<(u64, Command)>,
    pub answers: VecDeque<Event>,
    pub replies: Vec<(u64, Reply)>,
    pub channels: BTreeMap<i32, Channel>,
    /// Topics that went, with brokers that a controller ended before it could tell of it, as Kafka's own would.
    pub untold: Vec<(i32, Str)>,
    /// Replicas that a reassignment took away, and that a controller ended before it heard that they are deleted.
    pub kept: Vec<(i32, TopicPartition)>,
    /// The broker closes its session: it opens no other.
    pub leaving: bool,
    pub elections: u64,
    pub log: Vec<String>,
}

pub type SharedDesk = Rc<RefCell<Desk>>;

impl Desk {
    pub fn new(id: i32, former: Option<(i64, Bytes)>, lost: bool) -> SharedDesk {
        Rc::new(RefCell::new(Desk {
            id,
            now: 0,
            broker_epoch: -1,
            registrations: 0,
            current: -1,
            governs: None,
            opened: vec![],
            session: None,
            former,
            lost,
            unclean: false,
            commands: VecDeque::new(),
            answers: VecDeque::new(),
            replies: vec![],
            channels: BTreeMap::new(),
            untold: vec![],
            kept: vec![],
            leaving: false,
            elections: 0,
            log: vec![],
        }))
    }

    /// Channels of brokers that are not to be kept end, and what stands in them.
    pub fn close_channels(&mut self, keep: impl Fn(i32, i64) -> bool) {
        let Desk { channels, untold, .. } = self;
        channels.retain(|&id, channel| {
            let kept = keep(id, channel.epoch);
            if !kept {
                untold.extend(channel.deletions().map(|topic| (id, topic)));
            }
            kept
        });
    }

    /// What will not be done.
    pub fn tell(&mut self, checks: &mut Checks) {
        checks.untold.extend(self.untold.drain(..));
        checks.kept.extend(self.kept.drain(..));
    }

    fn refuse_commands(&mut self) {
        let refused = self.commands.drain(..).map(|(call, _)| (call, Reply::NotController));
        self.replies.extend(refused);
    }
}

async fn sleep(desk: &SharedDesk, ms: u64) {
    let until = desk.borrow().now + ms;
    poll_fn(|_| if desk.borrow().now >= until { Poll::Ready(()) } else { Poll::Pending }).await
}

/// A task of one broker.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()>>>;
