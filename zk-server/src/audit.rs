//! Lines of the audit trail, as ZooKeeper's logger writes them: pairs apart by tabs, absent ones left out.

use crate::words::user_name;
use std::fmt::Write;
use std::sync::OnceLock;
use tracing::{error, info};
use zk_core::audit::{Audit, Author};

/// Tells of a change.
pub(crate) fn tell(audit: &Audit) {
    log(&line(audit, own_user()), audit.success);
}

/// Tells of the server itself: `serverStart`, `serverStop`.
pub(crate) fn tell_of_server(operation: &str, result: &str) {
    let line = format!("user={}\toperation={operation}\tresult={result}", own_user());
    log(&line, result != "failure");
}

/// Asked for once: a change may come often.
fn own_user() -> &'static str {
    static USER: OnceLock<String> = OnceLock::new();
    USER.get_or_init(user_name)
}

fn log(line: &str, success: bool) {
    match success {
        true => info!(target: "o.a.z.a.Slf4jAuditLogger", "{line}"),
        false => error!(target: "o.a.z.a.Slf4jAuditLogger", "{line}"),
    }
}

fn line(audit: &Audit, own_user: &str) -> String {
    let Audit { session, by, operation, znode, znode_type, acl, success } = audit;
    let mut line = format!("session=0x{session:x}\tuser=");
    let _ = match by {
        Author::Server => write!(line, "{own_user}"),
        Author::Client { users, ip } => write!(line, "{users}\tip={ip}"),
    };
    let _ = write!(line, "\toperation={operation}");
    let pairs = [("znode", znode.as_deref()), ("znode_type", *znode_type), ("acl", acl.as_deref())];
    for (key, value) in pairs {
        if let Some(value) = value {
            let _ = write!(line, "\t{key}={value}");
        }
    }
    let _ = write!(line, "\tresult={}", if *success { "success" } else { "failure" });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_java_s() {
        let mut audit = Audit {
            session: 0x0100_000f_468f_0000,
            by: Author::Client { users: "127.0.0.1,bob".into(), ip: "127.0.0.1".into() },
            operation: "create",
            znode: Some("/eph1".into()),
            znode_type: Some("ephemeral"),
            acl: None,
            success: true,
        };
        assert_eq!(
            line(&audit, "root"),
            "session=0x100000f468f0000\tuser=127.0.0.1,bob\tip=127.0.0.1\toperation=create\tznode=/eph1\tznode_type=ephemeral\tresult=success"
        );
        (audit.by, audit.znode_type, audit.success) = (Author::Server, None, false);
        assert_eq!(
            line(&audit, "root"),
            "session=0x100000f468f0000\tuser=root\toperation=create\tznode=/eph1\tresult=failure"
        );
    }
}
