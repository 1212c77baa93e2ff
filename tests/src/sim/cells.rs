//! Nodes that all clients create, change, delete and read behind a sync: their histories must be linearizable.

use super::Variety;
use super::invariants::Invariant::{Answers, Linearizability};
use super::replies::read;
use super::request::{Cell, Request};
use super::world::World;
use crate::linear::{self, Answer, Call, Operation, Verdict};
use std::collections::BTreeMap;
use wire::jute::Reader;
use wire::zk::{GetDataResponse, Stat, err};
use zk_core::Database;

const CELLS: usize = 2;

/// The cell that a draw means.
pub fn path(draw: usize) -> String {
    format!("/cell-{}", draw % CELLS)
}

/// What was asked of each cell and what was answered, on a clock that moves with every question and answer.
#[derive(Debug, Default)]
pub struct History {
    clock: u64,
    cells: BTreeMap<String, Vec<Operation>>,
}

impl History {
    pub fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Returns its place. `since`: where it began earlier, by the sync before it.
    pub fn asked(&mut self, session: i64, cell: Cell, request: &Request, since: Option<u64>) -> usize {
        let start = since.unwrap_or_else(|| self.now());
        let data = request.data.clone();
        let call = match cell {
            Cell::Create => Call::Create(data),
            Cell::Set => Call::Set { data, expected: request.expected },
            Cell::Delete => Call::Delete { expected: request.expected },
            Cell::Read => Call::Read,
        };
        let history = self.cells.entry(request.path.clone()).or_default();
        history.push(Operation { session, call, start, answer: None });
        history.len() - 1
    }

    fn answered(&mut self, request: &Request, answer: Answer) {
        let end = self.now();
        if let (Some(at), Some(history)) = (request.recorded, self.cells.get_mut(&request.path)) {
            history[at].answer = Some((end, answer));
        }
    }

    /// Linearizability; and durability, by a last read of what everybody has at the end. How many nodes remain unclear.
    pub fn check(&mut self, db: &Database) -> Result<u64, String> {
        let mut unclear = 0;
        let (start, end) = (self.now(), self.now());
        for (path, history) in &mut self.cells {
            let state = db.node(path).map(|node| {
                let data = node.data().unwrap_or_default().to_vec();
                (node.stat().version, data.into())
            });
            let answer = Some((end, Answer::Read(state)));
            history.push(Operation { session: 0, call: Call::Read, start, answer });
            match linear::check(history) {
                Verdict::Linearizable => {}
                Verdict::Broken(why) => return Err(Linearizability.broken(format!("{path}: {why}"))),
                Verdict::Unclear => unclear += 1,
            }
        }
        Ok(unclear)
    }
}

impl World {
    pub fn cell_answered(
        &mut self,
        id: usize,
        cell: Cell,
        request: &Request,
        code: i32,
        from: &mut Reader,
    ) -> Result<(), String> {
        let versions = &mut self.clients[id].cell_versions;
        let answer = match (cell, code) {
            // Whatever it was, the session is over: nobody knows what became of the request.
            (_, err::SESSION_EXPIRED | err::SESSION_MOVED) => return Ok(()),
            (Cell::Create | Cell::Set | Cell::Delete, err::SYSTEM)
                if self.setup.variety == Variety::FullDisks =>
            {
                self.figures.refused += 1;
                Answer::Refused
            }
            (Cell::Create | Cell::Delete, err::OK) => Answer::Done,
            (Cell::Set, err::OK) => {
                let stat: Stat = read(from)?;
                versions.insert(request.path.clone(), stat.version);
                Answer::Version(stat.version)
            }
            (Cell::Read, err::OK) => {
                let got: GetDataResponse = read(from)?;
                versions.insert(request.path.clone(), got.stat.version);
                Answer::Read(Some((got.stat.version, got.data.unwrap_or_default())))
            }
            (Cell::Read, err::NO_NODE) => Answer::Read(None),
            (Cell::Create, err::NODE_EXISTS) => Answer::NodeExists,
            (Cell::Set | Cell::Delete, err::NO_NODE) => Answer::NoNode,
            (Cell::Set | Cell::Delete, err::BAD_VERSION) => Answer::BadVersion,
            (cell, code) => {
                return Err(Answers.broken(format!("{cell:?} {} is answered by error {code}", request.path)));
            }
        };
        self.history.answered(request, answer);
        Ok(())
    }
}
