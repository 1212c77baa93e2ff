//! Becoming the controller: `/controller` is created and `/controller_epoch` raised in one transaction.

use zookeeper_client::{Error, OneshotWatcher};

use super::nodes;
use crate::shard::wall_clock;
use crate::zk::{RETRY_PAUSE, Zk, ZkError, retry};

/// The right to write as the controller, as long as `/controller_epoch` stays at this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mandate {
    pub epoch: i32,
    pub version: i32,
}

/// Who the controller is, -1 for nobody, and a watch for the next change of that.
pub async fn current(zk: &Zk) -> Result<(i32, OneshotWatcher), ZkError> {
    loop {
        let path = nodes::CONTROLLER;
        match retry("getData", path, || zk.client().get_and_watch_data(path)).await {
            Ok((data, _, watcher)) => return Ok((nodes::controller_id(&data)?, watcher)),
            Err(error) if error.no_node() => {}
            Err(error) => return Err(error),
        }
        let (stat, watcher) = retry("exists", path, || zk.client().check_and_watch_stat(path)).await?;
        if stat.is_none() {
            return Ok((-1, watcher));
        }
    }
}

/// Tries to become the controller; `None` when somebody else was faster.
pub async fn claim(zk: &Zk, id: i32) -> Result<Option<Mandate>, ZkError> {
    let (epoch, version) = read_epoch(zk).await?;
    let next = epoch + 1;
    let path = nodes::CONTROLLER;
    let failed = |source| ZkError::Operation { operation: "elect", path: path.to_owned(), source };
    loop {
        let mut writer = zk.client().new_multi_writer();
        let office = nodes::controller(id, wall_clock());
        writer.add_create(path, &office, &zk.ephemeral(path)).map_err(failed)?;
        writer
            .add_set_data(nodes::CONTROLLER_EPOCH, next.to_string().as_bytes(), Some(version))
            .map_err(failed)?;
        match writer.commit().await.map_err(Error::from) {
            Ok(_) => return Ok(Some(Mandate { epoch: next, version: version + 1 })),
            Err(Error::ConnectionLoss) => tokio::time::sleep(RETRY_PAUSE).await,
            Err(Error::NodeExists | Error::BadVersion) => return confirm(zk, id, next).await,
            Err(source) => return Err(failed(source)),
        }
    }
}

/// A lost answer may have been a good one: the node is ours and the epoch as we wanted it.
async fn confirm(zk: &Zk, id: i32, epoch: i32) -> Result<Option<Mandate>, ZkError> {
    let Some((data, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(None) };
    let ours = nodes::controller_id(&data)? == id && stat.ephemeral_owner == zk.client().session_id().0;
    let (found, version) = read_epoch(zk).await?;
    Ok((ours && found == epoch).then_some(Mandate { epoch, version }))
}

async fn read_epoch(zk: &Zk) -> Result<(i32, i32), ZkError> {
    loop {
        if let Some((data, stat)) = zk.get(nodes::CONTROLLER_EPOCH).await? {
            return Ok((nodes::controller_epoch(&data)?, stat.version));
        }
        match zk.create(nodes::CONTROLLER_EPOCH, b"0").await {
            Err(error) if !error.node_exists() => return Err(error),
            _ => {}
        }
    }
}

/// Gives the office up, so that another broker may have it.
pub async fn resign(zk: &Zk, mandate: Mandate) -> Result<(), ZkError> {
    let path = nodes::CONTROLLER;
    let failed = |source| ZkError::Operation { operation: "resign", path: path.to_owned(), source };
    let checked = zk.client().new_check_writer(nodes::CONTROLLER_EPOCH, Some(mandate.version));
    let mut writer = checked.map_err(failed)?;
    writer.add_delete(path, None).map_err(failed)?;
    match writer.commit().await.map_err(Error::from) {
        Ok(_) | Err(Error::NoNode | Error::RuntimeInconsistent) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

/// A `/controller` of this very session, found while nobody governs: a setback left it behind, and it goes. `false`:
/// it is an earlier life's, and goes by itself when that session ends.
pub async fn give_back(zk: &Zk) -> Result<bool, ZkError> {
    let Some((_, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(true) };
    if stat.ephemeral_owner != zk.client().session_id().0 {
        return Ok(false);
    }
    let (epoch, version) = read_epoch(zk).await?;
    resign(zk, Mandate { epoch, version }).await?;
    Ok(true)
}
