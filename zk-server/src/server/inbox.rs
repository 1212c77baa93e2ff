//! The loop's inbox: what sockets, the log thread and the operator have to say.

use crate::disk::SnapshotWriter;
use crate::net::gate::Gate;
use crate::net::outlet::Outlet;
use crate::server::snapshots::Sealed;
use crate::words::View;
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use wire::zk::quorum::{Notification, QuorumPacket};
use wire::zk::{Id, Sid};
use zk_core::{ConnId, Database, Event, LinkId};

/// Votes that may wait for the loop; a server that sends faster is not read meanwhile.
const VOTES_WAITING: usize = 100;

#[derive(Debug)]
pub(crate) enum Input {
    ClientOpened {
        conn: ConnId,
        from: SocketAddr,
        outlet: Outlet,
        gate: Arc<Gate>,
        /// It came by TLS; and who its certificate says it is.
        secure: bool,
        ids: Vec<Id>,
    },
    /// What one read brought.
    ClientFrames {
        conn: ConnId,
        frames: Vec<Bytes>,
    },
    ClientClosed {
        conn: ConnId,
    },
    /// A four-letter word; the answer is raw text.
    Word {
        word: [u8; 4],
        argument: Bytes,
        from: SocketAddr,
        answer: oneshot::Sender<Bytes>,
    },

    /// Somebody wants to see or reset what operators are shown.
    Look(Look),

    /// The admin server has the state replaced. The answer gives it back where that has to wait, and says why it cannot
    /// be.
    Restore {
        state: Box<NewState>,
        answer: oneshot::Sender<Result<(), Unrestored>>,
    },

    Vote {
        from: Sid,
        vote: Notification,
    },

    LinkOpened {
        link: LinkId,
        leader: Option<Sid>,
        outlet: Outlet,
        gate: Arc<Gate>,
    },
    /// What one read brought, and its size.
    LinkPackets {
        link: LinkId,
        packets: Vec<QuorumPacket>,
        load: usize,
    },

    /// Everything that needs no more than the core.
    Core(Event),
    /// A snapshot that the core waits for is complete, but for its name.
    Sealed(Box<Sealed>),
    /// A snapshot that the core waits for met a full disk: nothing is left of it.
    Unsaved,
    /// The log or a snapshot cannot be written.
    Broken {
        code: i32,
        why: String,
    },
    Stop,
}

/// What is to replace the state, and a snapshot of it that lacks its end and its name.
pub(crate) struct NewState {
    pub database: Box<Database>,
    pub file: SnapshotWriter,
}

impl fmt::Debug for NewState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("NewState")
    }
}

/// Why a state was not replaced.
#[derive(Debug)]
pub(crate) enum Unrestored {
    /// Something is under way.
    Busy(Box<NewState>),
    Failed(String),
}

/// What is done with the loop's state between two requests.
pub(crate) struct Look(pub Box<dyn FnOnce(&mut View<'_>) + Send>);

impl fmt::Debug for Look {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Look")
    }
}

/// The sending side: one for every task and thread.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    to: Sender<Input>,
    pub votes: Arc<Gate>,
}

impl Inbox {
    pub fn new() -> (Inbox, Receiver<Input>) {
        let (to, from) = channel();
        (Inbox { to, votes: Arc::default() }, from)
    }

    /// A loop that has ended takes nothing more, and nobody minds.
    pub fn send(&self, input: Input) {
        let _ = self.to.send(input);
    }

    /// Shows the loop's state to `look`, in its turn; `None`: the loop has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, seen) = oneshot::channel();
        self.send(Input::Look(Look(Box::new(move |view| {
            // Whoever asked may be gone.
            let _ = answer.send(look(view));
        }))));
        seen.await.ok()
    }

    pub fn event(&self, event: Event) {
        self.send(Input::Core(event));
    }

    pub fn vote(&self, from: Sid, vote: Notification) {
        self.votes.add(1);
        self.send(Input::Vote { from, vote });
    }

    /// As [`Inbox::vote`], once the loop has dealt with the most of those before.
    pub async fn vote_in_turn(&self, from: Sid, vote: Notification) {
        self.votes.wait_while(|waiting| waiting > VOTES_WAITING).await;
        self.vote(from, vote);
    }
}
