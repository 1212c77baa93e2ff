//! Ensembles of other shapes than voters that count the same: groups and weights, observers behind followers.

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use std::collections::BTreeMap;
use zk_core::CoreConfig;
use zk_core::config::Ensemble;
use zk_core::quorums::QuorumLines;

/// Seeds from here on have such a shape; those below are as they were when bugs were found with them.
pub const SHAPED: u64 = 100_000;

/// Reshapes the ensemble that these servers are configured for, as the seed says.
pub fn reshape(seed: u64, configs: &mut [CoreConfig]) {
    let Some(ensemble) = configs[0].ensemble.clone().filter(|_| seed >= SHAPED) else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ SHAPED.rotate_left(40));
    let ensemble = if rng.random_bool(0.7) { grouped(ensemble, &mut rng) } else { ensemble };
    let observer_masters = rng.random_bool(0.7);
    for config in configs {
        config.ensemble = Some(ensemble.clone());
        config.observer_masters = observer_masters;
    }
}

/// Every voter in one of up to three groups, with a weight from 0 to 3. Somebody weighs something.
fn grouped(ensemble: Ensemble, rng: &mut ChaCha8Rng) -> Ensemble {
    let voters: Vec<i64> = ensemble.voters().collect();
    let heavy = voters[rng.random_range(0..voters.len())];
    let groups = rng.random_range(1..=3);
    let mut members: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut lines = QuorumLines::default();
    let mut read = |key: String, value: &str| lines.read(&key, value).expect("it has the form of a line");
    for sid in &voters {
        members.entry(rng.random_range(1..=groups)).or_default().push(sid.to_string());
        let weight = rng.random_range(0..=3).max(i32::from(*sid == heavy));
        read(format!("weight.{sid}"), &weight.to_string());
    }
    for (group, sids) in &members {
        read(format!("group.{group}"), &sids.join(":"));
    }
    let quorums = lines.finish(&ensemble.members).expect("every voter is in one group");
    Ensemble::new(ensemble.members, quorums, ensemble.version)
}
