//! A session with the repetitions that the broker's own has.

use super::*;

#[derive(Clone)]
pub struct Zk {
    pub session: Session,
    pub(super) desk: SharedDesk,
}

impl Zk {
    pub fn open(desk: &SharedDesk, former: Option<(i64, Bytes)>) -> Zk {
        let session = Session::new(former);
        desk.borrow_mut().opened.push(session.clone());
        Zk { session, desk: desk.clone() }
    }

    pub(super) async fn retry(&self, op: impl Fn() -> Op) -> Outcome {
        loop {
            match self.session.begin(op()).await {
                Err(ZkError::Loss) => sleep(&self.desk, RETRY_PAUSE_MS).await,
                done => return done,
            }
        }
    }

    pub(super) async fn watched(&self, op: impl Fn() -> Op) -> Result<(Answer, Promise<Fired>), ZkError> {
        loop {
            let (asked, fired) = self.session.watched(op());
            match asked.await {
                Err(ZkError::Loss) => sleep(&self.desk, RETRY_PAUSE_MS).await,
                done => return done.map(|answer| (answer, fired)),
            }
        }
    }

    pub async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, ZkError> {
        match self.retry(|| Op::Get { path: path.into(), watch: false }).await {
            Ok(Answer::Data(data, stat)) => Ok(Some((data, stat))),
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        match self.retry(|| Op::Exists { path: path.into(), watch: false }).await? {
            Answer::Stat(stat) => Ok(stat),
            _ => Ok(None),
        }
    }

    /// False: it was there.
    pub async fn create(&self, path: &str, data: &[u8], flags: i32) -> Result<bool, ZkError> {
        match self.retry(|| Op::Create { path: path.into(), data: data.to_vec(), flags }).await {
            Ok(_) => Ok(true),
            Err(ZkError::Refused(err::NODE_EXISTS)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub async fn set(&self, path: &str, data: &[u8], version: i32) -> Outcome {
        self.retry(|| Op::Set { path: path.into(), data: data.to_vec(), version }).await
    }

    pub(super) async fn children(&self, path: &str) -> Result<Vec<String>, ZkError> {
        match self.retry(|| Op::Children { path: path.into(), watch: false }).await {
            Ok(Answer::Children(names)) => Ok(names),
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn make_path(&self, path: &str) -> Result<(), ZkError> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            self.create(&path[..end], b"", PERSISTENT).await?;
        }
        Ok(())
    }
}
