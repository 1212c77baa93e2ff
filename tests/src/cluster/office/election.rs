//! Who governs: the order of the broker crate's `controller::claim`.

use super::active::Active;
use super::*;

#[derive(Debug, Clone, Copy)]
pub(super) struct Mandate {
    pub(super) epoch: i32,
    pub(super) version: i32,
}

/// Why a controller is one no longer.
#[derive(Debug)]
pub(super) enum Deposed {
    Moved,
    Zk(ZkError),
}

impl From<ZkError> for Deposed {
    fn from(error: ZkError) -> Deposed {
        Deposed::Zk(error)
    }
}

/// Stands for election again and again, until the session ends.
pub(super) async fn candidate(desk: &SharedDesk, zk: &Zk) -> ZkError {
    loop {
        match stand(desk, zk).await {
            Err(ZkError::Expired) => return ZkError::Expired,
            Ok(()) => {}
            Err(error) => {
                let line = format!("broker {}: {error:?}", desk.borrow().id);
                desk.borrow_mut().log.push(line);
                desk.borrow_mut().current = -1;
                sleep(desk, SETBACK_MS).await;
            }
        }
    }
}

async fn stand(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    let (id, fired) = current(zk).await?;
    desk.borrow_mut().current = id;
    let own = desk.borrow().id;
    if id == own && give_back(zk).await? {
        return Ok(());
    }
    if id == -1 {
        return try_to_govern(desk, zk).await;
    }
    let event = poll_fn(|_| {
        desk.borrow_mut().refuse_commands();
        fired.take().map_or(Poll::Pending, Poll::Ready)
    });
    match event.await {
        Fired::SessionOver => Err(ZkError::Expired),
        Fired::Changed => Ok(()),
    }
}

async fn try_to_govern(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    let id = desk.borrow().id;
    let Some(mandate) = claim(desk, zk, id).await? else { return Ok(()) };
    {
        let mut desk = desk.borrow_mut();
        desk.current = id;
        desk.governs = Some(mandate.epoch);
        desk.elections += 1;
        desk.log.push(format!("broker {id} is the controller of epoch {}", mandate.epoch));
    }
    let deposed = Active::govern(desk, zk.clone(), mandate).await;
    {
        let mut desk = desk.borrow_mut();
        desk.current = -1;
        desk.governs = None;
        desk.close_channels(|_, _| false);
        desk.answers.clear();
        desk.refuse_commands();
        desk.log
            .push(format!("broker {id} is no longer the controller of epoch {}: {deposed:?}", mandate.epoch));
    }
    match deposed {
        Deposed::Moved => Ok(()),
        Deposed::Zk(ZkError::Expired) => Err(ZkError::Expired),
        Deposed::Zk(error) => {
            resign(zk, mandate).await?;
            Err(error)
        }
    }
}

pub(super) async fn current(zk: &Zk) -> Result<(i32, Promise<Fired>), ZkError> {
    let path = || nodes::CONTROLLER.to_owned();
    loop {
        match zk.watched(|| Op::Get { path: path(), watch: true }).await {
            Ok((Answer::Data(data, _), fired)) => {
                return Ok((nodes::number(&data), fired));
            }
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => {}
            Err(error) => return Err(error),
        }
        if let (Answer::Stat(None), fired) = zk.watched(|| Op::Exists { path: path(), watch: true }).await? {
            return Ok((-1, fired));
        }
    }
}

async fn claim(desk: &SharedDesk, zk: &Zk, id: i32) -> Result<Option<Mandate>, ZkError> {
    let Mandate { epoch, version } = read_epoch(zk).await?;
    let next = epoch + 1;
    loop {
        let create =
            Op::Create { path: nodes::CONTROLLER.into(), data: id.to_string().into(), flags: EPHEMERAL };
        let set = Op::Set { path: nodes::CONTROLLER_EPOCH.into(), data: next.to_string().into(), version };
        match zk.session.begin(Op::Multi(vec![create, set])).await {
            Ok(_) => return Ok(Some(Mandate { epoch: next, version: version + 1 })),
            Err(ZkError::Loss) => sleep(desk, RETRY_PAUSE_MS).await,
            Err(ZkError::Part(_, err::NODE_EXISTS | err::BAD_VERSION)) => return confirm(zk, id, next).await,
            Err(error) => return Err(error),
        }
    }
}

/// A lost answer may have been a good one: the node is ours and the epoch as we wanted it.
async fn confirm(zk: &Zk, id: i32, epoch: i32) -> Result<Option<Mandate>, ZkError> {
    let Some((data, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(None) };
    let ours = nodes::number(&data) == id && stat.ephemeral_owner == zk.session.id();
    let found = read_epoch(zk).await?;
    Ok((ours && found.epoch == epoch).then_some(found))
}

async fn read_epoch(zk: &Zk) -> Result<Mandate, ZkError> {
    loop {
        if let Some((data, stat)) = zk.get(nodes::CONTROLLER_EPOCH).await? {
            let epoch = nodes::number(&data);
            return Ok(Mandate { epoch, version: stat.version });
        }
        zk.create(nodes::CONTROLLER_EPOCH, b"0", PERSISTENT).await?;
    }
}

async fn resign(zk: &Zk, mandate: Mandate) -> Result<(), ZkError> {
    let check = Op::Check { path: nodes::CONTROLLER_EPOCH.into(), version: mandate.version };
    let delete = Op::Delete { path: nodes::CONTROLLER.into(), version: -1 };
    match zk.session.begin(Op::Multi(vec![check, delete])).await {
        Ok(_) | Err(ZkError::Part(1, err::NO_NODE)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn give_back(zk: &Zk) -> Result<bool, ZkError> {
    let Some((_, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(true) };
    if stat.ephemeral_owner != zk.session.id() {
        return Ok(false);
    }
    let mandate = read_epoch(zk).await?;
    resign(zk, mandate).await?;
    Ok(true)
}
