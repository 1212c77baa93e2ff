//! Who is let in: the limits on connections, as the listeners of a broker share them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use broker_core::connections::{ConnectionLimits, Connections, TurnedAway};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::metrics::ListenerFigures;

/// The limits, and who is in.
#[derive(Debug)]
pub struct Gate {
    started: Instant,
    inside: Mutex<Inside>,
    /// There may be room again.
    room: Notify,
    /// What goes through each listener.
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerFigures>>>,
}

#[derive(Debug)]
struct Inside {
    connections: Connections,
    next_seat: u64,
    /// By seat: what is needed to send somebody away.
    seated: BTreeMap<u64, Seated>,
}

#[derive(Debug)]
struct Seated {
    listener: Arc<str>,
    last_used_ms: Arc<AtomicI64>,
    task: AbortHandle,
}

/// A connection's place, given back when it ends.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    listener: Arc<str>,
    ip: IpAddr,
    number: u64,
    last_used_ms: Arc<AtomicI64>,
    figures: Arc<ListenerFigures>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.figures.ended();
        let mut inside = self.gate.lock();
        inside.connections.leave(&self.listener, self.ip);
        inside.seated.remove(&self.number);
        drop(inside);
        self.gate.room.notify_waiters();
    }
}

impl Seat {
    /// The connection is being used.
    pub fn touch(&self) {
        self.last_used_ms.store(self.gate.now(), Ordering::Relaxed);
    }

    /// What goes through its listener.
    pub fn figures(&self) -> &ListenerFigures {
        &self.figures
    }
}

impl Gate {
    pub fn new(limits: ConnectionLimits) -> Arc<Gate> {
        let inside = Inside { connections: Connections::new(limits), next_seat: 0, seated: BTreeMap::new() };
        Arc::new(Gate {
            started: Instant::now(),
            inside: Mutex::new(inside),
            room: Notify::new(),
            listeners: Mutex::default(),
        })
    }

    /// What went through each listener since the start, by name.
    pub fn listeners(&self) -> BTreeMap<Arc<str>, Arc<ListenerFigures>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn figures(&self, listener: &Arc<str>) -> Arc<ListenerFigures> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(listener.clone()).or_default().clone()
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on; who is above the new limit is sent away.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        let mut inside = self.lock();
        inside.connections.set_limits(limits);
        inside.send_away();
        drop(inside);
        self.room.notify_waiters();
    }

    /// The rate of an address, or of those that have none of their own.
    pub fn set_ip_rate(&self, ip: Option<IpAddr>, rate_max: Option<u32>) {
        self.lock().connections.set_ip_rate(ip, rate_max);
    }

    /// Waits until a listener may go on with a connection that has come, and gives it a seat.
    pub async fn enter(self: &Arc<Gate>, listener: &Arc<str>, ip: IpAddr) -> Result<Seat, TurnedAway> {
        let ip = ip.to_canonical();
        let wait_ms = self.lock().connections.arrive(self.now(), listener);
        if let Ok(ms @ 1..) = u64::try_from(wait_ms) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(entered) = self.try_enter(listener, ip) {
                return entered;
            }
            room.await;
        }
    }

    /// `None` where there is no room.
    fn try_enter(self: &Arc<Gate>, listener: &Arc<str>, ip: IpAddr) -> Option<Result<Seat, TurnedAway>> {
        let now_ms = self.now();
        let mut inside = self.lock();
        if !inside.connections.has_room(listener) {
            return None;
        }
        if let Err(turned_away) = inside.connections.admit(now_ms, listener, ip) {
            return Some(Err(turned_away));
        }
        let number = inside.next_seat;
        inside.next_seat += 1;
        let last_used_ms = Arc::new(AtomicI64::new(now_ms));
        let figures = self.figures(listener);
        figures.opened();
        Some(Ok(Seat { gate: self.clone(), listener: listener.clone(), ip, number, last_used_ms, figures }))
    }

    /// The task of who sits there, which ends should it have to make room.
    pub fn seated(&self, seat: &SeatNumber, task: AbortHandle) {
        let mut inside = self.lock();
        if task.is_finished() {
            return;
        }
        let SeatNumber { number, listener, last_used_ms } = seat.clone();
        inside.seated.insert(number, Seated { listener, last_used_ms, task });
        inside.send_away();
    }
}

/// What names a seat while its connection's task has it.
#[derive(Debug, Clone)]
pub struct SeatNumber {
    number: u64,
    listener: Arc<str>,
    last_used_ms: Arc<AtomicI64>,
}

impl Seat {
    pub fn number(&self) -> SeatNumber {
        SeatNumber {
            number: self.number,
            listener: self.listener.clone(),
            last_used_ms: self.last_used_ms.clone(),
        }
    }
}

impl Inside {
    /// Ends the connections that are one too many, longest idle first.
    fn send_away(&mut self) {
        let excess = self.connections.excess();
        if excess == 0 {
            return;
        }
        let may_go = |seated: &&Seated| self.connections.may_go(&seated.listener);
        let mut idle: Vec<&Seated> = self.seated.values().filter(may_go).collect();
        idle.sort_by_key(|seated| seated.last_used_ms.load(Ordering::Relaxed));
        for seated in idle.into_iter().take(excess) {
            seated.task.abort();
        }
    }
}
