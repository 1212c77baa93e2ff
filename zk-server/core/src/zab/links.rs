//! The leader's view of one learner: how far its bring-up has got, and whether it keeps up.

use crate::event::{LinkId, Now};
use std::collections::BTreeMap;
use wire::zk::quorum::{LearnerInfo, PROTOCOL};
use wire::zk::{Sid, Zxid};

/// How far a learner has got, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Has not said who it is.
    Hello,
    /// Waits for the new epoch.
    Epoch,
    /// Has the epoch, and is to acknowledge it.
    AckEpoch,
    /// Has acknowledged; waits until a quorum has. The end of its history.
    Acked { last: Zxid },
    /// Gets a snapshot; NEWLEADER stands behind its end.
    Streaming,
    /// Gets the rest of the history it lacks, and is to acknowledge NEWLEADER.
    Syncing,
    /// Waits until a quorum is in sync.
    Synced,
    /// In service.
    Active,
}

#[derive(Debug)]
pub struct Link {
    pub stage: Stage,
    pub sid: Sid,
    pub observer: bool,
    /// Its bring-up began with a snapshot.
    pub streamed: bool,
    pub heard_at: u64,
    /// The last proposal that it has on stable storage.
    pub acked: Zxid,
    /// The proposal whose acknowledgement is awaited with the time at which it was sent, and the newest behind it.
    awaited: Option<(Zxid, u64)>,
    newest: Option<(Zxid, u64)>,
    /// PINGs since it came into service, and answers to them.
    pub pings: u64,
    pub pongs: u64,
}

impl Link {
    pub fn new(now: Now) -> Link {
        Link {
            stage: Stage::Hello,
            sid: 0,
            observer: false,
            streamed: false,
            heard_at: now.mono,
            acked: 0,
            awaited: None,
            newest: None,
            pings: 0,
            pongs: 0,
        }
    }

    /// Gets proposals and commits.
    pub fn is_forwarded(&self) -> bool {
        self.stage >= Stage::Streaming
    }

    pub fn note_sent(&mut self, zxid: Zxid, now: Now) {
        if self.stage < Stage::Synced {
            return;
        }
        match self.awaited {
            None => self.awaited = Some((zxid, now.mono)),
            Some(_) => self.newest = Some((zxid, now.mono)),
        }
    }

    pub fn note_acked(&mut self, zxid: Zxid) {
        self.acked = self.acked.max(zxid);
        if self.awaited.is_some_and(|(awaited, _)| awaited <= zxid) {
            self.awaited = self.newest.take().filter(|(newest, _)| *newest > zxid);
        }
    }

    /// Its oldest proposal without an acknowledgement is older than `limit_ms`.
    pub fn lags(&self, limit_ms: u64, now: Now) -> bool {
        self.awaited.is_some_and(|(_, sent_at)| now.mono.saturating_sub(sent_at) >= limit_ms)
    }
}

/// The learners, by connection.
pub type Links = BTreeMap<LinkId, Link>;

/// Whether a learner that says this of itself may be served; `members` is the version of ours.
pub fn check_hello(info: &LearnerInfo, members: i64) -> Result<(), String> {
    if info.protocol < PROTOCOL {
        return Err(format!("it speaks protocol 0x{:x}, from before 3.4", info.protocol));
    }
    if info.config_version > members {
        return Err("Follower is ahead of the leader (has a later activated configuration)".into());
    }
    Ok(())
}

/// The other connections of the learner that has connected by `id`.
pub fn of_the_same(links: &Links, id: LinkId, sid: Sid) -> Vec<LinkId> {
    links.iter().filter(|(at, link)| **at != id && link.sid == sid).map(|(at, _)| *at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: u64) -> Now {
        Now { mono, wall: 0 }
    }

    #[test]
    fn a_learner_lags_when_its_oldest_proposal_is_not_acknowledged_in_time() {
        let mut link = Link { stage: Stage::Active, ..Link::new(at(0)) };
        assert!(!link.lags(100, at(1000)));
        link.note_sent(1, at(1000));
        link.note_sent(2, at(1050));
        assert!(!link.lags(100, at(1099)));
        assert!(link.lags(100, at(1100)));
        link.note_acked(1);
        assert!(!link.lags(100, at(1149)));
        assert!(link.lags(100, at(1150)));
        link.note_acked(2);
        assert!(!link.lags(100, at(9999)));
    }
}
