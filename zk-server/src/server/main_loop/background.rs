//! What the loop does between its turns, a slice at a time: snapshots to the disk and to learners, and purging.

use super::{Loop, OutLink};
use crate::disk::DiskError;
use crate::server::Exit;
use crate::server::inbox::{NewState, Unrestored};
use crate::server::purging::Purge;
use crate::server::snapshots::{Kind, Seal, Sealed, Writing, random};
use crate::server::streams::UNSENT_MAX;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{error, info};
use wire::zk::Zxid;
use zk_core::database::{SnapshotCursor, SnapshotStream};
use zk_core::{Event, LinkId, Now};

/// Bytes of a snapshot that are encoded between two turns: about a millisecond's.
const SLICE: usize = 256 << 10;
/// The wait for the snapshot's thread, or for a learner, where it is behind.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two attempts to save a snapshot on a full disk.
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// A snapshot for the disk that is being encoded.
pub(super) struct Snapping {
    writing: Writing,
    begun: Instant,
    basis: Basis,
    cursor: SnapshotCursor,
    digest: Option<(Zxid, i64)>,
    /// A chunk that the thread had no room for.
    held: Option<Bytes>,
    last: bool,
}

/// As long as what the snapshot goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// The core is of this database ([`zk_core::Peer::snapshot_basis`]): a snapshot that is taken now and then.
    Database(u64),
    /// The core waits for it: [`zk_core::Effect::SaveSnapshot`].
    Saving,
}

impl Loop {
    pub(super) fn work_in_background(&mut self) {
        self.give_up_what_is_stale();
        self.save_again_if_due();
        if let Some(basis) = self.peer.snapshot_basis()
            && self.snapping.is_none()
            && self.trigger.is_due()
            && !self.disk.space().is_low()
            && self.exit.is_none()
        {
            self.begin_snapshot(Basis::Database(basis));
        }
        self.snapshot_slice();
        self.stream_slice();
        self.purge_if_due();
    }

    /// How long nothing has to happen for a snapshot that is under way.
    pub(super) fn background_pause(&self) -> Option<Duration> {
        match &self.snapping {
            Some(Snapping { held: None, .. }) => return Some(Duration::ZERO),
            None if self.streams.is_empty() => return self.save_at.map(|_| FULL_PAUSE),
            _ => {}
        }
        let ready = self.streams.any(|link| takes_more(&self.links, link));
        Some(if ready { Duration::ZERO } else { PAUSE })
    }

    // Snapshots to the disk.

    fn begin_snapshot(&mut self, basis: Basis) {
        self.trigger.reset(random());
        self.hand_over_appends();
        // The log rolls first, so that files before the snapshot are not needed once it is there.
        self.journal.roll();
        let kind = match basis {
            Basis::Database(_) => Kind::Periodic,
            Basis::Saving => Kind::Saved,
        };
        let database = self.peer.database();
        let digest = self.config.disk.digest.then(|| database.snapshot_digest());
        match Writing::start(&self.disk, database.last_zxid(), kind, self.inbox.clone()) {
            Ok(writing) => {
                self.snapping = Some(Snapping {
                    writing,
                    begun: Instant::now(),
                    basis,
                    cursor: SnapshotCursor::new(),
                    digest: digest.map(|digest| (digest.zxid, digest.digest)),
                    held: None,
                    last: false,
                });
            }
            // The log still has all of it; the next one is due in its turn.
            Err(error) if error.is_full() && basis != Basis::Saving => {
                error!("No snapshot is taken: {error}");
            }
            Err(error) if error.is_full() => {
                error!("The leader's snapshot is not saved, and is tried again: {error}");
                self.save_again_later();
            }
            Err(error) => self.fail(&error),
        }
    }

    /// What the leader has sent stays in memory, and unacknowledged, until there is room for it.
    pub(super) fn save_again_later(&mut self) {
        self.give_up_snapshot();
        self.save_at = Some(Instant::now() + FULL_PAUSE);
    }

    fn save_again_if_due(&mut self) {
        if self.save_at.is_some_and(|at| at <= Instant::now()) {
            self.save_at = None;
            if self.peer.is_saving() {
                self.begin_snapshot(Basis::Saving);
            }
        }
    }

    fn fail(&mut self, error: &DiskError) {
        self.exit = Some(Exit { code: 10, why: format!("Severe unrecoverable error, exiting: {error}") });
    }

    pub(super) fn save_snapshot(&mut self) {
        self.give_up_snapshot();
        self.save_at = None;
        self.begin_snapshot(Basis::Saving);
    }

    /// What it was taken of is no longer the state.
    pub(super) fn give_up_snapshot(&mut self) {
        self.snapping = None;
        if let Some(permit) = self.sealing.take() {
            permit.withdraw();
        }
    }

    fn give_up_what_is_stale(&mut self) {
        let stale = self.snapping.as_ref().is_some_and(|snapping| match snapping.basis {
            Basis::Database(basis) => self.peer.snapshot_basis() != Some(basis),
            Basis::Saving => !self.peer.is_saving(),
        });
        if stale {
            self.give_up_snapshot();
        }
    }

