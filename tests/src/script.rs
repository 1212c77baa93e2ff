//! One server by hand: a real core on a simulated disk, with the other servers' part played packet by packet.
//!
//! Appends are on stable storage when [`Server::sync`] says so, and lost when [`Server::crash`] comes before.

use crate::sim::disk::Disk;
use crate::sim::node::configs;
use bytes::{Bytes, BytesMut};
use std::net::IpAddr;
use wire::jute::Record;
use wire::zk::quorum::{LearnerInfo, Notification, PROTOCOL, PeerState, QuorumPacket, packet};
use wire::zk::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{ConnectRequest, SessionId, Sid, Zxid, op, zxid};
use zk_core::peer::Status;
use zk_core::{ConnId, CoreConfig, Database, Effect, Event, LinkId, Now, Peer};

/// Transactions that leaders keep for learners that lag.
const COMMITTED: usize = 100;

/// A transaction that creates a node named by its zxid.
pub fn create(zxid: Zxid) -> Txn {
    let header = TxnHeader { session: 1, cxid: 1, zxid, time: 5, kind: op::CREATE };
    let path = path(zxid).as_str().into();
    let create = CreateTxn { path, data: None, acl: vec![], ephemeral: false, parent_cversion: 1 };
    Txn::new(header, TxnRecord::Create(create), None)
}

pub fn path(zxid: Zxid) -> String {
    format!("/n{zxid:x}")
}

/// Server 1 of 3.
pub struct Server {
    config: CoreConfig,
    peer: Peer,
    pub disk: Disk,
    /// What has left for others.
    sent: Vec<Effect>,
    mono: u64,
    links: u64,
    round: i64,
    /// How many more effects are done before the process dies.
    pub fuel: Option<usize>,
    /// The process has given itself up.
    pub exit: Option<String>,
}

impl Server {
    /// With these transactions on its disk, and these epochs.
    pub fn new(log: &[Zxid], accepted_epoch: i64, current_epoch: i64) -> Server {
        let mut disk = Disk::default();
        (disk.accepted_epoch, disk.current_epoch) = (accepted_epoch, current_epoch);
        log.iter().for_each(|zxid| disk.append(*zxid, create(*zxid).bytes));
        disk.flush();
        let config = configs(3, 3, COMMITTED).remove(0);
        let peer = Peer::new(config.clone(), disk.recover(COMMITTED).expect("its disk is whole"));
        let (sent, exit) = (vec![], None);
        let mut server =
            Server { config, peer, disk, sent, mono: 1000, links: 0, round: 1, fuel: None, exit };
        server.step(Event::Tick);
        server
    }

    /// What was not synced is lost, and the process starts again.
    pub fn crash(&mut self) {
        self.disk.crash(0, false);
        let recovered = self.disk.recover(COMMITTED).expect("its disk is whole");
        self.peer = Peer::new(self.config.clone(), recovered);
        (self.round, self.fuel) = (1, None);
        self.sent.clear();
        self.step(Event::Tick);
    }

