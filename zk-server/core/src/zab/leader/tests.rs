//! What a leader makes sure of before it vouches for an epoch.

use crate::event::{ConnId, Effect, Event, LinkId, Now};
use crate::peer::Recovered;
use crate::{Database, Peer};
use wire::jute::Record;
use wire::zk::quorum::{LearnerInfo, Notification, PROTOCOL, PeerState, QuorumPacket, SessionTouch, packet};
use wire::zk::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{ConnectResponse, Zxid, op, zxid};

struct Server {
    peer: Peer,
    mono: u64,
    out: Vec<Effect>,
}

impl Server {
    fn new() -> Server {
        Server::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut crate::CoreConfig)) -> Server {
        let ensemble = crate::config::tests::ensemble(&[1, 2, 3], &[]);
        let recovered = Recovered {
            database: Database::new(),
            last_logged: 0,
            recent: vec![],
            accepted_epoch: 1,
            current_epoch: 1,
        };
        let mut config = crate::zab::tests::config(1, Some(ensemble));
        change(&mut config);
        let peer = Peer::new(config, recovered);
        let mut server = Server { peer, mono: 1000, out: vec![] };
        server.step(Event::Tick);
        server
    }

    fn step(&mut self, event: Event) {
        self.peer.step(Now { mono: self.mono, wall: 0 }, event, &mut self.out);
    }

    /// Both others vote for a leader.
    fn elect(&mut self, leader: i64, zxid: Zxid, round: i64, peer_epoch: i64) {
        for from in [2, 3] {
            let vote =
                Notification { state: PeerState::Looking, leader, zxid, round, peer_epoch, config: None };
            self.step(Event::Vote { from, vote });
        }
    }

    fn packet(&mut self, link: LinkId, kind: i32, zxid: Zxid, data: Option<bytes::Bytes>) {
        self.step(Event::LinkPacket { link, packet: QuorumPacket::new(kind, zxid, data) });
    }

    /// Follows server 3 into epoch 2, and gets a proposal that the log does not hold yet.
    fn follow(&mut self) {
        let link = LinkId(3);
        self.elect(3, 0, 1, 1);
        self.step(Event::LinkOpened { link, leader: Some(3) });
        self.packet(link, packet::LEADER_INFO, zxid(2, 0), Some(PROTOCOL.encode()));
        self.packet(link, packet::DIFF, 0, None);
        self.packet(link, packet::NEW_LEADER, zxid(2, 0), None);
        self.packet(link, packet::UP_TO_DATE, -1, None);
        let header = TxnHeader { session: 1, cxid: 1, zxid: zxid(2, 1), time: 5, kind: op::CREATE };
        let path = "/late".into();
        let create = CreateTxn { path, data: None, acl: vec![], ephemeral: false, parent_cversion: 1 };
        let txn = Txn::new(header, TxnRecord::Create(create), None);
        self.packet(link, packet::PROPOSAL, zxid(2, 1), Some(txn.bytes));
        self.step(Event::LinkClosed { link });
        self.out.clear();
    }

    /// Leads epoch 2 with server 2 in sync.
    fn lead(&mut self, link: LinkId) {
        self.elect(1, 0, 1, 1);
        self.step(Event::LinkOpened { link, leader: None });
        let info = LearnerInfo { sid: 2, protocol: PROTOCOL, config_version: 0 };
        self.packet(link, packet::FOLLOWER_INFO, zxid(1, 0), Some(info.encode()));
        self.packet(link, packet::ACK_EPOCH, 0, Some(1i32.encode()));
        self.packet(link, packet::ACK, zxid(2, 0), None);
        assert!(self.sends(packet::UP_TO_DATE));
        self.packet(link, packet::ACK, zxid(2, 0), None);
        self.out.clear();
    }

    /// A new session of a client of this server, whose creation is the first transaction of epoch 2.
    fn session(&mut self, conn: ConnId, link: LinkId) -> i64 {
        self.step(Event::ClientOpened { conn, peer: std::net::IpAddr::from([127, 0, 0, 1]) });
        self.step(Event::ClientFrame { conn, frame: crate::rig::connect(0, None).encode() });
        self.step(Event::Durable { zxid: zxid(2, 1) });
        self.packet(link, packet::ACK, zxid(2, 1), None);
        let frame = self.out.iter().find_map(|effect| match effect {
            Effect::ToClient { bytes, .. } => Some(bytes.slice(4..)),
            _ => None,
        });
        self.out.clear();
        ConnectResponse::decode(&frame.expect("the session is there")).unwrap().session
    }

    fn closes(&self, conn: ConnId) -> bool {
        self.out.iter().any(|effect| matches!(effect, Effect::CloseClient { conn: of } if *of == conn))
    }

    fn vouches(&self, epoch: i64) -> bool {
        self.out
            .iter()
            .any(|effect| matches!(effect, Effect::StoreCurrentEpoch { epoch: at } if *at == epoch))
    }

    fn sends(&self, kind: i32) -> bool {
        self.out
            .iter()
            .any(|effect| matches!(effect, Effect::SendPacket { packet, .. } if packet.kind == kind))
    }
}

