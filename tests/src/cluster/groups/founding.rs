//! Keeps a group in being: one without offsets goes whenever it is empty, and its generations begin anew.

use super::membership::Membership;
use super::requests::{self, Author, FOUNDATION, Offsets};
use crate::cluster::net::Net;
use broker_core::group::Response;

/// Before anyone is a member, it knows that an offset is there that nobody takes away.
#[derive(Debug, Default)]
pub struct Founding {
    done: bool,
    call: Option<(u64, u64)>,
}

impl Founding {
    /// True: the group is there for good.
    pub fn act(&mut self, at: usize, net: &mut Net, way: &Membership) -> bool {
        if let Some((late, _)) = self.call.take_if(|(_, until)| *until <= net.now) {
            net.forget(late);
        }
        if !self.done && self.call.is_none() {
            let group = way.group();
            let request = if net.chance(50) {
                let author = Author { group: group.clone(), generation: -1, ..Author::default() };
                requests::commit(&author, &Offsets::from([(FOUNDATION, 0)]), -1)
            } else {
                requests::fetch(group)
            };
            self.call = way.ask(at, net, request);
        }
        self.done
    }

    /// False: nothing that it has asked.
    pub fn answered(&mut self, call: u64, response: &Response) -> bool {
        let own = self.call.take_if(|(asked, _)| *asked == call).is_some();
        if own {
            let found = requests::fetched(response).ok().and_then(|found| found.get(&FOUNDATION).copied());
            self.done |= matches!(found, Some(Ok(0)));
        }
        own
    }
}
