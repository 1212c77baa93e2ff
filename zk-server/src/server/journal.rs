//! The log thread: one write and one sync for everything that gathered while the last sync ran.

use super::inbox::{Inbox, Input};
use crate::disk::{Disk, DiskError, Log};
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::warn;
use wire::zk::Zxid;
use zk_core::Event;
use zk_core::measure::Summary;

/// Transactions whose end the loop is told of at once: it applies them in one step.
const TOLD_AT_ONCE: usize = 64;
/// Bytes of one batch; what is more waits for the next sync.
const BATCH_BYTES: usize = 32 << 20;

#[derive(Debug)]
enum Job {
    /// With the moment at which it was ordered.
    Append(Vec<(Zxid, Bytes)>, Instant),
    Roll,
    /// Cut, load, and answer with [`Event::Truncated`].
    Truncate(Zxid),
    /// Answers when everything before it is on disk.
    Barrier(SyncSender<()>),
}

/// What the log thread has done so far; it takes this lock once for a batch. Times in ms.
#[derive(Debug, Clone, Default)]
pub(crate) struct JournalStats {
    pub fsynctime: Summary,
    pub batch_size: Summary,
    /// From being ordered until the thread begins with it, and until it is on disk.
    pub queue_time: Summary,
    pub queue_and_flush_time: Summary,
    /// Orders that wait when a batch begins.
    pub queue_size: Summary,
    pub requests: u64,
    /// Syncs that took longer than `fsync.warningthresholdms`. Not part of a reset.
    pub slow_syncs: u64,
}

/// Shared by the thread and whoever asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedStats {
    stats: Arc<Mutex<JournalStats>>,
    waiting: Arc<AtomicU64>,
}

impl SharedStats {
    pub fn get(&self) -> JournalStats {
        self.lock().clone()
    }

    pub fn reset(&self) {
        let mut stats = self.lock();
        *stats = JournalStats { slow_syncs: stats.slow_syncs, ..JournalStats::default() };
    }

    fn lock(&self) -> MutexGuard<'_, JournalStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's handle. Everything happens in the order of the calls.
#[derive(Debug)]
pub(crate) struct Journal {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub stats: SharedStats,
}

impl Journal {
    pub fn start(disk: Disk, inbox: Inbox, batch_max: usize, slow: Duration) -> io::Result<Journal> {
        let (jobs, todo) = channel();
        let stats = SharedStats::default();
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
        self.stats.waiting.fetch_add(1, SeqCst);
        self.order(Job::Append(entries, Instant::now()));
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
    stats: SharedStats,
}

impl Worker {
    fn run(mut self, todo: Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| todo.recv().ok()) {
            let done = match job {
                Job::Append(entries, at) => self.batch((entries, at), &todo, &mut next),
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
        first: (Vec<(Zxid, Bytes)>, Instant),
        todo: &Receiver<Job>,
        next: &mut Option<Job>,
    ) -> Result<(), DiskError> {
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        let begun = Instant::now();
        let waiting = self.stats.waiting.load(SeqCst);
        let (mut ordered, mut told) = (vec![], vec![]);
        let (mut entries, mut at) = first;
        loop {
            ordered.push((at, entries.len() as u64));
            for (zxid, txn) in entries {
                self.log.append(zxid, &txn)?;
                (count, bytes, last) = (count + 1, bytes + txn.len(), zxid);
                if count % TOLD_AT_ONCE == 0 {
                    told.push(zxid);
                }
            }
            if count >= self.batch_max || bytes >= BATCH_BYTES {
                break;
            }
            match todo.try_recv() {
                Ok(Job::Append(more, then)) => (entries, at) = (more, then),
                Ok(other) => {
                    *next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.stats.waiting.fetch_sub(ordered.len() as u64, SeqCst);
        let took = self.sync()?;
        self.note(begun, waiting, took, &ordered);
        told.push(last);
        told.dedup();
        told.into_iter().for_each(|zxid| self.inbox.event(Event::Durable { zxid }));
        Ok(())
    }

    fn sync(&mut self) -> Result<Duration, DiskError> {
        let begun = Instant::now();
        self.log.sync()?;
        let took = begun.elapsed();
        if took > self.slow {
            warn!(
                "fsync-ing the write ahead log took {}ms which will adversely affect operation latency.",
                took.as_millis()
            );
        }
        Ok(took)
    }

    /// `ordered`: when each append of the batch was ordered, and of how many entries.
    fn note(&self, begun: Instant, waiting: u64, sync: Duration, ordered: &[(Instant, u64)]) {
        let ms = |time: Duration| time.as_millis() as u64;
        let mut stats = self.stats.lock();
        let entries = ordered.iter().map(|(_, entries)| entries).sum();
        stats.fsynctime.add(ms(sync));
        stats.slow_syncs += u64::from(sync > self.slow);
        stats.batch_size.add(entries);
        stats.queue_size.add(waiting);
        stats.requests += entries;
        for (at, entries) in ordered {
            stats.queue_time.add_many(ms(begun.saturating_duration_since(*at)), *entries);
            stats.queue_and_flush_time.add_many(ms(at.elapsed()), *entries);
        }
    }

    fn truncate(&mut self, zxid: Zxid) -> Result<(), DiskError> {
        self.log.roll()?;
        let database = Box::new(self.disk.truncate(zxid)?);
        self.log = self.disk.log();
        self.inbox.event(Event::Truncated { database });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::space::tests::SmallDisk;
    use crate::disk::tests::disk_in;

    #[test]
    fn nothing_is_durable_on_a_full_disk_until_there_is_room_and_then_all_of_it_is() {
        let Some(small) = SmallDisk::mount(2) else { return };
        let disk = disk_in(small.0.path());
        let (inbox, events) = Inbox::new();
        let mut journal = Journal::start(disk.clone(), inbox, 1000, Duration::from_secs(60)).unwrap();
        let durable = |wait| match events.recv_timeout(Duration::from_millis(wait)) {
            Ok(Input::Core(Event::Durable { zxid })) => Some(zxid),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        journal.append(vec![(1, Bytes::from_static(b"first"))]);
        assert_eq!(durable(10_000), Some(1));
        let filler = small.fill();
        journal.append(vec![(2, Bytes::from(vec![2; 60_000]))]);
        journal.append(vec![(3, Bytes::from_static(b"third"))]);
        assert_eq!(durable(700), None, "the disk is full");
        std::fs::remove_file(filler).unwrap();
        let mut last = durable(10_000).expect("there is room");
        if last == 2 {
            last = durable(10_000).unwrap();
        }
        assert_eq!(last, 3);
        journal.close();
        let mut log = crate::disk::txnlog::LogFile::open(&disk.folders().1.join("log.1")).unwrap().unwrap();
        let lens = std::iter::from_fn(|| log.next().unwrap()).map(|entry| entry.payload.len());
        assert_eq!(lens.collect::<Vec<_>>(), [5, 60_000, 5]);
    }

    #[test]
    fn the_end_of_a_large_batch_is_told_in_parts_that_make_short_steps() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, events) = Inbox::new();
        let mut journal =
            Journal::start(disk_in(folder.path()), inbox, 1000, Duration::from_secs(60)).unwrap();
        journal.append((1..=200).map(|zxid| (zxid, Bytes::from_static(b"txn"))).collect());
        journal.close();
        let told = events.try_iter().map(|input| match input {
            Input::Core(Event::Durable { zxid }) => zxid,
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [64, 128, 192, 200]);
    }
}
