//! A server of its own: a quorum of one, without epochs and without links.

use super::pipeline::Pipeline;
use super::{Over, Server};
use crate::event::{Effect, Now};
use crate::front::{Request, Upcall};
use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Standalone {
    pub pipeline: Pipeline,
    /// When the sessions that were heard of are counted next: as often as a leader hears of its followers', or they
    /// would live up to twice their time-out.
    tick_at: u64,
}

impl Standalone {
    pub fn new(server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Standalone {
        out.push(Effect::RollLog);
        let pipeline = Pipeline::new(server, server.history.last_logged(), now);
        server.front.measures.served(false, now);
        server.front.serve(true, now, out);
        Standalone { pipeline, tick_at: next_tick(server, now) }
    }

    pub fn deadline(&self) -> u64 {
        self.pipeline.deadline().min(self.tick_at)
    }

    pub fn tick(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        self.tick_at = next_tick(server, now);
        for request in self.pipeline.tick(server, now) {
            self.propose(&request, server, now, out)?;
        }
        self.serve_front(server, now, out)
    }

    pub fn on_durable(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let durable = server.history.durable();
        while server.history.pending().front().is_some_and(|txn| txn.zxid() <= durable) {
            for request in self.pipeline.commit(server, now, out) {
                server.front.synced(&request, now, &server.history.db, out, &mut server.up);
            }
        }
        self.serve_front(server, now, out)
    }

    pub fn serve_front(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        while !server.up.is_empty() {
            for upcall in std::mem::take(&mut server.up) {
                match upcall {
                    Upcall::Write(request) => self.propose(&request, server, now, out)?,
                    Upcall::Sync(request) => {
                        if let Some(request) = self.pipeline.sync(request, server) {
                            server.front.synced(&request, now, &server.history.db, out, &mut server.up);
                        }
                    }
                    Upcall::Revalidate { session, timeout } => {
                        let valid = self.pipeline.revalidate(session, timeout, None, now);
                        let db = &server.history.db;
                        server.front.revalidated(session, valid, now, db, out, &mut server.up);
                    }
                }
            }
        }
        Ok(())
    }

    fn propose(
        &mut self,
        request: &Request,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let txn = self.pipeline.order(request, server, &BTreeSet::new(), now)?;
        server.history.propose(txn, out);
        Ok(())
    }
}

fn next_tick(server: &Server, now: Now) -> u64 {
    now.mono + server.config.tick_ms / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::world;
    use crate::config::tests::standalone;
    use crate::config::{CoreConfig, Reaping};
    use crate::database::Database;
    use crate::event::{ConnId, Event};
    use crate::peer::{Peer, Recovered};
    use crate::rig::{connect, frame};
    use bytes::BytesMut;
    use wire::jute::{Reader, Record};
    use wire::zk::{CreateRequest, CreateTtlRequest, op, perm};

    const CONN: ConnId = ConnId(1);

    /// One that lives by its own deadlines.
    struct Alone {
        peer: Peer,
        now: Now,
    }

    impl Alone {
        /// In service, with an empty database and one session.
        fn new(config: CoreConfig) -> Alone {
            let nothing = Recovered {
                database: Database::new(),
                last_logged: 0,
                recent: vec![],
                accepted_epoch: 0,
                current_epoch: 0,
            };
            let now = Now { mono: 1000, wall: 1_700_000_000_000 };
            let mut alone = Alone { peer: Peer::new(config, nothing), now };
            alone.step(Event::Tick);
            alone.step(Event::ClientOpened { conn: CONN, peer: [127, 0, 0, 1].into() });
            alone.step(Event::ClientFrame { conn: CONN, frame: connect(0, None).encode() });
            assert_eq!(alone.sessions(), 1);
            alone
        }

        fn step(&mut self, event: Event) {
            let mut out = vec![];
            self.peer.step(self.now, event, &mut out);
            for effect in out {
                if let Effect::Append { zxid, .. } = effect {
                    self.step(Event::Durable { zxid });
                }
            }
        }

        fn run_until(&mut self, mono: u64) {
            while let Some(deadline) = self.peer.deadline().filter(|deadline| *deadline <= mono) {
                self.wait_until(self.now.mono.max(deadline));
                self.step(Event::Tick);
            }
            self.wait_until(mono);
        }

        fn wait_until(&mut self, mono: u64) {
            self.now = Now { mono, wall: self.now.wall + (mono - self.now.mono) as i64 };
        }

        fn sessions(&self) -> usize {
            self.peer.database().sessions().len()
        }
    }

    #[test]
    fn a_silent_session_ends_within_a_tick_of_its_timeout() {
        let mut alone = Alone::new(standalone());
        let conn = CONN;
        for ping_at in [4000, 8000, 12_500] {
            alone.run_until(ping_at);
            alone.step(Event::ClientFrame { conn, frame: frame(-2, op::PING, &()) });
        }
        alone.step(Event::ClientClosed { conn });
        alone.run_until(12_500 + 10_000 - 1);
        assert_eq!(alone.sessions(), 1);
        alone.run_until(12_500 + 10_000 + 2 * 2000);
        assert_eq!(alone.sessions(), 0);
    }

    #[test]
    fn a_restored_state_goes_on_where_the_history_is() {
        let mut alone = Alone::new(standalone());
        let create = |path: &str| CreateRequest {
            path: path.into(),
            data: None,
            acl: vec![world(perm::ALL)],
            flags: 0,
        };
        let conn = CONN;
        alone.step(Event::ClientFrame { conn, frame: frame(1, op::CREATE, &create("/before")) });
        let mut stream = BytesMut::new();
        alone.peer.database().encode_stream(&mut stream);
        alone.step(Event::ClientFrame { conn, frame: frame(2, op::CREATE, &create("/after")) });
        let last = alone.peer.database().last_zxid();
        assert!(alone.peer.can_restore());
        let database = Database::decode_stream(&mut Reader::new(stream.freeze())).unwrap();
        alone.step(Event::Restored { database: Box::new(database) });
        let db = alone.peer.database();
        assert!(db.node("/before").is_some() && db.node("/after").is_none());
        assert_eq!(db.last_zxid(), last);
        alone.step(Event::ClientFrame { conn, frame: frame(3, op::CREATE, &create("/later")) });
        let db = alone.peer.database();
        assert!(db.node("/later").is_some(), "the session was there when the snapshot was taken");
        assert_eq!((db.last_zxid(), db.digest_mismatches()), (last + 1, 0));
    }

    #[test]
    fn nodes_past_their_time_are_looked_for_at_intervals_and_removed_one_by_one() {
        let reaping = Reaping { check_ms: 3000, gap_ms: 100, never_used_ms: 0 };
        let mut alone = Alone::new(CoreConfig { reaping, ..standalone() });
        for path in ["/a", "/b", "/c"] {
            let request = CreateTtlRequest {
                path: path.into(),
                data: None,
                acl: vec![world(perm::ALL)],
                flags: 5,
                ttl: 1,
            };
            alone.step(Event::ClientFrame { conn: CONN, frame: frame(1, op::CREATE_TTL, &request) });
        }
        let fresh = Database::new().node_count();
        for (until, left) in [(3999, 3), (4000, 2), (4099, 2), (4100, 1), (4200, 0)] {
            alone.run_until(until);
            assert_eq!(alone.peer.database().node_count() - fresh, left, "at {until}");
        }
    }
}
