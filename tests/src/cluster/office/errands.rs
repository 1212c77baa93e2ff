//! What an administrator changes in ZooKeeper.

use super::*;

/// An administrator's doing: what it takes to change the topics in ZooKeeper.
#[derive(Debug, Clone)]
pub enum Errand {
    Create { topic: String, id: Uuid, partitions: BTreeMap<i32, Vec<i32>> },
    Delete { topic: String },
    Grow { topic: String, replicas: Vec<i32> },
}

/// Runs errands, one after the other, as long as there is a world.
pub async fn administer(desk: SharedDesk, errands: Rc<RefCell<VecDeque<Errand>>>) {
    loop {
        let zk = Zk::open(&desk, None);
        loop {
            let next = poll_fn(|_| {
                if zk.session.is_over() {
                    return Poll::Ready(None);
                }
                errands.borrow().front().cloned().map_or(Poll::Pending, |errand| Poll::Ready(Some(errand)))
            });
            let Some(errand) = next.await else { break };
            // One whose session ended on the way is run again: nobody knows how far it came.
            if run(&zk, &errand).await == Err(ZkError::Expired) {
                break;
            }
            errands.borrow_mut().pop_front();
        }
    }
}

async fn run(zk: &Zk, errand: &Errand) -> Result<(), ZkError> {
    match errand {
        Errand::Create { topic, id, partitions } => {
            zk.make_path("/brokers/topics").await?;
            if zk.stat(&format!("{}/{topic}", nodes::DELETIONS)).await?.is_some() {
                return Ok(());
            }
            let data = nodes::encode_topic(&nodes::new_topic(*id, partitions));
            zk.create(&nodes::topic_path(topic), &data, PERSISTENT).await.map(drop)
        }
        Errand::Delete { topic } => {
            if zk.stat(&nodes::topic_path(topic)).await?.is_some() {
                zk.create(&format!("{}/{topic}", nodes::DELETIONS), b"", PERSISTENT).await?;
            }
            Ok(())
        }
        Errand::Grow { topic, replicas } => {
            let path = nodes::topic_path(topic);
            let Some((data, stat)) = zk.get(&path).await? else { return Ok(()) };
            let mut topic = nodes::topic(&data);
            // Kafka refuses it, too.
            if topic.partitions.values().any(Assignment::is_being_reassigned) {
                return Ok(());
            }
            let added = Assignment { replicas: replicas.clone(), ..Assignment::default() };
            topic.partitions.insert(topic.partitions.len() as i32, added);
            zk.set(&path, &nodes::encode_topic(&topic), stat.version).await.map(drop)
        }
    }
}
