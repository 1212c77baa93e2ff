//! What a partition asks for, done to its log.

use super::*;

/// What the shell of a replica does. `failing`: its disk takes nothing any more.
#[allow(clippy::too_many_arguments)]
pub(super) fn perform(
    own: i32,
    tp: &TopicPartition,
    replica: &mut Replica,
    log: &mut LogFile,
    effects: Vec<Effect>,
    (produced, fetched): (Option<Stored>, &[Stored]),
    failing: bool,
    outs: &mut Outs,
    checks: &mut Checks,
) {
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        let writes = matches!(
            effect,
            Effect::Append { .. }
                | Effect::AppendFetched { .. }
                | Effect::Truncate { .. }
                | Effect::TruncateFully { .. }
                | Effect::SaveEpochs
        );
        if writes && failing && outs.failed_dir.is_none() {
            // What stands behind it is dropped; only answers come of a failed log.
            outs.failed_dir = Some(log.dir);
            let mut out = vec![];
            replica.core.log_failed(&mut out);
            effects = VecDeque::from(out);
            continue;
        }
        match effect {
            Effect::Append { base_offset, leader_epoch } => {
                let Some(mut stored) = produced else { continue };
                stored.meta.base_offset = base_offset;
                stored.meta.leader_epoch = leader_epoch;
                log.batches.push(stored);
            }
            Effect::AppendFetched { from } => log.batches.extend(&fetched[from..]),
            Effect::TxnCompleted(ended) => log.aborted.extend(ended.aborted.then_some(ended)),
            Effect::Truncate { to, producers_lost } => {
                log.truncate_to(to);
                log.flushed = log.flushed.min(log.batches.len());
                log.high_watermark = log.high_watermark.min(to);
                if producers_lost {
                    replica.core.rebuild_producers([], log.batches.iter().map(|stored| stored.meta));
                }
            }
            Effect::TruncateFully { start_at } => {
                if start_at != 0 {
                    checks.fail(format!(
                        "broker {own} starts {tp:?} anew at {start_at}: nobody deletes records"
                    ));
                }
                log.truncate_to(0);
                log.flushed = 0;
            }
            Effect::SaveEpochs => log.epochs = replica.core.epochs().entries().to_vec(),
            Effect::AlterPartition(ask) => outs.alters.push((tp.clone(), replica.id, ask)),
            Effect::Reply { token, result } => outs.replies.push((token, result)),
            _ => {}
        }
    }
    if outs.failed_dir.is_none() && !failing && log.end() != replica.core.log_end() {
        let core = replica.core.log_end();
        checks.fail(format!("broker {own}: the log of {tp:?} ends at {}, its state at {core}", log.end()));
    }
}
