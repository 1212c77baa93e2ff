//! One node in one allocation: most nodes of a large tree are leaves that were never changed, and those are kept small.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | which of the optional parts are there |
//! | 4, 4 | number of the parent, [`super::prefix_crc`] |
//! | 8, 8 | czxid, ctime |
//! | 1 (5) | length of the name; 255: the length follows in 4 bytes |
//! | 0 or 8 each | mzxid, mtime, pzxid, owner, ACL: where they are not czxid, ctime, czxid, 0, the open one |
//! | 0 or 12 | version, cversion, aversion: where they are not all 0 |
//! | | the name, then the data |

use super::NodeStat;
use crate::acl::OPEN;

const MZXID: u8 = 1;
const MTIME: u8 = 2;
const PZXID: u8 = 4;
const OWNER: u8 = 8;
const ACL: u8 = 16;
const VERSIONS: u8 = 32;
/// There are no data, not even empty ones.
const NULL: u8 = 64;
/// It has children.
const BELOW: u8 = 128;
const LONGS: u8 = MZXID | MTIME | PZXID | OWNER | ACL;
const OPTIONAL: u8 = LONGS | VERSIONS;

const PARENT: usize = 1;
const PREFIX: usize = 5;
const CZXID: usize = 9;
const CTIME: usize = 17;
const NAME_LEN: usize = 25;
const HEAD: usize = 26;
/// Names of this length and longer ones have four bytes more for it.
const LONG_NAME: usize = 255;

/// Empty where a number has no node.
#[derive(Debug, Default)]
pub(super) struct Record(Box<[u8]>);

/// All of it, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub parent: u32,
    pub prefix: u32,
    pub name: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: i64,
    pub stat: NodeStat,
    pub has_children: bool,
}

/// What of the optional parts this needs.
fn needed(acl: i64, stat: &NodeStat) -> u8 {
    let mut flags = 0;
    let mut need = |flag, needed| flags |= if needed { flag } else { 0 };
    need(MZXID, stat.mzxid != stat.czxid);
    need(MTIME, stat.mtime != stat.ctime);
    need(PZXID, stat.pzxid != stat.czxid);
    need(OWNER, stat.ephemeral_owner != 0);
    need(ACL, acl != OPEN);
    need(VERSIONS, (stat.version, stat.cversion, stat.aversion) != (0, 0, 0));
    flags
}

/// Bytes of the optional parts.
fn optional_len(flags: u8) -> usize {
    (flags & LONGS).count_ones() as usize * 8 + if flags & VERSIONS == 0 { 0 } else { 12 }
}

impl Record {
    pub fn new(parts: &Parts) -> Record {
        let Parts { parent, prefix, name, data, acl, stat, has_children } = parts;
        let mut flags = needed(*acl, stat);
        flags |= if data.is_none() { NULL } else { 0 };
        flags |= if *has_children { BELOW } else { 0 };
        let data = data.unwrap_or_default();
        let long = name.len() >= LONG_NAME;
        let len = HEAD + if long { 4 } else { 0 } + optional_len(flags) + name.len() + data.len();
        let mut to = Vec::with_capacity(len);
        to.push(flags);
        to.extend_from_slice(&parent.to_le_bytes());
        to.extend_from_slice(&prefix.to_le_bytes());
        to.extend_from_slice(&stat.czxid.to_le_bytes());
        to.extend_from_slice(&stat.ctime.to_le_bytes());
        to.push(if long { LONG_NAME as u8 } else { name.len() as u8 });
        if long {
            to.extend_from_slice(&(name.len() as u32).to_le_bytes());
        }
        to.resize(to.len() + optional_len(flags), 0);
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(data);
        let mut record = Record(to.into_boxed_slice());
        record.write_optional(*acl, stat);
        record
    }

    fn flags(&self) -> u8 {
        self.0[0]
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn i32_at(&self, at: usize) -> i32 {
        self.u32_at(at) as i32
    }

    fn i64_at(&self, at: usize) -> i64 {
        self.0[at..].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    pub fn parent(&self) -> u32 {
        self.u32_at(PARENT)
    }

    pub fn prefix(&self) -> u32 {
        self.u32_at(PREFIX)
    }

    pub fn has_children(&self) -> bool {
        self.flags() & BELOW != 0
    }

    pub fn set_has_children(&mut self, has: bool) {
        self.0[0] = if has { self.flags() | BELOW } else { self.flags() & !BELOW };
    }

    /// Where the optional parts begin, and the length of the name.
    fn optional(&self) -> (usize, usize) {
        match self.0[NAME_LEN] as usize {
            LONG_NAME => (HEAD + 4, self.u32_at(HEAD) as usize),
            len => (HEAD, len),
        }
    }

    pub fn name(&self) -> &[u8] {
        let (at, len) = self.optional();
        &self.0[at + optional_len(self.flags())..][..len]
    }

    pub fn name_text(&self) -> &str {
        std::str::from_utf8(self.name()).expect("a name was text when it came")
    }

    fn data_at(&self) -> usize {
        let (at, len) = self.optional();
        at + optional_len(self.flags()) + len
    }

    pub fn data(&self) -> Option<&[u8]> {
        if self.flags() & NULL != 0 { None } else { Some(&self.0[self.data_at()..]) }
    }

    pub fn data_len(&self) -> usize {
        self.0.len() - self.data_at()
    }

    /// The longs that are there, in their order.
    fn longs(&self) -> impl FnMut(u8) -> Option<i64> + '_ {
        let (mut at, _) = self.optional();
        move |flag| {
            let there = self.flags() & flag != 0;
            there.then(|| {
                at += 8;
                self.i64_at(at - 8)
            })
        }
    }

    pub fn acl(&self) -> i64 {
        if self.flags() & ACL == 0 {
            return OPEN;
        }
        let before = (self.flags() & (LONGS & !ACL)).count_ones() as usize * 8;
        self.i64_at(self.optional().0 + before)
    }

    pub fn stat(&self) -> NodeStat {
        let (czxid, ctime) = (self.i64_at(CZXID), self.i64_at(CTIME));
        let mut stat =
            NodeStat { czxid, ctime, mzxid: czxid, mtime: ctime, pzxid: czxid, ..NodeStat::default() };
        if self.flags() & OPTIONAL == 0 {
            return stat;
        }
        let mut long = self.longs();
        stat.mzxid = long(MZXID).unwrap_or(czxid);
        stat.mtime = long(MTIME).unwrap_or(ctime);
        stat.pzxid = long(PZXID).unwrap_or(czxid);
        stat.ephemeral_owner = long(OWNER).unwrap_or(0);
        if self.flags() & VERSIONS != 0 {
            let at = self.optional().0 + optional_len(self.flags()) - 12;
            (stat.version, stat.cversion, stat.aversion) =
                (self.i32_at(at), self.i32_at(at + 4), self.i32_at(at + 8));
        }
        stat
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            parent: self.parent(),
            prefix: self.prefix(),
            name: self.name_text(),
            data: self.data(),
            acl: self.acl(),
            stat: self.stat(),
            has_children: self.has_children(),
        }
    }

