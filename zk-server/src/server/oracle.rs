//! The oracle (`oraclePath`): a file whose first byte is `1` where this server may decide without the other voter.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between two looks, where nothing hangs on it.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Oracle {
    path: PathBuf,
    said: bool,
    looked: Instant,
}

impl Oracle {
    pub fn new(path: PathBuf, now: Instant) -> Oracle {
        info!("Oracle is set to {}", path.display());
        Oracle { path, said: false, looked: now }
    }

    /// What it says, if that is something else than before. `at_once`: whatever is decided next hangs on it.
    pub fn look(&mut self, at_once: bool, now: Instant) -> Option<bool> {
        if !at_once && now.duration_since(self.looked) < LOOK_EVERY {
            return None;
        }
        self.looked = now;
        let says = read(&self.path).unwrap_or_else(|error| {
            // Once, and not for as long as it lasts.
            if self.said {
                warn!("The oracle {} cannot be read: {error}", self.path.display());
            }
            false
        });
        if says == self.said {
            return None;
        }
        info!("Oracle says: {}", u8::from(says));
        self.said = says;
        Some(says)
    }
}

fn read(path: &Path) -> std::io::Result<bool> {
    let mut first = [0];
    Ok(File::open(path)?.read(&mut first)? == 1 && first == *b"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_one_at_the_start_of_the_file_lets_anybody_decide() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle");
        let start = Instant::now();
        let mut oracle = Oracle::new(path.clone(), start);
        assert_eq!(oracle.look(true, start), None, "no file, no permission");
        for (text, says) in
            [("1", Some(true)), ("1\n", None), ("0", Some(false)), ("", None), ("10", Some(true))]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(oracle.look(true, start), says, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(oracle.look(false, start), None, "not yet");
        assert_eq!(oracle.look(false, start + LOOK_EVERY), Some(false));
    }
}
