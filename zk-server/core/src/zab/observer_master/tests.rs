//! Observers behind a follower: what they get from it, and what goes up through it.

use crate::event::{Effect, Event, LinkId, Now};
use crate::peer::{Mode, Recovered};
use crate::{Database, Peer};
use bytes::{Bytes, BytesMut};
use wire::jute::Record;
use wire::zk::quorum::{
    LearnerInfo, Notification, PROTOCOL, PeerState, QuorumPacket, SessionTouch, SessionVerdict, packet,
};
use wire::zk::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{Sid, Zxid, op, zxid};

/// The follower's connection to the leader, and an observer's to the follower.
const UP: LinkId = LinkId(3);
const DOWN: LinkId = LinkId(9);
const LEADER: Sid = 3;

struct Server {
    peer: Peer,
    now: u64,
    out: Vec<Effect>,
}

impl Server {
    /// One of voters 1 to 3, or the observer 9, where observer masters are wanted.
    fn new(me: Sid) -> Server {
        let ensemble = crate::config::tests::ensemble(&[1, 2, 3], &[9]);
        let mut config = crate::zab::tests::config(me, Some(ensemble));
        config.observer_masters = true;
        let recovered = Recovered {
            database: Database::new(),
            last_logged: 0,
            recent: vec![],
            accepted_epoch: 1,
            current_epoch: 1,
        };
        let mut server = Server { peer: Peer::new(config, recovered), now: 1000, out: vec![] };
        server.step(Event::Tick);
        server.settle();
        server
    }

    fn step(&mut self, event: Event) {
        self.peer.step(Now { mono: self.now, wall: 0 }, event, &mut self.out);
    }

    fn packet(&mut self, link: LinkId, kind: i32, zxid: Zxid, data: Option<Bytes>) {
        self.step(Event::LinkPacket { link, packet: QuorumPacket::new(kind, zxid, data) });
    }

    /// Learns that server 3 leads.
    fn settle(&mut self) {
        for (from, state) in [(2, PeerState::Following), (LEADER, PeerState::Leading)] {
            let vote = Notification { state, leader: LEADER, zxid: 0, round: 7, peer_epoch: 1, config: None };
            self.step(Event::Vote { from, vote });
        }
    }

    /// What was sent on a link since the last call for any.
    fn sent(&mut self, to: LinkId) -> Vec<QuorumPacket> {
        let effects = std::mem::take(&mut self.out).into_iter();
        effects
            .filter_map(|effect| match effect {
                Effect::SendPacket { link, packet } if link == to => Some(packet),
                _ => None,
            })
            .collect()
    }

    fn kinds(&mut self, to: LinkId) -> Vec<i32> {
        self.sent(to).iter().map(|packet| packet.kind).collect()
    }

    fn closes(&mut self, of: LinkId) -> bool {
        let effects = std::mem::take(&mut self.out);
        effects.iter().any(|effect| matches!(effect, Effect::CloseLink { link } if *link == of))
    }
}

/// A follower in service, with one transaction.
fn follower() -> Server {
    let mut server = Server::new(1);
    server.step(Event::LinkOpened { link: UP, leader: Some(LEADER) });
    server.packet(UP, packet::LEADER_INFO, zxid(2, 0), Some(PROTOCOL.encode()));
    server.packet(UP, packet::DIFF, 0, None);
    server.packet(UP, packet::NEW_LEADER, zxid(2, 0), None);
    server.packet(UP, packet::UP_TO_DATE, -1, None);
    commit(&mut server, 1);
    assert_eq!(server.peer.status().synced_observers, Some(0));
    server.out.clear();
    server
}

fn txn(n: i64) -> Txn {
    let header = TxnHeader { session: 1, cxid: 1, zxid: zxid(2, n), time: 5, kind: op::CREATE };
    let path = format!("/{n}").into();
    let create = CreateTxn { path, data: None, acl: vec![], ephemeral: false, parent_cversion: 1 };
    Txn::new(header, TxnRecord::Create(create), None)
}

fn commit(server: &mut Server, n: i64) {
    server.packet(UP, packet::PROPOSAL, zxid(2, n), Some(txn(n).bytes));
    server.packet(UP, packet::COMMIT, zxid(2, n), None);
}

/// An observer that has everything up to the transaction.
fn observe(server: &mut Server) {
    server.step(Event::LinkOpened { link: DOWN, leader: None });
    let info = LearnerInfo { sid: 9, protocol: PROTOCOL, config_version: 0 };
    server.packet(DOWN, packet::OBSERVER_INFO, zxid(1, 0), Some(info.encode()));
    server.packet(DOWN, packet::ACK_EPOCH, zxid(2, 1), Some(1i32.encode()));
    server.packet(DOWN, packet::ACK, zxid(2, 0), None);
    server.packet(DOWN, packet::ACK, zxid(2, 0), None);
    assert_eq!(server.peer.status().synced_observers, Some(1));
    server.out.clear();
}

fn request(kind: i32) -> Bytes {
    let mut data = BytesMut::new();
    5i64.write(&mut data);
    6i32.write(&mut data);
    kind.write(&mut data);
    data.freeze()
}

