//! What simulated clients ask for.

use bytes::{Bytes, BytesMut};
use wire::jute::Record;
use wire::zk::{
    Acl, CreateRequest, DeleteRequest, Id, MultiHeader, PathRequest, PathWatchRequest, ReconfigRequest,
    RequestHeader, SetDataRequest, Zxid, op, perm, xid,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node of its own name: must succeed.
    CreateNew,
    CreateKey,
    CreateEphemeral,
    /// A number behind the name, which the server gives.
    CreateSequential,
    /// Two nodes, both or none.
    CreateTwo,
    Set,
    /// A node of the client's own.
    Delete,
    Get {
        watch: bool,
    },
    Exists {
        watch: bool,
    },
    /// Of the root.
    Children {
        watch: bool,
    },
    Sync,
    /// Of a node that all clients create, change, delete and read behind a sync, each answer being recorded.
    Cell(Cell),
    /// Of the members: `path` is the line of one that comes, or the number of one that goes.
    Reconfig,
    Close,
    Ping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Create,
    Set,
    Delete,
    Read,
}

impl Kind {
    pub fn op(self) -> i32 {
        match self {
            Kind::CreateNew | Kind::CreateKey | Kind::CreateEphemeral | Kind::CreateSequential => op::CREATE,
            Kind::CreateTwo => op::MULTI,
            Kind::Set => op::SET_DATA,
            Kind::Delete => op::DELETE,
            Kind::Get { .. } => op::GET_DATA,
            Kind::Exists { .. } => op::EXISTS,
            Kind::Children { .. } => op::GET_CHILDREN2,
            Kind::Sync => op::SYNC,
            Kind::Cell(Cell::Create) => op::CREATE,
            Kind::Cell(Cell::Set) => op::SET_DATA,
            Kind::Cell(Cell::Delete) => op::DELETE,
            Kind::Cell(Cell::Read) => op::GET_DATA,
            Kind::Reconfig => op::RECONFIG,
            Kind::Close => op::CLOSE_SESSION,
            Kind::Ping => op::PING,
        }
    }
}

impl Kind {
    /// Room on the disk is needed for it.
    pub fn writes(self) -> bool {
        matches!(
            self,
            Kind::CreateNew
                | Kind::CreateKey
                | Kind::CreateEphemeral
                | Kind::CreateSequential
                | Kind::CreateTwo
                | Kind::Set
                | Kind::Delete
                | Kind::Reconfig
                | Kind::Cell(Cell::Create | Cell::Set | Cell::Delete)
        )
    }
}

#[derive(Debug)]
pub struct Request {
    pub xid: i32,
    pub kind: Kind,
    pub path: String,
    pub data: Bytes,
    /// The last write that anyone had seen acknowledged when this was sent.
    pub floor: Zxid,
    /// The version that the node must have; -1: any.
    pub expected: i32,
    /// Its place in the recorded history of its node.
    pub recorded: Option<usize>,
}

impl Request {
    /// The second node of [`Kind::CreateTwo`].
    pub fn twin(&self) -> String {
        format!("{}-twin", self.path)
    }

    pub fn frame(&self) -> Bytes {
        let mut to = BytesMut::new();
        let path = || self.path.as_str().into();
        RequestHeader { xid: self.xid, op: self.kind.op() }.write(&mut to);
        match self.kind {
            Kind::CreateNew | Kind::CreateKey | Kind::Cell(Cell::Create) => {
                self.create(&self.path, 0).write(&mut to)
            }
            Kind::CreateEphemeral => self.create(&self.path, 1).write(&mut to),
            Kind::CreateSequential => self.create(&self.path, 2).write(&mut to),
            Kind::CreateTwo => {
                for path in [&self.path, &self.twin()] {
                    MultiHeader { op: op::CREATE, done: false, err: -1 }.write(&mut to);
                    self.create(path, 0).write(&mut to);
                }
                MultiHeader::END.write(&mut to);
            }
            Kind::Set | Kind::Cell(Cell::Set) => {
                let data = Some(self.data.clone());
                SetDataRequest { path: path(), data, version: self.expected }.write(&mut to);
            }
            Kind::Delete | Kind::Cell(Cell::Delete) => {
                DeleteRequest { path: path(), version: self.expected }.write(&mut to);
            }
            Kind::Cell(Cell::Read) => PathWatchRequest { path: path(), watch: false }.write(&mut to),
            Kind::Get { watch } | Kind::Exists { watch } | Kind::Children { watch } => {
                PathWatchRequest { path: path(), watch }.write(&mut to);
            }
            Kind::Sync => PathRequest { path: path() }.write(&mut to),
            Kind::Reconfig => {
                let comes = self.path.starts_with("server.");
                ReconfigRequest {
                    joining: comes.then(path),
                    leaving: (!comes).then(path),
                    members: None,
                    config_id: -1,
                }
                .write(&mut to);
            }
            Kind::Close | Kind::Ping => {}
        }
        to.freeze()
    }

    fn create(&self, path: &str, flags: i32) -> CreateRequest {
        let anyone = Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } };
        CreateRequest { path: path.into(), data: Some(self.data.clone()), acl: vec![anyone], flags }
    }
}

/// The numbers of requests; those of the protocol's own are negative.
pub fn xid_of(kind: Kind, next: &mut i32) -> i32 {
    if kind == Kind::Ping {
        return xid::PING;
    }
    *next += 1;
    *next - 1
}
