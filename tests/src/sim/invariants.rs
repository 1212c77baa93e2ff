//! The names of what must hold: a failure tells which one broke.

/// What a run checks: the first ones at any time, the last three within a bounded time after the last fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No two servers log different transactions at one zxid.
    OneTransactionPerZxid,
    /// No two servers differ in tree or sessions after one zxid.
    OneStatePerZxid,
    /// An epoch has one serving leader, and that one stays in one piece.
    OneLeaderPerEpoch,
    /// A write's zxid is above those of all writes that were acknowledged before it was asked for.
    RealTimeOrder,
    /// A zxid is acknowledged to one writer, a version of a node has one value.
    OneWritePerZxid,
    /// Sequential nodes are numbered in the order of their transactions.
    SequenceOrder,
    /// What was acknowledged is there at the end, on every server.
    Durability,
    /// What was deleted, and what belonged to sessions that are over, is gone.
    Finality,
    /// What was refused has not happened.
    Refusal,
    /// The nodes of a transaction are there together, or not at all.
    Atomicity,
    /// Ephemeral nodes live as long as their session.
    EphemeralsWithSession,
    /// One order explains what clients did to a node and read behind a sync ([`crate::linear`]).
    Linearizability,
    /// What a session sees never goes back, and its answers come in the order of its requests.
    SessionOrder,
    /// A watch's event comes before the change it is of can be seen, once, and it comes.
    Watches,
    /// An answer is one that the request can have.
    Answers,
    /// No server gives itself up, finds its disk unreadable where no fault was, or counts digests that differ.
    Health,
    /// After the last fault, everyone serves.
    EveryoneServes,
    /// After the last fault, a write of every client is acknowledged.
    EveryClientWrites,
    /// After the last write, all have one state.
    OneFinalState,
}

impl Invariant {
    pub fn broken(self, what: impl std::fmt::Display) -> String {
        format!("{self:?}: {what}")
    }
}
