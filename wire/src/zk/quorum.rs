//! The ensemble's two protocols: votes on the election port (3888), packets on the quorum port (2888).

use super::{Id, SessionId, Sid, Zxid};
use crate::jute::{DecodeError, Reader, Record};
use crate::record;
use bytes::{Bytes, BytesMut};

/// Packet types of the quorum port.
pub mod packet {
    pub const REQUEST: i32 = 1;
    pub const PROPOSAL: i32 = 2;
    pub const ACK: i32 = 3;
    pub const COMMIT: i32 = 4;
    pub const PING: i32 = 5;
    pub const REVALIDATE: i32 = 6;
    pub const SYNC: i32 = 7;
    pub const INFORM: i32 = 8;
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    pub const NEW_LEADER: i32 = 10;
    pub const FOLLOWER_INFO: i32 = 11;
    pub const UP_TO_DATE: i32 = 12;
    pub const DIFF: i32 = 13;
    pub const TRUNC: i32 = 14;
    pub const SNAP: i32 = 15;
    pub const OBSERVER_INFO: i32 = 16;
    pub const LEADER_INFO: i32 = 17;
    pub const ACK_EPOCH: i32 = 18;
    pub const INFORM_AND_ACTIVATE: i32 = 19;
}

/// The protocol version that 3.4 and later announce in their LearnerInfo and LEADERINFO.
pub const PROTOCOL: i32 = 0x10000;
/// What ends a snapshot that is sent after a SNAP packet.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

record! {
    /// One packet of the quorum port; packets follow each other without a length.
    pub struct QuorumPacket { pub kind: i32, pub zxid: Zxid, pub data: Option<Bytes>, pub auth: Option<Vec<Id>>, }

    /// The data of FOLLOWERINFO and OBSERVERINFO, 20 bytes.
    pub struct LearnerInfo { pub sid: Sid, pub protocol: i32, pub config_version: i64, }

    /// One entry of a PING reply: a session that was heard of since the last one; and REVALIDATE's question.
    pub struct SessionTouch { pub session: SessionId, pub timeout: i32, }

    /// REVALIDATE's answer.
    pub struct SessionVerdict { pub session: SessionId, pub valid: bool, }
}

/// The ids that travel with a forwarded request: null where there are none.
impl Record for Option<Vec<Id>> {
    fn read(from: &mut Reader) -> Result<Option<Vec<Id>>, DecodeError> {
        if from.clone().read::<i32>()? < 0 {
            from.read::<i32>()?;
            return Ok(None);
        }
        from.read().map(Some)
    }
    fn write(&self, to: &mut BytesMut) {
        match self {
            None => (-1i32).write(to),
            Some(ids) => ids.write(to),
        }
    }
}

impl QuorumPacket {
    pub fn new(kind: i32, zxid: Zxid, data: Option<Bytes>) -> QuorumPacket {
        QuorumPacket { kind, zxid, data, auth: None }
    }
}

/// A server's state, as its votes announce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum PeerState {
    Looking = 0,
    Following = 1,
    Leading = 2,
    Observing = 3,
}

impl PeerState {
    pub fn from_code(code: i32) -> Option<PeerState> {
        [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing]
            .get(usize::try_from(code).ok()?)
            .copied()
    }
}

/// One frame of the election port (without its length): 44 bytes + the sender's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub state: PeerState,
    pub leader: Sid,
    pub zxid: Zxid,
    /// The sender's round of election.
    pub round: i64,
    pub peer_epoch: i64,
    /// The sender's membership in its canonical text; `None` from a peer before 3.5.
    pub config: Option<Bytes>,
}

impl Record for Notification {
    /// Accepts the 28-byte form (3.3), the 40-byte form (3.4) and today's.
    fn read(from: &mut Reader) -> Result<Notification, DecodeError> {
        let at = from.position();
        let state: i32 = from.read()?;
        let state = PeerState::from_code(state).ok_or(DecodeError::Kind { at, kind: state })?;
        let (leader, zxid, round) = (from.read()?, from.read()?, from.read()?);
        let peer_epoch = if from.remaining() >= 8 { from.read()? } else { super::epoch_of(zxid) };
        let version = if from.remaining() >= 4 { from.read::<i32>()? } else { 0 };
        let config = if version >= 2 { from.read()? } else { None };
        Ok(Notification { state, leader, zxid, round, peer_epoch, config })
    }
    fn write(&self, to: &mut BytesMut) {
        (self.state as i32).write(to);
        self.leader.write(to);
        self.zxid.write(to);
        self.round.write(to);
        self.peer_epoch.write(to);
        match &self.config {
            None => 1i32.write(to),
            Some(config) => {
                2i32.write(to);
                Some(config.clone()).write(to);
            }
        }
    }
}

/// How a dialler introduces itself on the election port.
pub mod hello {
    /// 3.5 and later: then the id and one `host:port` with its length.
    pub const VERSION_1: i64 = -65536;
    /// With `multiAddress.enabled`: addresses separated by `|`.
    pub const VERSION_2: i64 = -65535;
    /// The longest address text that is believed.
    pub const ADDRESS_MAX: i32 = 2048;
    /// The id of an observer without one.
    pub const OBSERVER_ID: i64 = i64::MAX;
    /// The longest notification frame that is believed.
    pub const FRAME_MAX: i32 = 524_288;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_of_every_age_are_read() {
        let new = Notification {
            state: PeerState::Leading,
            leader: 3,
            zxid: 0x2_0000_0007,
            round: 4,
            peer_epoch: 5,
            config: Some(Bytes::from_static(b"version=0")),
        };
        let bytes = new.encode();
        assert_eq!(bytes.len(), 44 + 9);
        assert_eq!(Notification::decode(&bytes), Ok(new.clone()));
        let from_3_4 = Notification::decode(&Notification { config: None, ..new.clone() }.encode()).unwrap();
        assert_eq!(from_3_4, Notification { config: None, ..new.clone() });
        let from_3_3 = Notification::decode(&bytes.slice(..28)).unwrap();
        assert_eq!((from_3_3.peer_epoch, from_3_3.config), (2, None));
        assert!(Notification::decode(&bytes.slice(..27)).is_err());
    }
}
