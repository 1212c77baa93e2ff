//! A follower whose leader goes away in the middle of its bring-up: what it then says of its own history.

use crate::event::{Effect, Event, LinkId, Now};
use crate::peer::{Mode, Recovered};
use crate::{Database, Peer};
use wire::jute::Record;
use wire::zk::quorum::{Notification, PROTOCOL, PeerState, QuorumPacket, packet};
use wire::zk::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{Zxid, op, zxid};

const LINK: LinkId = LinkId(7);
const LEADER: i64 = 3;

fn create(zxid: Zxid, path: &str) -> Txn {
    let header = TxnHeader { session: 1, cxid: 1, zxid, time: 5, kind: op::CREATE };
    let create =
        CreateTxn { path: path.into(), data: None, acl: vec![], ephemeral: false, parent_cversion: 1 };
    Txn::new(header, TxnRecord::Create(create), None)
}

/// A database after these transactions.
fn database(txns: &[Txn]) -> Database {
    let mut database = Database::new();
    for txn in txns {
        database.replay(txn);
        database.set_last_zxid(txn.zxid());
    }
    database
}

/// What server 1 has logged: the second one nobody else has.
fn own() -> Vec<Txn> {
    vec![create(zxid(1, 1), "/both"), create(zxid(1, 2), "/own")]
}

struct Follower {
    peer: Peer,
    out: Vec<Effect>,
}

impl Follower {
    /// Has found the leader of epoch 2, and waits for DIFF, TRUNC or SNAP.
    fn choosing() -> Follower {
        let ensemble = crate::config::tests::ensemble(&[1, 2, 3], &[]);
        let recovered = Recovered {
            database: database(&own()),
            last_logged: zxid(1, 2),
            recent: own(),
            accepted_epoch: 1,
            current_epoch: 1,
        };
        let peer = Peer::new(crate::zab::tests::config(1, Some(ensemble)), recovered);
        let mut follower = Follower { peer, out: vec![] };
        follower.step(Event::Tick);
        assert_eq!(follower.voted(), [zxid(1, 2); 2]);
        follower.follow();
        follower
    }

    fn step(&mut self, event: Event) {
        self.peer.step(Now { mono: 1000, wall: 0 }, event, &mut self.out);
    }

    fn packet(&mut self, kind: i32, zxid: Zxid, data: Option<bytes::Bytes>) {
        self.step(Event::LinkPacket { link: LINK, packet: QuorumPacket::new(kind, zxid, data) });
    }

    fn follow(&mut self) {
        for from in [LEADER, 2] {
            let (state, zxid) = (PeerState::Looking, zxid(1, 9));
            let vote = Notification { state, leader: LEADER, zxid, round: 1, peer_epoch: 1, config: None };
            self.step(Event::Vote { from, vote });
        }
        assert!(self.out.iter().any(|effect| matches!(effect, Effect::DialLeader { leader: LEADER })));
        self.step(Event::LinkOpened { link: LINK, leader: Some(LEADER) });
        self.packet(packet::LEADER_INFO, zxid(2, 0), Some(PROTOCOL.encode()));
        self.out.clear();
    }

    fn snapshot(&mut self) {
        self.packet(packet::SNAP, zxid(1, 9), None);
        let database = Box::new(database(&[create(zxid(1, 1), "/both"), create(zxid(1, 9), "/leaders")]));
        self.step(Event::LinkSnapshot { link: LINK, database });
    }

    /// The ends of its history that it has voted with since the last call.
    fn voted(&mut self) -> Vec<Zxid> {
        let votes = self.out.drain(..).filter_map(|effect| match effect {
            Effect::SendVote { vote, .. } => Some(vote.zxid),
            _ => None,
        });
        votes.collect()
    }

    fn has(&self, path: &str) -> bool {
        self.peer.database().node(path).is_some()
    }
}

