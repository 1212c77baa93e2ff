//! The audit trail (`audit.enable`): who changed what, and whether it was allowed.
//!
//! A server tells of its own clients' writes when they are answered, and of every ephemeral node that goes with its
//! session. Which operations count, and with which fields, follows ZooKeeper 3.9.3: a createTTL counts only within a
//! multi, a multi that failed is one line without its parts.

use crate::auth;
use crate::database::Outcome;
use bytes::Bytes;
use wire::Str;
use wire::jute::{DecodeError, Reader};
use wire::zk::{
    Acl, CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, Id, MultiHeader, SessionId,
    SetAclRequest, SetDataRequest, op,
};

/// One line of the trail; fields that are `None` do not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub session: SessionId,
    pub by: Author,
    pub operation: &'static str,
    pub znode: Option<Str>,
    pub znode_type: Option<&'static str>,
    pub acl: Option<String>,
    pub success: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The user that the server runs as.
    Server,
    /// Names of all its ids, apart by commas, and where it comes from.
    Client { users: String, ip: Str },
}

const CREATE: &str = "create";
const DELETE: &str = "delete";
const SET_DATA: &str = "setData";
const SET_ACL: &str = "setAcl";
const MULTI: &str = "multiOperation";
const RECONFIG: &str = "reconfig";
const EPHEMERAL_GONE: &str = "ephemeralZNodeDeletionOnSessionCloseOrExpire";

/// A node went with the session that owned it.
pub(crate) fn ephemeral_gone(session: SessionId, path: &str) -> Audit {
    Audit {
        session,
        by: Author::Server,
        operation: EPHEMERAL_GONE,
        znode: Some(path.into()),
        znode_type: None,
        acl: None,
        success: true,
    }
}

/// A client's write: what it asked for, and what came of it.
pub(crate) struct Write<'a> {
    pub session: SessionId,
    pub ids: &'a [Id],
    /// Its address, as an id of the scheme `ip`.
    pub ip: &'a Str,
    pub op: i32,
    pub body: &'a Bytes,
    /// `None`: it was refused as a whole.
    pub outcome: Option<&'a Outcome>,
}

impl Write<'_> {
    /// What is to be told, if anything. A request that cannot be read was refused for that, and names nothing.
    pub fn lines(&self) -> Vec<Audit> {
        let mut from = Reader::new(self.body.clone());
        self.read(&mut from).unwrap_or_default()
    }

    fn read(&self, from: &mut Reader) -> Result<Vec<Audit>, DecodeError> {
        let done = |asked: Str| match self.outcome {
            Some(outcome) => outcome.path.clone(),
            None => asked,
        };
        let line = match self.op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                let CreateRequest { path, flags, .. } = from.read()?;
                let Some(mode) = mode_name(flags) else { return Ok(vec![]) };
                self.line(CREATE, Some(done(path)), Some(mode), None)
            }
            op::DELETE | op::DELETE_CONTAINER => {
                self.line(DELETE, Some(done(from.read::<DeletedPath>()?.0)), None, None)
            }
            op::SET_DATA => self.line(SET_DATA, Some(done(from.read::<SetDataRequest>()?.path)), None, None),
            op::SET_ACL => {
                let SetAclRequest { path, acl, .. } = from.read()?;
                self.line(SET_ACL, Some(done(path)), None, Some(acl_text(&acl)))
            }
            op::RECONFIG => {
                let path = self.outcome.map(|outcome| outcome.path.clone());
                self.line(RECONFIG, path.filter(|path| !path.is_empty()), None, None)
            }
            op::MULTI => return self.multi(from),
            _ => return Ok(vec![]),
        };
        Ok(vec![line])
    }

    /// A line for each part that changed something, or one for all that failed.
    fn multi(&self, from: &mut Reader) -> Result<Vec<Audit>, DecodeError> {
        let failed = || vec![Audit { success: false, ..self.line(MULTI, None, None, None) }];
        let Some(outcome) = self.outcome else { return Ok(failed()) };
        if outcome.parts.iter().any(|part| part.kind == op::ERROR) {
            return Ok(failed());
        }
        let modes = modes_of_multi(from)?;
        let mut lines = vec![];
        for part in &outcome.parts {
            let (operation, mode) = match part.kind {
                op::CREATE | op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => {
                    // By the path that was asked for: that of a sequential node is another.
                    let mode = modes.iter().find(|(path, _)| *path == part.path).and_then(|(_, mode)| *mode);
                    (CREATE, mode)
                }
                op::DELETE | op::DELETE_CONTAINER => (DELETE, None),
                op::SET_DATA => (SET_DATA, None),
                _ => continue,
            };
            lines.push(self.line(operation, Some(part.path.clone()), mode, None));
        }
        Ok(lines)
    }

    fn line(
        &self,
        operation: &'static str,
        znode: Option<Str>,
        znode_type: Option<&'static str>,
        acl: Option<String>,
    ) -> Audit {
        let infos = auth::client_infos(self.ids);
        let users = infos.iter().filter(|info| info.scheme != "super").map(|info| &*info.user);
        Audit {
            session: self.session,
            by: Author::Client { users: users.collect::<Vec<_>>().join(","), ip: self.ip.clone() },
            operation,
            znode,
            znode_type,
            acl,
            success: self.outcome.is_some_and(|outcome| outcome.err == 0),
        }
    }
}

