//! The leader: a new epoch, everybody brought to its history, then proposals and commits.
//!
//! ```text
//! learner                        leader
//! FOLLOWERINFO accepted epoch ->             until a quorum is connected
//!                             <- LEADERINFO  new epoch, stored first
//! ACKEPOCH current epoch, end ->             until a quorum has promised
//!                             <- DIFF | TRUNC | SNAP, transactions, NEWLEADER
//! ACK of NEWLEADER            ->             until a quorum is in sync
//!                             <- UPTODATE
//! ```

mod confirm;

use self::confirm::Confirmations;
use super::learner::proposed_members;
use super::links::{self, Link, Links, Stage};
use super::pipeline::Pipeline;
use super::{Over, Server, log, sync};
use crate::config::Ensemble;
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::front::{Request, Upcall};
use crate::measure;
use crate::membership::observes;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wire::jute::{Reader, Record};
use wire::zk::quorum::{LearnerInfo, PROTOCOL, QuorumPacket, SessionTouch, SessionVerdict, packet};
use wire::zk::txn::Txn;
use wire::zk::{Sid, Zxid, epoch_of, op, zxid};

/// Acknowledgements are timed once in so many transactions.
const ACK_SAMPLE: i64 = 1000;
/// A claim to be this many epochs ahead is nonsense, and not taken up.
const OUTRUN_MAX: i64 = 1 << 16;

/// How far the leader itself has got, in this order.
#[derive(Debug)]
enum Phase {
    /// Learns what epochs a quorum has promised to.
    Discovery,
    /// Waits until a quorum has promised to its own.
    Promise,
    /// Waits until a quorum has its history.
    Synchronization,
    Broadcast(Box<Pipeline>),
}

#[derive(Debug)]
pub struct Leader {
    me: Sid,
    phase: Phase,
    /// When the phase must be over; of no meaning in the last one.
    phase_until: u64,
    epoch: i64,
    /// Voters that have promised themselves to a later epoch, whose leader came to nothing, with that epoch and since when
    /// they say so: each looked for a leader with a history no later than ours. One that has more stays outside, as with
    /// Java: to let it in would cut off what it has (`QuorumZxidSyncTest.testBehindLeader`, where the others' disks were
    /// emptied). What a frame says that nobody meant is forgotten when the voter itself is in service again.
    outrun: BTreeMap<Sid, (i64, u64)>,
    /// Its own history as learners' histories are compared with it: current epoch, last zxid.
    summary: (i64, Zxid),
    connected: BTreeSet<Sid>,
    promised: BTreeSet<Sid>,
    synced: BTreeSet<Sid>,
    links: Links,
    confirmations: Confirmations,
    /// The last proposal of its own that was seen on stable storage, for the figures.
    own_acked: Zxid,
    /// The id of the next learner that does not say its own.
    nameless: Sid,
    /// The members have changed so that another server leads: nothing is committed here any more, and the role ends
    /// when those that are to follow the other one have left.
    handed_over: bool,
    tick_at: u64,
    /// Pings go out twice per tick, the quorum is checked once.
    half_tick: bool,
}

