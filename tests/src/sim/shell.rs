//! One server's process as `zk-server`'s loop is: turns of events, effects in order, what leaves at a turn's end.

use super::Variety;
use super::invariants::Invariant::Health;
use super::net::Payload;
use super::node::Node;
use super::world::{Happening, World};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use std::mem::take;
use wire::jute::Record;
use wire::zk::Zxid;
use zk_core::database::{SnapshotCursor, SnapshotStream};
use zk_core::peer::Mode;
use zk_core::{Effect, Event, LinkId, LogLevel, Now, Peer};

/// A snapshot that is being written between the turns.
#[derive(Debug)]
pub struct Snapping {
    /// Which database it is of ([`Peer::snapshot_basis`]); `None`: of the one that the core waits to be saved.
    basis: Option<u64>,
    zxid: Zxid,
    cursor: SnapshotCursor,
    stream: BytesMut,
    /// All is written, and waits to be sealed.
    written: bool,
}

/// A snapshot that a learner gets, and what has to leave behind it.
#[derive(Debug)]
pub struct Sending {
    snapshot: SnapshotStream,
    stream: BytesMut,
    behind: Vec<Payload>,
}

/// What a turn has decided and the world does not see before its end.
#[derive(Debug, Default)]
struct Turn {
    appends: Vec<(Zxid, Bytes)>,
    leaving: Vec<Effect>,
    /// How many effects are left before the process dies.
    fuel: Option<usize>,
}

