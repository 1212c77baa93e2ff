//! A transaction in one line, as the log toolkit of ZooKeeper prints it.

use super::{Thrown, java};
use bytes::Bytes;
use wire::zk::txn::{CreateTxn, SubTxn, Txn, TxnRecord};
use wire::zk::{Acl, op};

/// Without a line end, unless the transaction's own text has one.
pub fn line(payload: &Bytes) -> Result<String, Thrown> {
    let txn = Txn::decode(payload.clone())?;
    if txn.header.kind == op::CHECK {
        return Err(Thrown::new("java.io.IOException", "Unsupported Txn with type=13"));
    }
    let header = txn.header;
    Ok(format!(
        "{} session 0x{:x} cxid 0x{:x} zxid 0x{:x} {} {}",
        java::date_short(header.time),
        header.session,
        i64::from(header.cxid),
        header.zxid,
        op_name(header.kind),
        record(&txn.record)
    ))
}

/// Opcodes by the names of ZooKeeper's methods.
pub fn op_name(kind: i32) -> String {
    let name = match kind {
        0 => "notification",
        op::CREATE => "create",
        op::DELETE => "delete",
        op::EXISTS => "exists",
        op::GET_DATA => "getData",
        op::SET_DATA => "setData",
        op::GET_ACL => "getACL",
        op::SET_ACL => "setACL",
        op::GET_CHILDREN => "getChildren",
        op::SYNC => "sync",
        op::PING => "ping",
        op::GET_CHILDREN2 => "getChildren2",
        op::CHECK => "check",
        op::MULTI => "multi",
        op::CREATE2 => "create2",
        op::RECONFIG => "reconfig",
        op::CREATE_CONTAINER => "createContainer",
        op::DELETE_CONTAINER => "deleteContainer",
        op::CREATE_TTL => "createTTL",
        op::CREATE_SESSION => "createSession",
        op::CLOSE_SESSION => "closeSession",
        op::ERROR => "error",
        other => return format!("unknown {other}"),
    };
    name.into()
}

fn record(record: &TxnRecord) -> String {
    match record {
        TxnRecord::Create(txn) | TxnRecord::Create2(txn) => create(txn),
        TxnRecord::SetData(txn) | TxnRecord::Reconfig(txn) => {
            format!("{},{},{}", txn.path, text(&txn.data), txn.version)
        }
        TxnRecord::CreateContainer(txn) => {
            format!("{},{},{},{}", txn.path, text(&txn.data), acls(&txn.acl), txn.parent_cversion)
        }
        TxnRecord::CreateTtl(txn) => {
            let data = text(&txn.data);
            format!("{},{data},{},{},{}", txn.path, acls(&txn.acl), txn.parent_cversion, txn.ttl)
        }
        TxnRecord::Multi(parts) => parts.iter().map(part).collect::<Vec<_>>().join(";"),
        TxnRecord::CreateSession { timeout } => format!("{timeout}\n"),
        TxnRecord::CloseSession { paths: None } => String::new(),
        TxnRecord::CloseSession { paths: Some(paths) } => {
            format!("v{{{}}}\n", paths.iter().map(|path| escaped(path)).collect::<Vec<_>>().join(","))
        }
        TxnRecord::Error { err } => format!("{err}\n"),
        TxnRecord::Delete(txn) | TxnRecord::DeleteContainer(txn) => format!("{}\n", escaped(&txn.path)),
        TxnRecord::SetAcl(txn) => {
            let entries: Vec<String> = txn.acl.iter().map(|acl| format!("s{{{}}}", entry(acl))).collect();
            format!("{},v{{{}}},{}\n", escaped(&txn.path), entries.join(","), txn.version)
        }
        TxnRecord::Check(txn) => format!("{},{}\n", escaped(&txn.path), txn.version),
    }
}

fn create(txn: &CreateTxn) -> String {
    let data = text(&txn.data);
    format!("{},{data},{},{},{}", txn.path, acls(&txn.acl), txn.ephemeral, txn.parent_cversion)
}

/// The bytes of a part are shown as they are.
fn part(part: &SubTxn) -> String {
    format!("{}:{}", op_name(part.kind), text(&part.data))
}

fn text(data: &Option<Bytes>) -> String {
    String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned()
}

/// A list of records; each ends its line, as jute's text does.
fn acls(acls: &[Acl]) -> String {
    let entries: Vec<String> = acls.iter().map(|acl| entry(acl) + "\n").collect();
    format!("[{}]", entries.join(", "))
}

fn entry(acl: &Acl) -> String {
    format!("{},s{{{},{}}}", acl.perms, escaped(&acl.id.scheme), escaped(&acl.id.id))
}

/// jute's text of a string.
fn escaped(text: &str) -> String {
    let mut to = String::from("'");
    for c in text.chars() {
        match c {
            '\0' | '\n' | '\r' | ',' | '}' | '%' => to += &format!("%{:02X}", c as u32),
            c => to.push(c),
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::zk::Id;
    use wire::zk::txn::{DeleteTxn, SetAclTxn};

    fn acl(id: &str) -> Acl {
        Acl { perms: 31, id: Id { scheme: "world".into(), id: id.into() } }
    }

    #[test]
    fn records_are_shown_as_java_shows_them() {
        let path = wire::Str::from("/a");
        let created = CreateTxn {
            path: path.clone(),
            data: Some("x".into()),
            acl: vec![acl("anyone"), acl("o,ne")],
            ephemeral: true,
            parent_cversion: 2,
        };
        let shown = record(&TxnRecord::Create(created));
        assert_eq!(shown, "/a,x,[31,s{'world,'anyone}\n, 31,s{'world,'o%2Cne}\n],true,2");
        assert_eq!(record(&TxnRecord::Delete(DeleteTxn { path: path.clone() })), "'/a\n");
        let set = SetAclTxn { path, acl: vec![acl("anyone")], version: 1 };
        assert_eq!(record(&TxnRecord::SetAcl(set)), "'/a,v{s{31,s{'world,'anyone}}},1\n");
        let closed = TxnRecord::CloseSession { paths: Some(vec!["/e".into(), "/f".into()]) };
        assert_eq!(record(&closed), "v{'/e,'/f}\n");
        assert_eq!(record(&TxnRecord::CloseSession { paths: None }), "");
    }
}
