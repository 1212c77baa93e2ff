//! `queued.max.request.bytes`: how much all requests that are being read or answered may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// Room for requests. As Kafka's it is overdrawn by one request, for a large one would never get in otherwise.
#[derive(Debug)]
pub struct RequestMemory {
    free: AtomicI64,
    freed: Notify,
}

/// Bytes that a request has; given back when it is answered.
#[derive(Debug)]
pub struct Taken {
    memory: Arc<RequestMemory>,
    bytes: i64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.free.fetch_add(self.bytes, Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

impl RequestMemory {
    pub fn new(bytes: i64) -> Arc<RequestMemory> {
        Arc::new(RequestMemory { free: AtomicI64::new(bytes), freed: Notify::new() })
    }

    fn try_take(self: &Arc<RequestMemory>, bytes: i64) -> Option<Taken> {
        let take = |free| (free > 0).then_some(free - bytes);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Taken { memory: self.clone(), bytes })
    }

    /// Waits until there is any room. Cancel safe.
    pub async fn take(self: &Arc<RequestMemory>, bytes: usize) -> Taken {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(taken) = self.try_take(bytes) {
                return taken;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn one_request_may_overdraw_and_the_next_waits_for_it() {
        let memory = RequestMemory::new(10);
        let first = memory.take(4).await;
        let second = memory.take(100).await;
        let waited = tokio::time::timeout(Duration::from_millis(50), memory.take(1)).await;
        assert!(waited.is_err(), "nothing is left");
        drop(first);
        assert!(memory.try_take(1).is_none(), "what was overdrawn is still owed");
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move { memory.take(1).await }
        });
        drop(second);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
}