impl Turn {
    /// One more effect: false where the process has died before it.
    fn burn(&mut self) -> bool {
        match &mut self.fuel {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

impl World {
    pub fn boot(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].peer.is_some() {
            return Ok(());
        }
        let recent = self.nodes[node].config.commit_log_count;
        let recovered = match self.nodes[node].disk.recover(recent) {
            Ok(recovered) => recovered,
            Err(why) if self.nodes.len() > 1 && why.contains("damaged") => {
                self.note(|| format!("server {} does not start: {why}; its disk is emptied", node + 1));
                self.nodes[node].disk.wipe();
                self.nodes[node].disk.recover(recent).map_err(|why| Health.broken(why))?
            }
            Err(why) => return Err(Health.broken(why)),
        };
        let last = recovered.last_logged;
        let server = &mut self.nodes[node];
        server.peer = Some(Peer::new(server.config.clone(), recovered));
        server.life += 1;
        server.run_at = None;
        server.inbox.clear();
        self.note(|| format!("server {} starts with 0x{last:x}", node + 1));
        for conn in std::mem::take(&mut self.nodes[node].silent) {
            self.reset(conn);
        }
        if self.nodes[node].no_room_until > self.now {
            self.look_at_disk(node);
        }
        self.wake(node, 0);
        for other in 0..self.nodes.len() {
            self.repeat_vote(other, node);
        }
        Ok(())
    }

    pub fn crash(&mut self, node: usize) {
        if self.nodes[node].peer.take().is_none() {
            return;
        }
        self.figures.crashes += 1;
        self.nodes[node].snapping = None;
        self.nodes[node].sending.clear();
        let unsynced = self.nodes[node].disk.unsynced();
        let kept = if self.rng.random_bool(0.3) { 0 } else { self.rng.random_range(0..=unsynced) };
        let torn = self.rng.random_bool(0.5);
        self.nodes[node].disk.crash(kept, torn);
        if self.setup.variety == Variety::LyingDisks {
            let lost = self.rng.random_range(0..8);
            self.nodes[node].disk.lied(lost);
        }
        if self.nodes.len() == 1 {
            self.checks.forget_behind(self.nodes[node].disk.last_synced());
        }
        self.note(|| format!("server {} crashes; {kept} of {unsynced} unsynced appends survive", node + 1));
        self.votes.retain(|(from, _), _| *from != node);
        let silent = self.rng.random_bool(0.3);
        for conn in 0..self.conns.len() {
            if !self.conns[conn].open {
                continue;
            }
            let Some(end) = self.conns[conn].end_of(node) else { continue };
            self.conns[conn].queues[end].clear();
            if silent && self.conns[conn].servers().is_some() {
                self.nodes[node].silent.push(conn);
            } else {
                self.close(conn, end);
            }
        }
    }

    pub fn leads(&self, node: usize) -> bool {
        self.nodes[node].peer.as_ref().is_some_and(|peer| peer.status().mode == Mode::Leading)
    }

    /// The server runs after `after` ms at the latest.
    fn wake(&mut self, node: usize, after: u64) {
        let server = &mut self.nodes[node];
        let at = (self.now + after).max(server.stalled_until);
        if server.run_at.is_none_or(|run_at| at < run_at) {
            server.run_at = Some(at);
            let life = server.life;
            self.schedule_at(at, Happening::Run { node, life });
        }
    }

    pub fn deliver(&mut self, node: usize, life: u32, event: Event) {
        if self.nodes[node].peer.is_some() && self.nodes[node].life == life {
            self.nodes[node].inbox.push_back(event);
            let after = self.rng.random_range(0..2);
            self.wake(node, after);
        }
    }

    pub fn run_node(&mut self, node: usize, life: u32) -> Result<(), String> {
        let server = &mut self.nodes[node];
        if server.life != life || server.run_at != Some(self.now) {
            return Ok(());
        }
        server.run_at = None;
        if server.stalled_until > self.now {
            self.wake(node, 0);
            return Ok(());
        }
        if self.turn(node, life)? {
            self.rest(node);
            return Ok(());
        }
        self.crash(node);
        let down = self.rng.random_range(20..1500);
        self.schedule(down, Happening::Boot { node });
        Ok(())
    }

    /// False: the process has died in the middle of it.
    fn turn(&mut self, node: usize, life: u32) -> Result<bool, String> {
        let server = &mut self.nodes[node];
        let Some(peer) = &server.peer else { return Ok(true) };
        let now: Now = server.clock.now(self.now);
        let count = self.rng.random_range(1..=self.profile.batch_max).min(server.inbox.len());
        let mut events: Vec<Event> = server.inbox.drain(..count).collect();
        if peer.deadline().is_some_and(|deadline| deadline <= now.mono) {
            events.push(Event::Tick);
        }
        let crashes = !self.calm && self.rng.random_bool(self.profile.crash_in_turn);
        let mut turn = Turn { fuel: crashes.then(|| self.rng.random_range(0..24)), ..Turn::default() };
        for event in events {
            if matches!(event, Event::SnapshotSaved) && !self.publish(node) {
                continue;
            }
            let Some(peer) = &mut self.nodes[node].peer else { return Ok(true) };
            let mut out = vec![];
            peer.step(now, event, &mut out);
            self.checks.after_step(node, peer)?;
            for effect in out {
                if !turn.burn() {
                    return Ok(false);
                }
                self.perform(node, life, effect, &mut turn)?;
            }
            if let Some(peer) = &self.nodes[node].peer {
                self.checks.after_effects(node, life, peer)?;
            }
        }
        self.hand_over(node, &mut turn)?;
        for effect in std::mem::take(&mut turn.leaving) {
            if !turn.burn() {
                return Ok(false);
            }
            self.leave(node, life, effect);
        }
        Ok(turn.fuel.is_none())
    }

    /// Schedules the next run: more events, or the deadline.
    fn rest(&mut self, node: usize) {
        let server = &self.nodes[node];
        let Some(peer) = &server.peer else { return };
        let after = if server.inbox.is_empty() {
            peer.deadline().map(|mono| server.clock.world_at(mono).saturating_sub(self.now).max(1))
        } else {
            Some(1)
        };
        if let Some(after) = after {
            self.wake(node, after);
        }
    }

    fn perform(&mut self, node: usize, life: u32, effect: Effect, turn: &mut Turn) -> Result<(), String> {
        match effect {
            Effect::SendVote { to, vote } => self.send_vote(node, to as usize - 1, vote.encode()),
            Effect::DialLeader { leader } | Effect::DialMaster { follower: leader } => {
                let after = self.latency();
                self.schedule(after, Happening::Dial { from: node, life, to: leader as usize - 1 });
            }
            Effect::Append { zxid, txn } => turn.appends.push((zxid, txn)),
            Effect::RollLog => self.hand_over(node, turn)?,
            Effect::Truncate { zxid } if !self.nodes[node].disk.can_go_back_to(zxid) => {
                self.note(|| {
                    format!("server {} cannot go back to 0x{zxid:x}; its disk is emptied", node + 1)
                });
                self.nodes[node].disk.wipe();
                turn.fuel = Some(0);
            }
            Effect::Truncate { zxid } => {
                self.hand_over(node, turn)?;
                self.nodes[node].snapping = None;
                self.truncate(node, life, zxid);
            }
            Effect::SaveSnapshot if self.nodes[node].full_disk_until > self.now => turn.fuel = Some(0),
            Effect::SaveSnapshot => {
                self.hand_over(node, turn)?;
                self.start_snapshot(node, None);
            }
            Effect::StoreAcceptedEpoch { .. } | Effect::StoreCurrentEpoch { .. }
                if self.nodes[node].full_disk_until > self.now =>
            {
                turn.fuel = Some(0);
            }
            Effect::Discard { database } => drop(database),
            Effect::StoreAcceptedEpoch { epoch } => self.nodes[node].disk.accepted_epoch = epoch,
            Effect::StoreCurrentEpoch { epoch } => self.nodes[node].disk.current_epoch = epoch,
            // Files, synced, from which the next start reads its configuration.
            Effect::StoreProposedMembers { members } => {
                self.nodes[node].config.reconfig.proposed = members.map(|members| *members);
            }
            Effect::ActivateMembers { members } => self.nodes[node].activate(*members),
            Effect::Audit(_) => {}
            Effect::Log { level, line } => {
                if level != LogLevel::Debug {
                    self.note(|| format!("server {}: {line}", node + 1));
                }
            }
            Effect::Exit { code, why } => {
                return Err(Health.broken(format!("server {} exits with {code}: {why}", node + 1)));
            }
            Effect::ToClient { .. }
            | Effect::CloseClient { .. }
            | Effect::SendPacket { .. }
            | Effect::SendSnapshot { .. }
            | Effect::CloseLink { .. } => turn.leaving.push(effect),
        }
        Ok(())
    }

    fn leave(&mut self, node: usize, life: u32, effect: Effect) {
        match effect {
            Effect::ToClient { conn, bytes } => self.send(conn.0 as usize, 0, Payload::Frame(bytes)),
            Effect::CloseClient { conn } => {
                self.close(conn.0 as usize, 1);
                self.deliver(node, life, Event::ClientClosed { conn });
            }
            Effect::SendPacket { link, packet } => {
                let name = format!("{} 0x{:x}", packet.kind, packet.zxid);
                self.note(|| format!("server {} sends packet {name} on link {}", node + 1, link.0));
                let payload = Payload::Packet(packet.encode());
                match self.nodes[node].sending.get_mut(&link) {
                    Some(sending) => sending.behind.push(payload),
                    None => self.send_on(link, payload),
                }
            }
            Effect::SendSnapshot { link, stream } => {
                let sending = Sending { snapshot: stream, stream: BytesMut::new(), behind: vec![] };
                self.nodes[node].sending.insert(link, sending);
                self.schedule(0, Happening::Piece { node, life, link });
            }
            Effect::CloseLink { link } => {
                self.nodes[node].sending.remove(&link);
                self.close(link.0 as usize / 2, link.0 as usize % 2);
            }
            other => unreachable!("{other:?} does not wait for the end of a turn"),
        }
    }

    fn send_on(&mut self, link: LinkId, payload: Payload) {
        self.send(link.0 as usize / 2, 1 - link.0 as usize % 2, payload);
    }

    /// The next piece of a learner's snapshot is encoded, between two turns.
    pub fn snapshot_piece(&mut self, node: usize, life: u32, link: LinkId) {
        if self.nodes[node].life != life || !self.conns[link.0 as usize / 2].open {
            return drop(self.nodes[node].sending.remove(&link));
        }
        let pause = self.rng.random_range(1..20).max(self.nodes[node].stalled_until.saturating_sub(self.now));
        let budget = self.rng.random_range(50..4000);
        let Node { peer: Some(peer), sending, .. } = &mut self.nodes[node] else { return };
        let Some(on) = sending.get_mut(&link) else { return };
        if !on.snapshot.next(peer.database(), budget, &mut on.stream) {
            self.deliver(node, life, Event::LinkProgress { link });
            return self.schedule(pause, Happening::Piece { node, life, link });
        }
        let (stream, behind) = (on.stream.split().freeze(), take(&mut on.behind));
        sending.remove(&link);
        self.send_on(link, Payload::Snapshot(stream));
        behind.into_iter().for_each(|payload| self.send_on(link, payload));
        self.deliver(node, life, Event::SnapshotSent { link });
    }

    // The disk.

    fn hand_over(&mut self, node: usize, turn: &mut Turn) -> Result<(), String> {
        if turn.appends.is_empty() {
            return Ok(());
        }
        let full = self.setup.variety != Variety::FullDisks && self.nodes[node].full_disk_until > self.now;
        for (zxid, txn) in turn.appends.drain(..) {
            if full {
                turn.fuel = Some(0);
                break;
            }
            self.checks.appended(zxid, &txn)?;
            self.nodes[node].disk.append(zxid, txn);
        }
        self.begin_sync(node);
        Ok(())
    }

    fn begin_sync(&mut self, node: usize) {
        if self.nodes[node].disk.begin_sync() {
            let slow = self.nodes[node].slow_disk_until > self.now;
            let ms = self.rng.random_range(if slow { self.profile.slow_sync_ms.clone() } else { 1..8 });
            // In runs with full disks the log is written once there is room.
            let wait = self.nodes[node].full_disk_until.saturating_sub(self.now);
            let life = self.nodes[node].life;
            self.schedule(wait + ms, Happening::Synced { node, life });
        }
    }

    pub fn synced(&mut self, node: usize, life: u32) {
        if self.nodes[node].peer.is_none() || self.nodes[node].life != life {
            return;
        }
        if let Some(zxid) = self.nodes[node].disk.end_sync() {
            self.deliver(node, life, Event::Durable { zxid });
        }
        self.begin_sync(node);
    }

    fn flush(&mut self, node: usize, life: u32) {
        if let Some(zxid) = self.nodes[node].disk.flush() {
            self.deliver(node, life, Event::Durable { zxid });
        }
    }

    fn truncate(&mut self, node: usize, life: u32, zxid: i64) {
        self.flush(node, life);
        self.nodes[node].disk.truncate(zxid);
        let ms = if self.rng.random_bool(0.3) { self.rng.random_range(50..800) } else { 2 };
        self.schedule(ms, Happening::Loaded { node, life });
    }

    /// What is left of the log that was cut is known.
    pub fn loaded(&mut self, node: usize, life: u32) -> Result<(), String> {
        if self.nodes[node].peer.is_some() && self.nodes[node].life == life {
            let database = Box::new(self.nodes[node].disk.recover(0)?.database);
            self.deliver(node, life, Event::Truncated { database });
        }
        Ok(())
    }

    // Snapshots as the loop takes them now and then, piece by piece.

    pub fn begin_snapshot(&mut self, node: usize) {
        let Node { peer: Some(peer), snapping: None, disk, .. } = &self.nodes[node] else { return };
        if !disk.trusted {
            return;
        }
        if let Some(basis) = peer.snapshot_basis() {
            self.start_snapshot(node, Some(basis));
        }
    }

    fn start_snapshot(&mut self, node: usize, basis: Option<u64>) {
        let Node { peer: Some(peer), snapping, life, .. } = &mut self.nodes[node] else { return };
        let (zxid, cursor) = (peer.database().last_zxid(), SnapshotCursor::new());
        *snapping = Some(Snapping { basis, zxid, cursor, stream: BytesMut::new(), written: false });
        let life = *life;
        self.note(|| format!("server {} begins a snapshot of 0x{zxid:x}", node + 1));
        self.snapshot_slice(node, life);
    }

    pub fn snapshot_slice(&mut self, node: usize, life: u32) {
        let server = &mut self.nodes[node];
        let (Some(peer), Some(snapping)) = (&server.peer, &mut server.snapping) else { return };
        if server.life != life {
            return;
        }
        let wanted = match snapping.basis {
            None => peer.is_saving(),
            basis => peer.snapshot_basis() == basis,
        };
        if !wanted {
            server.snapping = None;
            return self.note(|| format!("server {} gives its snapshot up", node + 1));
        }
        let mut pause = self.rng.random_range(1..20);
        if !snapping.written {
            let budget = self.rng.random_range(50..4000);
            snapping.written = snapping.cursor.next(peer.database(), budget, &mut snapping.stream);
            if snapping.written {
                // The thread has the rest to write and to sync.
                pause = self.rng.random_range(1..300);
            }
        } else if server.disk.unsynced() == 0 && snapping.basis.is_none() {
            return self.deliver(node, life, Event::SnapshotSaved);
        } else if server.disk.unsynced() == 0 {
            let (zxid, stream) = (snapping.zxid, snapping.stream.split().freeze());
            server.snapping = None;
            server.disk.save_snapshot(zxid, stream);
            return self.note(|| format!("server {} has a snapshot of 0x{zxid:x}", node + 1));
        }
        self.schedule(pause, Happening::Slice { node, life });
    }

    /// The snapshot that the core waits for becomes a file that counts. False: it waits no more.
    fn publish(&mut self, node: usize) -> bool {
        let Node { peer: Some(peer), snapping, disk, .. } = &mut self.nodes[node] else { return false };
        let Some(done) = snapping.take_if(|snapping| snapping.basis.is_none() && snapping.written) else {
            return false;
        };
        if peer.is_saving() {
            disk.save_snapshot(done.zxid, done.stream.freeze());
        }
        peer.is_saving()
    }
}
