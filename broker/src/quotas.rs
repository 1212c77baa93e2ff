//! The quotas of clients, as all connections of a broker share them. Where none is set they cost a load of a flag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use broker_core::quota::{Entity, Mutation, MutationQuota, QuotaKind, RateQuota, Used, Windows};

use crate::config::BrokerConfig;

/// One kind, and whether anybody has a quota of it.
#[derive(Debug)]
struct Shared<Q> {
    in_use: AtomicBool,
    quota: Mutex<Q>,
}

impl<Q> Shared<Q> {
    fn new(quota: Q) -> Shared<Q> {
        Shared { in_use: AtomicBool::new(false), quota: Mutex::new(quota) }
    }

    /// `None` where nobody has a quota.
    fn get(&self) -> Option<MutexGuard<'_, Q>> {
        self.in_use.load(Ordering::Relaxed).then(|| self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Q> {
        self.quota.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Who asks, as quotas know clients.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub user: &'a str,
    /// Or nothing.
    pub id: &'a str,
}

/// The key of an address's bound.
pub const CONNECTION_RATE: &str = "connection_creation_rate";

/// All quotas on requests.
#[derive(Debug)]
pub struct Quotas {
    started: Instant,
    /// Produce, Fetch, Request: in this order.
    rates: [Shared<RateQuota>; 3],
    mutations: Shared<MutationQuota>,
}

const RATES: [QuotaKind; 3] = [QuotaKind::Produce, QuotaKind::Fetch, QuotaKind::Request];

impl Quotas {
    /// Without any quota; windows as configured.
    pub fn new(config: &BrokerConfig) -> Quotas {
        let windows = |prefix: &str| {
            let number = |what: &str| config.int(&format!("{prefix}quota.window.{what}"));
            Windows::new(number("num"), number("size.seconds"))
        };
        Quotas {
            started: Instant::now(),
            rates: RATES.map(|kind| Shared::new(RateQuota::new(kind, windows("")))),
            mutations: Shared::new(MutationQuota::new(windows("controller."))),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn rate(&self, kind: QuotaKind) -> Option<MutexGuard<'_, RateQuota>> {
        let at = RATES.iter().position(|rate| *rate == kind)?;
        self.rates[at].get()
    }

    /// Whether anybody has a quota of this kind.
    pub fn is_in_use(&self, kind: QuotaKind) -> bool {
        let at = RATES.iter().position(|rate| *rate == kind);
        at.map_or(&self.mutations.in_use, |at| &self.rates[at].in_use).load(Ordering::Relaxed)
    }

    /// Records, and tells for how many milliseconds the client has to wait.
    pub fn record(&self, kind: QuotaKind, client: Client<'_>, value: f64) -> i32 {
        self.rate(kind).map_or(0, |mut quota| quota.record(self.now(), client.user, client.id, value))
    }

    /// Records without asking; a negative value takes back.
    pub fn record_only(&self, kind: QuotaKind, client: Client<'_>, value: f64) {
        if let Some(mut quota) = self.rate(kind) {
            quota.record_only(self.now(), client.user, client.id, value);
        }
    }

    /// More than this at once is certain to be throttled.
    pub fn burst(&self, kind: QuotaKind, client: Client<'_>) -> Option<f64> {
        self.rate(kind)?.burst(client.user, client.id)
    }

    /// How clients with quotas stand.
    pub fn used(&self) -> Vec<(QuotaKind, Used)> {
        let now = self.now();
        let mut all = Vec::new();
        for (kind, shared) in RATES.into_iter().zip(&self.rates) {
            let used = shared.get().map(|mut quota| quota.used(now)).unwrap_or_default();
            all.extend(used.into_iter().map(|used| (kind, used)));
        }
        let changes = self.mutations.get().map(|mut quota| quota.used(now)).unwrap_or_default();
        all.extend(changes.into_iter().map(|used| (QuotaKind::ControllerMutation, used)));
        all
    }

    /// The changes that one request asks for.
    pub fn mutations<'a>(&'a self, client: Client<'a>, strict: bool) -> Mutations<'a> {
        Mutations { quotas: self, client, strict, until_ms: 0 }
    }

    /// Takes what is set for the user, client id or pair at this path below `/config`; other paths are not for it. Values that
    /// do not parse count as absent.
    pub fn set(&self, path: &str, config: &BTreeMap<String, String>) {
        let Some(entity) = Entity::parse(path) else { return };
        for (kind, shared) in RATES.into_iter().zip(&self.rates) {
            let mut quota = shared.lock();
            let bound = bound(kind, config);
            tell(kind, &entity, bound);
            quota.set(&entity, bound);
            shared.in_use.store(!quota.is_empty(), Ordering::Relaxed);
        }
        let mut quota = self.mutations.lock();
        let bound = bound(QuotaKind::ControllerMutation, config);
        tell(QuotaKind::ControllerMutation, &entity, bound);
        quota.set(&entity, bound);
        self.mutations.in_use.store(!quota.is_empty(), Ordering::Relaxed);
    }
}

/// In Kafka's words: scripts wait for these lines to know that a user's credentials have come, too.
fn tell(kind: QuotaKind, entity: &Entity, bound: Option<f64>) {
    match bound {
        Some(bound) => tracing::info!("Changing {} quota for {entity} to {bound:?}", kind.name()),
        None => tracing::info!("Removing {} quota for {entity}", kind.name()),
    }
}

fn bound(kind: QuotaKind, config: &BTreeMap<String, String>) -> Option<f64> {
    let value = config.get(kind.key())?.trim();
    let bound = match kind {
        QuotaKind::Produce | QuotaKind::Fetch => value.parse::<i64>().ok().map(|bound| bound as f64),
        QuotaKind::Request | QuotaKind::ControllerMutation => value.parse().ok(),
    };
    if bound.is_none() {
        tracing::warn!("{}={value} is not a number: there is no such quota", kind.key());
    }
    bound
}

/// What one request changes in the cluster, against the quota of who sent it.
pub struct Mutations<'a> {
    quotas: &'a Quotas,
    client: Client<'a>,
    strict: bool,
    /// On the quotas' clock.
    until_ms: i64,
}

impl Mutations<'_> {
    /// Whether so many partitions may be made or deleted.
    pub fn allow(&mut self, partitions: usize) -> bool {
        let Some(mut quota) = self.quotas.mutations.get() else { return true };
        let now = self.quotas.now();
        let Client { user, id } = self.client;
        let (allowed, throttle_ms) = match quota.record(now, user, id, partitions, self.strict) {
            Mutation::Allowed { throttle_ms } => (true, throttle_ms),
            Mutation::Refused { throttle_ms } => (false, throttle_ms),
        };
        if throttle_ms > 0 {
            self.until_ms = now + i64::from(throttle_ms);
        }
        allowed
    }

    /// How many milliseconds of waiting are left.
    pub fn throttle_ms(&self) -> i32 {
        i32::try_from((self.until_ms - self.quotas.now()).max(0)).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Properties;

    #[test]
    fn a_quota_comes_and_goes_with_its_node() {
        let text = b"zookeeper.connect=h\nbroker.id=1\nquota.window.num=2\n";
        let config = BrokerConfig::read(&Properties::parse("t", text).unwrap()).unwrap();
        let quotas = Quotas::new(&config);
        let client = Client { user: "u", id: "c" };
        assert_eq!(quotas.record(QuotaKind::Produce, client, 1e9), 0);
        let set = |text: &str| BTreeMap::from([("producer_byte_rate".to_owned(), text.to_owned())]);
        quotas.set("clients/c", &set("1000"));
        assert!(quotas.is_in_use(QuotaKind::Produce) && !quotas.is_in_use(QuotaKind::Fetch));
        assert_eq!(
            quotas.burst(QuotaKind::Produce, client),
            Some(1000.0),
            "two windows are one second's burst"
        );
        assert!(quotas.record(QuotaKind::Produce, client, 3000.0) > 1900);
        let used = quotas.used();
        assert!(matches!(&used[..], [(QuotaKind::Produce, used)] if used.throttle_ms > 1900.0), "{used:?}");
        quotas.set("clients/c", &set("many"));
        assert!(!quotas.is_in_use(QuotaKind::Produce));
        quotas.set("topics/c", &set("1"));
        assert!(!quotas.is_in_use(QuotaKind::Produce));
    }

    #[test]
    fn a_request_that_changes_too_much_is_told_when_to_come_again() {
        let text = b"zookeeper.connect=h\nbroker.id=1\n";
        let config = BrokerConfig::read(&Properties::parse("t", text).unwrap()).unwrap();
        let quotas = Quotas::new(&config);
        let set = BTreeMap::from([("controller_mutation_rate".to_owned(), "1.0".to_owned())]);
        quotas.set("users/<default>", &set);
        let mut strict = quotas.mutations(Client { user: "u", id: "c" }, true);
        assert!(strict.allow(20) && !strict.allow(1));
        assert!((8000..=9000).contains(&strict.throttle_ms()), "{}", strict.throttle_ms());
        let mut lenient = quotas.mutations(Client { user: "u", id: "c" }, false);
        assert!(lenient.allow(1) && lenient.throttle_ms() > 9000);
    }
}
