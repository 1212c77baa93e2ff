//! Which connections are let in: how many at a time, and how many a second.
//!
//! As in Kafka a listener that is full, or too fast, is made to wait; an address that has too many connections is turned
//! away at once, and one that is too fast after a while. The listener of the brokers, where there are others, does not count
//! against the broker's own limits.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::quota::{Rate, Windows};

/// Of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connection.creation.rate`, per second.
    pub rate_max: u32,
}

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all listeners together.
    pub broker: ListenerLimits,
    pub listeners: BTreeMap<String, ListenerLimits>,
    /// `max.connections.per.ip`
    pub per_ip_max: usize,
    /// `max.connections.per.ip.overrides`
    pub per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// The listener of the brokers, if it is not the only one.
    pub protected: Option<String>,
    pub windows: Windows,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    #[error("Too many connections from {ip} (maximum = {max})")]
    TooMany { ip: IpAddr, max: usize },
    /// It is closed after that time.
    #[error("{ip} throttled for {ms}")]
    TooFast { ip: IpAddr, ms: i32 },
}

#[derive(Debug, Default)]
struct Listener {
    open: usize,
    rate: Rate,
}

/// The connections of a broker.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    open: usize,
    by_ip: BTreeMap<IpAddr, usize>,
    listeners: BTreeMap<String, Listener>,
    rate: Rate,
    /// `connection_creation_rate` of addresses, and of those that have none of their own.
    ip_rates_max: BTreeMap<IpAddr, u32>,
    ip_rate_max: Option<u32>,
    ip_rates: BTreeMap<IpAddr, (i64, Rate)>,
    swept_ms: i64,
}

/// Counters of addresses that have been idle are looked for this often.
const SWEEP_MS: i64 = 60_000;

impl Connections {
    pub fn new(limits: ConnectionLimits) -> Connections {
        Connections {
            limits,
            open: 0,
            by_ip: BTreeMap::new(),
            listeners: BTreeMap::new(),
            rate: Rate::default(),
            ip_rates_max: BTreeMap::new(),
            ip_rate_max: None,
            ip_rates: BTreeMap::new(),
            swept_ms: 0,
        }
    }

    /// From now on; who is in stays.
    pub fn set_limits(&mut self, limits: ConnectionLimits) {
        self.limits = limits;
    }

    /// Sets or removes the rate of an address, or of those that have none of their own.
    pub fn set_ip_rate(&mut self, ip: Option<IpAddr>, rate_max: Option<u32>) {
        match (ip, rate_max) {
            (None, rate_max) => self.ip_rate_max = rate_max,
            (Some(ip), Some(rate_max)) => drop(self.ip_rates_max.insert(ip, rate_max)),
            (Some(ip), None) => drop(self.ip_rates_max.remove(&ip)),
        }
    }

    fn is_protected(&self, listener: &str) -> bool {
        self.limits.protected.as_deref() == Some(listener)
    }

    fn limits_of(&self, listener: &str) -> ListenerLimits {
        self.limits.listeners.get(listener).copied().unwrap_or(self.limits.broker)
    }

    /// A connection has come; for how many milliseconds its listener has to wait before it goes on.
    pub fn arrive(&mut self, now_ms: i64, listener: &str) -> i32 {
        let windows = self.limits.windows;
        let longest = i32::try_from(windows.size_ms).unwrap_or(i32::MAX);
        let mut wait_ms = 0;
        if !self.is_protected(listener) && self.limits.broker.rate_max < u32::MAX {
            self.rate.record(windows, now_ms, 1.0);
            wait_ms = self.rate.throttle_ms(windows, now_ms, f64::from(self.limits.broker.rate_max));
        }
        let rate_max = self.limits_of(listener).rate_max;
        if rate_max < u32::MAX {
            let rate = &mut self.listeners.entry(listener.to_owned()).or_default().rate;
            rate.record(windows, now_ms, 1.0);
            wait_ms = wait_ms.max(rate.throttle_ms(windows, now_ms, f64::from(rate_max)));
        }
        wait_ms.min(longest)
    }

    /// Whether the listener has room for one more; until then it waits.
    pub fn has_room(&self, listener: &str) -> bool {
        let open = self.listeners.get(listener).map_or(0, |listener| listener.open);
        open < self.limits_of(listener).connections_max
            && (self.is_protected(listener) || self.open < self.limits.broker.connections_max)
    }

    /// Lets a connection in, unless its address has had enough.
    pub fn admit(&mut self, now_ms: i64, listener: &str, ip: IpAddr) -> Result<(), TurnedAway> {
        self.check_ip_rate(now_ms, listener, ip)?;
        let max = self.limits.per_ip_overrides.get(&ip).copied().unwrap_or(self.limits.per_ip_max);
        if self.by_ip.get(&ip).copied().unwrap_or(0) >= max {
            return Err(TurnedAway::TooMany { ip, max });
        }
        self.open += 1;
        *self.by_ip.entry(ip).or_default() += 1;
        self.listeners.entry(listener.to_owned()).or_default().open += 1;
        Ok(())
    }

