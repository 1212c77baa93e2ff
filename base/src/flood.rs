//! What strangers can cause does not fill the log: some lines a second, and then a count of those that were left out.

use std::sync::Mutex;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Debug)]
pub struct Flood {
    lines_max: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Flood {
    /// At most so many lines a second.
    pub const fn new(lines_max: u32) -> Flood {
        Flood { lines_max, state: Mutex::new(State { began: None, said: 0, left_out: 0 }) }
    }

    /// Whether the line may be written now; if so, how many before it were not.
    pub fn admits(&self) -> Option<u64> {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            state.began = Some(now);
            state.said = 0;
        }
        if state.said >= self.lines_max {
            state.left_out += 1;
            return None;
        }
        state.said += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

/// ` (and 12 more like it)`, or nothing.
pub fn and_more(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_with_the_next() {
        let flood = Flood::new(2);
        let begin = Instant::now();
        let at = |ms| flood.admits_at(begin + Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(2), at(999)], [Some(0), Some(0), None, None]);
        assert_eq!([at(1000), at(1001)], [Some(2), Some(0)]);
        assert_eq!((and_more(0), and_more(2)), (String::new(), " (and 2 more like it)".to_owned()));
    }
}
