//! How long the loop is busy with one thing: nobody who waits for his turn waits longer for that.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};
use tracing::debug;
use zk_core::Event;

/// A step or a turn that takes longer is told of, at level debug.
const LONG: Duration = Duration::from_millis(5);

/// The longest ones since the start, or the last `srst`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    pub longest: Duration,
    /// By the processor's time of the loop's thread: what it waited for while others ran on its core is not in it.
    pub longest_cpu: Duration,
    /// Of one event, with what the core asked for.
    pub longest_step: Duration,
}

impl Turns {
    pub fn note_step(&mut self, event: &str, took: Duration) {
        self.longest_step = self.longest_step.max(took);
        if took > LONG {
            debug!("{event} took {} us", took.as_micros());
        }
    }

    pub fn note(&mut self, turn: &Stopwatch) {
        let (took, cpu) = (turn.begun.elapsed(), cpu_time().saturating_sub(turn.cpu));
        self.longest = self.longest.max(took);
        self.longest_cpu = self.longest_cpu.max(cpu);
        if took > LONG {
            debug!("A turn took {} us, {} us of the processor's", took.as_micros(), cpu.as_micros());
        }
    }
}

/// Begun with a turn.
pub(crate) struct Stopwatch {
    begun: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch { begun: Instant::now(), cpu: cpu_time() }
    }
}

/// Of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What a step is called where it is told of.
pub(crate) fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Tick => "a tick",
        Event::ClientOpened { .. } => "a client's connection",
        Event::ClientIdentified { .. } => "a client's certificate",
        Event::ClientFrame { .. } => "a client's frame",
        Event::ClientClosed { .. } => "a client's end",
        Event::Vote { .. } => "a vote",
        Event::LinkOpened { .. } | Event::DialFailed { .. } | Event::LinkClosed { .. } => "a link's change",
        Event::LinkPacket { .. } => "a link's packet",
        Event::LinkSnapshot { .. } => "a leader's snapshot",
        Event::LinkProgress { .. } | Event::SnapshotSent { .. } => "a learner's snapshot",
        Event::Durable { .. } => "a sync's end",
        Event::SnapshotSaved => "a saved snapshot",
        Event::Restored { .. } => "a restored state",
        Event::DiskSpace { .. } => "a look at the disk",
        Event::Oracle { .. } => "the oracle's word",
        Event::Truncated { .. } => "a cut of the log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_turn_is_long_by_the_clock_and_short_by_the_processor() {
        let mut turns = Turns::default();
        let turn = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(20));
        turns.note(&turn);
        assert!(turns.longest >= Duration::from_millis(20), "{turns:?}");
        assert!(turns.longest_cpu < Duration::from_millis(20), "{turns:?}");
        turns.note_step("a test", Duration::from_millis(1));
        assert_eq!(turns.longest_step, Duration::from_millis(1));
    }
}
