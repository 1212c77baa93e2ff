//! How a reader is held back: it adds what it hands to the loop, the loop takes off what it has done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

/// A load shared by one reader, which adds and waits, and the loop, which takes off.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    load: AtomicUsize,
    waiting: AtomicBool,
    wake: Notify,
    /// The loop is done with the connection: nobody waits any more.
    open: AtomicBool,
}

impl Gate {
    pub fn load(&self) -> usize {
        self.load.load(SeqCst)
    }

    pub fn add(&self, more: usize) {
        self.load.fetch_add(more, SeqCst);
    }

    pub fn take_off(&self, less: usize) {
        self.load.fetch_sub(less, SeqCst);
        if self.waiting.load(SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Lets the reader through for good.
    pub fn open(&self) {
        self.open.store(true, SeqCst);
        self.wake.notify_one();
    }

    /// Waits while `busy` says so of the load; it is asked again whenever the load falls.
    pub async fn wait_while(&self, busy: impl Fn(usize) -> bool) {
        self.waiting.store(true, SeqCst);
        while busy(self.load()) && !self.open.load(SeqCst) {
            self.wake.notified().await;
        }
        self.waiting.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_reader_waits_until_the_load_has_fallen() {
        let gate = Arc::new(Gate::default());
        gate.add(3);
        let reader = tokio::spawn({
            let gate = gate.clone();
            async move { gate.wait_while(|load| load > 1).await }
        });
        gate.take_off(1);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!reader.is_finished());
        gate.take_off(1);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_of_a_connection_that_is_given_up_waits_no_more() {
        let gate = Gate::default();
        gate.add(1);
        gate.open();
        gate.wait_while(|load| load > 0).await;
    }
}
