//! One connection of the election port: frames of votes, newest first come.

use crate::net::stream::{Half, Stream};
use crate::server::inbox::Inbox;
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};
use wire::jute::Record;
use wire::zk::Sid;
use wire::zk::quorum::{Notification, hello::FRAME_MAX};

/// A live connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells this connection from the one that it replaced.
    pub number: u64,
    pub since: Instant,
    newest: watch::Sender<Bytes>,
    tasks: [AbortHandle; 2],
}

impl Link {
    /// With a connection goes what was already read from it.
    pub fn start(
        number: u64,
        sid: Sid,
        (stream, first): (Arc<Stream>, Bytes),
        inbox: Inbox,
        ended: impl Fn() + Clone + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) -> Link {
        let (reading, writing) = (std::io::Cursor::new(first).chain(Half(stream.clone())), Half(stream));
        let (newest, votes) = watch::channel(Bytes::new());
        let ended_too = ended.clone();
        let reader = tasks.spawn(async move {
            if let Err(why) = read_votes(reading, sid, inbox).await {
                debug!("Connection broken for id {sid}: {why}");
            }
            ended();
        });
        let writer = tasks.spawn(async move {
            if let Err(why) = write_votes(writing, votes).await {
                debug!("Cannot send a vote to {sid}: {why}");
            }
            ended_too();
        });
        Link { number, since: Instant::now(), newest, tasks: [reader, writer] }
    }

    /// Replaces what has not left yet. False: the connection is dead.
    pub fn send(&self, vote: Bytes) -> bool {
        self.newest.send(vote).is_ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn read_votes(mut from: impl AsyncRead + Unpin, sid: Sid, inbox: Inbox) -> std::io::Result<()> {
    loop {
        let len = from.read_i32().await?;
        if !(1..FRAME_MAX).contains(&len) {
            warn!("Received packet with invalid packet: {len} from {sid}");
            return Ok(());
        }
        let mut frame = BytesMut::with_capacity((len as usize).min(4096));
        while frame.len() < len as usize {
            let lacking = len as usize - frame.len();
            if (&mut from).take(lacking as u64).read_buf(&mut frame).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        match Notification::decode(&frame.freeze()) {
            Ok(vote) => inbox.vote_in_turn(sid, vote).await,
            Err(error) => warn!("Got a vote from {sid} that cannot be read: {error}"),
        }
    }
}

async fn write_votes(mut to: Half, mut votes: watch::Receiver<Bytes>) -> std::io::Result<()> {
    // Ends when the link is dropped.
    while votes.changed().await.is_ok() {
        let vote = votes.borrow_and_update().clone();
        let mut frame = BytesMut::with_capacity(4 + vote.len());
        frame.put_i32(vote.len() as i32);
        frame.put_slice(&vote);
        to.write_all(&frame).await?;
        to.flush().await?;
    }
    Ok(())
}
