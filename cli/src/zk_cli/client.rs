//! The session's requests by name, with paths below the chroot and errors that know their path.

pub use super::multi::Part;
use super::session::{Event, Security, Session, State};
use super::target::{Target, validate_path};
use super::watches::WatchKind;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use wire::jute::Record;
use wire::zk::*;

pub struct Client {
    pub session: Session,
    target: Target,
}

/// A request that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An error code, of the server or of this side, and the path that was asked for.
    Keeper { code: i32, path: Option<String> },
    /// What was asked cannot be asked.
    Malformed(String),
}

impl Failure {
    pub fn is(&self, wanted: i32) -> bool {
        matches!(self, Failure::Keeper { code, .. } if *code == wanted)
    }

    /// The exception's own text.
    pub fn plain(&self) -> String {
        match self {
            Failure::Malformed(why) => why.clone(),
            Failure::Keeper { code, path } => match path.as_deref() {
                None | Some("") => format!("KeeperErrorCode = {}", code_text(*code)),
                Some(path) => format!("KeeperErrorCode = {} for {path}", code_text(*code)),
            },
        }
    }
}

/// As the tool tells it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Failure::Keeper { code, path } = self else { return f.write_str(&self.plain()) };
        let with_path = match *code {
            err::NO_NODE => "Node does not exist: ",
            err::NO_CHILDREN_FOR_EPHEMERALS => "Ephemerals cannot have children: ",
            err::NODE_EXISTS => "Node already exists: ",
            err::NOT_EMPTY => "Node not empty: ",
            err::NOT_READ_ONLY => "Not a read-only call: ",
            err::INVALID_ACL => "Acl is not valid : ",
            err::NO_AUTH => "Insufficient permission : ",
            err::BAD_ARGUMENTS => "Arguments are not valid : ",
            err::BAD_VERSION => "version No is not valid : ",
            err::QUOTA_EXCEEDED => "Quota has exceeded : ",
            err::RECONFIG_IN_PROGRESS => {
                return f.write_str(
                    "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)",
                );
            }
            err::NEW_CONFIG_NO_QUORUM => {
                return f.write_str(
                    "No quorum of new config is connected and up-to-date with the leader of last commmitted config - \
                     try invoking reconfiguration after new servers are connected and synced",
                );
            }
            _ => return f.write_str(&self.plain()),
        };
        write!(f, "{with_path}{}", path.as_deref().unwrap_or("null"))
    }
}

/// What stands behind `KeeperErrorCode = `.
fn code_text(code: i32) -> String {
    let text = match code {
        err::OK => "ok",
        err::SYSTEM => "SystemError",
        err::RUNTIME_INCONSISTENCY => "RuntimeInconsistency",
        err::DATA_INCONSISTENCY => "DataInconsistency",
        err::CONNECTION_LOSS => "ConnectionLoss",
        err::MARSHALLING => "MarshallingError",
        err::UNIMPLEMENTED => "Unimplemented",
        err::OPERATION_TIMEOUT => "OperationTimeout",
        err::BAD_ARGUMENTS => "BadArguments",
        err::NEW_CONFIG_NO_QUORUM => "NewConfigNoQuorum",
        err::RECONFIG_IN_PROGRESS => "ReconfigInProgress",
        err::NO_NODE => "NoNode",
        err::NO_AUTH => "NoAuth",
        err::BAD_VERSION => "BadVersion",
        err::NO_CHILDREN_FOR_EPHEMERALS => "NoChildrenForEphemerals",
        err::NODE_EXISTS => "NodeExists",
        err::NOT_EMPTY => "Directory not empty",
        err::SESSION_EXPIRED => "Session expired",
        err::INVALID_CALLBACK => "Invalid callback",
        err::INVALID_ACL => "InvalidACL",
        err::AUTH_FAILED => "AuthFailed",
        err::SESSION_MOVED => "Session moved",
        err::NOT_READ_ONLY => "Not a read-only call",
        err::EPHEMERAL_ON_LOCAL_SESSION => "Ephemeral node on local session",
        err::NO_WATCHER => "No such watcher",
        err::RECONFIG_DISABLED => "Reconfig is disabled",
        err::SESSION_CLOSED_REQUIRE_SASL_AUTH => "Session closed because client failed to authenticate",
        err::QUOTA_EXCEEDED => "Quota has exceeded",
        err::THROTTLED_OP => "Op throttled due to high load",
        other => return format!("Unknown error {other}"),
    };
    text.into()
}

/// How `create` makes a node; the numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateMode {
    pub ephemeral: bool,
    pub sequential: bool,
    pub container: bool,
    /// Milliseconds.
    pub ttl: Option<i64>,
}

impl CreateMode {
    pub const PERSISTENT: CreateMode =
        CreateMode { ephemeral: false, sequential: false, container: false, ttl: None };

    pub(super) fn flags(self) -> i32 {
        match (self.ephemeral, self.sequential, self.container, self.ttl) {
            (_, true, _, Some(_)) => 6,
            (_, false, _, Some(_)) => 5,
            (_, _, true, _) => 4,
            (ephemeral, sequential, ..) => ephemeral as i32 | (sequential as i32) << 1,
        }
    }
}

