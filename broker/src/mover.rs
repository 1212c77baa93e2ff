//! The movers: tasks that read logs for their copies in other log directories, `num.replica.alter.log.dirs.threads` of
//! them, under `replica.alter.log.dirs.io.max.bytes.per.second`. What is copied, and when a copy takes its log's place, the
//! loop decides (`shard::moves`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::shard::{Event, MoveEvent, Work};

/// The tasks; they are started with the first move.
pub struct Movers {
    broker: Arc<Broker>,
    tasks: Vec<(Arc<Notify>, JoinHandle<()>)>,
}

impl Drop for Movers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|(_, task)| task.abort());
    }
}

impl Movers {
    pub fn new(broker: Arc<Broker>) -> Movers {
        Movers { broker, tasks: Vec::new() }
    }

    /// Something is to be moved.
    pub fn wake(&mut self) {
        if self.tasks.is_empty() {
            let threads = self.broker.config.int_opt("num.replica.alter.log.dirs.threads");
            let threads = threads.and_then(|threads| usize::try_from(threads).ok());
            for _ in 0..threads.unwrap_or(self.broker.config.log_dirs.len()).max(1) {
                let wake = Arc::new(Notify::new());
                self.tasks.push((wake.clone(), tokio::spawn(run(self.broker.clone(), wake))));
            }
        }
        self.tasks.iter().for_each(|(wake, _)| wake.notify_one());
    }
}

/// Until the loop ends.
async fn run(broker: Arc<Broker>, wake: Arc<Notify>) {
    let backoff = broker.config.millis("replica.fetch.backoff.ms").max(Duration::from_millis(1));
    let next = || broker.shard.ask(|reply| Event::Move(MoveEvent::Next { reply }));
    let mut work = None;
    loop {
        while broker.throttles.log_dirs.is_exceeded() {
            // As often as a window of the throttle may have ended.
            tokio::time::sleep(backoff).await;
        }
        let now = match work.take() {
            Some(work) => work,
            None => match next().await {
                Ok(work) => work,
                Err(_) => return,
            },
        };
        match now {
            Work::Copy(copy) => {
                let copied = match tokio::task::spawn_blocking(move || copy.run()).await {
                    Ok(copied) => copied,
                    Err(error) => return tracing::error!("the mover failed: {error}"),
                };
                broker.throttles.log_dirs.record(copied.bytes());
                match broker.shard.ask(|reply| Event::Move(MoveEvent::Copied { copied, reply })).await {
                    Ok(more) => work = Some(more),
                    Err(_) => return,
                }
            }
            Work::Again => {}
            Work::Wait => {
                let _ = tokio::time::timeout(backoff, wake.notified()).await;
            }
            Work::Idle => wake.notified().await,
        }
    }
}
