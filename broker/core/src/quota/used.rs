//! What clients with a quota use of it, for who measures.

use super::{Rate, Windows};

/// How a client, or those who share a quota, stand at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Or nothing.
    pub user: String,
    /// Or nothing.
    pub client_id: String,
    /// Per second, in the quota's unit.
    pub rate: f64,
    /// Mean of the waits in the windows, in ms; NaN: nobody had to wait.
    pub throttle_ms: f64,
    /// What may be changed at once; of the quota on changes only.
    pub tokens: Option<f64>,
}

/// Waits of clients, as long as the windows last.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    sum: Rate,
    count: Rate,
}

impl Waits {
    /// Who has not to wait does not count.
    pub fn record(&mut self, windows: Windows, now_ms: i64, throttle_ms: i32) {
        if throttle_ms > 0 {
            self.sum.record(windows, now_ms, f64::from(throttle_ms));
            self.count.record(windows, now_ms, 1.0);
        }
    }

    /// NaN without any.
    pub fn mean(&mut self, windows: Windows, now_ms: i64) -> f64 {
        let count = self.count.sum(windows, now_ms);
        if count > 0.0 { self.sum.sum(windows, now_ms) / count } else { f64::NAN }
    }
}