#[test]
fn a_leader_vouches_for_its_epoch_when_its_own_history_is_on_stable_storage() {
    let mut server = Server::new();
    server.follow();
    server.elect(1, zxid(2, 1), 2, 2);
    let link = LinkId(5);
    server.step(Event::LinkOpened { link, leader: None });
    let info = LearnerInfo { sid: 2, protocol: PROTOCOL, config_version: 0 };
    server.packet(link, packet::FOLLOWER_INFO, zxid(2, 0), Some(info.encode()));
    assert!(server.sends(packet::LEADER_INFO));
    server.packet(link, packet::ACK_EPOCH, 0, Some(2i32.encode()));
    assert!(!server.vouches(3) && !server.sends(packet::SNAP), "0x200000001 may still be lost");
    server.step(Event::Durable { zxid: zxid(2, 1) });
    assert!(server.vouches(3) && server.sends(packet::SNAP));
}

#[test]
fn a_leader_that_does_not_serve_sends_clients_away() {
    let (conn, link) = (ConnId(4), LinkId(5));
    let mut server = Server::with(|config| config.leader_serves = false);
    server.lead(link);
    server.step(Event::ClientOpened { conn, peer: std::net::IpAddr::from([127, 0, 0, 1]) });
    assert!(server.closes(conn) && !server.peer.status().serving);
}

#[test]
fn a_session_that_came_back_on_a_learner_leaves_its_connection_here() {
    let (conn, link) = (ConnId(4), LinkId(5));
    let mut server = Server::new();
    server.lead(link);
    let session = server.session(conn, link);
    let touch = |session| Some(SessionTouch { session, timeout: 10_000 }.encode());
    server.packet(link, packet::REVALIDATE, -1, touch(session + 1));
    assert!(server.sends(packet::REVALIDATE) && !server.closes(conn), "another session, which nobody knows");
    server.packet(link, packet::REVALIDATE, -1, touch(session));
    assert!(server.closes(conn));
}

/// What has been sent on a link, in order; 0 stands for the stream of a snapshot.
fn sent(server: &mut Server, to: LinkId) -> Vec<i32> {
    let effects = std::mem::take(&mut server.out);
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SendPacket { link, packet } if *link == to => Some(packet.kind),
            Effect::SendSnapshot { link, .. } if *link == to => Some(0),
            _ => None,
        })
        .collect()
}

#[test]
fn newleader_stands_behind_a_snapshot_and_all_that_was_committed_while_it_was_sent() {
    let (quick, late) = (LinkId(5), LinkId(6));
    let mut server = Server::new();
    server.lead(quick);
    server.session(ConnId(4), quick);
    server.step(Event::LinkOpened { link: late, leader: None });
    let info = LearnerInfo { sid: 3, protocol: PROTOCOL, config_version: 0 };
    server.packet(late, packet::FOLLOWER_INFO, zxid(1, 0), Some(info.encode()));
    // Older than all that is remembered, and of another epoch.
    server.packet(late, packet::ACK_EPOCH, zxid(1, 7), Some(1i32.encode()));
    assert_eq!(sent(&mut server, late), [packet::LEADER_INFO, packet::SNAP, 0]);
    server.step(Event::ClientOpened { conn: ConnId(8), peer: std::net::IpAddr::from([127, 0, 0, 1]) });
    server.step(Event::ClientFrame { conn: ConnId(8), frame: crate::rig::connect(0, None).encode() });
    server.step(Event::LinkProgress { link: late });
    server.step(Event::Durable { zxid: zxid(2, 2) });
    server.packet(quick, packet::ACK, zxid(2, 2), None);
    server.peer.step(Now { mono: 2100, wall: 0 }, Event::Tick, &mut server.out);
    assert_eq!(sent(&mut server, late), [packet::PROPOSAL, packet::COMMIT]);
    server.step(Event::SnapshotSent { link: late });
    assert_eq!(sent(&mut server, late), [packet::NEW_LEADER]);
    server.step(Event::SnapshotSent { link: late });
    assert_eq!(sent(&mut server, late), [], "once");
}

