//! The replicated state: the tree, the sessions, and how far the history has been applied.

use bytes::BytesMut;
use wire::jute::{DecodeError, Reader};
use wire::zk::Zxid;
use wire::zk::txn::Txn;

/// What every server agrees on, and what a snapshot holds.
#[derive(Debug, Default)]
pub struct Database {}

impl Database {
    /// An empty tree with ZooKeeper's own nodes.
    pub fn new() -> Database {
        todo!()
    }
    /// zxid of the last applied transaction.
    pub fn last_zxid(&self) -> Zxid {
        todo!()
    }
    pub fn set_last_zxid(&mut self, _zxid: Zxid) {
        todo!()
    }
    /// Replays one transaction while loading: as [`crate::front::Front::committed`], but nobody is told.
    pub fn replay(&mut self, _txn: &Txn) {
        todo!()
    }
    /// Sessions, ACLs, nodes, and the closing `/`: the body of a snapshot file and of a SNAP stream
    /// (without header, checksums and signature).
    pub fn encode_stream(&self, _to: &mut BytesMut) {
        todo!()
    }
    /// The reverse. `last_zxid` is 0: the caller knows it (file name, SNAP packet).
    pub fn decode_stream(_from: &mut Reader) -> Result<Database, DecodeError> {
        todo!()
    }
}