/// The first field of a delete and of a deleteContainer, whatever follows.
struct DeletedPath(Str);

impl wire::jute::Record for DeletedPath {
    fn read(from: &mut Reader) -> Result<DeletedPath, DecodeError> {
        from.read().map(DeletedPath)
    }

    fn write(&self, to: &mut bytes::BytesMut) {
        self.0.write(to);
    }
}

/// Paths of the parts that create, with their modes; a part with a time to live has none.
fn modes_of_multi(from: &mut Reader) -> Result<Vec<(Str, Option<&'static str>)>, DecodeError> {
    let mut modes = vec![];
    loop {
        let header: MultiHeader = from.read()?;
        if header.done {
            return Ok(modes);
        }
        match header.op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                let CreateRequest { path, flags, .. } = from.read()?;
                modes.push((path, mode_name(flags)));
            }
            op::CREATE_TTL => drop(from.read::<CreateTtlRequest>()?),
            op::DELETE => drop(from.read::<DeleteRequest>()?),
            op::SET_DATA => drop(from.read::<SetDataRequest>()?),
            _ => drop(from.read::<CheckVersionRequest>()?),
        }
    }
}

fn mode_name(flags: i32) -> Option<&'static str> {
    Some(match flags {
        0 => "persistent",
        1 => "ephemeral",
        2 => "persistent_sequential",
        3 => "ephemeral_sequential",
        4 => "container",
        5 => "persistent_with_ttl",
        6 => "persistent_sequential_with_ttl",
        _ => return None,
    })
}

