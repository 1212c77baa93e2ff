//! ISR changes as before `inter.broker.protocol.version` 2.7: the leader writes the partition's state to ZooKeeper itself, and
//! leaves a note under `/isr_change_notification` by which the controller tells the others, for several changes together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker_core::alter::{Ask, Place};
use broker_core::controller::{PartitionState, TopicPartition};
use broker_core::partition::Altered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::kafka::ErrorCode;

use crate::alter::tell;
use crate::broker::Broker;
use crate::controller::nodes;
use crate::peers::RETRY_PAUSE;
use crate::zk::ZkError;

/// How often it is looked whether there is something to note.
const CHECK: Duration = Duration::from_millis(2_500);
/// A note waits until nothing has changed for so long,
const LINGER: Duration = Duration::from_secs(5);
/// but no longer than so long after the last note.
const DELAY_MAX: Duration = Duration::from_secs(60);
const NOTE: &str = "/isr_change_notification/isr_change_";

/// Changes that the controller has not been told of.
struct Unsaid {
    partitions: BTreeSet<Place>,
    changed: Instant,
    noted: Instant,
}

impl Unsaid {
    fn is_due(&self, now: Instant) -> bool {
        !self.partitions.is_empty() && (now > self.changed + LINGER || now > self.noted + DELAY_MAX)
    }
}

/// Writes what is asked for, for as long as there is a broker.
pub async fn run(broker: Arc<Broker>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let now = Instant::now();
    let mut unsaid = Unsaid { partitions: BTreeSet::new(), changed: now, noted: now };
    let mut check = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some(ask) = ask else { return };
                let place = ask.place();
                let result = write(&broker, &ask).await;
                if result.is_ok() {
                    unsaid.partitions.insert(place);
                    unsaid.changed = Instant::now();
                }
                if !tell(&broker, ask, result).await {
                    return;
                }
            }
            now = check.tick() => {
                if unsaid.is_due(now) {
                    leave_note(&broker, &mut unsaid).await;
                }
            }
        }
    }
}

async fn leave_note(broker: &Broker, unsaid: &mut Unsaid) {
    let note = nodes::encode_isr_change(unsaid.partitions.iter());
    match broker.zk().create_sequential(NOTE, &note).await {
        Ok(()) => {
            unsaid.partitions.clear();
            unsaid.noted = Instant::now();
        }
        Err(error) => tracing::warn!("{error}"),
    }
}

async fn write(broker: &Broker, ask: &Ask) -> Result<Altered, ErrorCode> {
    match try_to_write(broker, ask).await {
        Ok(result) => result,
        Err(error) => {
            tracing::warn!("{error}");
            tokio::time::sleep(RETRY_PAUSE).await;
            Err(ErrorCode::NETWORK_EXCEPTION)
        }
    }
}

async fn try_to_write(broker: &Broker, ask: &Ask) -> Result<Result<Altered, ErrorCode>, ZkError> {
    let path = nodes::state_path(&TopicPartition { topic: ask.topic.clone(), partition: ask.partition });
    let zk = broker.zk();
    loop {
        let Some((data, stat)) = zk.get(&path).await? else {
            return Ok(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let state = nodes::partition_state(&path, &data, stat.version)?;
        let new = match next_state(broker.id, ask, &state) {
            Ok(Some(new)) => new,
            Ok(None) => return Ok(Ok(altered(&state))),
            Err(error) => return Ok(Err(error)),
        };
        match zk.set(&path, &nodes::encode_state(&new), Some(stat.version)).await {
            Ok(stat) => return Ok(Ok(altered(&PartitionState { version: stat.version, ..new }))),
            Err(error) if error.bad_version() => {}
            Err(error) => return Err(error),
        }
    }
}

fn altered(state: &PartitionState) -> Altered {
    Altered { leader_epoch: state.leader_epoch, partition_epoch: state.version, isr: state.isr.clone() }
}

/// What is to be written over the state that was found; `None`: it is written already, and the answer was lost.
fn next_state(leader: i32, ask: &Ask, found: &PartitionState) -> Result<Option<PartitionState>, ErrorCode> {
    let wanted = &ask.ask;
    if found.leader != leader || found.leader_epoch != wanted.leader_epoch {
        return Err(ErrorCode::FENCED_LEADER_EPOCH);
    }
    if found.version == wanted.partition_epoch {
        return Ok(Some(PartitionState { isr: wanted.isr.clone(), recovering: false, ..found.clone() }));
    }
    if found.isr == wanted.isr { Ok(None) } else { Err(ErrorCode::INVALID_UPDATE_VERSION) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::partition::AlterPartition;
    use wire::kafka::Uuid;

    fn state(leader: i32, leader_epoch: i32, isr: &[i32], version: i32) -> PartitionState {
        PartitionState {
            controller_epoch: 7,
            leader,
            leader_epoch,
            isr: isr.to_vec(),
            recovering: false,
            version,
        }
    }

    #[test]
    fn a_leader_writes_over_the_state_that_it_knows_and_over_no_other() {
        let ask = AlterPartition { request: 1, leader_epoch: 3, partition_epoch: 4, isr: vec![1] };
        let ask = Ask { topic: "t".into(), id: Uuid::ZERO, partition: 0, ask };
        assert_eq!(next_state(1, &ask, &state(1, 3, &[1, 2], 4)), Ok(Some(state(1, 3, &[1], 4))));
        assert_eq!(next_state(1, &ask, &state(1, 3, &[1], 5)), Ok(None), "it was its own");
        assert_eq!(next_state(1, &ask, &state(1, 3, &[1, 2], 5)), Err(ErrorCode::INVALID_UPDATE_VERSION));
        for other in [state(2, 3, &[1, 2], 4), state(1, 4, &[1, 2], 4)] {
            assert_eq!(next_state(1, &ask, &other), Err(ErrorCode::FENCED_LEADER_EPOCH));
        }
    }

    #[test]
    fn a_note_waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let mut unsaid = Unsaid { partitions: BTreeSet::new(), changed: start, noted: start };
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!unsaid.is_due(after(100)), "there is nothing to say");
        unsaid.partitions.insert(("t".into(), 0));
        assert!(!unsaid.is_due(after(4)) && unsaid.is_due(after(6)));
        unsaid.changed = after(59);
        assert!(!unsaid.is_due(after(60)) && unsaid.is_due(after(61)));
    }
}
