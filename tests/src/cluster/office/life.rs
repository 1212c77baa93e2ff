//! A broker's life with ZooKeeper: it registers, stands for election, and does so again when its session is over.

use super::election::candidate;
use super::*;

const BASE: [&str; 5] = [
    "/brokers/ids",
    "/brokers/topics",
    "/admin/delete_topics",
    "/log_dir_event_notification",
    "/config/topics",
];

/// A broker's life with ZooKeeper: registered, a candidate, and again in a new session when one is over.
pub async fn live(desk: SharedDesk) {
    loop {
        let zk = Zk::open(&desk, None);
        desk.borrow_mut().session = Some(zk.session.clone());
        let over = match enter(&desk, &zk).await {
            Ok(()) => candidate(&desk, &zk).await,
            Err(error) => error,
        };
        desk.borrow_mut().current = -1;
        desk.borrow_mut().refuse_commands();
        let line = format!("the session of broker {} is over: {over:?}", desk.borrow().id);
        desk.borrow_mut().log.push(line);
        if desk.borrow().leaving {
            return;
        }
        if over != ZkError::Expired {
            sleep(&desk, SETBACK_MS).await;
        }
    }
}

async fn enter(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    for path in BASE {
        zk.make_path(path).await?;
    }
    let id = desk.borrow().id;
    let path = format!("{}/{id}", nodes::BROKERS);
    let former = desk.borrow_mut().former.take();
    if let Some(former) = former
        && zk.stat(&path).await?.is_some_and(|stat| stat.ephemeral_owner == former.0)
    {
        let before = Zk::open(desk, Some(former));
        let _ = before.retry(|| Op::Close).await;
    }
    if desk.borrow().lost {
        be_missed(desk, zk, id).await?;
    }
    let data = id.to_string().into_bytes();
    loop {
        let create = Op::Create { path: path.clone(), data: vec![], flags: EPHEMERAL };
        let set = Op::Set { path: path.clone(), data: data.clone(), version: 0 };
        match zk.session.begin(Op::Multi(vec![create, set])).await {
            Ok(_) | Err(ZkError::Part(_, err::NODE_EXISTS)) => {}
            Err(ZkError::Loss) => {
                sleep(desk, RETRY_PAUSE_MS).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(stat) = zk.stat(&path).await? else { continue };
        if stat.ephemeral_owner == zk.session.id() {
            desk.borrow_mut().broker_epoch = stat.czxid;
            desk.borrow_mut().registrations += 1;
            desk.borrow_mut().lost = false;
            desk.borrow_mut().former = zk.session.credentials();
            let line = format!("broker {id} is registered with epoch 0x{:x}", stat.czxid);
            desk.borrow_mut().log.push(line);
            return Ok(());
        }
        sleep(desk, RETRY_PAUSE_MS).await;
    }
}

/// Until no partition counts this broker as in sync any more with anyone else: a controller that came while the broker
/// was away and reads the cluster when it is back would not see that it was away.
async fn be_missed(desk: &SharedDesk, zk: &Zk, id: i32) -> Result<(), ZkError> {
    let until = desk.borrow().now + MISSED_MS;
    let own = format!("{}/{id}", nodes::BROKERS);
    while desk.borrow().now < until {
        let there = zk.children(nodes::BROKERS).await?;
        if there.is_empty() {
            break;
        }
        if zk.stat(&own).await?.is_none() && !is_counted(zk, id).await? {
            break;
        }
        sleep(desk, RETRY_PAUSE_MS).await;
    }
    Ok(())
}

async fn is_counted(zk: &Zk, id: i32) -> Result<bool, ZkError> {
    let deletions = zk.children(nodes::DELETIONS).await?;
    for name in zk.children(nodes::TOPICS).await?.iter().filter(|name| !deletions.contains(name)) {
        let Some((data, _)) = zk.get(&nodes::topic_path(name)).await? else { continue };
        for (partition, assignment) in nodes::topic(&data).partitions {
            let tp = TopicPartition { topic: Str::from(name.as_str()), partition };
            if !assignment.replicas.contains(&id) {
                continue;
            }
            let Some((data, stat)) = zk.get(&nodes::state_path(&tp)).await? else { continue };
            if nodes::partition_state(&data, stat.version).counts_on(id) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
