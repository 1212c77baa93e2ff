//! How many new connections are taken in a while (`connection_throttle_*`): a bucket of tokens that fills with time, and
//! above it a chance of being turned away that grows while the bucket is empty and shrinks while it is not.

/// How the bucket fills. Tokens; milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectLimits {
    /// Size of the bucket; 0: no limit (`tokens`).
    pub tokens: i64,
    /// Every so many milliseconds ... (`fill_time`)
    pub fill_ms: u64,
    /// ... so many tokens are added (`fill_count`).
    pub fill: i64,
    /// Between two changes of the chance; `None`: there is no such chance (`freeze_time`).
    pub freeze_ms: Option<u64>,
    /// Added to the chance where the bucket is empty (`drop_increase`).
    pub drop_increase: f64,
    /// Taken from it where no more is missing than `decrease_ratio` of the bucket (`drop_decrease`).
    pub drop_decrease: f64,
    pub decrease_ratio: f64,
    /// What a connection costs; `None`: one token (`weight_enabled`).
    pub weights: Option<ConnectWeights>,
}

/// By what a connection asks for. The bucket and its filling are multiplied by `global`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectWeights {
    pub global: i64,
    pub local: i64,
    pub renewed: i64,
}

impl Default for ConnectLimits {
    fn default() -> ConnectLimits {
        ConnectLimits {
            tokens: 0,
            fill_ms: 1,
            fill: 1,
            freeze_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weights: None,
        }
    }
}

/// The session that a new connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Global,
    Local,
    Renewed,
}

#[derive(Debug)]
pub struct ConnectThrottle {
    limits: ConnectLimits,
    tokens: i64,
    /// Mono ms of the last filling, and of the last change of `drop`.
    filled_at: u64,
    frozen_at: u64,
    /// From 0, never, to 1, always.
    drop: f64,
    /// The state of the generator that decides.
    seed: u64,
}

impl ConnectThrottle {
    /// `seed`: of the numbers by which some are turned away.
    pub fn new(limits: &ConnectLimits, seed: u64) -> ConnectThrottle {
        let mut limits = limits.clone();
        if let Some(weights) = limits.weights {
            limits.tokens *= weights.global;
            limits.fill *= weights.global;
        }
        ConnectThrottle { tokens: limits.tokens, limits, filled_at: 0, frozen_at: 0, drop: 0.0, seed }
    }

    /// Tokens that the bucket lacks, and the chance of being turned away.
    pub fn figures(&self) -> (u64, f64) {
        ((self.limits.tokens - self.tokens).max(0) as u64, self.drop)
    }

    /// One more connection may come in. `now`: mono ms.
    pub fn admits(&mut self, asked: Asked, now: u64) -> bool {
        if self.limits.tokens == 0 {
            return true;
        }
        let need = match (self.limits.weights, asked) {
            (None, _) => 1,
            (Some(weights), Asked::Global) => weights.global,
            (Some(weights), Asked::Local) => weights.local,
            (Some(weights), Asked::Renewed) => weights.renewed,
        };
        let passed = now.saturating_sub(self.filled_at);
        if passed > self.limits.fill_ms {
            let more =
                i128::from(passed) * i128::from(self.limits.fill) / i128::from(self.limits.fill_ms.max(1));
            self.tokens = (i128::from(self.tokens) + more).min(i128::from(self.limits.tokens)) as i64;
            self.filled_at = now;
        }
        if self.is_dropped(now) || self.tokens < need {
            return false;
        }
        self.tokens -= need;
        true
    }

    fn is_dropped(&mut self, now: u64) -> bool {
        let Some(freeze) = self.limits.freeze_ms else { return false };
        if now.saturating_sub(self.frozen_at) > freeze {
            let missing = self.limits.tokens - self.tokens;
            if missing == self.limits.tokens {
                self.drop = (self.drop + self.limits.drop_increase).min(1.0);
            } else if missing as f64 <= (self.limits.tokens as f64 * self.limits.decrease_ratio).round() {
                self.drop = (self.drop - self.limits.drop_decrease).max(0.0);
            }
            self.frozen_at = now;
        }
        self.chance() < self.drop
    }

    /// From 0 up to 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(throttle: &mut ConnectThrottle, asked: Asked, now: u64, tries: usize) -> usize {
        (0..tries).filter(|_| throttle.admits(asked, now)).count()
    }

    #[test]
    fn a_bucket_is_emptied_and_fills_with_time() {
        let limits = ConnectLimits { tokens: 5, fill_ms: 10, fill: 2, ..ConnectLimits::default() };
        let mut throttle = ConnectThrottle::new(&limits, 1);
        assert_eq!(admitted(&mut throttle, Asked::Global, 0, 9), 5);
        assert_eq!(admitted(&mut throttle, Asked::Global, 10, 9), 0);
        assert_eq!(admitted(&mut throttle, Asked::Global, 11, 9), 2);
        assert_eq!(admitted(&mut throttle, Asked::Global, 10_000, 9), 5);
        let mut open = ConnectThrottle::new(&ConnectLimits::default(), 1);
        assert_eq!(admitted(&mut open, Asked::Global, 0, 1000), 1000);
    }

    #[test]
    fn what_asks_for_more_weighs_more() {
        let weights = Some(ConnectWeights { global: 3, local: 1, renewed: 2 });
        let limits = ConnectLimits { tokens: 2, fill_ms: 1000, weights, ..ConnectLimits::default() };
        for (asked, count) in [(Asked::Global, 2), (Asked::Local, 6), (Asked::Renewed, 3)] {
            assert_eq!(admitted(&mut ConnectThrottle::new(&limits, 1), asked, 0, 9), count, "{asked:?}");
        }
    }

    #[test]
    fn an_empty_bucket_makes_it_likelier_to_be_turned_away_and_a_full_one_less() {
        let limits = ConnectLimits {
            tokens: 100,
            fill_ms: 1,
            fill: 100,
            freeze_ms: Some(10),
            drop_increase: 0.5,
            drop_decrease: 0.25,
            ..ConnectLimits::default()
        };
        let mut throttle = ConnectThrottle::new(&limits, 7);
        throttle.tokens = 0;
        throttle.filled_at = 11;
        assert_eq!((throttle.admits(Asked::Global, 11), throttle.drop), (false, 0.5));
        let some = admitted(&mut throttle, Asked::Global, 13, 100);
        assert!((25..75).contains(&some), "{some} of 100 at a chance of 0.5");
        throttle.admits(Asked::Global, 100);
        assert_eq!(throttle.drop, 0.25);
        throttle.admits(Asked::Global, 200);
        assert_eq!((throttle.drop, admitted(&mut throttle, Asked::Global, 202, 100)), (0.0, 100));
    }
}
