//! What a request costs its client: the time that it took, and for how long the connection is not read after the answer.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use broker_core::quota::QuotaKind;
use wire::kafka::{ApiKey, Message};

use super::Call;
use crate::net::Answer;
use crate::quotas::{Client, Mutations};

/// Requests of brokers, which no quota holds up.
const EXEMPT: &[ApiKey] = &[
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::ControlledShutdown,
    ApiKey::WriteTxnMarkers,
    ApiKey::AlterPartition,
];

/// How long a request's own task has run: decoding, checks, checksums, reading, encoding; not its waiting for the loop, the
/// disk or other brokers, nor the loop's share of the work.
#[derive(Debug)]
pub struct Stopwatch {
    origin: Instant,
    /// Nanoseconds since `origin` when the task was woken last.
    woken: AtomicU64,
    ran: AtomicU64,
    /// How much of it the client was charged for.
    charged: AtomicU64,
}

impl Default for Stopwatch {
    fn default() -> Stopwatch {
        let zero = || AtomicU64::new(0);
        Stopwatch { origin: Instant::now(), woken: zero(), ran: zero(), charged: zero() }
    }
}

impl Stopwatch {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Runs `work` under the watch.
    pub async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.woken.store(self.now(), Ordering::Relaxed);
            let polled = work.as_mut().poll(context);
            self.ran.fetch_add(self.now() - self.woken.load(Ordering::Relaxed), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Per cent of a second that are not charged for yet; `inside`: asked by the work itself.
    fn charge(&self, inside: bool) -> f64 {
        let running = if inside { self.now() - self.woken.load(Ordering::Relaxed) } else { 0 };
        let all = self.ran.load(Ordering::Relaxed) + running;
        let new = all - self.charged.swap(all, Ordering::Relaxed).min(all);
        new as f64 * 100.0 / 1e9
    }
}

impl Call<'_> {
    /// Who asks, for quotas.
    pub fn client(&self) -> Client<'_> {
        Client { user: &self.peer.principal().name, id: self.client_id() }
    }

    /// Charges the client for the time so far; how many milliseconds it has to wait.
    pub fn charge_time(&self) -> i32 {
        let Some(watch) = self.watch else { return 0 };
        self.broker.quotas.record(QuotaKind::Request, self.client(), watch.charge(true))
    }

    /// Charges it for what came after that.
    pub fn charge_rest(&self) {
        if let Some(watch) = self.watch {
            self.broker.quotas.record_only(QuotaKind::Request, self.client(), watch.charge(false));
        }
    }

    /// The quota on changes; from version `strict_from` on, what is too much is refused.
    pub fn mutations(&self, strict_from: i16) -> Mutations<'_> {
        self.broker.quotas.mutations(self.client(), self.version() >= strict_from)
    }

    /// Writes the time to wait into a response, which may have one of its own already.
    pub fn settle(&self, key: ApiKey, response: &mut impl Message) -> i32 {
        let asked = if EXEMPT.contains(&key) { 0 } else { self.charge_time() };
        let Some(throttle_ms) = response.throttle_time_ms() else { return asked };
        *throttle_ms = asked.max(*throttle_ms);
        *throttle_ms
    }

    /// The answer goes out at once, and nothing more is read for so long.
    pub fn mute(&self, answer: Answer, throttle_ms: i32) -> Answer {
        if let Some(api) = self.header.api() {
            self.broker.traffic.throttled(api, self.fetched_by(api.key), throttle_ms);
        }
        match u64::try_from(throttle_ms) {
            Ok(ms) if ms > 0 && !matches!(answer, Answer::Close) => {
                let until = tokio::time::Instant::now() + Duration::from_millis(ms);
                Answer::Muted(Box::new(answer), until)
            }
            _ => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let watch = Stopwatch::default();
        let spin = || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(20) {}
        };
        let work = async {
            spin();
            tokio::time::sleep(Duration::from_millis(300)).await;
            spin();
            watch.charge(true)
        };
        let charged = watch.time(work).await;
        // 40 ms are 4 per cent of a second; a busy machine may make it more, but never all of the sleep.
        assert!((4.0..30.0).contains(&charged), "{charged}");
        assert!(watch.charge(false) < charged, "what was charged for is not charged for again");
    }
}
