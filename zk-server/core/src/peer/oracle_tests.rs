//! Two voters of which an oracle lets one decide alone: two real cores, with all that they say to each other delivered at
//! once, or not at all.

use super::*;
use crate::config::tests::ensemble;
use crate::event::ConnId;
use crate::rig::{connect, frame};
use std::collections::{BTreeSet, VecDeque};
use wire::jute::Record;
use wire::zk::{Acl, CreateRequest, Id, op};

struct Two {
    peers: [Peer; 2],
    now: Now,
    /// Whether they reach each other.
    joined: bool,
    links: u64,
    /// Those that are open.
    open: BTreeSet<LinkId>,
    waiting: VecDeque<(usize, Event)>,
}

impl Two {
    fn new() -> Two {
        let peer = |myid: Sid| {
            let config = crate::zab::tests::config(myid, Some(ensemble(&[1, 2], &[])));
            let recovered = Recovered {
                database: Database::new(),
                last_logged: 0,
                recent: vec![],
                accepted_epoch: 0,
                current_epoch: 0,
            };
            Peer::new(CoreConfig { oracle: true, tick_ms: 500, ..config }, recovered)
        };
        let now = Now { mono: 1000, wall: 1_700_000_000_000 };
        let mut two = Two {
            peers: [peer(1), peer(2)],
            now,
            joined: true,
            links: 0,
            open: BTreeSet::new(),
            waiting: VecDeque::new(),
        };
        two.waiting.extend([(0, Event::Tick), (1, Event::Tick)]);
        two.settle();
        two
    }

    fn settle(&mut self) {
        while let Some((n, event)) = self.waiting.pop_front() {
            let mut out = vec![];
            self.peers[n].step(self.now, event, &mut out);
            out.into_iter().for_each(|effect| self.perform(n, effect));
        }
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        let other = 1 - n;
        let me = n as Sid + 1;
        match effect {
            Effect::SendVote { vote, .. } if self.joined => {
                self.waiting.push_back((other, Event::Vote { from: me, vote }));
            }
            Effect::DialLeader { leader } if !self.joined => {
                self.waiting.push_back((n, Event::DialFailed { leader }));
            }
            Effect::DialLeader { leader } => {
                self.links += 1;
                let link = LinkId(self.links);
                self.open.insert(link);
                self.waiting.push_back((other, Event::LinkOpened { link, leader: None }));
                self.waiting.push_back((n, Event::LinkOpened { link, leader: Some(leader) }));
            }
            Effect::SendPacket { link, packet } if self.open.contains(&link) => {
                self.waiting.push_back((other, Event::LinkPacket { link, packet }));
            }
            Effect::CloseLink { link } if self.open.remove(&link) => {
                self.waiting.extend([n, other].map(|at| (at, Event::LinkClosed { link })));
            }
            Effect::Append { zxid, .. } => self.waiting.push_back((n, Event::Durable { zxid })),
            Effect::Truncate { .. } | Effect::SendSnapshot { .. } | Effect::SaveSnapshot => {
                panic!("server {me} is to lose or to skip nothing: {effect:?}")
            }
            _ => {}
        }
    }

    /// Both live by their deadlines.
    fn run(&mut self, ms: u64) {
        let until = self.now.mono + ms;
        loop {
            let next = self.peers.iter().filter_map(Peer::deadline).min().filter(|at| *at <= until);
            self.now.mono = self.now.mono.max(next.unwrap_or(until));
            for n in 0..2 {
                if self.peers[n].deadline().is_some_and(|at| at <= self.now.mono) {
                    self.waiting.push_back((n, Event::Tick));
                }
            }
            self.settle();
            if next.is_none() {
                return;
            }
        }
    }

    fn oracle(&mut self, n: usize, grants: bool) {
        self.waiting.push_back((n, Event::Oracle { grants }));
        self.settle();
    }

    fn part(&mut self) {
        self.joined = false;
        for link in std::mem::take(&mut self.open) {
            self.waiting.extend([0, 1].map(|at| (at, Event::LinkClosed { link })));
        }
        self.settle();
    }

    fn join(&mut self) {
        self.joined = true;
    }

    fn serving(&self) -> Vec<usize> {
        (0..2).filter(|n| self.peers[*n].status().serving).collect()
    }

    /// A client of this server, and the node that it asks for.
    fn create(&mut self, n: usize, conn: u64, path: &str) {
        let conn = ConnId(conn);
        self.waiting.push_back((n, Event::ClientOpened { conn, peer: [127, 0, 0, 1].into() }));
        self.waiting.push_back((n, Event::ClientFrame { conn, frame: connect(0, None).encode() }));
        self.settle();
        let open = Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } };
        let create = CreateRequest { path: path.into(), data: None, acl: vec![open], flags: 0 };
        let frame = frame(1, op::CREATE, &create).slice(..);
        self.waiting.push_back((n, Event::ClientFrame { conn, frame }));
        self.settle();
    }

    fn has(&self, n: usize, path: &str) -> bool {
        self.peers[n].database().node(path).is_some()
    }
}

#[test]
fn what_one_of_two_has_decided_alone_the_other_learns_when_it_comes_back() {
    let mut two = Two::new();
    two.run(2000);
    assert_eq!(two.serving(), [0, 1], "without a word of the oracle both decide together");
    two.create(0, 1, "/together");
    assert!(two.has(0, "/together") && two.has(1, "/together"));

    two.part();
    two.run(20_000);
    assert_eq!(two.serving(), [0; 0], "neither is enough");
    two.oracle(0, true);
    two.run(2000);
    assert_eq!(two.serving(), [0]);
    assert!(two.peers[0].decides_alone());
    two.create(0, 2, "/alone");
    assert!(two.has(0, "/alone") && !two.has(1, "/alone"));

    two.join();
    two.run(120_000);
    assert_eq!(two.serving(), [0, 1]);
    assert!(two.has(1, "/alone") && !two.peers[0].decides_alone());

    // The oracle moves over, and its old favourite is lost.
    two.oracle(0, false);
    two.oracle(1, true);
    two.part();
    two.run(20_000);
    assert_eq!(two.serving(), [1]);
    two.create(1, 3, "/other");
    assert!(two.has(1, "/other") && two.has(1, "/alone"));
    two.join();
    two.run(120_000);
    assert_eq!(two.serving(), [0, 1]);
    assert!(two.has(0, "/other"));
}

#[test]
fn a_leader_whose_follower_leaves_finishes_what_waited_for_it_only_with_the_oracle() {
    for grants in [false, true] {
        let mut two = Two::new();
        two.run(2000);
        let leader = (0..2).find(|n| two.peers[*n].status().mode == Mode::Leading).unwrap();
        two.oracle(leader, grants);
        assert!(!two.peers[leader].decides_alone(), "somebody follows");
        // Nobody acknowledges any more, and nobody has noticed.
        let open = std::mem::take(&mut two.open);
        two.create(leader, 1, "/cut-off");
        assert!(!two.has(leader, "/cut-off"));
        two.open = open;
        two.part();
        two.run(400);
        // The session was proposed, and waits for the follower; with the oracle it is there.
        assert_eq!(two.peers[leader].database().sessions().len(), usize::from(grants));
        two.run(20_000);
        assert_eq!(two.serving(), if grants { vec![leader] } else { vec![] });
        two.oracle(leader, false);
        two.run(2000);
        assert_eq!(two.serving(), [0; 0], "the oracle has taken its word back");
    }
}
