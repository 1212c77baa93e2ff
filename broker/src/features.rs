//! `/feature`, which says whether the versions of features are agreed on. Of the features of 3.5.1 none is for a cluster with
//! ZooKeeper, so that only the node's version is of use: clients are told it as the epoch of what was agreed on.

use std::sync::Arc;

use tokio::sync::watch;
use zookeeper_client::EventType;

use crate::broker::Broker;
use crate::controller::nodes::{FEATURE, features_are_off};
use crate::zk::{self, Zk, ZkError, retry};

/// Reads the node anew whenever it changes, in every session.
pub async fn follow(broker: Arc<Broker>, mut session: watch::Receiver<Zk>) {
    loop {
        let zk = session.borrow_and_update().clone();
        let Err(ended) = watch_node(&broker, &zk).await;
        if !zk::may_follow_again(&mut session, ended).await {
            return;
        }
    }
}

async fn watch_node(broker: &Broker, zk: &Zk) -> Result<std::convert::Infallible, ZkError> {
    loop {
        let read = retry("getData", FEATURE, || zk.client().get_and_watch_data(FEATURE)).await;
        let watcher = match read {
            Ok((data, stat, watcher)) => {
                let off = features_are_off(&data)?;
                broker.set_features_epoch(if off { UNKNOWN } else { i64::from(stat.version) });
                watcher
            }
            Err(error) if error.no_node() => {
                let (stat, watcher) =
                    retry("exists", FEATURE, || zk.client().check_and_watch_stat(FEATURE)).await?;
                if stat.is_some() {
                    continue;
                }
                watcher
            }
            Err(error) => return Err(error),
        };
        let event = watcher.changed().await;
        if event.event_type == EventType::Session && event.session_state.is_terminated() {
            let source = zookeeper_client::Error::SessionExpired;
            return Err(ZkError::Operation { operation: "watch", path: FEATURE.into(), source });
        }
    }
}

/// Told where features are not agreed on.
pub const UNKNOWN: i64 = -1;