    /// Other metadata: in place, where what they need is there.
    pub fn set_stat(&mut self, acl: i64, stat: &NodeStat) {
        if needed(acl, stat) & !self.flags() != 0 {
            *self = Record::new(&Parts { acl, stat: *stat, ..self.parts() });
            return;
        }
        self.0[CZXID..][..8].copy_from_slice(&stat.czxid.to_le_bytes());
        self.0[CTIME..][..8].copy_from_slice(&stat.ctime.to_le_bytes());
        self.write_optional(acl, stat);
    }

    /// Other data and metadata.
    pub fn set_data(&mut self, data: Option<&[u8]>, prefix: u32, stat: &NodeStat) {
        *self = Record::new(&Parts { data, prefix, stat: *stat, ..self.parts() });
    }

    fn write_optional(&mut self, acl: i64, stat: &NodeStat) {
        let (flags, (mut at, _)) = (self.flags(), self.optional());
        let longs = [
            (MZXID, stat.mzxid),
            (MTIME, stat.mtime),
            (PZXID, stat.pzxid),
            (OWNER, stat.ephemeral_owner),
            (ACL, acl),
        ];
        for (_, long) in longs.iter().filter(|(flag, _)| flags & flag != 0) {
            self.0[at..][..8].copy_from_slice(&long.to_le_bytes());
            at += 8;
        }
        if flags & VERSIONS != 0 {
            for int in [stat.version, stat.cversion, stat.aversion] {
                self.0[at..][..4].copy_from_slice(&int.to_le_bytes());
                at += 4;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stat() -> impl Strategy<Value = NodeStat> {
        // Few values, so that they are often the same.
        let long = || prop::sample::select(vec![0i64, 7, 1 << 40, -1]);
        let int = || prop::sample::select(vec![0i32, 1, -1]);
        ((long(), long(), long(), long()), (int(), int(), int()), (long(), long())).prop_map(
            |((czxid, mzxid, ctime, mtime), (version, cversion, aversion), (ephemeral_owner, pzxid))| {
                NodeStat { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid }
            },
        )
    }

    fn check(record: &Record, parts: &Parts) {
        assert_eq!((record.parent(), record.prefix()), (parts.parent, parts.prefix));
        assert_eq!((record.name_text(), record.data()), (parts.name, parts.data));
        assert_eq!((record.acl(), record.stat()), (parts.acl, parts.stat));
        assert_eq!(record.has_children(), parts.has_children);
        assert_eq!(record.data_len(), parts.data.unwrap_or_default().len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_gives_back_what_it_was_made_of_and_changed_to(
            stats in prop::collection::vec((stat(), -1i64..3), 1..6),
            name in prop::sample::select(vec![0usize, 1, 9, 254, 255, 256, 70_000]),
            data in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
        ) {
            let name = "n".repeat(name);
            let (first, acl) = stats[0];
            let mut parts = Parts {
                parent: 3,
                prefix: u32::MAX,
                name: &name,
                data: data.as_deref(),
                acl,
                stat: first,
                has_children: false,
            };
            let mut record = Record::new(&parts);
            check(&record, &parts);
            for (at, (stat, acl)) in stats.iter().enumerate() {
                (parts.acl, parts.stat, parts.has_children) = (*acl, *stat, at % 2 == 1);
                record.set_has_children(parts.has_children);
                record.set_stat(*acl, stat);
                check(&record, &parts);
            }
            (parts.data, parts.prefix) = (Some(&b"other"[..]), 1);
            record.set_data(parts.data, 1, &parts.stat);
            check(&record, &parts);
        }
    }

    #[test]
    fn a_leaf_that_was_never_changed_costs_26_bytes_beside_its_name_and_data() {
        let stat = NodeStat { czxid: 9, mzxid: 9, pzxid: 9, ctime: 1, mtime: 1, ..NodeStat::default() };
        let parts = Parts {
            parent: 1,
            prefix: 2,
            name: "n00000001",
            data: Some(&[0; 100]),
            acl: OPEN,
            stat,
            has_children: false,
        };
        assert_eq!(Record::new(&parts).0.len(), 26 + 9 + 100);
    }
}
