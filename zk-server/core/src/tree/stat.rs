//! A node's metadata, and what it adds to the digest.

use crate::path;
use wire::zk::{SessionId, Zxid};

/// What a node's metadata holds in a snapshot: [`Stat`] without what follows from data and children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeStat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Counts creations of children only; clients see twice this less the number of children.
    pub cversion: i32,
    pub aversion: i32,
    /// See [`Lifetime`].
    pub ephemeral_owner: i64,
    pub pzxid: Zxid,
}

impl NodeStat {
    pub fn created(zxid: Zxid, time: i64, lifetime: Lifetime) -> NodeStat {
        NodeStat {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: lifetime.to_owner(),
            pzxid: zxid,
            ..NodeStat::default()
        }
    }

    /// The CRC that ends a node's digest, from the one over its path and data.
    pub fn digest(&self, prefix: u32) -> u64 {
        let mut bytes = [0; 60];
        let longs = [self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime];
        for (at, long) in longs.iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&long.to_be_bytes());
        }
        for (at, int) in [self.version, self.cversion, self.aversion].iter().enumerate() {
            bytes[40 + at * 4..][..4].copy_from_slice(&int.to_be_bytes());
        }
        bytes[52..].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(prefix);
        crc.update(&bytes);
        u64::from(crc.finalize())
    }
}

/// The CRC over a node's path (the root's is empty) and data.
pub fn prefix_crc(key: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key.as_bytes());
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// ZooKeeper's own nodes are left out of the digest, but not `/zookeeper` itself.
pub fn is_digested(key: &str) -> bool {
    !key.starts_with(path::ZOOKEEPER_SUBTREE)
}

/// What a node's `ephemeralOwner` says about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Persistent,
    /// Goes with its session.
    Session(SessionId),
    /// Goes some time after its last child.
    Container,
    /// Goes this many milliseconds after its last change, when it has no children.
    Ttl(i64),
}

const CONTAINER_OWNER: i64 = i64::MIN;
/// Top byte ff, feature code 0 in the next two.
const TTL_OWNER: u64 = 0xff00_0000_0000_0000;
const TTL_MASK: u64 = 0xffff_ff00_0000_0000;
/// Milliseconds.
pub const TTL_MAX: i64 = (1 << 40) - 1;

impl Lifetime {
    pub fn of(owner: i64) -> Lifetime {
        match owner {
            0 => Lifetime::Persistent,
            CONTAINER_OWNER => Lifetime::Container,
            owner if owner as u64 & TTL_MASK == TTL_OWNER => Lifetime::Ttl(owner & TTL_MAX),
            session => Lifetime::Session(session),
        }
    }

    /// As [`Lifetime::of`], for owners that 3.5.3 wrote: whatever is below zero is a time to live. So is, alas, a session
    /// of a server whose id is above 127.
    pub fn of_353(owner: i64) -> Lifetime {
        match owner {
            CONTAINER_OWNER => Lifetime::Container,
            ttl if ttl < 0 => Lifetime::Ttl(ttl & TTL_MAX),
            _ => Lifetime::of(owner),
        }
    }

    pub fn to_owner(self) -> i64 {
        match self {
            Lifetime::Persistent => 0,
            Lifetime::Session(session) => session,
            Lifetime::Container => CONTAINER_OWNER,
            Lifetime::Ttl(ttl) => (TTL_OWNER | (ttl & TTL_MAX) as u64) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_3_5_3_wrote_is_a_time_to_live() {
        let owner = i64::MIN | 100;
        assert_eq!(Lifetime::of(owner), Lifetime::Session(owner));
        assert_eq!(Lifetime::of_353(owner), Lifetime::Ttl(100));
        assert_eq!(Lifetime::of_353(Lifetime::Ttl(7).to_owner()), Lifetime::Ttl(7));
        for same in [0, 5, i64::MIN] {
            assert_eq!(Lifetime::of_353(same), Lifetime::of(same));
        }
    }

    #[test]
    fn lifetimes_survive_their_encoding() {
        for lifetime in [
            Lifetime::Persistent,
            Lifetime::Session(0x0100_000f_433d_0000),
            Lifetime::Container,
            Lifetime::Ttl(1),
            Lifetime::Ttl(TTL_MAX),
        ] {
            assert_eq!(Lifetime::of(lifetime.to_owner()), lifetime);
        }
        assert_eq!(Lifetime::Ttl(5).to_owner() as u64, 0xff00_0000_0000_0005);
        assert_eq!(Lifetime::Container.to_owner() as u64, 0x8000_0000_0000_0000);
    }
}
