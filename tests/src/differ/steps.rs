//! The requests of a session, before it is drawn what is in them: which API, which version, and what is done to their bytes.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wire::kafka::{APIS, ApiKey};

use super::damage::{Damage, damage};
use super::stories::{Requests, STORIES, Story};

/// One request to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub key: ApiKey,
    pub version: i16,
    /// What its fields are drawn from.
    pub seed: u64,
    /// Which of the free connections it takes.
    pub pick: usize,
    pub damage: Option<Damage>,
    /// Only what a SaslAuthenticate holds is sent, as clients did before there were such requests.
    pub as_token: bool,
    /// Another client id than the connection's, or none.
    pub client_id: Option<Option<&'static str>>,
    /// Tagged fields that nobody knows come with it, if its version has room for them.
    pub is_tagged: bool,
}

/// The sessions from this seed on draw more: what stands at the edges of what a broker reads. Those before it stay what they
/// were when they were settled.
pub const WIDE: u64 = 300;

/// Draws a session's steps, without end.
#[derive(Debug)]
pub struct Steps {
    rng: ChaCha8Rng,
    story: &'static Story,
    /// Only requests of this API.
    only: Option<ApiKey>,
    /// The sessions of one story begin with one version after the other.
    first: u64,
    drawn: BTreeMap<ApiKey, u64>,
    is_wide: bool,
}

impl Steps {
    pub fn of(seed: u64, only: Option<ApiKey>) -> Steps {
        let stories = STORIES.len() as u64;
        Steps {
            rng: ChaCha8Rng::seed_from_u64(seed),
            story: &STORIES[(seed % stories) as usize],
            only,
            first: seed / stories,
            drawn: BTreeMap::new(),
            is_wide: seed >= WIDE,
        }
    }

    /// See [`WIDE`].
    pub fn is_wide(&self) -> bool {
        self.is_wide
    }

    pub fn story(&self) -> &'static Story {
        self.story
    }

    fn key(&mut self) -> ApiKey {
        match self.story.requests {
            Requests::These(requests) => {
                let total: u32 = requests.iter().map(|(_, weight)| weight).sum();
                let mut at = self.rng.random_range(0..total);
                let drawn = requests.iter().find(|(_, weight)| {
                    let here = at < *weight;
                    at = at.wrapping_sub(*weight);
                    here
                });
                drawn.expect("below the total").0
            }
            Requests::All => {
                let all: Vec<ApiKey> =
                    APIS.iter().filter(|api| api.broker_versions.is_some()).map(|api| api.key).collect();
                all[self.rng.random_range(0..all.len())]
            }
        }
    }

    /// Each version in its turn.
    fn version(&mut self, key: ApiKey) -> i16 {
        let (low, high) = self.story.versions(key);
        let before = self.drawn.entry(key).or_default();
        *before += 1;
        low + ((self.first + *before) % (high - low + 1) as u64) as i16
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let drawn = self.key();
        let key = self.only.unwrap_or(drawn);
        let version = self.version(key);
        let (seed, pick) = (self.rng.random(), self.rng.random_range(0..usize::from(u16::MAX)));
        let damage = self.story.is_damaged.then(|| damage(&mut self.rng, key));
        let as_token = key == ApiKey::SaslAuthenticate && self.rng.random_range(0..2) == 0;
        let mut step = Step { key, version, seed, pick, damage, as_token, client_id: None, is_tagged: false };
        if self.is_wide {
            let ids = [None, Some(""), Some("two words/\u{2603}")];
            step.client_id = ids.get(self.rng.random_range(0..15_usize)).copied();
            step.is_tagged = self.rng.random_range(0..4) == 0;
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_sessions_have_every_api_in_every_version_in_them_and_not_damaged() {
        let mut drawn: BTreeMap<(ApiKey, i16), u32> = BTreeMap::new();
        for seed in 0..300 {
            let steps = Steps::of(seed, None);
            if !steps.story().is_damaged {
                steps.take(40).for_each(|step| *drawn.entry((step.key, step.version)).or_default() += 1);
            }
        }
        for api in APIS {
            let Some((low, high)) = api.broker_versions else { continue };
            for version in low..=high {
                assert!(drawn.contains_key(&(api.key, version)), "{} v{version}", api.name);
            }
        }
    }

    #[test]
    fn a_seed_brings_the_same_steps_again() {
        for seed in 0..STORIES.len() as u64 {
            let steps = |only| Steps::of(seed, only).take(20).collect::<Vec<_>>();
            assert_eq!(steps(None), steps(None));
            assert!(steps(Some(ApiKey::Fetch)).iter().all(|step| step.key == ApiKey::Fetch));
        }
    }
}