    fn check_ip_rate(&mut self, now_ms: i64, listener: &str, ip: IpAddr) -> Result<(), TurnedAway> {
        let Some(rate_max) = self.ip_rates_max.get(&ip).copied().or(self.ip_rate_max) else { return Ok(()) };
        let windows = self.limits.windows;
        if now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.ip_rates.retain(|_, (used_ms, _)| now_ms - *used_ms < windows.memory_ms());
        }
        let (used_ms, rate) = self.ip_rates.entry(ip).or_default();
        *used_ms = now_ms;
        rate.record(windows, now_ms, 1.0);
        let longest = i32::try_from(windows.size_ms).unwrap_or(i32::MAX);
        // A rate of nothing is never kept: the address waits as long as any.
        let ms = if rate_max == 0 { longest } else { rate.throttle_ms(windows, now_ms, f64::from(rate_max)) };
        if ms <= 0 {
            return Ok(());
        }
        // It does not get in, so it does not count: not for its address, nor for the others.
        rate.record(windows, now_ms, -1.0);
        if !self.is_protected(listener) && self.limits.broker.rate_max < u32::MAX {
            self.rate.record(windows, now_ms, -1.0);
        }
        if self.limits_of(listener).rate_max < u32::MAX
            && let Some(listener) = self.listeners.get_mut(listener)
        {
            listener.rate.record(windows, now_ms, -1.0);
        }
        Err(TurnedAway::TooFast { ip, ms: ms.min(longest) })
    }

    /// A connection that was let in has ended.
    pub fn leave(&mut self, listener: &str, ip: IpAddr) {
        self.open = self.open.saturating_sub(1);
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.open = listener.open.saturating_sub(1);
        }
        if let Some(count) = self.by_ip.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }

    /// How many connections the broker has above its limit: the brokers' listener let them in, or the limit came down. As
    /// many of other listeners have to go, longest idle first.
    pub fn excess(&self) -> usize {
        self.open.saturating_sub(self.limits.broker.connections_max)
    }

    /// Whether connections of this listener may be closed for the others' sake.
    pub fn may_go(&self, listener: &str) -> bool {
        !self.is_protected(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ListenerLimits = ListenerLimits { connections_max: usize::MAX, rate_max: u32::MAX };

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            broker: NONE,
            listeners: BTreeMap::new(),
            per_ip_max: usize::MAX,
            per_ip_overrides: BTreeMap::new(),
            protected: None,
            windows: Windows { count: 11, size_ms: 1000 },
        }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn an_address_has_its_own_number_or_that_of_all() {
        let overrides = BTreeMap::from([(ip(1), 2)]);
        let mut all =
            Connections::new(ConnectionLimits { per_ip_max: 1, per_ip_overrides: overrides, ..limits() });
        assert!(all.admit(0, "A", ip(1)).is_ok() && all.admit(0, "A", ip(1)).is_ok());
        assert_eq!(all.admit(0, "A", ip(1)), Err(TurnedAway::TooMany { ip: ip(1), max: 2 }));
        assert!(all.admit(0, "A", ip(2)).is_ok() && all.admit(0, "A", ip(2)).is_err());
        all.leave("A", ip(2));
        assert!(all.admit(0, "A", ip(2)).is_ok());
    }

    #[test]
    fn a_full_listener_waits_and_the_brokers_own_gets_in_above_the_limit() {
        let broker = ListenerLimits { connections_max: 1, ..NONE };
        let listeners = BTreeMap::from([("B".to_owned(), ListenerLimits { connections_max: 2, ..NONE })]);
        let mut all =
            Connections::new(ConnectionLimits { broker, listeners, protected: Some("B".into()), ..limits() });
        assert!(all.has_room("A"));
        all.admit(0, "A", ip(1)).unwrap();
        assert!(!all.has_room("A") && all.has_room("B"));
        assert_eq!(all.excess(), 0);
        all.admit(0, "B", ip(1)).unwrap();
        assert_eq!(all.excess(), 1);
        assert!(all.may_go("A") && !all.may_go("B"));
        all.admit(0, "B", ip(1)).unwrap();
        assert!(!all.has_room("B"), "its own limit holds");
    }

    #[test]
    fn a_listener_that_is_too_fast_waits_for_one_window_at_most() {
        let broker = ListenerLimits { rate_max: 2, ..NONE };
        let mut all = Connections::new(ConnectionLimits { broker, ..limits() });
        for _ in 0..20 {
            assert_eq!(all.arrive(0, "A"), 0, "ten seconds' worth may come at once");
        }
        assert_eq!(all.arrive(0, "A"), 500);
        for _ in 0..9 {
            all.arrive(0, "A");
        }
        assert_eq!(all.arrive(0, "A"), 1000);
    }

    #[test]
    fn an_address_that_is_too_fast_is_turned_away_and_does_not_count() {
        let mut all = Connections::new(limits());
        all.set_ip_rate(None, Some(1));
        all.set_ip_rate(Some(ip(9)), Some(2));
        let let_in = |all: &mut Connections, from, count| {
            (0..count).filter(|_| all.admit(0, "A", from).is_ok()).count()
        };
        assert_eq!(let_in(&mut all, ip(1), 30), 10);
        assert_eq!(let_in(&mut all, ip(9), 30), 20);
        assert_eq!(all.admit(0, "A", ip(1)), Err(TurnedAway::TooFast { ip: ip(1), ms: 1000 }));
        assert_eq!(all.ip_rates[&ip(1)].1.clone().measure(limits().windows, 0), 1.0);
        all.set_ip_rate(Some(ip(9)), None);
        all.set_ip_rate(None, None);
        assert!(all.admit(0, "A", ip(1)).is_ok());
        all.set_ip_rate(None, Some(0));
        assert!(matches!(all.admit(0, "A", ip(7)), Err(TurnedAway::TooFast { ms: 1000, .. })));
    }
}