#[test]
fn a_learner_that_stops_reading_its_snapshot_is_dropped_and_one_that_reads_for_long_is_not() {
    let (quick, late) = (LinkId(5), LinkId(6));
    let mut server = Server::new();
    server.lead(quick);
    server.session(ConnId(4), quick);
    server.step(Event::LinkOpened { link: late, leader: None });
    let info = LearnerInfo { sid: 3, protocol: PROTOCOL, config_version: 0 };
    server.packet(late, packet::FOLLOWER_INFO, zxid(1, 0), Some(info.encode()));
    server.packet(late, packet::ACK_EPOCH, zxid(1, 7), Some(1i32.encode()));
    let mut at = |mono, events: Vec<Event>| {
        let now = Now { mono, wall: 0 };
        let ping = QuorumPacket::new(packet::PING, 0, None);
        server.peer.step(now, Event::LinkPacket { link: quick, packet: ping }, &mut server.out);
        events.into_iter().for_each(|event| server.peer.step(now, event, &mut server.out));
        server.peer.step(now, Event::Tick, &mut server.out);
        server.out.iter().any(|effect| matches!(effect, Effect::CloseLink { link } if *link == late))
    };
    for second in (5..60).step_by(5) {
        assert!(!at(second * 1000, vec![Event::LinkProgress { link: late }]), "{second} s");
    }
    for second in (60..75).step_by(5) {
        assert!(!at(second * 1000, vec![]), "{second} s");
    }
    assert!(at(75_000, vec![]), "it has taken nothing for 20 s");
}

#[test]
fn a_leader_gives_way_to_the_later_epoch_that_a_voter_has_promised_itself_to() {
    let hello = |sid| Some(LearnerInfo { sid, protocol: PROTOCOL, config_version: 0 }.encode());
    let mut server = Server::new();
    server.lead(LinkId(5));
    server.step(Event::LinkOpened { link: LinkId(6), leader: None });
    server.packet(LinkId(6), packet::FOLLOWER_INFO, zxid(2, 0), hello(3));
    assert!(server.sends(packet::LEADER_INFO), "it has promised itself to this epoch, and may follow");
    server.step(Event::LinkOpened { link: LinkId(7), leader: None });
    server.packet(LinkId(7), packet::FOLLOWER_INFO, zxid(4, 0), hello(3));
    let later = |server: &mut Server, mono| {
        server.mono = mono;
        server.packet(LinkId(5), packet::PING, 0, None);
        server.step(Event::Tick);
        server.peer.status().mode
    };
    assert_eq!(later(&mut server, 3000), crate::peer::Mode::Leading, "it may be back in a moment");
    assert_eq!(later(&mut server, 6000), crate::peer::Mode::Looking);
    assert!(server.out.iter().any(|effect| matches!(effect, Effect::StoreAcceptedEpoch { epoch: 4 })));
    // Elected again, it has an epoch that all may join, whoever is connected first.
    server.out.clear();
    server.elect(1, zxid(2, 0), 2, 2);
    server.step(Event::LinkOpened { link: LinkId(8), leader: None });
    server.packet(LinkId(8), packet::FOLLOWER_INFO, zxid(2, 0), hello(2));
    assert!(server.out.iter().any(|effect| matches!(effect, Effect::StoreAcceptedEpoch { epoch: 5 })));
}

#[test]
fn a_term_ends_in_an_idle_moment_before_its_zxids_do_and_at_the_last_one_in_any_case() {
    let link = LinkId(5);
    let looks = |server: &Server| server.out.iter().any(|effect| matches!(effect, Effect::SendVote { .. }));
    let ask = |server: &mut Server, n: i64| {
        server.step(Event::ClientOpened {
            conn: ConnId(n as u64),
            peer: std::net::IpAddr::from([127, 0, 0, 1]),
        });
        server.step(Event::ClientFrame {
            conn: ConnId(n as u64),
            frame: crate::rig::connect(0, None).encode(),
        });
    };
    let settle = |server: &mut Server, n: i64| {
        server.step(Event::Durable { zxid: zxid(2, n) });
        server.packet(link, packet::ACK, zxid(2, n), None);
    };
    for idle in [true, false] {
        let mut server = Server::with(|config| config.term_end = 512);
        server.lead(link);
        (1..510).for_each(|n| {
            ask(&mut server, n);
            settle(&mut server, n);
        });
        server.step(Event::Tick);
        assert!(!looks(&server), "there are zxids left");
        ask(&mut server, 510);
        server.step(Event::Tick);
        assert!(!looks(&server), "somebody waits for an answer");
        if idle {
            settle(&mut server, 510);
            server.step(Event::Tick);
        } else {
            ask(&mut server, 511);
            assert!(!looks(&server), "the last one but one");
            ask(&mut server, 512);
        }
        assert!(looks(&server));
    }
}

