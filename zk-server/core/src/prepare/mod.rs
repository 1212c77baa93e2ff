//! On the leader: request -> transaction, checked against the tree and the changes still under way; and who is alive.

mod create;
mod multi;
mod pending;
mod reconfig;

pub use crate::session::SessionTracker;
pub(crate) use multi::makes_ephemeral;
pub use reconfig::View;

use crate::acl;
use crate::auth::AuthRules;
use crate::config::{CoreConfig, Reconfig};
use crate::database::Database;
use crate::event::Now;
use crate::front::Request;
use crate::path;
use crate::quota::ExcessLog;
use crate::tree::Lifetime;
use pending::{Change, Pending};
use wire::Str;
use wire::jute::Record;
use wire::zk::txn::{CheckVersionTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{
    CheckVersionRequest, DeleteRequest, Id, PathRequest, ReconfigRequest, SetAclRequest, SetDataRequest,
    Zxid, err, op, perm,
};

/// The changes that are proposed and not yet applied.
#[derive(Debug)]
pub struct Prepare {
    auth: AuthRules,
    extended_types: bool,
    enforce_quota: bool,
    digest: bool,
    reconfig: Reconfig,
    multi_address: bool,
    close_session_lists: bool,
    excesses: ExcessLog,
    pending: Pending,
    /// Paths of what was refused for a quota, until somebody takes note.
    exceeded: Vec<Str>,
}

/// What counts for a request beside what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The session that asks is known to this server only.
    pub local: bool,
    /// Of the ensemble; `None` for a server of its own.
    pub view: Option<View<'a>>,
    /// The disk has no room but for sessions, which reads need.
    pub full: bool,
}

/// One request on its way to becoming a transaction.
struct Step<'a> {
    prepare: &'a mut Prepare,
    request: &'a Request,
    /// Of a local session of this very server.
    local: bool,
    zxid: Zxid,
    now: Now,
    db: &'a Database,
    sessions: &'a mut SessionTracker,
    view: Option<View<'a>>,
    full: bool,
}

impl Prepare {
    pub fn new(config: &CoreConfig) -> Prepare {
        Prepare {
            auth: config.auth.clone(),
            extended_types: config.extended_types,
            enforce_quota: config.enforce_quota,
            digest: config.digest,
            reconfig: config.reconfig.clone(),
            multi_address: config.multi_address,
            close_session_lists: config.close_session_lists,
            excesses: ExcessLog::default(),
            pending: Pending::default(),
            exceeded: vec![],
        }
    }

    /// Always a transaction: a request that is refused becomes an error transaction.
    pub fn prepare(
        &mut self,
        request: &Request,
        context: Context,
        zxid: Zxid,
        now: Now,
        db: &Database,
        sessions: &mut SessionTracker,
    ) -> Txn {
        self.pending.begin(db);
        let Context { local, view, full } = context;
        let mut step = Step { prepare: self, request, local, zxid, now, db, sessions, view, full };
        let record = step.record().unwrap_or_else(|err| TxnRecord::Error { err });
        let kind = record.kind();
        let header = TxnHeader { session: request.session, cxid: request.cxid, zxid, time: now.wall, kind };
        let digest = (self.digest && kind != op::ERROR).then(|| self.pending.digest());
        Txn::new(header, record, digest)
    }

    /// Call after the database has applied everything up to `zxid`.
    pub fn committed(&mut self, zxid: Zxid) {
        self.pending.committed(zxid);
    }

    /// Paths of what was refused for a quota since the last call.
    pub fn take_exceeded(&mut self) -> Vec<Str> {
        std::mem::take(&mut self.exceeded)
    }

    /// What is to be told of quotas.
    pub fn take_excess(&mut self, now: Now) -> Option<String> {
        self.excesses.take(now.mono)
    }

