//! Open files: replicas that are used keep theirs, and give them back when there are too many.

use std::collections::BTreeMap;

use super::Shard;
use crate::log::open_handles;

/// Where the system does not tell.
const UNKNOWN: u64 = 1024;
/// With fewer the logs work, but are opened all the time.
const HANDLES_MIN: usize = 64;
/// From here on nothing is gained by more.
const HANDLES_MAX: u64 = 32_768;

/// How many files the logs of this process may keep open: half of what it may have. The limit is raised as far as that is
/// allowed, as Java does.
pub fn handles_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let current = current.unwrap_or(UNKNOWN);
    let logs = usize::try_from((current / 2).min(HANDLES_MAX)).unwrap_or(HANDLES_MIN).max(HANDLES_MIN);
    if current < UNKNOWN {
        tracing::warn!(
            "This process may open {current} files (RLIMIT_NOFILE, `ulimit -n`): {logs} are for logs, the rest for \
             connections. Raise it if connections are refused"
        );
    }
    logs
}

impl Shard {
    /// Too many files are open: logs that were not used since the last time close theirs, and if that is not enough, all.
    pub(super) fn release_handles(&mut self) {
        let enough = self.turn.handles_max / 4 * 3;
        for all in [false, true] {
            for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
                if all && open_handles() <= enough {
                    return;
                }
                if all || !replica.log.was_used() {
                    replica.log.release();
                    if let Some(future) = &mut replica.future {
                        future.log.release();
                    }
                }
            }
        }
    }
}