#[test]
fn a_leader_is_dialled_again_after_a_pause_and_given_up_after_a_limit() {
    let mut config = crate::zab::tests::config(1, Some(crate::config::tests::ensemble(&[1, 2, 3], &[])));
    config.dialling = crate::config::Dialling { limit: 1, pause_ms: 1500 };
    let recovered = Recovered {
        database: Database::new(),
        last_logged: 0,
        recent: vec![],
        accepted_epoch: 1,
        current_epoch: 1,
    };
    let mut peer = Peer::new(config, recovered);
    let mut dials_at = |mono, event| {
        let mut out = vec![];
        peer.step(Now { mono, wall: 0 }, event, &mut out);
        let dials = out.iter().filter(|effect| matches!(effect, Effect::DialLeader { .. })).count();
        (dials, peer.status().mode)
    };
    let leading = |from, state| {
        let vote = Notification { state, leader: LEADER, zxid: 0, round: 1, peer_epoch: 1, config: None };
        Event::Vote { from, vote }
    };
    dials_at(0, Event::Tick);
    dials_at(0, leading(2, PeerState::Following));
    let following = Mode::Following { leader: LEADER };
    assert_eq!(dials_at(0, leading(LEADER, PeerState::Leading)), (1, following));
    dials_at(10, Event::DialFailed { leader: LEADER });
    assert_eq!(dials_at(1509, Event::Tick), (0, following));
    assert_eq!(dials_at(1510, Event::Tick), (1, following));
    assert_eq!(dials_at(1999, Event::Tick), (0, following));
    assert_eq!(dials_at(2000, Event::Tick), (0, Mode::Looking), "a tick is over");
}

#[test]
fn a_snapshot_that_was_not_saved_is_forgotten_with_its_leader() {
    let mut follower = Follower::choosing();
    let before = follower.peer.snapshot_basis();
    follower.snapshot();
    assert_eq!(follower.peer.snapshot_basis(), None, "the disk has another history");
    assert!(follower.has("/leaders") && !follower.has("/own"));
    assert_eq!(follower.peer.database().last_zxid(), zxid(1, 9));
    follower.step(Event::LinkClosed { link: LINK });
    assert_eq!(follower.voted(), [zxid(1, 2); 2]);
    assert!(follower.has("/own") && !follower.has("/leaders"));
    let after = follower.peer.snapshot_basis();
    assert!(after.is_some() && after != before, "a file begun of either database is to be given up");
}

#[test]
fn a_snapshot_that_is_being_saved_is_forgotten_with_its_leader() {
    let mut follower = Follower::choosing();
    follower.snapshot();
    follower.packet(packet::NEW_LEADER, zxid(2, 0), None);
    assert!(follower.peer.is_saving());
    follower.step(Event::LinkClosed { link: LINK });
    assert_eq!(follower.voted(), [zxid(1, 2); 2]);
    assert!(!follower.peer.is_saving());
    follower.step(Event::SnapshotSaved);
    assert!(
        follower.has("/own") && follower.voted().is_empty(),
        "a word that comes too late changes nothing"
    );
}

#[test]
fn a_snapshot_may_come_for_longer_than_init_limit_as_long_as_it_comes() {
    let mut follower = Follower::choosing();
    follower.packet(packet::SNAP, zxid(1, 9), None);
    follower.peer.step(Now { mono: 20_000, wall: 0 }, Event::LinkProgress { link: LINK }, &mut follower.out);
    follower.peer.step(Now { mono: 39_000, wall: 0 }, Event::Tick, &mut follower.out);
    assert_eq!(follower.voted(), []);
    follower.peer.step(Now { mono: 40_000, wall: 0 }, Event::Tick, &mut follower.out);
    assert_eq!(follower.voted(), [zxid(1, 2); 2], "nothing came for 20 s");
}