    /// How many changes wait for their commit.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Step<'_> {
    fn record(&mut self) -> Result<TxnRecord, i32> {
        match self.request.op {
            op::CREATE_SESSION => self.create_session(),
            op::CLOSE_SESSION => Ok(self.close_session()),
            _ if self.full => Err(err::SYSTEM),
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                let request = self.body()?;
                self.create(self.request.op, request, -1)
            }
            op::CREATE_TTL => self.create_ttl(),
            op::DELETE => self.body().and_then(|request| self.delete(request)),
            op::DELETE_CONTAINER => self.body().and_then(|request| self.delete_container(request)),
            op::SET_DATA => self.body().and_then(|request| self.set_data(request)),
            op::SET_ACL => self.body().and_then(|request| self.set_acl(request)),
            op::MULTI => self.multi(),
            op::RECONFIG => self.body::<ReconfigRequest>().and_then(|request| self.reconfig(request)),
            _ => Err(err::UNIMPLEMENTED),
        }
    }

    fn body<T: Record>(&self) -> Result<T, i32> {
        T::decode(&self.request.body).map_err(|_| err::MARSHALLING)
    }

    fn check_session(&mut self) -> Result<(), i32> {
        self.sessions.check(self.request.session, self.request.origin, self.local)
    }

    fn check_acl(&self, change: &Change, wanted: i32) -> Result<(), i32> {
        let ids: &[Id] = &self.request.auth;
        if acl::allows(&self.prepare.auth, change.acl.as_deref(), wanted, ids) {
            Ok(())
        } else {
            Err(err::NO_AUTH)
        }
    }

    /// What grows below a hard quota is refused, as far as the usage that is applied by now tells; a soft one only gets a
    /// line in the log.
    fn check_quota(&mut self, path: &str, bytes: i64, count: i64) -> Result<(), i32> {
        if !self.prepare.enforce_quota {
            return Ok(());
        }
        let Some((limited, excesses)) = self.db.quota_excesses(path, bytes, count) else { return Ok(()) };
        for excess in excesses {
            self.prepare.excesses.note(excess.line(limited));
            if excess.is_hard {
                self.prepare.exceeded.push(path.into());
                return Err(err::QUOTA_EXCEEDED);
            }
        }
        Ok(())
    }

    /// The node as it will be once everything proposed before is applied.
    fn node(&self, path: &str) -> Result<Change, i32> {
        self.prepare.pending.get(self.db, path).ok_or(err::NO_NODE)
    }

    fn put(&mut self, path: &Str, change: Change) {
        self.prepare.pending.put(self.db, self.zxid, path, Some(change));
    }

    /// The node is gone, and its parent has one child less.
    fn take(&mut self, path: &Str, parent: &str) {
        if let Ok(mut change) = self.node(parent) {
            change.children -= 1;
            change.stat.pzxid = self.zxid;
            self.put(&path.slice_ref(parent), change);
        }
        self.prepare.pending.put(self.db, self.zxid, path, None);
    }

    fn create_session(&mut self) -> Result<TxnRecord, i32> {
        let timeout = self.body()?;
        self.sessions.add(self.request.session, timeout, self.request.origin, self.now);
        Ok(TxnRecord::CreateSession { timeout })
    }

    /// Not checked for its owner: the leader's clock closes sessions that belong to others.
    fn close_session(&mut self) -> TxnRecord {
        let paths = self.prepare.pending.ephemerals_of(self.db, self.request.session);
        for path in &paths {
            let parent = path::split(path).map_or("", |(parent, _)| parent);
            self.take(path, parent);
        }
        self.sessions.set_closing(self.request.session);
        TxnRecord::CloseSession { paths: self.prepare.close_session_lists.then_some(paths) }
    }

    fn delete(&mut self, request: DeleteRequest) -> Result<TxnRecord, i32> {
        self.check_session()?;
        let parent = parent_of_deletable(&request.path)?;
        self.check_acl(&self.node(parent)?, perm::DELETE)?;
        let node = self.node(&request.path)?;
        next_version(node.stat.version, request.version)?;
        if node.children > 0 {
            return Err(err::NOT_EMPTY);
        }
        self.take(&request.path, parent);
        Ok(TxnRecord::Delete(DeleteTxn { path: request.path.clone() }))
    }

    /// The leader's own request, for what [`Database::reapable`] found; clients may send it too.
    fn delete_container(&mut self, request: PathRequest) -> Result<TxnRecord, i32> {
        let parent = parent_of_deletable(&request.path)?;
        let node = self.node(&request.path)?;
        if node.children > 0 {
            return Err(err::NOT_EMPTY);
        }
        if matches!(self.db.lifetime(node.stat.ephemeral_owner), Lifetime::Session(_)) {
            return Err(err::BAD_VERSION);
        }
        self.node(parent)?;
        self.take(&request.path, parent);
        Ok(TxnRecord::DeleteContainer(DeleteTxn { path: request.path.clone() }))
    }

    fn set_data(&mut self, request: SetDataRequest) -> Result<TxnRecord, i32> {
        self.check_session()?;
        check_path(&request.path)?;
        let mut node = self.node(&request.path)?;
        self.check_acl(&node, perm::WRITE)?;
        let len = request.data.as_ref().map_or(0, |data| data.len());
        self.check_quota(&request.path, len as i64 - node.data_len as i64, 0)?;
        let version = next_version(node.stat.version, request.version)?;
        node.stat.version = version;
        node.stat.mtime = self.now.wall;
        node.stat.mzxid = self.zxid;
        node.set_data(&request.path, request.data.as_deref());
        self.put(&request.path, node);
        Ok(TxnRecord::SetData(SetDataTxn { path: request.path, data: request.data, version }))
    }

    fn set_acl(&mut self, request: SetAclRequest) -> Result<TxnRecord, i32> {
        self.check_session()?;
        check_path(&request.path)?;
        let fixed = acl::fix_up(&self.prepare.auth, &request.acl, &self.request.auth)?;
        let mut node = self.node(&request.path)?;
        self.check_acl(&node, perm::ADMIN)?;
        let version = next_version(node.stat.aversion, request.version)?;
        node.stat.aversion = version;
        node.acl = Some(fixed.as_slice().into());
        self.put(&request.path, node);
        Ok(TxnRecord::SetAcl(SetAclTxn { path: request.path, acl: fixed, version }))
    }

    /// Only within a multi.
    fn check(&mut self, request: CheckVersionRequest) -> Result<TxnRecord, i32> {
        self.check_session()?;
        check_path(&request.path)?;
        let node = self.node(&request.path)?;
        self.check_acl(&node, perm::READ)?;
        let version = next_version(node.stat.version, request.version)?;
        Ok(TxnRecord::Check(CheckVersionTxn { path: request.path, version }))
    }
}

fn check_path(path: &str) -> Result<(), i32> {
    if path::is_valid(path) { Ok(()) } else { Err(err::BAD_ARGUMENTS) }
}

/// Parent's key. Only these rules hold for a path that is deleted: whatever else is wrong with it, it is not there.
fn parent_of_deletable(path: &str) -> Result<&str, i32> {
    match path::split(path) {
        Some((parent, _)) if !path.contains('\0') && !path::is_special(path) => Ok(parent),
        _ => Err(err::BAD_ARGUMENTS),
    }
}

/// -1 matches any version.
fn next_version(current: i32, expected: i32) -> Result<i32, i32> {
    if expected != -1 && expected != current {
        return Err(err::BAD_VERSION);
    }
    Ok(current.wrapping_add(1))
}

#[cfg(test)]
mod tests;