    fn snapshot_slice(&mut self) {
        let Some(snapping) = &mut self.snapping else { return };
        if let Some(held) = snapping.held.take() {
            snapping.held = snapping.writing.chunk(held);
        }
        if snapping.held.is_none() && !snapping.last {
            let mut chunk = BytesMut::with_capacity(SLICE + SLICE / 8);
            snapping.last = snapping.cursor.next(self.peer.database(), SLICE, &mut chunk);
            snapping.held = snapping.writing.chunk(chunk.freeze());
        }
        if snapping.last
            && snapping.held.is_none()
            && let Some(done) = self.snapping.take()
        {
            self.clients.stats.snapshottime.add(done.begun.elapsed().as_millis() as u64);
            let last_zxid = self.peer.database().last_zxid();
            let seal = Seal { digest: done.digest, last_zxid, logged: self.journal.barrier() };
            self.sealing = Some(done.writing.finish(seal));
        }
    }

    /// The file that the core waits for is complete. It gets its name here, and the core hears of it before anything
    /// else can happen: a leader that goes away comes wholly before, or wholly after.
    pub(super) fn publish(&mut self, now: Now, sealed: Sealed) {
        if !self.peer.is_saving() || !sealed.permit.is_granted() {
            return;
        }
        self.sealing = None;
        match sealed.file.publish() {
            Ok(path) => {
                info!("Snapshot written: {}", path.display());
                self.step_at(now, Event::SnapshotSaved);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Nothing else happens meanwhile: who restores wants this state at once, and the one before is of no use.
    /// What takes long was done before.
    pub(super) fn restore(&mut self, state: Box<NewState>) -> Result<(), Unrestored> {
        if !self.peer.can_restore() {
            return Err(Unrestored::Busy(state));
        }
        let NewState { mut database, mut file } = *state;
        let before = self.peer.database();
        info!("Before restore: zxid 0x{:x}, {} nodes", before.last_zxid(), before.node_count());
        database.set_last_zxid(before.last_zxid());
        self.hand_over_appends();
        self.journal.roll();
        if self.journal.barrier().recv().is_err() {
            return Err(Unrestored::Failed("the log cannot be written".into()));
        }
        self.give_up_snapshot();
        let (zxid, digest) = (database.last_zxid(), database.snapshot_digest());
        file.set_zxid(zxid);
        let saved = file.finish(Some((digest.zxid, digest.digest)), zxid);
        let saved = saved.map_err(|error| Unrestored::Failed(error.to_string()))?;
        info!("Snapshot written: {}", saved.display());
        self.trigger.reset(random());
        self.step(Event::Restored { database });
        Ok(())
    }

    // Snapshots to learners.

    pub(super) fn begin_stream(&mut self, link: LinkId, stream: SnapshotStream) {
        let Some(out) = self.links.get_mut(&link).filter(|link| !link.closing) else { return };
        // What came before it leaves before it.
        out.outlet.send(out.out.split().freeze());
        self.streams.begin(link, stream);
    }

    fn stream_slice(&mut self) {
        let links = &self.links;
        let Some((link, stream)) = self.streams.next(|link| takes_more(links, link)) else { return };
        let mut slice = BytesMut::with_capacity(SLICE + SLICE / 8);
        let last = stream.snapshot.next(self.peer.database(), SLICE, &mut slice);
        if let Some(out) = self.links.get(&link) {
            out.outlet.send(slice.freeze());
            if last {
                for bytes in self.streams.end(link) {
                    out.outlet.send(bytes);
                }
            }
        }
        self.step(if last { Event::SnapshotSent { link } } else { Event::LinkProgress { link } });
        self.end_turn();
    }

    // Files that are not needed any more.

    fn purge_if_due(&mut self) {
        let now = Instant::now();
        let Some(due) = self.purging.due(now) else { return };
        let disk = self.disk.clone();
        let purge = std::thread::Builder::new().name("PurgeTask".into()).spawn(move || {
            let told = matches!(due, Purge::Count(_));
            if told {
                info!("Purge task started.");
            }
            let removed = match due {
                Purge::Count(keep) => disk.purge(keep),
                Purge::Size(max) => disk.purge_to_size(max),
            };
            match removed {
                Ok(removed) => removed.iter().for_each(|path| info!("Removing file: {}", path.display())),
                Err(error) => error!("Error occurred while purging: {error}"),
            }
            if told {
                info!("Purge task completed.");
            }
        });
        if let Err(error) = purge {
            error!("Error occurred while purging: {error}");
        }
    }
}

/// The learner has taken nearly all that it was sent.
fn takes_more(links: &BTreeMap<LinkId, OutLink>, link: LinkId) -> bool {
    links.get(&link).is_some_and(|out| out.outlet.pending() < UNSENT_MAX)
}