#[test]
fn a_snapshot_counts_once_newleader_has_had_it_saved() {
    let mut follower = Follower::choosing();
    follower.snapshot();
    follower.packet(packet::NEW_LEADER, zxid(2, 0), None);
    let effects = |follower: &mut Follower| -> Vec<&str> {
        let effects = std::mem::take(&mut follower.out);
        effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::SaveSnapshot => Some("save"),
                Effect::StoreCurrentEpoch { epoch: 2 } => Some("epoch"),
                Effect::SendPacket { packet, .. } if packet.kind == packet::ACK => Some("ack"),
                Effect::SendPacket { packet, .. } if packet.kind == packet::PING => Some("pong"),
                _ => None,
            })
            .collect()
    };
    follower.packet(packet::PING, zxid(2, 0), None);
    assert!(follower.peer.is_saving());
    assert_eq!(effects(&mut follower), ["save"], "nothing is promised, and the ACK is the next packet");
    assert_eq!(follower.peer.snapshot_basis(), None, "the disk has another history");
    follower.step(Event::SnapshotSaved);
    assert_eq!(effects(&mut follower), ["epoch", "ack"], "before it serves, a learner answers no PING");
    assert!(!follower.peer.is_saving() && follower.peer.snapshot_basis().is_some());
    follower.step(Event::LinkClosed { link: LINK });
    assert_eq!(follower.voted(), [zxid(1, 9); 2]);
    assert!(follower.has("/leaders"));
}

#[test]
fn a_follower_whose_log_is_being_cut_votes_when_that_is_done() {
    let mut follower = Follower::choosing();
    follower.packet(packet::TRUNC, zxid(1, 1), None);
    assert!(follower.out.iter().any(|effect| matches!(effect, Effect::Truncate { zxid: 0x1_0000_0001 })));
    assert_eq!(follower.peer.snapshot_basis(), None, "a snapshot would bring back what is cut off");
    follower.step(Event::LinkClosed { link: LINK });
    follower.step(Event::Tick);
    assert_eq!(follower.voted(), []);
    assert_eq!(follower.peer.snapshot_basis(), None);
    follower.step(Event::Truncated { database: Box::new(database(&own()[..1])) });
    assert_eq!(follower.voted(), [zxid(1, 1); 2]);
    assert!(follower.has("/both") && !follower.has("/own"));
    assert!(follower.peer.snapshot_basis().is_some());
}

#[test]
fn a_log_that_cannot_be_cut_where_it_should_tells_the_next_leader_where_it_ends() {
    let mut follower = Follower::choosing();
    follower.packet(packet::TRUNC, zxid(1, 1), None);
    // The snapshot of an earlier leader was the only place where 1/1 stood, and went with what is behind it.
    follower.step(Event::Truncated { database: Box::new(database(&[])) });
    assert_eq!(follower.voted(), [0; 2]);
    assert!(!follower.has("/both"));
}

#[test]
fn a_snapshot_under_way_is_given_up_when_what_is_not_committed_comes_to_count() {
    let mut follower = Follower::choosing();
    follower.packet(packet::DIFF, zxid(1, 2), None);
    follower.packet(packet::NEW_LEADER, zxid(2, 0), None);
    follower.packet(packet::UP_TO_DATE, -1, None);
    let begun = follower.peer.snapshot_basis();
    follower.packet(packet::PROPOSAL, zxid(2, 1), Some(create(zxid(2, 1), "/proposed").bytes));
    assert_eq!(follower.peer.snapshot_basis(), begun);
    follower.step(Event::LinkClosed { link: LINK });
    assert!(follower.has("/proposed"));
    let now = follower.peer.snapshot_basis();
    assert!(now.is_some() && now != begun);
}

#[test]
fn a_snapshot_under_way_ends_where_a_new_leader_s_history_is_applied() {
    let mut follower = Follower::choosing();
    let before = follower.peer.snapshot_basis();
    follower.packet(packet::DIFF, zxid(1, 3), None);
    let next = create(zxid(1, 3), "/next");
    follower.packet(packet::PROPOSAL, zxid(1, 3), Some(next.bytes.clone()));
    assert_eq!(follower.peer.snapshot_basis(), before);
    follower.packet(packet::COMMIT, zxid(1, 3), None);
    assert!(follower.has("/next"));
    assert_ne!(follower.peer.snapshot_basis(), before, "a quorum may never have it");
}
