//! A member that finds where its partitions stand, goes on from there and commits, and now and then sleeps, leaves, changes or
//! dies.

use super::founding::Founding;
use super::membership::{Manner, Membership, Tenure};
use super::requests::{self, Offsets, is_passing};
use crate::cluster::checks::Checks;
use crate::cluster::clients::Place;
use crate::cluster::net::Net;
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::group::Response;
use rand::RngExt;

#[derive(Debug)]
struct Commit {
    call: (u64, u64),
    sent_at: u64,
    tenure: Tenure,
    offsets: Offsets,
}

#[derive(Debug)]
pub struct Committer {
    pub membership: Membership,
    /// It neither does nor hears anything before.
    asleep_until: u64,
    sleeps: bool,
    founding: Founding,
    /// Whose positions these are.
    tenure: Option<Tenure>,
    positions: Offsets,
    fetch: Option<((u64, u64), u64)>,
    commit: Option<Commit>,
}

impl Committer {
    pub fn new(group: &str, home: TopicPartition, manner: Manner) -> Committer {
        Committer {
            membership: Membership::new(group, home, manner),
            asleep_until: 0,
            sleeps: false,
            founding: Founding::default(),
            tenure: None,
            positions: Offsets::new(),
            fetch: None,
            commit: None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.membership.is_out() || (self.membership.settled().is_some() && self.commit.is_none())
    }

    pub fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>, closing: bool) {
        if self.asleep_until > net.now && !net.calm {
            return;
        }
        self.membership.learn(place);
        self.give_up_late_calls(net);
        if !self.founding.act(at, net, &self.membership) {
            return;
        }
        if !net.calm {
            self.live(net);
        }
        if self.membership.is_called && self.commit.is_none() {
            self.membership.join_again();
        }
        self.membership.act(at, net, closing);
        if self.tenure != self.membership.tenure {
            self.tenure = self.membership.tenure.clone();
            (self.positions, self.fetch, self.commit) = (Offsets::new(), None, None);
        }
        let Some(tenure) = self.tenure.clone() else { return };
        // Before it hears that others have taken over.
        let wakes = std::mem::take(&mut self.sleeps);
        if tenure.partitions.iter().any(|n| !self.positions.contains_key(n)) {
            if self.fetch.is_none() {
                let call = self.membership.ask(at, net, requests::fetch(self.membership.group()));
                self.fetch = call.map(|call| (call, net.now));
            }
        } else if self.commit.is_none() && !self.positions.is_empty() && !closing && (wakes || net.chance(70))
        {
            self.send(at, net, tenure);
        }
    }

    /// What a member's life brings.
    fn live(&mut self, net: &mut Net) {
        match net.rng.random_range(0..600) {
            0 => self.membership.die(net),
            1 | 2 if self.tenure.is_some() => self.membership.leave(),
            3 | 4 if self.tenure.is_some() => self.membership.change(),
            5..=7 => {
                self.asleep_until = net.now + net.rng.random_range(100..2_500);
                self.sleeps = true;
            }
            _ => {}
        }
    }

    fn give_up_late_calls(&mut self, net: &mut Net) {
        if let Some(((late, _), _)) = self.fetch.take_if(|((_, until), _)| *until <= net.now) {
            net.forget(late);
        }
        if let Some(commit) = self.commit.take_if(|commit| commit.call.1 <= net.now) {
            net.forget(commit.call.0);
        }
    }

    fn send(&mut self, at: usize, net: &mut Net, tenure: Tenure) {
        let mut offsets = self.positions.clone();
        if net.chance(30) {
            let only = net.rng.random_range(0..offsets.len());
            offsets = offsets.into_iter().skip(only).take(1).collect();
        }
        offsets.values_mut().for_each(|offset| *offset += net.rng.random_range(1..10));
        // What it has asked for it never asks for again: whether it was granted or not, it is past it.
        self.positions.extend(&offsets);
        let request = requests::commit(&tenure.author, &offsets, -1);
        if let Some(call) = self.membership.ask(at, net, request) {
            self.commit = Some(Commit { call, sent_at: net.now, tenure, offsets });
        }
    }

    pub fn answered(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: &Response) {
        if (self.asleep_until > net.now && !net.calm)
            || self.founding.answered(call, response)
            || self.membership.answered(net, checks, call, response)
        {
            return;
        }
        if let Some((_, sent_at)) = self.fetch.take_if(|((asked, _), _)| *asked == call) {
            self.fetched(net, checks, sent_at, response);
        } else if let Some(commit) = self.commit.take_if(|commit| commit.call.0 == call) {
            self.committed(net, checks, commit, response);
        }
    }

    fn fetched(&mut self, net: &mut Net, checks: &mut Checks, sent_at: u64, response: &Response) {
        let Some(tenure) = self.tenure.clone().filter(|own| self.membership.tenure.as_ref() == Some(own))
        else {
            return;
        };
        let Some(found) = requests::found(checks, &tenure, response) else { return };
        net.note(|| format!("{} finds {found:?}", tenure.author.member));
        for n in &tenure.partitions {
            match found.get(n) {
                Some(Ok(offset)) if !self.positions.contains_key(n) => {
                    checks.groups.fetched(&tenure, *n, *offset, (sent_at, net.now));
                    self.positions.insert(*n, (*offset).max(0));
                }
                Some(Ok(_) | Err(ErrorCode::UNSTABLE_OFFSET_COMMIT)) => {}
                other => checks.fail(format!("{tenure:?} hears {other:?} of partition {n}")),
            }
        }
    }

    fn committed(&mut self, net: &mut Net, checks: &mut Checks, commit: Commit, response: &Response) {
        let Commit { sent_at, tenure, offsets, .. } = commit;
        let error = requests::commit_error(response);
        net.note(|| format!("{} hears of {offsets:?}: {error}", tenure.author.member));
        match error {
            ErrorCode::NONE => checks.groups.committed(&tenure, &offsets, sent_at),
            ErrorCode::REBALANCE_IN_PROGRESS => self.membership.is_called = true,
            ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                checks.groups.fenced += 1;
                self.membership.refused(net, error);
            }
            error if is_passing(error) => {}
            error => checks.fail(format!("{tenure:?} hears {error} of its commit")),
        }
    }
}
