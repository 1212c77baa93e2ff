//! Who commits without being a member, as simple consumers do; what it commits has a time of its own, or has not.

use super::membership::{Manner, Membership};
use super::requests::{self, Author, Offsets, is_passing};
use crate::cluster::checks::Checks;
use crate::cluster::clients::Place;
use crate::cluster::net::Net;
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::group::Response;
use rand::RngExt;
use wire::Str;

const RETENTION_MS: u64 = 700;
/// Wall clocks of brokers differ by less.
const SKEW_MS: u64 = 60;

#[derive(Debug)]
struct Asked {
    call: (u64, u64),
    sent_at: u64,
    /// What is committed, and whether for a time only; `None`: it asks.
    offset: Option<(i64, bool)>,
}

#[derive(Debug)]
pub struct Simple {
    /// As one that never joins: it knows where the coordinator is.
    way: Membership,
    rests_until: u64,
    asked: Option<Asked>,
    next: i64,
    /// What may be found: the last that was acknowledged, and all that was tried since.
    possible: Vec<i64>,
    /// From when on there may be nothing.
    expires_at: u64,
}

impl Simple {
    pub fn new(group: &str, home: TopicPartition) -> Simple {
        Simple {
            way: Membership::new(group, home, Manner::default()),
            rests_until: 0,
            asked: None,
            next: 0,
            possible: vec![-1],
            expires_at: 0,
        }
    }

    pub fn home(&self) -> &TopicPartition {
        &self.way.home
    }

    pub fn is_done(&self) -> bool {
        self.asked.is_none()
    }

    pub fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>, closing: bool) {
        self.way.learn(place);
        if let Some(asked) = self.asked.take_if(|asked| asked.call.1 <= net.now) {
            net.forget(asked.call.0);
        }
        if self.asked.is_some() || self.rests_until > net.now || closing {
            return;
        }
        if net.chance(10) {
            self.rests_until = net.now + net.rng.random_range(100..2 * RETENTION_MS);
        }
        let commits = net.chance(60);
        let passing = net.chance(70);
        let request = if commits {
            self.next += net.rng.random_range(1..5);
            let author = Author {
                group: self.way.group().clone(),
                generation: -1,
                member: Str::new(),
                instance: None,
            };
            let retention_ms = if passing { RETENTION_MS as i64 } else { -1 };
            requests::commit(&author, &Offsets::from([(0, self.next)]), retention_ms)
        } else {
            requests::fetch(self.way.group())
        };
        let Some(call) = self.way.ask(at, net, request) else { return };
        let offset = commits.then_some((self.next, passing));
        self.asked = Some(Asked { call, sent_at: net.now, offset });
        if let Some((offset, passing)) = offset {
            self.possible.push(offset);
            // It may count though nobody says so.
            if passing {
                self.expires_at = self.expires_at.min(net.now + RETENTION_MS);
            }
        }
    }

    pub fn answered(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: &Response) {
        let Some(Asked { sent_at, offset, .. }) = self.asked.take_if(|asked| asked.call.0 == call) else {
            return;
        };
        let group = self.way.group();
        let Some((offset, passing)) = offset else { return self.fetched(net, checks, response) };
        let error = requests::commit_error(response);
        net.note(|| format!("{group} hears of {offset}, with a time of its own: {passing}: {error}"));
        match error {
            ErrorCode::NONE => {
                self.possible = vec![offset];
                self.expires_at = if passing { sent_at + RETENTION_MS } else { u64::MAX };
            }
            error if is_passing(error) => {}
            error => checks.fail(format!("{group} hears {error} of its commit")),
        }
    }

    fn fetched(&mut self, net: &mut Net, checks: &mut Checks, response: &Response) {
        let group = self.way.group();
        let Some(found) = requests::found(checks, &group, response) else { return };
        let Some(Ok(offset)) = found.get(&0) else { return };
        net.note(|| format!("{group} finds {offset}, and may find {:?}", self.possible));
        let is_over = self.expires_at <= net.now + SKEW_MS;
        if !(self.possible.contains(offset) || (*offset == -1 && is_over)) {
            let (possible, expires_at) = (&self.possible, self.expires_at);
            checks.fail(format!(
                "{group} finds {offset}, one of {possible:?} was committed, for no less than until {expires_at}"
            ));
        }
    }
}
