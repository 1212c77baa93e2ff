//! What reaches a server's core, and what it asks for in return.

use crate::audit::Audit;
use crate::config::Ensemble;
use crate::database::{Database, SnapshotStream};
use bytes::Bytes;
use std::net::IpAddr;
use wire::zk::quorum::{Notification, QuorumPacket};
use wire::zk::{Id, Sid, Zxid};

/// The time of one step. The core never asks for it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds on a clock that never goes back: time-outs.
    pub mono: u64,
    /// Milliseconds since 1970: `ctime`, `mtime`, session ids.
    pub wall: i64,
}

/// A client's connection, numbered by the shell and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A connection of the quorum port, either direction, numbered by the shell and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

#[derive(Debug)]
pub enum Event {
    /// Time has passed. The shell sends it at [`crate::Peer::deadline`] at the latest.
    Tick,

    /// A client's connection was accepted (limits and four-letter words are the shell's).
    ClientOpened {
        conn: ConnId,
        peer: IpAddr,
    },
    /// Who the connection's certificate says it is; at once behind [`Event::ClientOpened`], and only under TLS.
    ClientIdentified {
        conn: ConnId,
        ids: Vec<Id>,
    },
    /// One frame's payload, its length already checked against `jute.maxbuffer`.
    ClientFrame {
        conn: ConnId,
        frame: Bytes,
    },
    /// The connection is gone, by the client's doing or by [`Effect::CloseClient`].
    ClientClosed {
        conn: ConnId,
    },

    /// A vote arrived on the election port.
    Vote {
        from: Sid,
        vote: Notification,
    },

    /// A connection of the quorum port is open: `leader` is set where it answers [`Effect::DialLeader`] or
    /// [`Effect::DialMaster`], `None` where a learner dialled us, at the observer master's port too.
    LinkOpened {
        link: LinkId,
        leader: Option<Sid>,
    },
    /// [`Effect::DialLeader`] or [`Effect::DialMaster`] came to nothing (one attempt; the core decides on the next).
    DialFailed {
        leader: Sid,
    },
    LinkPacket {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// The stream that follows a SNAP packet, decoded by the link's reader, up to and including its signature.
    LinkSnapshot {
        link: LinkId,
        database: Box<Database>,
    },
    /// A part of a snapshot has moved over this link, either way: whoever waits for its end waits on.
    LinkProgress {
        link: LinkId,
    },
    /// Answers [`Effect::SendSnapshot`]: everything up to the signature has been handed to the connection.
    SnapshotSent {
        link: LinkId,
    },
    LinkClosed {
        link: LinkId,
    },

    /// Every [`Effect::Append`] up to this zxid is on stable storage.
    Durable {
        zxid: Zxid,
    },
    /// Answers [`Effect::SaveSnapshot`]. The file counts from this very step on, not before: until then, a crash and a
    /// leader that goes away both lead back to the history before.
    SnapshotSaved,
    /// An operator has the whole state replaced, on this server only: [`crate::Peer::can_restore`] allowed it, and a
    /// snapshot of it bears the name of the last zxid and is on stable storage.
    Restored {
        database: Box<Database>,
    },
    /// The disk has come to its reserve, or has room again.
    DiskSpace {
        enough: bool,
    },
    /// What the oracle says, where one is configured ([`crate::CoreConfig::oracle`]): before the first tick, and whenever it
    /// changes its mind. Until then it lets nobody decide alone.
    Oracle {
        grants: bool,
    },
    /// Answers [`Effect::Truncate`]: the state as of the log's new end.
    Truncated {
        database: Box<Database>,
    },
}

/// What the shell does, in the order in which they stand. Everything but `Append` is done before what follows it
/// (a store of an epoch is on disk before a later packet leaves); `Append` is queued, and `Durable` tells its end.
/// Anything that replaces the log or the state waits for the queue first.
#[derive(Debug)]
pub enum Effect {
    /// Whole frames with their lengths.
    ToClient {
        conn: ConnId,
        bytes: Bytes,
    },
    /// Close after what was sent. Answered by [`Event::ClientClosed`] unless that came before.
    CloseClient {
        conn: ConnId,
    },

    /// To one other server; the newest vote replaces one that is still unsent.
    SendVote {
        to: Sid,
        vote: Notification,
    },

    /// Connect to this server's quorum port, names resolved anew.
    DialLeader {
        leader: Sid,
    },
    /// Connect to this follower's observer master port, names resolved anew.
    DialMaster {
        follower: Sid,
    },
    SendPacket {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// The snapshot stream behind the SNAP packet just sent, which the shell encodes from [`crate::Peer::database`] in
    /// pieces between the steps, telling of each by [`Event::LinkProgress`]. Packets for this link that come meanwhile
    /// wait behind it. Answered by [`Event::SnapshotSent`] in the step that follows the last piece.
    SendSnapshot {
        link: LinkId,
        stream: SnapshotStream,
    },
    CloseLink {
        link: LinkId,
    },

    /// One transaction's bytes to the log's end.
    Append {
        zxid: Zxid,
        txn: Bytes,
    },
    /// Begin a new log file with the next append: a new term, or the start.
    RollLog,
    /// Cut the log behind this zxid, remove the snapshots that are newer (they hold what is cut off), load what is
    /// left, answer with [`Event::Truncated`], after the `Durable` of everything that was queued before.
    Truncate {
        zxid: Zxid,
    },
    /// Write [`crate::Peer::database`], which does not change as long as [`crate::Peer::is_saving`], as a snapshot named
    /// by its last zxid, behind everything that was queued for the log. Answered by [`Event::SnapshotSaved`], or, where
    /// the core saves no more, given up.
    SaveSnapshot,
    /// Nobody needs this any more: a large one takes a while to take apart, and nobody has to wait for that.
    Discard {
        database: Box<Database>,
    },
    /// `acceptedEpoch`, synced.
    StoreAcceptedEpoch {
        epoch: i64,
    },
    /// `currentEpoch`, synced.
    StoreCurrentEpoch {
        epoch: i64,
    },
    /// The members that are on their way, synced; `None`: none are. Votes are sent to them from now on.
    StoreProposedMembers {
        members: Option<Box<Ensemble>>,
    },
    /// These are the members from now on, synced. Ports that are this server's own move to where its line says.
    ActivateMembers {
        members: Box<Ensemble>,
    },

    /// A line for the audit trail; only where [`crate::CoreConfig::audit`] asks for it.
    Audit(Audit),

    /// A line for the log, in ZooKeeper's words where operators look for them.
    Log {
        level: LogLevel,
        line: String,
    },
    /// The process cannot go on. `code` as ZooKeeper's exit codes.
    Exit {
        code: i32,
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}
