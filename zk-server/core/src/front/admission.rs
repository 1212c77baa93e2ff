//! Requests that wait until others are done: `request_throttle_max_requests`, and what becomes of those that waited for
//! too long.

use super::{Front, Upcall};
use crate::config::RequestLimits;
use crate::database::Database;
use crate::event::{ConnId, Effect, Now};
use bytes::Bytes;
use std::collections::VecDeque;
use wire::zk::op;

/// A whole frame of a connection that has its session.
#[derive(Debug)]
struct Queued {
    conn: ConnId,
    frame: Bytes,
    /// Mono ms.
    since: u64,
}

#[derive(Debug, Default)]
pub(super) struct Admission {
    limits: RequestLimits,
    queue: VecDeque<Queued>,
}

impl Admission {
    pub fn new(limits: &RequestLimits) -> Admission {
        Admission { limits: limits.clone(), queue: VecDeque::new() }
    }

    pub fn clear(&mut self) {
        self.queue.clear();
    }

    fn is_full(&self, outstanding: u64) -> bool {
        self.limits.in_process_max > 0 && outstanding >= self.limits.in_process_max
    }
}

impl Front {
    /// A request comes in: it is served when all before it have been, and fewer than the limit are under way.
    pub(super) fn admit(
        &mut self,
        conn: ConnId,
        frame: Bytes,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        if self.admission.queue.is_empty() && !self.admission.is_full(self.outstanding) {
            return self.request(conn, frame, now, db, out, up);
        }
        self.measures.request_throttle_wait_count += 1;
        self.admission.queue.push_back(Queued { conn, frame, since: now.mono });
        self.admit_waiting(now, db, out, up);
    }

    /// As many of those that wait as there is room for. A connection that is gone takes its requests along.
    pub(super) fn admit_waiting(
        &mut self,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        while !self.admission.is_full(self.outstanding)
            && let Some(Queued { conn, frame, since }) = self.admission.queue.pop_front()
        {
            let Some(known) = self.conns.get(&conn) else { continue };
            let waited = now.mono.saturating_sub(since);
            self.measures.request_throttle_queue_time_ms.add(waited);
            let op = frame.get(4..).and_then(<[u8]>::first_chunk).map_or(0, |op| i32::from_be_bytes(*op));
            let too_late = self.admission.limits.drop_late && waited > known.timeout.max(0) as u64;
            if too_late && op != op::CLOSE_SESSION {
                self.measures.stale_requests_dropped += 1;
                self.close(conn, out);
            } else if self.admission.limits.wait_ms_max.is_some_and(|max| waited > max) && is_throttlable(op)
            {
                self.measures.throttled_ops += 1;
                self.refuse_throttled(conn, &frame, now, db, out);
            } else {
                self.request(conn, frame, now, db, out, up);
            }
        }
    }
}

/// What keeps a session alive or ends it is served however late it is.
fn is_throttlable(op: i32) -> bool {
    !matches!(op, op::PING | op::CLOSE_SESSION | op::CREATE_SESSION)
}
