//! What a server does of its own accord while nobody leads, and after it stood still.

use super::*;
use crate::config::LocalSessionRules;
use crate::config::tests::{ensemble, standalone};
use crate::event::ConnId;
use crate::rig::connect;
use wire::jute::Record;
use wire::zk::{ConnectRequest, ConnectResponse};

struct One {
    peer: Peer,
    now: Now,
    out: Vec<Effect>,
}

impl One {
    fn new(config: CoreConfig) -> One {
        let nothing = Recovered {
            database: Database::new(),
            last_logged: 0,
            recent: vec![],
            accepted_epoch: 0,
            current_epoch: 0,
        };
        let mut one =
            One { peer: Peer::new(config, nothing), now: Now { mono: 1000, wall: 1 << 40 }, out: vec![] };
        one.step(Event::Tick);
        one
    }

    fn step(&mut self, event: Event) {
        let mut out = vec![];
        self.peer.step(self.now, event, &mut out);
        for effect in out {
            if let Effect::Append { zxid, .. } = effect {
                self.step(Event::Durable { zxid });
            } else {
                self.out.push(effect);
            }
        }
    }

    /// Lives by its own deadlines.
    fn run_until(&mut self, mono: u64) {
        while let Some(deadline) = self.peer.deadline().filter(|deadline| *deadline <= mono) {
            self.now.mono = self.now.mono.max(deadline);
            self.step(Event::Tick);
        }
        self.now.mono = mono;
    }

    fn connect(&mut self, conn: u64, request: &ConnectRequest) -> Option<ConnectResponse> {
        let conn = ConnId(conn);
        self.out.clear();
        self.step(Event::ClientOpened { conn, peer: [127, 0, 0, 1].into() });
        self.step(Event::ClientFrame { conn, frame: request.encode() });
        self.out.iter().find_map(|effect| match effect {
            Effect::ToClient { conn: to, bytes } if *to == conn => {
                ConnectResponse::decode(&bytes.slice(4..)).ok()
            }
            _ => None,
        })
    }

    fn sessions(&self) -> usize {
        self.peer.database().sessions().len()
    }
}

#[test]
fn sessions_outlive_a_server_that_stood_still_by_as_much() {
    let mut one = One::new(standalone());
    assert_eq!(one.connect(1, &connect(0, None)).unwrap().timeout, 10_000);
    one.step(Event::ClientClosed { conn: ConnId(1) });
    one.run_until(8000);
    // Stopped for a minute; the first that it hears afterwards is its own clock.
    one.now.mono = 68_000;
    one.step(Event::Tick);
    assert_eq!(one.sessions(), 1);
    one.run_until(70_000);
    assert_eq!(one.sessions(), 1);
    one.run_until(76_000);
    assert_eq!(one.sessions(), 0);
}

#[test]
fn a_server_that_is_only_busy_puts_nothing_off() {
    let mut one = One::new(standalone());
    one.connect(1, &connect(0, None)).unwrap();
    one.step(Event::ClientClosed { conn: ConnId(1) });
    // Every step comes a little late.
    for mono in (1000..=14_000).step_by(1200) {
        one.now.mono = mono;
        one.step(Event::Tick);
    }
    assert_eq!(one.sessions(), 0);
}

#[test]
fn a_member_without_a_quorum_serves_who_only_reads_after_a_while() {
    let mut one = One::new(CoreConfig {
        ensemble: Some(ensemble(&[1, 2, 3], &[])),
        local_sessions: LocalSessionRules { enabled: true, upgrading: false },
        read_only_after_ms: Some(2000),
        ..standalone()
    });
    let read_only = ConnectRequest { read_only: Some(true), ..connect(0, None) };
    one.run_until(2999);
    assert_eq!(one.connect(1, &read_only), None);
    assert!(!one.peer.status().serving);
    one.run_until(3000);
    let status = one.peer.status();
    assert_eq!((status.mode, status.serving, status.read_only), (Mode::Looking, true, true));
    assert_eq!(one.connect(2, &connect(0, None)), None);
    assert_eq!(one.connect(3, &read_only).unwrap().read_only, Some(true));
    let config = one.peer.database().node("/zookeeper/config").unwrap().data().unwrap_or_default().to_vec();
    assert!(
        config.starts_with(b"server.1=h1:2888:3888:participant\n"),
        "as configured, before anybody leads"
    );
}