    pub fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while !events.is_empty() {
            let mut out = vec![];
            self.peer.step(Now { mono: self.mono, wall: 0 }, events.remove(0), &mut out);
            for effect in out {
                match &mut self.fuel {
                    Some(0) => return,
                    Some(left) => *left -= 1,
                    None => {}
                }
                events.extend(self.perform(effect));
            }
        }
    }

    /// What answers the effect at once.
    fn perform(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Append { zxid, txn } => self.disk.append(zxid, txn),
            Effect::StoreAcceptedEpoch { epoch } => self.disk.accepted_epoch = epoch,
            Effect::StoreCurrentEpoch { epoch } => self.disk.current_epoch = epoch,
            Effect::Truncate { zxid } => {
                let durable = self.disk.flush().map(|zxid| Event::Durable { zxid });
                self.disk.truncate(zxid);
                let database = self.disk.recover(0).expect("its disk is whole").database;
                return durable
                    .into_iter()
                    .chain([Event::Truncated { database: Box::new(database) }])
                    .collect();
            }
            Effect::SaveSnapshot => {
                let mut stream = BytesMut::new();
                self.peer.database().encode_stream(&mut stream);
                self.disk.save_snapshot(self.peer.database().last_zxid(), stream.freeze());
                return vec![Event::SnapshotSaved];
            }
            Effect::SendSnapshot { link, mut stream } => {
                while !stream.next(self.peer.database(), 1000, &mut BytesMut::new()) {}
                return vec![Event::SnapshotSent { link }];
            }
            Effect::Exit { why, .. } => self.exit = Some(why),
            Effect::RollLog | Effect::Log { .. } => {}
            other => self.sent.push(other),
        }
        vec![]
    }

    /// Everything that was appended is on stable storage.
    pub fn sync(&mut self) {
        if let Some(zxid) = self.disk.flush() {
            self.step(Event::Durable { zxid });
        }
    }

    /// Time passes, a tick at a time.
    pub fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.mono += 100;
            self.step(Event::Tick);
        }
    }

    pub fn status(&self) -> Status {
        self.peer.status()
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    pub fn has(&self, zxid: Zxid) -> bool {
        self.peer.database().node(&path(zxid)).is_some()
    }

    /// What a restart would have.
    pub fn on_disk(&mut self) -> Database {
        self.disk.recover(0).expect("its disk is whole").database
    }

    // The others.

    /// The ends of its history and the epochs that it has voted with since the last call.
    pub fn voted(&mut self) -> Vec<(Zxid, i64)> {
        let votes = self.sent.extract_if(.., |effect| matches!(effect, Effect::SendVote { .. }));
        let vote = |effect| match effect {
            Effect::SendVote { vote, .. } => (vote.zxid, vote.peer_epoch),
            _ => unreachable!("only votes were taken out"),
        };
        let mut votes: Vec<(Zxid, i64)> = votes.map(vote).collect();
        votes.dedup();
        votes
    }

    /// Both others vote for this leader, whose history ends there.
    pub fn elect(&mut self, leader: Sid, zxid: Zxid, peer_epoch: i64) {
        let round = self.round;
        for from in [2, 3] {
            let state = PeerState::Looking;
            let vote = Notification { state, leader, zxid, round, peer_epoch, config: None };
            self.step(Event::Vote { from, vote });
        }
        self.round += 1;
    }

    /// Finds server 3 leading this epoch, and says where its own history ends. Waits for DIFF, TRUNC or SNAP.
    pub fn follow(&mut self, epoch: i64) -> LinkId {
        self.elect(3, zxid(epoch - 1, 0xffff), epoch - 1);
        let link = self.link(Some(3));
        self.packet(link, packet::LEADER_INFO, zxid(epoch, 0), Some(PROTOCOL.encode()));
        link
    }

    /// Is elected, and brings server 2 up, which has the same history: leads the next epoch.
    pub fn lead(&mut self) -> LinkId {
        let (last, epoch) = (self.peer.database().last_zxid(), self.disk.current_epoch);
        self.elect(1, last, epoch);
        let link = self.learner(2, last, epoch);
        self.packet(link, packet::ACK, zxid(epoch + 1, 0), None);
        assert!(self.status().serving, "{:?}", self.status());
        link
    }

    /// A learner connects and says what it has.
    pub fn learner(&mut self, sid: Sid, last: Zxid, epoch: i64) -> LinkId {
        let link = self.link(None);
        let info = LearnerInfo { sid, protocol: PROTOCOL, config_version: 0 };
        self.packet(link, packet::FOLLOWER_INFO, zxid(epoch, 0), Some(info.encode()));
        self.packet(link, packet::ACK_EPOCH, last, Some((epoch as i32).encode()));
        link
    }

    fn link(&mut self, leader: Option<Sid>) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.step(Event::LinkOpened { link, leader });
        link
    }

    pub fn close(&mut self, link: LinkId) {
        self.step(Event::LinkClosed { link });
    }

    pub fn packet(&mut self, link: LinkId, kind: i32, zxid: Zxid, data: Option<Bytes>) {
        self.step(Event::LinkPacket { link, packet: QuorumPacket::new(kind, zxid, data) });
    }

    pub fn proposal(&mut self, link: LinkId, zxid: Zxid) {
        self.packet(link, packet::PROPOSAL, zxid, Some(create(zxid).bytes));
    }

    /// A proposal of a synchronization, with its commit behind it.
    pub fn committed(&mut self, link: LinkId, zxid: Zxid) {
        self.proposal(link, zxid);
        self.packet(link, packet::COMMIT, zxid, None);
    }

    pub fn snapshot(&mut self, link: LinkId, zxids: &[Zxid]) {
        let last = zxids.last().copied().unwrap_or_default();
        self.packet(link, packet::SNAP, last, None);
        let mut database = Database::new();
        for zxid in zxids {
            database.replay(&create(*zxid));
            database.set_last_zxid(*zxid);
        }
        self.step(Event::LinkSnapshot { link, database: Box::new(database) });
    }

    /// Kinds and zxids of the packets that have left on this link since the last call.
    pub fn packets(&mut self, link: LinkId) -> Vec<(i32, Zxid)> {
        let ours = |effect: &mut Effect| match effect {
            Effect::SendPacket { link: on, .. } => *on == link,
            _ => false,
        };
        let packet = |effect| match effect {
            Effect::SendPacket { packet, .. } => Some((packet.kind, packet.zxid)),
            _ => None,
        };
        self.sent.extract_if(.., ours).filter_map(packet).collect()
    }

    // A client of this server.

    /// A new session is asked for: the first transaction of the epoch that this server leads.
    pub fn session(&mut self, conn: ConnId) {
        self.step(Event::ClientOpened { conn, peer: IpAddr::from([127, 0, 0, 1]) });
        let hello = ConnectRequest {
            protocol: 0,
            last_zxid: 0,
            timeout: 10_000,
            session: 0,
            password: None,
            read_only: Some(false),
        };
        self.step(Event::ClientFrame { conn, frame: hello.encode() });
    }

    /// A request that a learner passes on.
    pub fn forwarded(&mut self, link: LinkId, session: SessionId, op: i32, body: &impl Record) {
        let mut request = BytesMut::new();
        session.write(&mut request);
        1i32.write(&mut request);
        op.write(&mut request);
        body.write(&mut request);
        self.packet(link, packet::REQUEST, -1, Some(request.freeze()));
    }

    /// It has acknowledged the leader's history.
    pub fn acknowledges(&mut self, link: LinkId, epoch: i64) -> bool {
        self.packets(link).contains(&(packet::ACK, zxid(epoch, 0)))
    }
}