#[test]
fn an_observer_is_brought_up_and_informed_by_a_follower() {
    let mut server = follower();
    commit(&mut server, 2);
    server.step(Event::LinkOpened { link: DOWN, leader: None });
    let info = LearnerInfo { sid: 9, protocol: PROTOCOL, config_version: 0 };
    server.packet(DOWN, packet::OBSERVER_INFO, zxid(1, 0), Some(info.encode()));
    let sent = server.sent(DOWN);
    assert_eq!((sent[0].kind, sent[0].zxid), (packet::LEADER_INFO, zxid(2, 0)));
    server.packet(DOWN, packet::ACK_EPOCH, zxid(2, 1), Some(1i32.encode()));
    let sent = server.sent(DOWN);
    let kinds: Vec<i32> = sent.iter().map(|packet| packet.kind).collect();
    assert_eq!(kinds, [packet::DIFF, packet::PROPOSAL, packet::COMMIT, packet::NEW_LEADER]);
    server.packet(UP, packet::PROPOSAL, zxid(2, 3), Some(txn(3).bytes));
    assert_eq!(server.sent(DOWN), [], "it is not committed");
    server.packet(UP, packet::COMMIT, zxid(2, 3), None);
    assert_eq!(server.sent(DOWN), [QuorumPacket::new(packet::INFORM, zxid(2, 3), Some(txn(3).bytes))]);
    server.packet(DOWN, packet::ACK, zxid(2, 0), None);
    assert_eq!(server.kinds(DOWN), [packet::UP_TO_DATE]);
    assert_eq!(server.peer.status().synced_observers, Some(1));
}

#[test]
fn what_an_observer_asks_goes_up_and_the_answers_come_back_to_it() {
    let mut server = follower();
    observe(&mut server);
    let create = QuorumPacket::new(packet::REQUEST, -1, Some(request(op::CREATE)));
    server.step(Event::LinkPacket { link: DOWN, packet: create.clone() });
    assert_eq!(server.sent(UP), [create], "as it came");

    server.packet(DOWN, packet::REQUEST, -1, Some(request(op::SYNC)));
    assert_eq!(server.kinds(UP), [packet::REQUEST]);
    server.packet(UP, packet::SYNC, 0, None);
    assert_eq!(server.kinds(DOWN), [packet::SYNC]);

    let touch = SessionTouch { session: 5, timeout: 4000 }.encode();
    server.packet(DOWN, packet::REVALIDATE, -1, Some(touch.clone()));
    assert_eq!(server.sent(UP), [QuorumPacket::new(packet::REVALIDATE, -1, Some(touch.clone()))]);
    let verdict = SessionVerdict { session: 5, valid: true }.encode();
    server.packet(UP, packet::REVALIDATE, -1, Some(verdict.clone()));
    assert_eq!(server.sent(DOWN), [QuorumPacket::new(packet::REVALIDATE, -1, Some(verdict))]);

    server.packet(DOWN, packet::PING, 0, Some(touch.clone()));
    server.packet(UP, packet::PING, 9, None);
    assert_eq!(server.sent(UP), [QuorumPacket::new(packet::PING, 9, Some(touch))]);
    server.packet(UP, packet::PING, 9, None);
    assert_eq!(server.sent(UP), [QuorumPacket::new(packet::PING, 9, Some(Bytes::new()))], "once");

    server.packet(DOWN, packet::REQUEST, -1, Some(Bytes::from_static(b"short")));
    assert!(server.closes(DOWN));
}

#[test]
fn only_observers_are_served_and_only_while_the_follower_is() {
    let mut server = follower();
    server.step(Event::LinkOpened { link: DOWN, leader: None });
    let info = LearnerInfo { sid: 2, protocol: PROTOCOL, config_version: 0 };
    server.packet(DOWN, packet::FOLLOWER_INFO, zxid(1, 0), Some(info.encode()));
    assert!(server.closes(DOWN));
    observe(&mut server);
    server.step(Event::LinkClosed { link: UP });
    assert!(server.closes(DOWN));
    assert_eq!(server.peer.status().synced_observers, None);
}

#[test]
fn observers_are_pinged_and_let_go_when_they_are_silent() {
    let mut server = follower();
    observe(&mut server);
    for at in (2000..=10_000).step_by(1000) {
        server.now = at;
        server.packet(UP, packet::PING, 9, None);
        server.step(Event::Tick);
        assert_eq!(server.kinds(DOWN), [packet::PING], "{at}");
    }
    server.now = 11_000;
    server.packet(UP, packet::PING, 9, None);
    server.step(Event::Tick);
    assert!(server.closes(DOWN), "nothing came for syncLimit");
}

#[test]
fn an_observer_tries_every_master_and_then_the_leader() {
    let mut server = Server::new(9);
    let mut dialled = vec![];
    loop {
        let dial = server.out.drain(..).find_map(|effect| match effect {
            Effect::DialMaster { follower } => Some((follower, false)),
            Effect::DialLeader { leader } => Some((leader, true)),
            _ => None,
        });
        let Some((sid, is_leader)) = dial else { break };
        dialled.push(sid);
        assert_eq!(is_leader, sid == LEADER);
        if is_leader {
            break;
        }
        server.step(Event::DialFailed { leader: sid });
        server.now += 100;
        server.step(Event::Tick);
    }
    assert_eq!((dialled.len(), dialled.last()), (21, Some(&LEADER)));
    assert!(dialled[..20].chunks(2).all(|pair| pair[0] != pair[1] && !pair.contains(&LEADER)));
    let first = dialled[0];
    server.step(Event::LinkOpened { link: UP, leader: Some(LEADER) });
    assert_eq!(server.kinds(UP), [packet::OBSERVER_INFO]);
    assert_eq!(server.peer.status().observer_master, Some(LEADER));
    assert_eq!(server.peer.status().mode, Mode::Observing { leader: LEADER });

    server.step(Event::LinkClosed { link: UP });
    server.settle();
    let next = server.out.iter().find_map(|effect| match effect {
        Effect::DialMaster { follower } => Some(*follower),
        _ => None,
    });
    assert!(next.is_some() && next != Some(first), "another one is the first the next time");
}
