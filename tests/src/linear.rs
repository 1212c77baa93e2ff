//! Is there one order of what clients did to a znode that explains every answer, and that nobody's clock contradicts?
//!
//! The search of Wing and Gong, with Lowe's memory of what was tried: an operation may be next if it was asked for
//! before the earliest answer that is still to be explained. ZooKeeper promises this for writes, and for reads behind a
//! sync of the same session, whose time is from the sync's request to the read's answer. Znodes are independent, so each
//! is searched by itself. An operation without an answer may have happened at any time after it was asked for, or never.

use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};

/// A znode: its version and data; `None`: it is not there.
pub type State = Option<(i32, Bytes)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Create(Bytes),
    /// `expected`: the version that it must have, -1 for any, as on the wire.
    Set {
        data: Bytes,
        expected: i32,
    },
    Delete {
        expected: i32,
    },
    /// A read behind a sync.
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A create or a delete has happened.
    Done,
    /// A set has happened, and this is the version now.
    Version(i32),
    Read(State),
    NodeExists,
    NoNode,
    BadVersion,
    /// The server had no room on its disk: it has not happened.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The session, for a person to read.
    pub session: i64,
    pub call: Call,
    /// When it was asked for, on one clock for all.
    pub start: u64,
    /// When its answer came; `None`: nobody knows what became of it.
    pub answer: Option<(u64, Answer)>,
}

/// What the znode is after a call, and what the caller is told.
pub fn apply(state: &State, call: &Call) -> (State, Answer) {
    let fits = |expected: i32, version: i32| expected == -1 || expected == version;
    match (call, state) {
        (Call::Create(data), None) => (Some((0, data.clone())), Answer::Done),
        (Call::Create(_), Some(_)) => (state.clone(), Answer::NodeExists),
        (Call::Read, _) => (state.clone(), Answer::Read(state.clone())),
        (Call::Set { .. } | Call::Delete { .. }, None) => (None, Answer::NoNode),
        (Call::Set { expected, .. } | Call::Delete { expected }, Some((version, _)))
            if !fits(*expected, *version) =>
        {
            (state.clone(), Answer::BadVersion)
        }
        (Call::Set { data, .. }, Some((version, _))) => {
            (Some((version + 1, data.clone())), Answer::Version(version + 1))
        }
        (Call::Delete { .. }, Some(_)) => (None, Answer::Done),
    }
}

/// Places that are tried before the search is given up: many unknown outcomes can take it for ever.
const TRIES: usize = 300_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists.
    Linearizable,
    /// There is none: how far any order got, and what could not follow.
    Broken(String),
    /// Nobody can say in a reasonable time.
    Unclear,
}

pub fn check(history: &[Operation]) -> Verdict {
    let mut ops: Vec<&Operation> = history.iter().collect();
    // A read without an answer says nothing, nor does what has not happened: if it has, others see it.
    ops.retain(|op| op.answer.is_some() || op.call != Call::Read);
    ops.retain(|op| !matches!(op.answer, Some((_, Answer::Refused))));
    ops.sort_by_key(|op| op.start);
    let unanswered = ops.iter().filter(|op| op.answer.is_none()).count();
    let left = ops.len() - unanswered;
    let done = Done(vec![0; ops.len().div_ceil(64)]);
    Search { ops, done, state: None, left, tried: HashSet::new(), best: None }.run()
}

/// Which operations have their place in the order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

/// A place in the order: what may stand there and was not tried, and what stands there now, with the state before it.
struct Place {
    untried: Vec<usize>,
    taken: Option<(usize, State)>,
}

struct Search<'a> {
    /// By the time at which they were asked for.
    ops: Vec<&'a Operation>,
    done: Done,
    state: State,
    /// Answered ones without a place.
    left: usize,
    tried: HashSet<(Done, State)>,
    /// The fewest that were ever left, with the state and what could be next there.
    best: Option<(usize, State, Vec<usize>)>,
}