/// `world:anyone:cdrwa`
pub fn open_acl() -> Vec<Acl> {
    vec![Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } }]
}

/// An empty list is refused on this side, before any path is known.
fn check_acl(acl: &[Acl]) -> Result<()> {
    match acl {
        [] => Err(Failure::Keeper { code: err::INVALID_ACL, path: None }),
        _ => Ok(()),
    }
}

type Result<T> = std::result::Result<T, Failure>;

impl Client {
    /// Begins to connect.
    pub fn start(
        target: Target,
        security: Security,
        timeout_ms: i32,
        read_only: bool,
        on_event: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Client {
        let short = target.clone();
        let session = Session::start(&target, security, timeout_ms, read_only, move |event| {
            let path = event.path.as_deref().map(|path| short.short(path).to_owned());
            on_event(&Event { path, ..event.clone() });
        });
        Client { session, target }
    }

    pub fn state(&self) -> State {
        self.session.state()
    }

    pub fn wait_connected(&self, patience: Duration) -> bool {
        self.session.wait_connected(patience)
    }

    pub(super) fn full(&self, path: &str) -> Result<String> {
        validate_path(path).map_err(Failure::Malformed)?;
        Ok(self.target.full(path))
    }

    fn ask<T: Record>(
        &self,
        op: i32,
        body: &impl Record,
        watch: Option<(WatchKind, String)>,
        path: Option<&str>,
    ) -> Result<T> {
        let failed = |code: i32| Failure::Keeper { code, path: path.map(String::from) };
        let reply = self.session.call_watching(op, body, watch).map_err(failed)?;
        T::decode(&reply).map_err(|_| failed(err::MARSHALLING))
    }

    fn read<T: Record>(&self, op: i32, path: &str, watch: bool, kind: WatchKind) -> Result<T> {
        let full = self.full(path)?;
        let body = PathWatchRequest { path: full.as_str().into(), watch };
        self.ask(op, &body, watch.then_some((kind, full)), Some(path))
    }

    pub fn get_data(&self, path: &str, watch: bool) -> Result<GetDataResponse> {
        self.read(op::GET_DATA, path, watch, WatchKind::Data)
    }

    /// `None`: there is no such node.
    pub fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>> {
        match self.read::<Stat>(op::EXISTS, path, watch, WatchKind::Exist) {
            Ok(stat) => Ok(Some(stat)),
            Err(failure) if failure.is(err::NO_NODE) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Names in alphabetical order.
    pub fn children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        let reply: GetChildren2Response = self.read(op::GET_CHILDREN2, path, watch, WatchKind::Child)?;
        let mut names: Vec<String> = reply.children.iter().map(|name| name.to_string()).collect();
        names.sort();
        Ok((names, reply.stat))
    }

    /// Returns the node's path.
    pub fn create(&self, path: &str, data: Option<Bytes>, acl: Vec<Acl>, mode: CreateMode) -> Result<String> {
        let checked = if mode.sequential { format!("{path}1") } else { path.into() };
        self.full(&checked)?;
        check_acl(&acl)?;
        let (full, flags) = (self.target.full(path).into(), mode.flags());
        let reply: CreateResponse = match mode.ttl {
            Some(ttl) => {
                let body = CreateTtlRequest { path: full, data, acl, flags, ttl };
                self.ask(op::CREATE_TTL, &body, None, Some(path))
            }
            None => {
                let op = if mode.container { op::CREATE_CONTAINER } else { op::CREATE };
                self.ask(op, &CreateRequest { path: full, data, acl, flags }, None, Some(path))
            }
        }?;
        Ok(self.target.short(&reply.path).into())
    }

    pub fn delete(&self, path: &str, version: i32) -> Result<()> {
        let body = DeleteRequest { path: self.full(path)?.into(), version };
        self.ask(op::DELETE, &body, None, Some(path))
    }

    /// All or none. False: a part was refused.
    pub fn delete_together(&self, paths: &[String]) -> Result<bool> {
        let part = |path: &String| Part::Delete { path: path.clone(), version: -1 };
        let parts: Vec<Part> = paths.iter().map(part).collect();
        match self.together(&parts) {
            Err(Failure::Malformed(why)) => Err(Failure::Malformed(why)),
            done => Ok(done.is_ok()),
        }
    }

    pub fn set_data(&self, path: &str, data: Option<Bytes>, version: i32) -> Result<Stat> {
        let body = SetDataRequest { path: self.full(path)?.into(), data, version };
        self.ask(op::SET_DATA, &body, None, Some(path))
    }

    pub fn get_acl(&self, path: &str) -> Result<GetAclResponse> {
        self.ask(op::GET_ACL, &PathRequest { path: self.full(path)?.into() }, None, Some(path))
    }

    pub fn set_acl(&self, path: &str, acl: Vec<Acl>, version: i32) -> Result<Stat> {
        check_acl(&acl)?;
        let body = SetAclRequest { path: self.full(path)?.into(), acl, version };
        self.ask(op::SET_ACL, &body, None, Some(path))
    }

    pub fn sync(&self, path: &str) -> Result<()> {
        self.ask::<PathRequest>(op::SYNC, &PathRequest { path: self.full(path)?.into() }, None, Some(path))
            .map(drop)
    }

    /// The ensemble's configuration stands outside every chroot.
    pub fn config(&self, watch: bool) -> Result<GetDataResponse> {
        const NODE: &str = "/zookeeper/config";
        let body = PathWatchRequest { path: NODE.into(), watch };
        self.ask(op::GET_DATA, &body, watch.then(|| (WatchKind::Data, NODE.into())), Some(NODE))
    }

    pub fn who_am_i(&self) -> Result<Vec<ClientInfo>> {
        self.ask::<WhoAmIResponse>(op::WHO_AM_I, &(), None, None).map(|reply| reply.ids)
    }

    pub fn ephemerals(&self, prefix: &str) -> Result<Vec<String>> {
        let body = PathRequest { path: self.full(prefix)?.into() };
        let reply: GetEphemeralsResponse = self.ask(op::GET_EPHEMERALS, &body, None, Some(prefix))?;
        Ok(reply.ephemerals.iter().map(|path| self.target.short(path).to_owned()).collect())
    }

    pub fn all_children_number(&self, path: &str) -> Result<i32> {
        let body = PathRequest { path: self.full(path)?.into() };
        let reply: GetAllChildrenNumberResponse =
            self.ask(op::GET_ALL_CHILDREN_NUMBER, &body, None, Some(path))?;
        Ok(reply.total)
    }

    pub fn add_watch(&self, path: &str, recursive: bool) -> Result<()> {
        let full = self.full(path)?;
        let kind = if recursive { WatchKind::Recursive } else { WatchKind::Persistent };
        let body = AddWatchRequest { path: full.as_str().into(), mode: recursive as i32 };
        self.ask::<ErrorResponse>(op::ADD_WATCH, &body, Some((kind, full)), Some(path)).map(drop)
    }

    /// `kind` as in [`WatchesRequest`]. With `local`, they go even where the server cannot be asked. Events tell what
    /// is gone.
    pub fn remove_watches(&self, path: &str, kind: i32, local: bool) -> Result<()> {
        use WatchKind::{Child, Data, Exist, Persistent, Recursive};
        let full = self.full(path)?;
        let kinds: &[WatchKind] = match kind {
            1 => &[Child],
            2 => &[Data, Exist],
            4 => &[Persistent],
            5 => &[Recursive],
            _ => &[Data, Exist, Child, Persistent, Recursive],
        };
        if !self.session.has_watches(kinds, &full) {
            return Err(Failure::Keeper { code: err::NO_WATCHER, path: Some(path.into()) });
        }
        let body = WatchesRequest { path: full.as_str().into(), kind };
        let asked = self.ask::<()>(op::REMOVE_WATCHES, &body, None, Some(path));
        let keep = matches!(&asked, Err(failure) if !(local || failure.is(err::NO_WATCHER)));
        if keep {
            return asked;
        }
        let gone = self.session.forget_watches(kinds, &full);
        let has = |wanted: &[WatchKind]| gone.iter().any(|kind| wanted.contains(kind));
        for (kinds, event) in [
            (&[Data, Exist][..], "DataWatchRemoved"),
            (&[Child], "ChildWatchRemoved"),
            (&[Persistent, Recursive], "PersistentWatchRemoved"),
        ] {
            if has(kinds) {
                self.session.tell(event, &full);
            }
        }
        if local { Ok(()) } else { asked }
    }

    pub fn reconfig(&self, request: &ReconfigRequest) -> Result<GetDataResponse> {
        self.ask(op::RECONFIG, request, None, Some(""))
    }

    pub fn add_auth(&self, scheme: &str, auth: Option<Bytes>) {
        self.session.add_auth(scheme, auth);
    }

    pub fn close(&self) {
        self.session.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_the_tool_s_words() {
        let told =
            |code, path: Option<&str>| Failure::Keeper { code, path: path.map(String::from) }.to_string();
        assert_eq!(told(err::NO_NODE, Some("/x")), "Node does not exist: /x");
        assert_eq!(told(err::NO_AUTH, Some("")), "Insufficient permission : ");
        assert_eq!(told(err::CONNECTION_LOSS, Some("/")), "KeeperErrorCode = ConnectionLoss for /");
        assert_eq!(told(err::SESSION_EXPIRED, None), "KeeperErrorCode = Session expired");
        assert_eq!(told(err::INVALID_ACL, None), "Acl is not valid : null");
    }

    #[test]
    fn create_modes_have_the_wire_s_numbers() {
        let mode = CreateMode::PERSISTENT;
        let numbers = [
            mode,
            CreateMode { ephemeral: true, ..mode },
            CreateMode { sequential: true, ..mode },
            CreateMode { ephemeral: true, sequential: true, ..mode },
            CreateMode { container: true, ..mode },
            CreateMode { ttl: Some(1), ..mode },
            CreateMode { ttl: Some(1), sequential: true, ..mode },
        ];
        assert_eq!(numbers.map(CreateMode::flags), [0, 1, 2, 3, 4, 5, 6]);
    }
}
