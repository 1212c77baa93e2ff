//! The five ways to create a node.

use super::pending::Change;
use super::{Step, check_path};
use crate::acl;
use crate::path;
use crate::tree::{Lifetime, NodeStat, TTL_MAX};
use wire::Str;
use wire::zk::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, TxnRecord};
use wire::zk::{CreateRequest, CreateTtlRequest, err, op, perm};

/// What a request's flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CreateMode {
    pub ephemeral: bool,
    sequential: bool,
    ttl: bool,
}

impl CreateMode {
    /// 0 persistent, 1 ephemeral, 2 sequential, 3 both, 4 container, 5 with a TTL, 6 sequential with a TTL.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        (0..=6).contains(&flags).then_some(CreateMode {
            ephemeral: matches!(flags, 1 | 3),
            sequential: matches!(flags, 2 | 3 | 6),
            ttl: matches!(flags, 5 | 6),
        })
    }
}

impl Step<'_> {
    pub(super) fn create_ttl(&mut self) -> Result<TxnRecord, i32> {
        let CreateTtlRequest { path, data, acl, flags, ttl } = self.body()?;
        self.create(op::CREATE_TTL, CreateRequest { path, data, acl, flags }, ttl)
    }

    /// `ttl` is -1 where the request has none.
    pub(super) fn create(&mut self, kind: i32, request: CreateRequest, ttl: i64) -> Result<TxnRecord, i32> {
        let mode = CreateMode::from_flags(request.flags).ok_or(err::BAD_ARGUMENTS)?;
        self.check_ttl(kind, mode, ttl)?;
        if mode.ephemeral {
            self.sessions.check_global(self.request.session, self.request.origin, self.local)?;
        } else {
            self.check_session()?;
        }
        let (parent_path, _) =
            path::split(&request.path).filter(|_| !request.path.contains('\0')).ok_or(err::BAD_ARGUMENTS)?;
        let fixed = acl::fix_up(&self.prepare.auth, &request.acl, &self.request.auth)?;
        let mut parent = self.node(parent_path)?;
        self.check_acl(&parent, perm::CREATE)?;
        let path = match mode.sequential {
            true => Str::from(format!("{}{:010}", request.path, parent.stat.cversion)),
            false => request.path.clone(),
        };
        check_path(&path)?;
        if self.node(&path).is_ok() {
            return Err(err::NODE_EXISTS);
        }
        if matches!(self.db.lifetime(parent.stat.ephemeral_owner), Lifetime::Session(_)) {
            return Err(err::NO_CHILDREN_FOR_EPHEMERALS);
        }
        self.check_quota(&path, request.data.as_ref().map_or(0, |data| data.len() as i64), 1)?;

        let lifetime = match kind {
            op::CREATE_CONTAINER => Lifetime::Container,
            op::CREATE_TTL => Lifetime::Ttl(ttl),
            _ if mode.ephemeral => Lifetime::Session(self.request.session),
            _ => Lifetime::Persistent,
        };
        parent.children += 1;
        parent.stat.cversion = parent.stat.cversion.wrapping_add(1);
        parent.stat.pzxid = self.zxid;
        let parent_cversion = parent.stat.cversion;
        self.put(&request.path.slice_ref(parent_path), parent);
        let stat = NodeStat::created(self.zxid, self.now.wall, lifetime);
        let list = Some(fixed.as_slice().into());
        self.put(&path, Change::created(&path, request.data.as_deref(), list, stat));

        let (data, acl) = (request.data, fixed);
        Ok(match (kind, lifetime) {
            (op::CREATE_CONTAINER, _) => {
                TxnRecord::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion })
            }
            (op::CREATE_TTL, _) => {
                TxnRecord::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl })
            }
            (kind, lifetime) => {
                let ephemeral = lifetime != Lifetime::Persistent;
                let txn = CreateTxn { path, data, acl, ephemeral, parent_cversion };
                if kind == op::CREATE { TxnRecord::Create(txn) } else { TxnRecord::Create2(txn) }
            }
        })
    }

    fn check_ttl(&self, kind: i32, mode: CreateMode, ttl: i64) -> Result<(), i32> {
        if mode.ttl && !self.prepare.extended_types {
            return Err(err::UNIMPLEMENTED);
        }
        // A createTTL of another mode with ttl -1 passes in 3.9.3, and the log that it writes cannot be replayed.
        let valid = if mode.ttl { (1..=TTL_MAX).contains(&ttl) } else { ttl < 0 && kind != op::CREATE_TTL };
        if valid { Ok(()) } else { Err(err::BAD_ARGUMENTS) }
    }
}