impl Search<'_> {
    fn run(mut self) -> Verdict {
        let mut places = vec![self.place()];
        while self.left > 0 {
            let Some(place) = places.last_mut() else { return Verdict::Broken(self.explain()) };
            if let Some((at, before)) = place.taken.take() {
                self.done.flip(at);
                self.left += usize::from(self.ops[at].answer.is_some());
                self.state = before;
            }
            let Some(at) = place.untried.pop() else {
                places.pop();
                continue;
            };
            let Some(next) = self.after(at) else { continue };
            self.done.flip(at);
            if !self.tried.insert((self.done.clone(), next.clone())) {
                self.done.flip(at);
                continue;
            }
            if self.tried.len() > TRIES {
                return Verdict::Unclear;
            }
            self.left -= usize::from(self.ops[at].answer.is_some());
            place.taken = Some((at, std::mem::replace(&mut self.state, next)));
            let place = self.place();
            places.push(place);
        }
        Verdict::Linearizable
    }

    /// The state after this operation, if its answer fits.
    fn after(&self, at: usize) -> Option<State> {
        let (next, answer) = apply(&self.state, &self.ops[at].call);
        match &self.ops[at].answer {
            Some((_, told)) => (*told == answer).then_some(next),
            // Where it changes nothing, it may as well not have happened.
            None => (next != self.state).then_some(next),
        }
    }

    /// What may be next: answered ones are tried first, the earliest answer before all.
    fn place(&mut self) -> Place {
        let open = |at: &usize| !self.done.has(*at);
        let end = |at: usize| self.ops[at].answer.as_ref().map_or(u64::MAX, |(end, _)| *end);
        let first = (0..self.ops.len()).filter(open).min_by_key(|at| end(*at));
        let first_end = first.map_or(u64::MAX, end);
        let asked = self.ops.partition_point(|op| op.start <= first_end);
        let mut untried: Vec<usize> = (0..asked).filter(open).collect();
        if first.is_some_and(|first| self.is_too_late_for(first, &untried)) {
            untried.clear();
        }
        untried.sort_by_key(|at| std::cmp::Reverse((end(*at), *at)));
        if self.best.as_ref().is_none_or(|(left, ..)| self.left < *left) {
            self.best = Some((self.left, self.state.clone(), untried.clone()));
        }
        Place { untried, taken: None }
    }

    /// Versions only grow until a delete: what was told of an older one can come no more.
    fn is_too_late_for(&self, first: usize, next: &[usize]) -> bool {
        let most = match &self.ops[first].answer {
            Some((_, Answer::Version(version))) => version - 1,
            Some((_, Answer::Read(Some((version, _))))) => *version,
            _ => return false,
        };
        let deletes = next.iter().any(|at| matches!(self.ops[*at].call, Call::Delete { .. }));
        !deletes && self.state.as_ref().is_some_and(|(version, _)| *version > most)
    }

    fn explain(&self) -> String {
        let Some((left, state, next)) = &self.best else { return "there is no order".into() };
        let next: Vec<String> = next.iter().take(8).map(|at| format!("{:?}", self.ops[*at])).collect();
        let all = self.ops.iter().filter(|op| op.answer.is_some()).count();
        format!(
            "no order explains the answers: after {} of {all} the node is {state:?}, and none of these can follow: {}",
            all - left,
            next.join("; ")
        )
    }
}

/// What the answers to one session show must never go back, whatever servers they came from.
#[derive(Debug, Default)]
pub struct SessionOrder {
    last: BTreeMap<i64, i64>,
    /// By session and znode.
    known: BTreeMap<(i64, String), i64>,
}

