//! The log thread: one write and one sync for everything that gathered while the last sync ran.

use super::inbox::{Inbox, Input};
use crate::disk::{Disk, DiskError, Log};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::warn;
use wire::zk::Zxid;
use zk_core::Event;

/// Bytes of one batch; what is more waits for the next sync.
const BATCH_BYTES: usize = 32 << 20;

#[derive(Debug)]
enum Job {
    Append(Vec<(Zxid, Bytes)>),
    Roll,
    /// Cut, load, and answer with [`Event::Truncated`].
    Truncate(Zxid),
    /// Answers when everything before it is on disk.
    Barrier(SyncSender<()>),
}

/// Syncs so far, for `mntr`.
#[derive(Debug, Default)]
pub(crate) struct JournalStats {
    pub syncs: AtomicU64,
    pub sync_us: AtomicU64,
    pub sync_us_max: AtomicU64,
    pub entries: AtomicU64,
}

/// The loop's handle. Everything happens in the order of the calls.
#[derive(Debug)]
pub(crate) struct Journal {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub stats: Arc<JournalStats>,
}

impl Journal {
    pub fn start(disk: Disk, inbox: Inbox, batch_max: usize, slow: Duration) -> io::Result<Journal> {
        let (jobs, todo) = channel();
        let stats = Arc::<JournalStats>::default();
        let batch_max = batch_max.max(1);
        let worker = Worker { log: disk.log(), disk, inbox, batch_max, slow, stats: stats.clone() };
        let thread = std::thread::Builder::new().name("SyncThread".into()).spawn(move || worker.run(todo))?;
        Ok(Journal { jobs: Some(jobs), thread: Some(thread), stats })
    }

    fn order(&self, job: Job) {
        // A thread that failed has told the loop.
        let _ = self.jobs.as_ref().expect("the journal is not closed").send(job);
    }

    /// Answered by [`Event::Durable`] with the last zxid.
    pub fn append(&self, entries: Vec<(Zxid, Bytes)>) {
        self.order(Job::Append(entries));
    }

    /// The next append begins a new file.
    pub fn roll(&self) {
        self.order(Job::Roll);
    }

    pub fn truncate(&self, zxid: Zxid) {
        self.order(Job::Truncate(zxid));
    }

    /// Tells when everything ordered so far is done; an error says that it never will be: the thread failed, and has
    /// told the loop.
    pub fn barrier(&self) -> Receiver<()> {
        let (done, wait) = sync_channel(1);
        self.order(Job::Barrier(done));
        wait
    }

    /// Does what is ordered, and ends.
    pub fn close(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    log: Log,
    disk: Disk,
    inbox: Inbox,
    batch_max: usize,
    slow: Duration,
    stats: Arc<JournalStats>,
}

impl Worker {
    fn run(mut self, todo: Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| todo.recv().ok()) {
            let done = match job {
                Job::Append(entries) => self.batch(entries, &todo, &mut next),
                Job::Roll => self.log.roll(),
                Job::Truncate(zxid) => self.truncate(zxid),
                Job::Barrier(done) => {
                    let _ = done.send(());
                    Ok(())
                }
            };
            if let Err(error) = done {
                let why = format!("Severe unrecoverable error, exiting: {error}");
                return self.inbox.send(Input::Broken { code: 1, why });
            }
        }
    }

    /// `first` and what else is waiting, up to the first other job, which becomes `next`.
    fn batch(
        &mut self,
        first: Vec<(Zxid, Bytes)>,
        todo: &Receiver<Job>,
        next: &mut Option<Job>,
    ) -> Result<(), DiskError> {
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        let mut entries = first;
        loop {
            for (zxid, txn) in entries {
                self.log.append(zxid, &txn)?;
                (count, bytes, last) = (count + 1, bytes + txn.len(), zxid);
            }
            if count >= self.batch_max || bytes >= BATCH_BYTES {
                break;
            }
            match todo.try_recv() {
                Ok(Job::Append(more)) => entries = more,
                Ok(other) => {
                    *next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.sync(count as u64)?;
        self.inbox.event(Event::Durable { zxid: last });
        Ok(())
    }

    fn sync(&mut self, entries: u64) -> Result<(), DiskError> {
        let begun = Instant::now();
        self.log.sync()?;
        let took = begun.elapsed();
        if took > self.slow {
            warn!(
                "fsync-ing the write ahead log took {}ms which will adversely affect operation latency.",
                took.as_millis()
            );
        }
        let us = took.as_micros() as u64;
        self.stats.syncs.fetch_add(1, SeqCst);
        self.stats.entries.fetch_add(entries, SeqCst);
        self.stats.sync_us.fetch_add(us, SeqCst);
        self.stats.sync_us_max.fetch_max(us, SeqCst);
        Ok(())
    }

    fn truncate(&mut self, zxid: Zxid) -> Result<(), DiskError> {
        self.log.roll()?;
        let database = Box::new(self.disk.truncate(zxid)?);
        self.log = self.disk.log();
        self.inbox.event(Event::Truncated { database });
        Ok(())
    }
}