impl Leader {
    pub fn new(server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Leader {
        let me = server.config.myid;
        out.push(Effect::RollLog);
        Leader {
            me,
            phase: Phase::Discovery,
            phase_until: now.mono + server.init_ms(),
            epoch: server.accepted_epoch + 1,
            outrun: BTreeMap::new(),
            summary: (server.current_epoch, server.history.last_logged()),
            connected: BTreeSet::from([me]),
            promised: BTreeSet::new(),
            synced: BTreeSet::new(),
            links: Links::new(),
            confirmations: Confirmations::default(),
            own_acked: 0,
            nameless: -1,
            handed_over: false,
            tick_at: now.mono + server.config.tick_ms / 2,
            half_tick: true,
        }
    }

    /// Asks for an epoch at once where no learner is needed for it.
    pub fn start(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        self.advance(server, now, out)
    }

    /// The epoch, once this leader serves.
    pub fn established(&self) -> Option<i64> {
        matches!(self.phase, Phase::Broadcast(_)).then_some(self.epoch)
    }

    pub fn pipeline(&self) -> Option<&Pipeline> {
        match &self.phase {
            Phase::Broadcast(pipeline) => Some(pipeline),
            _ => None,
        }
    }

    /// The server itself stood still for so long.
    pub fn postpone(&mut self, ms: u64) {
        if let Phase::Broadcast(pipeline) = &mut self.phase {
            pipeline.postpone(ms);
        }
    }

    /// A learner is being sent the state.
    pub fn is_streaming(&self) -> bool {
        self.links.values().any(|link| link.stage == Stage::Streaming)
    }

    pub fn restored(&mut self, server: &Server, now: Now) {
        if let Phase::Broadcast(pipeline) = &mut self.phase {
            pipeline.restored(server, now);
        }
    }

    pub fn links(&self) -> &Links {
        &self.links
    }

    pub fn deadline(&self) -> u64 {
        match &self.phase {
            Phase::Broadcast(pipeline) => self.tick_at.min(pipeline.deadline()),
            _ => self.tick_at.min(self.phase_until),
        }
    }

    pub fn on_link(&mut self, link: LinkId, now: Now) {
        self.links.insert(link, Link::new(now));
    }

    pub fn on_closed(&mut self, link: LinkId, server: &Server) -> Result<(), Over> {
        self.links.remove(&link);
        let in_sync = self.in_sync();
        match self.handed_over && !server.members().is_quorum(in_sync.iter().copied()) {
            true => Err(Over("Those that follow the next leader have left".into())),
            false => Ok(()),
        }
    }

    /// This server, and the followers that keep up.
    fn in_sync(&self) -> BTreeSet<Sid> {
        let follows = |link: &&Link| link.stage >= Stage::Synced && !link.observer;
        self.links.values().filter(follows).map(|link| link.sid).chain([self.me]).collect()
    }

    pub fn on_packet(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.heard_at = now.mono;
        let taken = match link.stage {
            Stage::Hello => self.on_hello(id, packet, server, now, out),
            Stage::AckEpoch => self.on_ack_epoch(id, packet, server, now, out),
            Stage::Syncing => self.on_newleader_ack(id, packet, server, out),
            Stage::Synced | Stage::Active => return self.on_steady(id, packet, server, now, out),
            Stage::Epoch | Stage::Acked { .. } | Stage::Streaming => Err("it spoke out of turn".into()),
        };
        if let Err(why) = taken {
            self.drop_link(id, &why, out);
        }
        self.advance(server, now, out)
    }

    fn drop_link(&mut self, id: LinkId, why: &str, out: &mut Vec<Effect>) {
        if let Some(link) = self.links.remove(&id) {
            log(out, LogLevel::Warn, format!("Closing the connection to learner {}: {why}", link.sid));
            out.push(Effect::CloseLink { link: id });
        }
    }

    fn on_hello(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let observer = match packet.kind {
            packet::FOLLOWER_INFO => false,
            packet::OBSERVER_INFO => true,
            kind => {
                return Err(format!("its first packet has type {kind}, not FOLLOWERINFO or OBSERVERINFO"));
            }
        };
        let info = self.read_info(packet.data)?;
        links::check_hello(&info, server.members().committed().version)?;
        // A learner has one connection: whatever an earlier one acknowledged may have been cut off since.
        let earlier = links::of_the_same(&self.links, id, info.sid);
        earlier.into_iter().for_each(|at| self.drop_link(at, "it has connected anew", out));
        let accepted = epoch_of(packet.zxid);
        let votes = server.members().committed().is_voter(info.sid);
        if matches!(self.phase, Phase::Discovery) {
            self.epoch = self.epoch.max(accepted + 1);
            if votes {
                self.connected.insert(info.sid);
            }
        } else if self.established().is_some()
            && (self.epoch + 1..self.epoch + OUTRUN_MAX).contains(&accepted)
            && votes
            && server.sought.get(&info.sid).is_some_and(|epoch| *epoch <= self.epoch)
        {
            self.outrun.entry(info.sid).or_insert((accepted, now.mono)).0 = accepted;
        }
        let link = self.links.get_mut(&id).expect("its packet is being handled");
        (link.sid, link.observer, link.stage) = (info.sid, observer, Stage::Epoch);
        Ok(())
    }

    /// Older learners leave out the end, or everything.
    fn read_info(&mut self, data: Option<Bytes>) -> Result<LearnerInfo, String> {
        let mut from = Reader::new(data.unwrap_or_default());
        let mut info = LearnerInfo { sid: self.nameless, protocol: 1, config_version: 0 };
        let mut read = || {
            match from.remaining() {
                0..8 => {}
                8..12 => info.sid = from.read()?,
                12..20 => (info.sid, info.protocol) = (from.read()?, from.read()?),
                _ => info = from.read()?,
            }
            Ok(info.clone())
        };
        let read: Result<LearnerInfo, wire::jute::DecodeError> = read();
        let info = read.map_err(|error| error.to_string())?;
        if info.sid == self.nameless {
            self.nameless -= 1;
        }
        Ok(info)
    }

    fn on_ack_epoch(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if packet.kind != packet::ACK_EPOCH {
            return Err(format!("it answered LEADERINFO by a packet of type {}", packet.kind));
        }
        let current =
            i32::decode(&packet.data.unwrap_or_default()).map_err(|error| error.to_string())? as i64;
        let link = self.links.get_mut(&id).expect("its packet is being handled");
        if matches!(self.phase, Phase::Promise) && current != -1 {
            if (current, packet.zxid) > self.summary {
                return Err(format!(
                    "Follower is ahead of the leader, leader summary: {} (current epoch), {} (last zxid)",
                    self.summary.0, self.summary.1
                ));
            }
            if packet.zxid != -1 && server.members().committed().is_voter(link.sid) {
                self.promised.insert(link.sid);
            }
        }
        link.stage = Stage::Acked { last: packet.zxid };
        if matches!(self.phase, Phase::Synchronization | Phase::Broadcast(_)) {
            self.start_sync(id, server, now, out);
        }
        Ok(())
    }

    /// Sends a learner what it lacks. From here on it gets proposals and commits as they come, behind a snapshot where
    /// it gets one.
    fn start_sync(&mut self, id: LinkId, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Stage::Acked { last } = link.stage else { return };
        let (packets, stream) = sync::packets(link.sid, last, &server.history, out);
        let mut send = |packet| out.push(Effect::SendPacket { link: id, packet });
        packets.into_iter().for_each(&mut send);
        (link.stage, link.heard_at) = (Stage::Streaming, now.mono);
        let streams = stream.is_some();
        link.streamed = streams;
        let measures = &mut server.front.measures;
        *(if streams { &mut measures.snap_count } else { &mut measures.diff_count }) += 1;
        out.extend(stream.map(|stream| Effect::SendSnapshot { link: id, stream }));
        let observer = link.observer;
        // Behind NEWLEADER nobody takes members that are only proposed for more than that.
        let last = !streams && self.established().is_some() && server.members().proposed().is_some();
        if last {
            self.on_snapshot_sent(id, server, now, out);
        }
        if !observer {
            let proposals = server.history.pending().iter().map(proposal);
            out.extend(proposals.map(|packet| Effect::SendPacket { link: id, packet }));
        }
        if !streams && !last {
            self.on_snapshot_sent(id, server, now, out);
        }
        self.note_syncs(streams, server);
    }

    /// A part of its snapshot has left: the learner takes it.
    pub fn on_progress(&mut self, id: LinkId, now: Now) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.stage == Stage::Streaming) {
            link.heard_at = now.mono;
        }
    }

    /// Whatever a snapshot may show of what came after its beginning has been sent as commits by now, so that NEWLEADER
    /// is behind all of them: the learner is whole when it gets there.
    ///
    /// It names the members: before this leader serves, those that it found begun, and completes. Later a change is a
    /// proposal, and is named only to one that got a snapshot and the proposal behind that: Java's would forget it.
    pub fn on_snapshot_sent(&mut self, id: LinkId, server: &Server, now: Now, out: &mut Vec<Effect>) {
        let serves = self.established().is_some();
        let Some(link) = self.links.get_mut(&id).filter(|link| link.stage == Stage::Streaming) else {
            return;
        };
        let proposed = link.streamed && !link.observer;
        (link.stage, link.heard_at) = (Stage::Syncing, now.mono);
        let members = server.members();
        let named = if serves && !proposed { members.committed() } else { members.last_seen() };
        let text = named.text.clone().into_bytes();
        let packet = QuorumPacket::new(packet::NEW_LEADER, zxid(self.epoch, 0), Some(text));
        out.push(Effect::SendPacket { link: id, packet });
    }

    /// How many learners are being brought up, either way, after that number has changed.
    fn note_syncs(&self, snapshot: bool, server: &mut Server) {
        let links = self.links.values();
        let under_way = |link: &&Link| matches!(link.stage, Stage::Streaming | Stage::Syncing);
        let count = links.filter(under_way).filter(|link| link.streamed == snapshot).count();
        let measures = &mut server.front.measures;
        let summary =
            if snapshot { &mut measures.inflight_snap_count } else { &mut measures.inflight_diff_count };
        summary.add(count as u64);
    }

    fn on_newleader_ack(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &mut Server,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if packet.kind != packet::ACK {
            return Err(format!("it answered NEWLEADER by a packet of type {}", packet.kind));
        }
        let link = self.links.get_mut(&id).expect("its packet is being handled");
        link.stage = Stage::Synced;
        let snapshot = link.streamed;
        if packet.zxid != zxid(self.epoch, 0) {
            let line = format!(
                "NEWLEADER ACK from sid: {} is from a different epoch - current 0x{:x} received 0x{:x}",
                link.sid,
                zxid(self.epoch, 0),
                packet.zxid
            );
            log(out, LogLevel::Error, line);
        } else if server.members().is_voter(link.sid) {
            self.synced.insert(link.sid);
        }
        self.note_syncs(snapshot, server);
        Ok(())
    }

    /// Nobody follows, or is being brought to follow.
    fn is_alone(&self) -> bool {
        !self.links.values().any(|link| link.is_forwarded() && !link.observer)
    }

    /// Goes on as far as quorums allow.
    fn advance(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        server.note_alone(self.is_alone());
        if matches!(self.phase, Phase::Discovery) && is_quorum(&self.connected, server) {
            self.enter(Phase::Promise, server, now);
            server.store_accepted_epoch(self.epoch, out);
            self.number_members(server, out);
            self.promised.insert(self.me);
        }
        // Who has the epoch vouches for its beginning, so this server's own history must be safe before it says so:
        // with a part of it lost, it would still win against those who have all of it, from the epoch before.
        let safe = server.history.is_durable();
        if matches!(self.phase, Phase::Promise) && safe && is_quorum(&self.promised, server) {
            self.enter(Phase::Synchronization, server, now);
            server.store_current_epoch(self.epoch, out);
            let ids: Vec<LinkId> = self.links.keys().copied().collect();
            ids.into_iter().for_each(|id| self.start_sync(id, server, now, out));
        }
        if matches!(self.phase, Phase::Synchronization) {
            if server.history.is_durable() {
                self.synced.insert(self.me);
            }
            let synced = || server.members().is_quorum(self.synced.iter().copied());
            if self.synced.contains(&self.me) && synced() {
                self.activate(server, now, out);
            }
        }
        self.greet(now, out);
        self.serve_front(server, now, out)
    }

    /// Members that came from files alone have no version. They get this term's, so that they count for more than the
    /// file of a server that is only about to join.
    fn number_members(&self, server: &mut Server, out: &mut Vec<Effect>) {
        let members = server.members();
        if members.last_seen().version == 0 {
            let Ensemble { members, quorums, .. } = members.committed().clone();
            server.propose_members(Ensemble::new(members, quorums, zxid(self.epoch, 0)), out);
        }
    }

    fn enter(&mut self, phase: Phase, server: &Server, now: Now) {
        self.phase = phase;
        self.phase_until = now.mono + server.init_ms();
    }

    /// The epoch to whoever waits for it, service to whoever is in sync.
    fn greet(&mut self, now: Now, out: &mut Vec<Effect>) {
        let known = !matches!(self.phase, Phase::Discovery);
        let active = matches!(self.phase, Phase::Broadcast(_));
        for (id, link) in &mut self.links {
            let packet = match link.stage {
                Stage::Epoch if known => {
                    link.stage = Stage::AckEpoch;
                    QuorumPacket::new(packet::LEADER_INFO, zxid(self.epoch, 0), Some(PROTOCOL.encode()))
                }
                Stage::Synced if active => {
                    link.stage = Stage::Active;
                    self.outrun.remove(&link.sid);
                    QuorumPacket::new(packet::UP_TO_DATE, -1, None)
                }
                _ => continue,
            };
            link.heard_at = now.mono;
            out.push(Effect::SendPacket { link: *id, packet });
        }
    }

    fn activate(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        let start = zxid(self.epoch, 0);
        let sids: Vec<String> = self.synced.iter().map(Sid::to_string).collect();
        let line = format!(
            "Have quorum of supporters, sids: [[{}]]; starting up and setting last processed zxid: 0x{start:x}",
            sids.join(", ")
        );
        log(out, LogLevel::Info, line);
        self.complete_members(server, now, out);
        server.publish_config(now);
        server.history.db.set_last_zxid(start);
        self.phase = Phase::Broadcast(Box::new(Pipeline::new(server, start, now)));
        server.front.measures.served(true, now);
        server.front.serve(server.config.leader_serves, now, out);
        self.tick_at = now.mono + server.config.tick_ms / 2;
    }

    /// What was begun before this term counts from its beginning.
    fn complete_members(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        let Some(members) = server.members().proposed().cloned() else { return };
        let acked: Vec<(Sid, Zxid)> = self.synced.iter().map(|sid| (*sid, 0)).collect();
        let leader = next_leader(self.me, server.members().committed(), &members, &acked);
        self.change_members(members, leader, server, now, out);
    }

    fn change_members(
        &mut self,
        members: Ensemble,
        leader: Sid,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        server.activate_members(members, self.me, Some(leader), now, out);
        // An observer's or stranger's place needs another leader; with one, this server goes when it is not needed.
        self.handed_over = leader != self.me;
        if self.handed_over {
            let line = format!("Committing a reconfiguration: server {leader} leads from here on");
            log(out, LogLevel::Info, line);
        }
    }

    fn on_steady(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Phase::Broadcast(pipeline) = &mut self.phase else { return Ok(()) };
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let data = packet.data.clone().unwrap_or_default();
        match packet.kind {
            packet::ACK => {
                let known = packet.zxid <= pipeline.last_proposed();
                if known && epoch_of(packet.zxid) == self.epoch && !link.observer {
                    link.note_acked(packet.zxid);
                    let sid = link.sid;
                    note_ack(sid, packet.zxid, server, now);
                    self.commit(server, now, out);
                }
            }
            packet::PING => {
                link.pongs += 1;
                let mut from = Reader::new(data);
                while let Ok(SessionTouch { session, timeout }) = from.read() {
                    pipeline.sessions.touch(session, timeout, now);
                }
                self.confirm(server, now, out);
            }
            packet::REVALIDATE => {
                server.front.measures.revalidate_count += 1;
                match SessionTouch::decode(&data) {
                    Ok(SessionTouch { session, timeout }) => {
                        let valid = pipeline.revalidate(session, timeout, Some(id), now);
                        if valid {
                            server.front.session_moved(session, out);
                        }
                        let verdict = SessionVerdict { session, valid }.encode();
                        let packet = QuorumPacket::new(packet::REVALIDATE, packet.zxid, Some(verdict));
                        out.push(Effect::SendPacket { link: id, packet });
                    }
                    Err(error) => self.drop_link(id, &error.to_string(), out),
                }
            }
            packet::REQUEST => match read_request(packet, id) {
                Ok(request) => self.on_request(request, server, now, out)?,
                Err(error) => self.drop_link(id, &error.to_string(), out),
            },
            kind => log(out, LogLevel::Warn, format!("unexpected quorum packet, type: {kind}")),
        }
        self.serve_front(server, now, out)
    }

    fn on_request(
        &mut self,
        request: Request,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        if request.op != op::SYNC {
            return self.propose(&request, server, now, out);
        }
        let Phase::Broadcast(pipeline) = &mut self.phase else { return Ok(()) };
        if let Some(request) = pipeline.sync(request, server) {
            self.confirmations.wait(pipeline.last_proposed(), request);
            self.confirm(server, now, out);
        }
        Ok(())
    }

    /// Answers the syncs of which a quorum has shown that no other leader can have served before they came.
    fn confirm(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        let Phase::Broadcast(pipeline) = &self.phase else { return };
        let (members, last) = (server.members(), pipeline.last_proposed());
        let confirmed = self.confirmations.advance(self.me, members, &mut self.links, last, out);
        for request in confirmed {
            self.answer_sync(&request, server, now, out);
        }
    }

    fn answer_sync(&self, request: &Request, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        match request.origin {
            Some(link) if self.links.contains_key(&link) => {
                out.push(Effect::SendPacket { link, packet: QuorumPacket::new(packet::SYNC, 0, None) });
            }
            Some(_) => {}
            None => server.front.synced(request, now, &server.history.db, out, &mut server.up),
        }
    }

    fn propose(
        &mut self,
        request: &Request,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let synced = match request.op {
            // Whoever is to look on will do so any moment, and acknowledge nothing more.
            op::RECONFIG => {
                let members = server.members().committed();
                self.in_sync().into_iter().filter(|sid| !observes(members, *sid)).collect()
            }
            _ => BTreeSet::new(),
        };
        let Phase::Broadcast(pipeline) = &mut self.phase else { return Ok(()) };
        let txn = pipeline.order(request, server, &synced, now)?;
        if let Some(Ok(members)) = proposed_members(&txn) {
            server.propose_members(members, out);
        }
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.is_forwarded() && !link.observer) {
            link.note_sent(txn.zxid(), now);
            out.push(Effect::SendPacket { link: *id, packet: proposal(&txn) });
        }
        server.front.measures.proposal_count += 1;
        server.history.propose(txn, out);
        Ok(())
    }

    /// Commits what a quorum has on stable storage, oldest first.
    fn commit(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        server.note_alone(self.is_alone());
        let mut target = self.logged_by_quorum(server);
        while let Some(txn) = server.history.pending().front().filter(|txn| txn.zxid() <= target) {
            if self.handed_over {
                return;
            }
            let zxid = txn.zxid();
            for sync in self.confirmations.proven(zxid) {
                self.answer_sync(&sync, server, now, out);
            }
            let Some(txn) = server.history.pending().front() else { return };
            server.front.measures.commit_count += 1;
            if let Some(age) = measure::age(txn, now) {
                server.front.measures.quorum_ack_latency.add(age);
            }
            let mut commit = QuorumPacket::new(packet::COMMIT, txn.zxid(), None);
            let mut inform = QuorumPacket::new(packet::INFORM, txn.zxid(), Some(txn.bytes.clone()));
            if let Some(Ok(members)) = proposed_members(txn) {
                let leader = self.next_leader(txn.zxid(), &members, server);
                commit = QuorumPacket::new(packet::COMMIT_AND_ACTIVATE, txn.zxid(), Some(leader.encode()));
                let data = [&leader.to_be_bytes()[..], &txn.bytes[..]].concat().into();
                inform = QuorumPacket::new(packet::INFORM_AND_ACTIVATE, txn.zxid(), Some(data));
                self.change_members(members, leader, server, now, out);
                target = self.logged_by_quorum(server);
            }
            for (id, link) in self.links.iter().filter(|(_, link)| link.is_forwarded()) {
                let packet = if link.observer { inform.clone() } else { commit.clone() };
                out.push(Effect::SendPacket { link: *id, packet });
            }
            let Phase::Broadcast(pipeline) = &mut self.phase else { return };
            for request in pipeline.commit(server, now, out) {
                self.confirmations.wait(zxid, request);
            }
        }
        self.confirm(server, now, out);
    }

    /// The last zxid that a quorum has logged. Logs are in order: having one is having all before.
    fn logged_by_quorum(&self, server: &Server) -> Zxid {
        server.members().reached(|sid| {
            let acked = || self.links.values().filter(|link| link.sid == sid).map(|link| link.acked).max();
            if sid == self.me { server.history.durable() } else { acked().unwrap_or(0) }
        })
    }

    /// Of the next members, by what they have logged: `zxid`, the change itself, at least.
    fn next_leader(&self, zxid: Zxid, members: &Ensemble, server: &Server) -> Sid {
        let acked =
            self.links.values().map(|link| (link.sid, link.acked)).filter(|(_, acked)| *acked >= zxid);
        next_leader(self.me, server.members().committed(), members, &acked.collect::<Vec<_>>())
    }

    pub fn on_durable(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        if matches!(self.phase, Phase::Broadcast(_)) {
            self.note_own_ack(server, now);
            self.commit(server, now, out);
        }
        self.advance(server, now, out)
    }

    /// What this server has on stable storage by now and had not before.
    fn note_own_ack(&mut self, server: &mut Server, now: Now) {
        let durable = server.history.durable();
        let before = std::mem::replace(&mut self.own_acked, durable);
        for txn in server.history.pending().iter().take_while(|txn| txn.zxid() <= durable) {
            if txn.zxid() > before
                && let Some(age) = measure::age(txn, now)
            {
                server.front.measures.proposal_ack_creation_latency.add(age);
            }
        }
        note_ack(self.me, durable, server, now);
    }

    /// Takes what this server's own clients want.
    pub fn serve_front(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        while !server.up.is_empty() {
            for upcall in std::mem::take(&mut server.up) {
                let Phase::Broadcast(pipeline) = &mut self.phase else { continue };
                match upcall {
                    Upcall::Write(request) => self.propose(&request, server, now, out)?,
                    Upcall::Sync(request) => self.on_request(request, server, now, out)?,
                    Upcall::Revalidate { session, timeout } => {
                        let valid = pipeline.revalidate(session, timeout, None, now);
                        let db = &server.history.db;
                        server.front.revalidated(session, valid, now, db, out, &mut server.up);
                    }
                }
            }
        }
        Ok(())
    }

    pub fn tick(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        if let Phase::Broadcast(pipeline) = &mut self.phase {
            if pipeline.should_end(server) {
                return Err(Over(
                    "the zxids of this epoch are nearly used up: a new one is begun while nothing waits"
                        .into(),
                ));
            }
            if !server.has_room && !server.gave_way {
                (server.gave_way, server.gives_way) = (true, true);
                return Err(Over("the disk is nearly full: another server is to lead, if it can".into()));
            }
            for request in pipeline.tick(server, now) {
                self.propose(&request, server, now, out)?;
            }
        } else if self.phase_until <= now.mono {
            return Err(Over(self.missed_phase()));
        }
        if self.tick_at <= now.mono {
            self.tick_at = now.mono + server.config.tick_ms / 2;
            self.half_tick = !self.half_tick;
            self.drop_silent(server, now, out);
            if self.established().is_some() {
                self.give_way(server, now, out)?;
                server.note_alone(self.is_alone());
                if server.members().decides_alone() {
                    // The last follower may have left without its acknowledgements.
                    self.commit(server, now, out);
                }
                self.ping(server, now, out)?;
            }
        }
        self.serve_front(server, now, out)
    }

    /// A voter may never follow an older epoch than it has promised itself to, however long this one goes on. Java's
    /// leader goes on without it. What is stored here lifts the next epoch above it at once.
    fn give_way(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let long_ago = |since: u64| since + 2 * server.config.tick_ms <= now.mono;
        let claims = self.outrun.values().filter(|(_, since)| long_ago(*since));
        let Some(accepted) = claims.map(|(accepted, _)| *accepted).max() else { return Ok(()) };
        server.store_accepted_epoch(accepted, out);
        Err(Over(format!("a voter has accepted epoch {accepted}, and cannot join {}", self.epoch)))
    }

    fn missed_phase(&self) -> String {
        let (what, sids) = match self.phase {
            Phase::Discovery => ("Timeout while waiting for epoch from quorum", &self.connected),
            Phase::Promise => ("Timeout while waiting for epoch to be acked by quorum", &self.promised),
            _ => ("Waiting for a quorum of followers, only synced with sids", &self.synced),
        };
        let sids: Vec<String> = sids.iter().map(Sid::to_string).collect();
        format!("{what}: [ [{}] ]", sids.join(", "))
    }

    /// Learners that owe a packet and have been silent for too long, and those that do not log in time.
    fn drop_silent(&mut self, server: &Server, now: Now, out: &mut Vec<Effect>) {
        let silent = |link: &Link| {
            let limit = match link.stage {
                Stage::Hello | Stage::AckEpoch | Stage::Streaming | Stage::Syncing => server.init_ms(),
                Stage::Active => server.sync_ms(),
                // It waits for this server.
                Stage::Epoch | Stage::Acked { .. } | Stage::Synced => return None,
            };
            if link.heard_at + limit <= now.mono {
                return Some("Read timed out");
            }
            link.lags(server.sync_ms(), now).then_some("transaction timeout")
        };
        let gone: Vec<(LinkId, &str)> =
            self.links.iter().filter_map(|(id, link)| Some((*id, silent(link)?))).collect();
        gone.into_iter().for_each(|(id, why)| self.drop_link(id, why, out));
    }

    fn ping(&mut self, server: &Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let Phase::Broadcast(pipeline) = &self.phase else { return Ok(()) };
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.stage >= Stage::Syncing) {
            link.pings += u64::from(link.stage == Stage::Active);
            let packet = QuorumPacket::new(packet::PING, pipeline.last_proposed(), None);
            out.push(Effect::SendPacket { link: *id, packet });
        }
        self.confirmations.pinged(&self.links);
        let grace = |link: &Link| match link.stage {
            Stage::Active => server.sync_ms(),
            _ => server.init_ms() + server.sync_ms(),
        };
        // Observers count for nothing, also where they are to vote: with them the leader of a change that needs more than
        // its followers would stay, and nobody who could help could come back.
        let heard = |link: &&Link| !link.observer && now.mono <= link.heard_at + grace(link);
        let mut sids: BTreeSet<Sid> = self.links.values().filter(heard).map(|link| link.sid).collect();
        sids.insert(self.me);
        if self.half_tick && !server.members().is_quorum(sids.iter().copied()) {
            let sids: Vec<String> = sids.iter().map(Sid::to_string).collect();
            let why =
                format!("Not sufficient followers synced, only synced with sids: [ [{}] ]", sids.join(", "));
            return Err(Over(why));
        }
        Ok(())
    }

    /// Closes every connection: the leadership is over.
    pub fn shutdown(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.links.keys().map(|link| Effect::CloseLink { link: *link }));
        self.links.clear();
    }
}