impl SessionOrder {
    /// An answer, in the order in which the session got them. `zxid`: the server's state, of the answer's header;
    /// `mzxid`: the znode's last change, where the answer tells of it.
    pub fn took(&mut self, session: i64, path: &str, zxid: i64, mzxid: Option<i64>) -> Result<(), String> {
        let last = self.last.entry(session).or_default();
        if zxid < *last {
            return Err(format!("session 0x{session:x} went back from 0x{last:x} to 0x{zxid:x}"));
        }
        *last = zxid;
        let Some(mzxid) = mzxid else { return Ok(()) };
        let known = self.known.entry((session, path.to_owned())).or_default();
        if mzxid < *known || mzxid > zxid {
            return Err(format!(
                "session 0x{session:x} sees {path} as of 0x{mzxid:x} at 0x{zxid:x}, and saw it as of 0x{known:x}"
            ));
        }
        *known = mzxid;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(call: Call, start: u64, answer: Option<(u64, Answer)>) -> Operation {
        Operation { session: 1, call, start, answer }
    }

    fn create(start: u64, end: u64) -> Operation {
        op(Call::Create("0".into()), start, Some((end, Answer::Done)))
    }

    fn set(data: &'static str, start: u64, end: u64, version: i32) -> Operation {
        op(Call::Set { data: data.into(), expected: -1 }, start, Some((end, Answer::Version(version))))
    }

    fn lost(data: &'static str, start: u64) -> Operation {
        op(Call::Set { data: data.into(), expected: -1 }, start, None)
    }

    fn read(start: u64, end: u64, version: i32, data: &'static str) -> Operation {
        op(Call::Read, start, Some((end, Answer::Read(Some((version, data.into()))))))
    }

    #[track_caller]
    fn good(history: &[Operation]) {
        assert_eq!(check(history), Verdict::Linearizable);
    }

    #[track_caller]
    fn bad(history: &[Operation], why: &str) {
        let verdict = check(history);
        assert!(matches!(&verdict, Verdict::Broken(broken) if broken.contains(why)), "{verdict:?}");
    }

    #[test]
    fn what_follows_one_another_is_explained_in_its_order() {
        good(&[]);
        good(&[create(1, 2), set("a", 3, 4, 1), read(5, 6, 1, "a")]);
        let gone = op(Call::Read, 9, Some((10, Answer::Read(None))));
        let delete = op(Call::Delete { expected: 1 }, 7, Some((8, Answer::Done)));
        good(&[create(1, 2), set("a", 3, 4, 1), delete, gone, create(11, 12), read(13, 14, 0, "0")]);
    }

    #[test]
    fn a_stale_read_is_found() {
        bad(&[create(1, 2), set("a", 3, 4, 1), read(5, 6, 0, "0")], "after 2 of 3");
    }

    #[test]
    fn what_overlaps_may_come_in_either_order() {
        good(&[create(1, 2), set("a", 3, 9, 1), read(4, 8, 0, "0"), read(4, 8, 1, "a")]);
        good(&[create(1, 2), set("a", 3, 9, 2), set("b", 3, 9, 1), read(10, 11, 2, "a")]);
        bad(&[create(1, 2), set("a", 3, 9, 2), set("b", 3, 9, 1), read(10, 11, 2, "b")], "no order");
    }

    #[test]
    fn reads_by_turns_of_two_values_are_no_order() {
        bad(&[create(1, 2), set("a", 3, 20, 1), read(4, 5, 1, "a"), read(6, 7, 0, "0")], "no order");
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        bad(&[create(1, 2), set("a", 3, 4, 1), set("b", 5, 6, 1)], "no order");
    }

    #[test]
    fn an_unknown_outcome_may_happen_late_or_never_but_once() {
        let history = |reads: &[Operation]| {
            let mut all = vec![create(1, 2), lost("x", 3)];
            all.extend_from_slice(reads);
            all
        };
        good(&history(&[read(4, 5, 0, "0"), read(6, 7, 0, "0")]));
        good(&history(&[read(4, 5, 0, "0"), read(100, 101, 1, "x")]));
        bad(&history(&[read(4, 5, 1, "x"), read(6, 7, 0, "0")]), "no order");
        bad(&history(&[read(4, 5, 2, "x")]), "no order");
        // It cannot happen before it was asked for.
        bad(&[create(1, 2), read(3, 4, 1, "x"), lost("x", 5)], "no order");
    }

    #[test]
    fn refusals_are_answers_too() {
        let refused = |expected, start, end, answer| {
            op(Call::Set { data: "r".into(), expected }, start, Some((end, answer)))
        };
        good(&[refused(-1, 1, 2, Answer::NoNode), create(3, 4), refused(5, 5, 6, Answer::BadVersion)]);
        bad(&[create(1, 2), refused(0, 3, 4, Answer::BadVersion)], "no order");
        bad(&[create(1, 2), refused(-1, 3, 4, Answer::NoNode)], "no order");
        good(&[create(1, 2), refused(-1, 3, 4, Answer::Refused), read(5, 6, 0, "0")]);
        bad(&[create(1, 2), refused(-1, 3, 4, Answer::Refused), read(5, 6, 1, "r")], "no order");
        let exists = op(Call::Create("r".into()), 3, Some((4, Answer::NodeExists)));
        good(&[create(1, 2), exists.clone()]);
        bad(&[exists], "after 0 of 1");
    }

    #[test]
    fn many_unknown_outcomes_are_searched_in_time() {
        let mut all = vec![create(1, 2)];
        for n in 0..300u64 {
            let data = Bytes::from(n.to_string());
            let (start, end) = (3 + n * 4, 5 + n * 4);
            let version = n as i32 + 1;
            let call = Call::Set { data: data.clone(), expected: version - 1 };
            all.push(op(call, start, Some((end, Answer::Version(version)))));
            if n % 12 == 0 {
                all.push(op(Call::Set { data: Bytes::from(format!("lost {n}")), expected: -1 }, start, None));
            }
            all.push(op(Call::Read, start, Some((end + 1, Answer::Read(Some((version, data)))))));
        }
        good(&all);
        all.push(read(100_000, 100_001, 7, "6"));
        bad(&all, "after 601 of 602");
    }

    #[test]
    fn a_session_never_goes_back() {
        let mut order = SessionOrder::default();
        order.took(1, "/a", 5, Some(5)).unwrap();
        order.took(1, "/b", 9, None).unwrap();
        order.took(2, "/a", 3, Some(2)).unwrap();
        assert!(order.took(1, "/a", 8, None).unwrap_err().contains("0x9 to 0x8"));
        assert!(order.took(1, "/a", 10, Some(4)).unwrap_err().contains("saw it as of 0x5"));
        assert!(order.took(1, "/c", 10, Some(11)).is_err(), "a change that the server does not know of");
    }
}