#[test]
fn a_sync_is_answered_when_a_quorum_has_shown_that_it_still_follows() {
    let (conn, link) = (ConnId(4), LinkId(5));
    let mut server = Server::new();
    server.lead(link);
    server.session(conn, link);
    let answered = |server: &mut Server| {
        let out = std::mem::take(&mut server.out);
        out.iter().filter(|effect| matches!(effect, Effect::ToClient { .. })).count()
    };
    let sync = |server: &mut Server, xid| {
        let path = wire::zk::PathRequest { path: "/".into() };
        server.step(Event::ClientFrame { conn, frame: crate::rig::frame(xid, op::SYNC, &path) });
        let pinged = server.sends(packet::PING);
        (pinged, answered(server))
    };
    let pong = |server: &mut Server| {
        server.packet(link, packet::PING, zxid(2, 1), None);
        let pinged = server.sends(packet::PING);
        (pinged, answered(server))
    };
    assert_eq!(sync(&mut server, 1), (true, 0));
    assert_eq!(sync(&mut server, 2), (false, 0), "it came behind the PING, and waits for the next");
    assert_eq!(sync(&mut server, 3), (false, 0));
    assert_eq!(pong(&mut server), (true, 1));
    assert_eq!(pong(&mut server), (false, 2));
    // A write behind a sync is logged by a quorum: the sync is answered first.
    assert_eq!(sync(&mut server, 4), (true, 0));
    let path = wire::zk::PathRequest { path: "/none".into() };
    server.step(Event::ClientFrame { conn, frame: crate::rig::frame(5, op::DELETE_CONTAINER, &path) });
    server.step(Event::Durable { zxid: zxid(2, 2) });
    server.out.clear();
    server.packet(link, packet::ACK, zxid(2, 2), None);
    let kinds = server.out.iter().filter_map(|effect| match effect {
        Effect::ToClient { .. } => Some("answer"),
        Effect::SendPacket { packet, .. } if packet.kind == packet::COMMIT => Some("commit"),
        _ => None,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["answer", "commit", "answer"]);
    server.out.clear();
    assert_eq!(pong(&mut server), (false, 0));
    assert_eq!(sync(&mut server, 6), (true, 0));
    server.step(Event::LinkClosed { link });
    assert_eq!(answered(&mut server), 0, "nobody says that no other leader serves");
}

#[test]
fn a_voter_with_a_later_history_than_the_quorum_s_stays_outside_and_loses_nothing() {
    let mut server = Server::new();
    server.lead(LinkId(5));
    let ahead = Notification {
        state: PeerState::Looking,
        leader: 3,
        zxid: zxid(4, 9),
        round: 1,
        peer_epoch: 4,
        config: None,
    };
    server.step(Event::Vote { from: 3, vote: ahead });
    server.step(Event::LinkOpened { link: LinkId(7), leader: None });
    let hello = LearnerInfo { sid: 3, protocol: PROTOCOL, config_version: 0 }.encode();
    server.packet(LinkId(7), packet::FOLLOWER_INFO, zxid(4, 0), Some(hello));
    assert_eq!(server.peer.status().mode, crate::peer::Mode::Leading);
    assert!(!server.out.iter().any(|effect| matches!(effect, Effect::StoreAcceptedEpoch { epoch: 4 })));
}

#[test]
fn a_leader_without_room_gives_way_once_and_then_refuses_what_clients_write() {
    let link = LinkId(5);
    let mut server = Server::new();
    server.lead(link);
    server.session(ConnId(4), link);
    server.step(Event::DiskSpace { enough: false });
    server.step(Event::Tick);
    let votes = |server: &Server| -> Vec<(i64, Zxid)> {
        let votes = server.out.iter().filter_map(|effect| match effect {
            Effect::SendVote { vote, .. } => Some((vote.leader, vote.zxid)),
            _ => None,
        });
        votes.collect()
    };
    assert_eq!(votes(&server), [(1, 0); 2], "whoever has anything is to be preferred");
    // Nobody else can: elected again, it keeps the lead, and says truly what it has in the next election.
    server.out.clear();
    server.elect(1, zxid(2, 1), 2, 2);
    let link = LinkId(7);
    server.step(Event::LinkOpened { link, leader: None });
    let info = LearnerInfo { sid: 2, protocol: PROTOCOL, config_version: 0 };
    server.packet(link, packet::FOLLOWER_INFO, zxid(2, 0), Some(info.encode()));
    server.packet(link, packet::ACK_EPOCH, zxid(2, 1), Some(2i32.encode()));
    server.packet(link, packet::ACK, zxid(3, 0), None);
    server.packet(link, packet::ACK, zxid(3, 0), None);
    server.step(Event::Tick);
    assert_eq!(server.peer.status().mode, crate::peer::Mode::Leading);
    server.step(Event::LinkClosed { link });
    for mono in [60_000, 61_000] {
        server.peer.step(Now { mono, wall: 0 }, Event::Tick, &mut server.out);
    }
    assert_eq!(votes(&server).last(), Some(&(1, zxid(3, 0))));
}
