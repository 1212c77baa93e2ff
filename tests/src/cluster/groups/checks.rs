//! What groups promise to their members.

use super::membership::Tenure;
use super::requests::Offsets;
use std::collections::BTreeMap;
use wire::Str;

/// A partition of a group.
type Key = (Str, i32);

/// By generation, and by which of an instance's lives; of two owners of a partition the later one's is larger.
type Ticket = (i32, u64);

#[derive(Debug, Clone, Copy)]
struct Acked {
    ticket: Ticket,
    offset: i64,
    heard_at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    ticket: Ticket,
    offset: i64,
    heard_at: u64,
}

#[derive(Debug, Default)]
pub struct Groups {
    /// Who has a partition in a generation: an instance, or else a member.
    owners: BTreeMap<(Str, i32, i32), Str>,
    acked: BTreeMap<Key, Vec<Acked>>,
    found: BTreeMap<Key, Vec<Found>>,
    /// What of an input each batch of the output was made of: its partition, from where to where.
    made: BTreeMap<u64, (i32, (i64, i64))>,
    /// How far the output has each input.
    done: BTreeMap<i32, i64>,
    pub tenures: u64,
    pub acks: u64,
    /// Commits that were refused to those who had been replaced.
    pub fenced: u64,
    pub now: u64,
    problem: Option<String>,
}

impl Groups {
    pub(in crate::cluster) fn fail(&mut self, why: String) {
        self.problem.get_or_insert(why);
    }

    /// What broke first.
    pub fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// An assignment is told.
    pub fn owns(&mut self, tenure: &Tenure) {
        self.tenures += 1;
        let author = &tenure.author;
        let who = author.instance.as_ref().unwrap_or(&author.member);
        for n in &tenure.partitions {
            let place = (author.group.clone(), author.generation, *n);
            let owner = self.owners.entry(place).or_insert_with(|| who.clone()).clone();
            if owner != *who {
                let (group, generation) = (&author.group, author.generation);
                return self.fail(format!(
                    "partition {n} of {group} is {owner}'s and {who}'s in generation {generation}"
                ));
            }
        }
    }

    /// An owner finds where its predecessors have come to: not before what they were told is kept.
    pub fn fetched(&mut self, tenure: &Tenure, n: i32, offset: i64, (sent_at, heard_at): (u64, u64)) {
        let (key, ticket) = ((tenure.author.group.clone(), n), tenure.ticket());
        let acked = self.acked.get(&key).into_iter().flatten();
        let before = acked.filter(|one| one.heard_at <= sent_at && one.ticket <= ticket);
        if let Some(most) = before.max_by_key(|one| one.offset).filter(|most| most.offset > offset) {
            let who = &tenure.author;
            let why = format!("{who:?} finds {offset} of partition {n}, and {most:?} was acknowledged");
            return self.fail(why);
        }
        self.found.entry(key).or_default().push(Found { ticket, offset, heard_at });
    }

    /// A commit is acknowledged: nobody has taken the author's place before it was sent, or has begun behind it.
    pub fn committed(&mut self, tenure: &Tenure, offsets: &Offsets, sent_at: u64) {
        self.acks += 1;
        let ticket = tenure.ticket();
        for (n, offset) in offsets {
            let key = (tenure.author.group.clone(), *n);
            let mut later = self.found.get(&key).into_iter().flatten().filter(|one| one.ticket > ticket);
            if let Some(one) = later.find(|one| one.heard_at < sent_at || one.offset < *offset) {
                let who = &tenure.author;
                let why = format!(
                    "{offset} of partition {n}, committed by {who:?} at {sent_at}, is acknowledged after {one:?}"
                );
                return self.fail(why);
            }
            let acked = self.acked.entry(key).or_default();
            acked.push(Acked { ticket, offset: *offset, heard_at: self.now });
        }
    }

    pub fn made(&mut self, value: u64, n: i32, part: (i64, i64)) {
        self.made.insert(value, (n, part));
    }

    /// The output of a job, as it is read when all is committed: everything once, in order.
    pub fn output(&mut self, values: &[u64]) {
        for value in values {
            let Some((n, (from, to))) = self.made.get(value).copied() else {
                return self.fail(format!("nobody was told that {value} is in the output"));
            };
            let before = self.done.insert(n, to).unwrap_or(0);
            if before != from {
                return self.fail(format!(
                    "{value} was made of input {n} from {from} to {to}, and stands behind what ends at {before}"
                ));
            }
        }
    }

    /// How far the output has come with an input that ends there.
    pub fn input(&mut self, n: i32, end: i64) {
        let done = self.done.get(&n).copied().unwrap_or(0);
        if done != end {
            self.fail(format!("the output has input {n} up to {done}, and it ends at {end}"));
        }
    }

    /// What a log says in the end that everyone has.
    pub fn end(&mut self, group: &Str, found: &Offsets) {
        let most: Vec<(i32, i64)> = self
            .acked
            .iter()
            .filter(|((of, _), _)| of == group)
            .filter_map(|((_, n), all)| Some((*n, all.iter().map(|one| one.offset).max()?)))
            .collect();
        for (n, most) in most {
            let found = found.get(&n).copied().unwrap_or(-1);
            if found < most {
                self.fail(format!(
                    "{found} of partition {n} of {group} is there at the end, {most} was acknowledged"
                ));
            }
        }
    }
}
