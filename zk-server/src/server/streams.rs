//! Snapshots on their way to learners: encoded between the turns, a slice at a time, as fast as each learner reads.

use bytes::Bytes;
use std::collections::BTreeMap;
use zk_core::LinkId;
use zk_core::database::SnapshotStream;

/// Bytes that a learner has not taken yet, beyond which its snapshot is encoded no further.
pub(super) const UNSENT_MAX: usize = 2 << 20;
/// Bytes of packets behind a snapshot. A learner that reads more slowly than the ensemble writes for so long is let go,
/// and begins anew.
pub(super) const BEHIND_MAX: usize = 256 << 20;

/// One learner's.
#[derive(Debug)]
pub(super) struct Stream {
    pub snapshot: SnapshotStream,
    /// What has to leave behind it.
    behind: Vec<Bytes>,
    behind_bytes: usize,
}

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<LinkId, Stream>,
    /// The link that had the last slice: the next one is another's.
    last: Option<LinkId>,
}

impl Streams {
    pub fn begin(&mut self, link: LinkId, snapshot: SnapshotStream) {
        self.streams.insert(link, Stream { snapshot, behind: Vec::new(), behind_bytes: 0 });
    }

    /// The snapshot is sent, or its link is gone: what has to leave now.
    pub fn end(&mut self, link: LinkId) -> Vec<Bytes> {
        self.streams.remove(&link).map(|stream| stream.behind).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Gives the bytes back where no snapshot is in their way. An error says how many bytes wait: too many.
    pub fn hold(&mut self, link: LinkId, bytes: Bytes) -> Result<Option<Bytes>, usize> {
        let Some(stream) = self.streams.get_mut(&link) else { return Ok(Some(bytes)) };
        stream.behind_bytes += bytes.len();
        stream.behind.push(bytes);
        if stream.behind_bytes > BEHIND_MAX { Err(stream.behind_bytes) } else { Ok(None) }
    }

    /// One of them can go on.
    pub fn any(&self, can_go_on: impl Fn(LinkId) -> bool) -> bool {
        self.streams.keys().any(|link| can_go_on(*link))
    }

    /// The next one, in turn, of those that can go on.
    pub fn next(&mut self, can_go_on: impl Fn(LinkId) -> bool) -> Option<(LinkId, &mut Stream)> {
        let after = self.last.map_or(LinkId(0), |LinkId(last)| LinkId(last + 1));
        let mut in_turn = self.streams.range(after..).chain(self.streams.range(..after));
        let next = in_turn.find(|(link, _)| can_go_on(**link)).map(|(link, _)| *link)?;
        self.last = Some(next);
        self.streams.get_mut(&next).map(|stream| (next, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_core::Database;

    fn under_way(links: &[u64]) -> Streams {
        let mut streams = Streams::default();
        links.iter().for_each(|link| streams.begin(LinkId(*link), SnapshotStream::begin(&Database::new())));
        streams
    }

    #[test]
    fn learners_take_turns_and_one_that_does_not_read_is_passed_over() {
        let mut streams = under_way(&[1, 4, 9]);
        let mut turns = |slow: u64| -> Vec<u64> {
            (0..4).filter_map(|_| streams.next(|link| link.0 != slow).map(|(link, _)| link.0)).collect()
        };
        assert_eq!(turns(0), [1, 4, 9, 1]);
        assert_eq!(turns(4), [9, 1, 9, 1]);
        assert_eq!(streams.end(LinkId(1)), Vec::<Bytes>::new());
        assert!(streams.next(|link| link.0 == 1).is_none());
    }

    #[test]
    fn packets_wait_behind_their_own_snapshot_only_and_not_without_end() {
        let mut streams = under_way(&[1]);
        let packet = Bytes::from_static(b"commit");
        assert_eq!(streams.hold(LinkId(2), packet.clone()), Ok(Some(packet.clone())));
        assert_eq!(streams.hold(LinkId(1), packet.clone()), Ok(None));
        assert_eq!(streams.hold(LinkId(1), packet.clone()), Ok(None));
        let large = Bytes::from(vec![0; BEHIND_MAX]);
        assert_eq!(streams.hold(LinkId(1), large.clone()), Err(BEHIND_MAX + 12));
        assert_eq!(streams.end(LinkId(1)), [packet.clone(), packet.clone(), large]);
        assert!(streams.is_empty());
        assert_eq!(streams.hold(LinkId(1), packet.clone()), Ok(Some(packet)));
    }
}