/// `scheme:id:perms`, apart by commas.
fn acl_text(acl: &[Acl]) -> String {
    let perms = |perms: i32| -> String {
        let letters = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
        letters.into_iter().filter(|(bit, _)| perms & bit != 0).map(|(_, letter)| letter).collect()
    };
    let entries = acl.iter().map(|acl| format!("{}:{}:{}", acl.id.scheme, acl.id.id, perms(acl.perms)));
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::world;
    use crate::config::tests::standalone;
    use crate::event::Effect;
    use crate::rig::{Rig, connect};
    use bytes::BytesMut;
    use wire::jute::Record;
    use wire::zk::AuthRequest;

    fn rig() -> Rig {
        Rig::with(&crate::config::CoreConfig { audit: true, ..standalone() })
    }

    fn create(path: &str, flags: i32) -> CreateRequest {
        CreateRequest { path: path.into(), data: None, acl: vec![world(31)], flags }
    }

    /// What was told since the last call, in short.
    fn told(rig: &mut Rig) -> Vec<String> {
        rig.settle();
        let audits = rig.out.extract_if(.., |effect| matches!(effect, Effect::Audit(_)));
        let shown = audits.map(|effect| {
            let Effect::Audit(Audit { by, operation, znode, znode_type, acl, success, .. }) = effect else {
                return String::new();
            };
            let users = match by {
                Author::Server => "-".into(),
                Author::Client { users, ip } => format!("{users}@{ip}"),
            };
            let parts = [znode.as_deref(), znode_type, acl.as_deref()].map(|part| part.unwrap_or("-"));
            format!("{users} {operation} {} {success}", parts.join(" "))
        });
        shown.collect()
    }

    #[test]
    fn writes_are_told_with_who_what_and_the_outcome() {
        let mut rig = rig();
        rig.session(1);
        rig.request(1, 1, op::CREATE, create("/s-", 2));
        rig.request(1, 2, op::CREATE2, create("/no/such", 0));
        let set = SetDataRequest { path: "/s-0000000000".into(), data: None, version: -1 };
        rig.request(1, 3, op::SET_DATA, set);
        let acl = SetAclRequest { path: "/s-0000000000".into(), acl: vec![world(17)], version: -1 };
        rig.request(1, 4, op::SET_ACL, acl);
        rig.request(1, 5, op::DELETE, DeleteRequest { path: "/gone".into(), version: -1 });
        assert_eq!(
            told(&mut rig),
            [
                "127.0.0.1@127.0.0.1 create /s-0000000000 persistent_sequential - true",
                "127.0.0.1@127.0.0.1 create /no/such persistent - false",
                "127.0.0.1@127.0.0.1 setData /s-0000000000 - - true",
                "127.0.0.1@127.0.0.1 setAcl /s-0000000000 - world:anyone:ra true",
                "127.0.0.1@127.0.0.1 delete /gone - - false",
            ]
        );
    }

    #[test]
    fn users_are_the_names_of_all_ids() {
        let mut rig = rig();
        rig.session(1);
        let auth =
            AuthRequest { kind: 0, scheme: "digest".into(), auth: Some(Bytes::from_static(b"bob:pw")) };
        rig.request(1, -4, op::AUTH, auth);
        rig.request(1, 1, op::CREATE, create("/a", 0));
        assert_eq!(told(&mut rig), ["127.0.0.1,bob@127.0.0.1 create /a persistent - true"]);
    }

    #[test]
    fn parts_of_a_multi_are_told_one_by_one_and_a_failed_one_as_a_whole() {
        let mut rig = rig();
        rig.session(1);
        let part = |op: i32, body: &dyn Fn(&mut BytesMut)| {
            let mut to = BytesMut::new();
            MultiHeader { op, done: false, err: -1 }.write(&mut to);
            body(&mut to);
            to
        };
        let made = part(op::CREATE, &|to| create("/m", 1).write(to));
        let gone = part(op::DELETE, &|to| DeleteRequest { path: "/m".into(), version: -1 }.write(to));
        let mut end = BytesMut::new();
        MultiHeader::END.write(&mut end);
        let frame = |parts: &[&BytesMut]| {
            let head = [1i32.to_be_bytes(), op::MULTI.to_be_bytes()].concat();
            let parts = parts.iter().flat_map(|part| part.to_vec());
            Bytes::from(head.into_iter().chain(parts).collect::<Vec<u8>>())
        };
        rig.frame(1, frame(&[&made, &gone, &end]));
        assert_eq!(
            told(&mut rig),
            ["127.0.0.1@127.0.0.1 create /m ephemeral - true", "127.0.0.1@127.0.0.1 delete /m - - true"]
        );
        rig.frame(1, frame(&[&gone, &end]));
        assert_eq!(told(&mut rig), ["127.0.0.1@127.0.0.1 multiOperation - - - false"]);
    }

    #[test]
    fn nodes_that_go_with_their_session_are_told_as_the_server_s_doing() {
        let mut rig = rig();
        rig.session(1);
        rig.request(1, 1, op::CREATE, create("/e", 1));
        told(&mut rig);
        rig.request(1, 2, op::CLOSE_SESSION, ());
        assert_eq!(told(&mut rig), ["- ephemeralZNodeDeletionOnSessionCloseOrExpire /e - - true"]);
    }

    #[test]
    fn nothing_is_told_unless_it_is_asked_for() {
        let mut rig = Rig::new();
        rig.open(1);
        rig.frame(1, connect(0, None).encode());
        rig.settle();
        rig.request(1, 1, op::CREATE, create("/a", 0));
        assert!(told(&mut rig).is_empty());
    }
}