/// Takes the time of every [`ACK_SAMPLE`]th proposal.
fn note_ack(sid: Sid, zxid: Zxid, server: &mut Server, now: Now) {
    if zxid % ACK_SAMPLE != 0 {
        return;
    }
    let acked = server.history.pending().iter().find(|txn| txn.zxid() == zxid);
    if let Some(age) = acked.and_then(|txn| measure::age(txn, now)) {
        server.front.measures.ack_latency.entry(sid).or_default().add(age);
    }
}

/// Epochs are agreed on among those that count already.
fn is_quorum(sids: &BTreeSet<Sid>, server: &Server) -> bool {
    server.members().is_committed_quorum(sids.iter().copied())
}

/// Who leads the next members: `me`, who leads now, if it votes among them and stays where it is; otherwise the one that
/// has logged most.
fn next_leader(me: Sid, now: &Ensemble, next: &Ensemble, acked: &[(Sid, Zxid)]) -> Sid {
    let at = |ensemble: &Ensemble| ensemble.members.get(&me).map(|member| member.quorum.clone());
    if next.is_voter(me) && at(now) == at(next) {
        return me;
    }
    let candidates = acked.iter().filter(|(sid, _)| *sid != me && next.may_lead(*sid));
    candidates.max_by_key(|(sid, acked)| (*acked, std::cmp::Reverse(*sid))).map_or(me, |(sid, _)| *sid)
}

fn proposal(txn: &Txn) -> QuorumPacket {
    QuorumPacket::new(packet::PROPOSAL, txn.zxid(), Some(txn.bytes.clone()))
}

pub(super) fn read_request(packet: QuorumPacket, link: LinkId) -> Result<Request, wire::jute::DecodeError> {
    let mut from = Reader::new(packet.data.unwrap_or_default());
    Ok(Request {
        session: from.read()?,
        cxid: from.read()?,
        op: from.read()?,
        body: from.rest(),
        auth: packet.auth.unwrap_or_default(),
        origin: Some(link),
    })
}

#[cfg(test)]
mod tests;
