//! `snapshot` and `restore`: the whole state over HTTP.
//!
//! A snapshot is read back from the files, as a start would, so that it is the state of one moment and the loop does
//! not wait for it; it is held in memory until it is sent, and so is what a restore brings. A restore changes this server
//! only, and is answered when a crash would not undo it; every member of an ensemble is to be sent the same.

use super::commands::{Answer, failed};
use super::json_response;
use crate::disk::Disk;
use crate::server::inbox::{Inbox, Input, NewState, Unrestored};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use wire::zk::Zxid;

/// How long a restore waits for a moment without requests under way.
const RESTORE_WITHIN: Duration = Duration::from_secs(10);
const RESTORE_PAUSE: Duration = Duration::from_millis(5);

/// When each was last allowed.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub snapshot: Limiter,
    pub restore: Limiter,
}

/// One in an interval.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    last: Option<u64>,
}

impl Limiter {
    /// Both in ms.
    pub fn allow(&mut self, interval: u64, now: u64) -> bool {
        let allowed = self.last.is_none_or(|last| now > last + interval || interval == 0);
        if allowed {
            self.last = Some(now);
        }
        allowed
    }
}

pub(super) async fn snapshot(inbox: &Inbox, disk: Disk, zxid: Zxid, streaming: bool) -> Response {
    let begun = Instant::now();
    let bytes = match take(disk, zxid).await {
        Ok(bytes) => bytes,
        Err(error) => {
            warn!("Exception occurred when taking the snapshot via the snapshot admin command: {error}");
            inbox.look(|view| view.clients.stats.admin.snapshot_error_count += 1).await;
            return json_response(failed("snapshot", StatusCode::INTERNAL_SERVER_ERROR));
        }
    };
    let took = begun.elapsed().as_millis() as u64;
    inbox.look(move |view| view.clients.stats.snapshottime.add(took)).await;
    let size = bytes.len();
    let mut response = match streaming {
        true => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        false => json_response(failed("snapshot", StatusCode::OK)),
    };
    let headers = response.headers_mut();
    for (name, value) in [("last_zxid", format!("0x{zxid:x}")), ("snapshot_size", size.to_string())] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

async fn take(disk: Disk, zxid: Zxid) -> Result<Bytes, String> {
    let read = spawn_blocking(move || disk.as_of(zxid).map(|database| disk.encode(&database)));
    read.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())
}

pub(super) async fn restore(inbox: &Inbox, disk: Disk, body: Body) -> Response {
    let begun = Instant::now();
    let done = match read(disk, body).await {
        Ok((state, zxid)) => replace(inbox, Box::new(state)).await.map(|()| zxid),
        Err(error) => Err(error),
    };
    match done {
        Ok(zxid) => {
            let took = begun.elapsed().as_millis() as u64;
            info!("Restore taken in {took} ms");
            inbox.look(move |view| view.clients.stats.admin.restore_time.add(took)).await;
            let body = json!({ "last_zxid": zxid, "command": "restore", "error": null });
            json_response(Answer { status: StatusCode::OK, body })
        }
        Err(error) => {
            warn!("Exception occurred when restore snapshot via the restore command: {error}");
            inbox.look(|view| view.clients.stats.admin.restore_error_count += 1).await;
            json_response(failed("restore", StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

/// The new state, and how far it goes. A snapshot of it is on the disk by then, but for its end: the loop is not to wait
/// for that.
async fn read(disk: Disk, body: Body) -> Result<(NewState, Zxid), String> {
    let bytes = to_bytes(body, usize::MAX).await.map_err(|error| error.to_string())?;
    let read = spawn_blocking(move || {
        let (database, zxid) = disk.decode(&bytes)?;
        let file = disk.write_body(&database, true).and_then(|mut file| {
            file.sync_so_far()?;
            Ok(file)
        });
        let file = file.map_err(|error| error.to_string())?;
        Ok((NewState { database: Box::new(database), file }, zxid))
    });
    read.await.map_err(|panic| panic.to_string())?
}

async fn replace(inbox: &Inbox, mut state: Box<NewState>) -> Result<(), String> {
    let until = Instant::now() + RESTORE_WITHIN;
    loop {
        let (answer, done) = oneshot::channel();
        inbox.send(Input::Restore { state, answer });
        state = match done.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Unrestored::Busy(state))) if Instant::now() < until => state,
            Ok(Err(Unrestored::Busy(_))) => return Err("requests are under way all the time".into()),
            Ok(Err(Unrestored::Failed(why))) => return Err(why),
            Err(_) => return Err("the server ends".into()),
        };
        tokio::time::sleep(RESTORE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_an_interval_is_allowed() {
        let mut limiter = Limiter::default();
        let allowed: Vec<bool> =
            [0, 1, 300, 301, 302].into_iter().map(|now| limiter.allow(300, now)).collect();
        assert_eq!(allowed, [true, false, false, true, false]);
        assert!(limiter.allow(0, 302) && limiter.allow(0, 302));
    }
}
