//! A server of its own: a quorum of one, without epochs and without links.

use super::pipeline::Pipeline;
use super::{Over, Server};
use crate::event::{Effect, Now};
use crate::front::{Request, Upcall};

#[derive(Debug)]
pub struct Standalone {
    pub pipeline: Pipeline,
}

impl Standalone {
    pub fn new(server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Standalone {
        out.push(Effect::RollLog);
        let pipeline = Pipeline::new(server, server.history.last_logged(), now);
        server.front.serve(true, now, out);
        Standalone { pipeline }
    }

    pub fn deadline(&self) -> u64 {
        self.pipeline.deadline()
    }

    pub fn tick(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
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
        let txn = self.pipeline.order(request, server, now)?;
        server.history.propose(txn, out);
        Ok(())
    }
}
