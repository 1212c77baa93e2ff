//! Change notes: sequential children of a node that tell every broker what to read anew.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Zk, ZkError, retry};

/// Notes older than this are deleted by whoever reads the list next.
const EXPIRATION: Duration = Duration::from_secs(15 * 60);

/// Before what went wrong for another reason than the session's end is tried again.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// After what ended the following of changes: waits for the next session, or a moment if this one goes on. `false`: there will
/// be no other.
pub async fn may_follow_again(session: &mut watch::Receiver<Zk>, ended: ZkError) -> bool {
    if ended.session_over() {
        return session.changed().await.is_ok();
    }
    tracing::warn!("{ended}");
    tokio::time::sleep(FOLLOW_PAUSE).await;
    true
}

/// Reads everything once all watches are set: whatever changed before that is in it. Ends only where that fails.
pub async fn catch_up<const N: usize>(
    armed: [oneshot::Receiver<()>; N],
    load: impl Future<Output = Result<(), ZkError>>,
) -> ZkError {
    for watch in armed {
        if watch.await.is_err() {
            return std::future::pending().await;
        }
    }
    match load.await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

/// Where notes of one kind are left: `ROOT/PREFIX0000000007`.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    pub root: &'static str,
    pub prefix: &'static str,
}

impl Notes {
    /// Leaves a note.
    pub async fn leave(&self, zk: &Zk, note: &[u8]) -> Result<(), ZkError> {
        zk.create_sequential(&format!("{}/{}", self.root, self.prefix), note).await
    }

    /// Calls `noted` with path and bytes of each note left from now on; `armed` once nothing can be missed any more.
    /// Ends with the session.
    pub async fn watch<F, Fut>(self, zk: Zk, armed: oneshot::Sender<()>, mut noted: F) -> ZkError
    where
        F: FnMut(String, Vec<u8>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut armed = Some(armed);
        let mut seen: Option<i64> = None;
        loop {
            let listed =
                retry("getChildren", self.root, || zk.client.get_and_watch_children(self.root)).await;
            let (mut names, _, watcher) = match listed {
                Ok(listed) => listed,
                Err(error) => return error,
            };
            names.sort();
            let newest = names.last().and_then(|name| self.sequence(name)).unwrap_or(-1);
            match seen {
                None => seen = Some(newest),
                Some(last) => {
                    for name in names.iter().filter(|name| self.sequence(name).is_some_and(|n| n > last)) {
                        let path = format!("{}/{name}", self.root);
                        match zk.get(&path).await {
                            Ok(Some((data, _))) => noted(path, data).await,
                            Ok(None) => {}
                            Err(error) if error.session_over() => return error,
                            Err(error) => tracing::warn!("{error}"),
                        }
                    }
                    seen = Some(newest.max(last));
                    if let Err(error) = self.purge(&zk, &names).await {
                        return error;
                    }
                }
            }
            if let Some(armed) = armed.take() {
                let _ = armed.send(());
            }
            let event = watcher.changed().await;
            if event.event_type == zookeeper_client::EventType::Session && event.session_state.is_terminated()
            {
                let source = zookeeper_client::Error::SessionExpired;
                return ZkError::Operation { operation: "watch", path: self.root.into(), source };
            }
        }
    }

    fn sequence(&self, name: &str) -> Option<i64> {
        name.strip_prefix(self.prefix)?.parse().ok()
    }

    /// Deletes notes that every broker has had time to read.
    async fn purge(&self, zk: &Zk, names: &[String]) -> Result<(), ZkError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        for name in names {
            let path = format!("{}/{name}", self.root);
            let Some(stat) = zk.stat(&path).await? else { continue };
            if (stat.ctime as u128) + EXPIRATION.as_millis() < now.as_millis() {
                zk.delete(&path).await?;
            }
        }
        Ok(())
    }
}
