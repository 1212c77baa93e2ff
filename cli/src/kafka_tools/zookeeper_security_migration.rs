//! `zookeeper-security-migration`: makes the nodes of a Kafka cluster its brokers' own, or everybody's again.

use super::{Stop, end, help_or_version, run, zk_security};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use broker::zk::{JvmFlags, SECURE_ROOTS, Zk, ZkError, ZkSecurity};
use std::process::ExitCode;
use std::time::Duration;

const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag(
        "enable.path.check",
        "Ends where a path of Kafka's is missing, before anything is changed.",
    ),
    ToolOption::text(
        "zk-tls-config-file",
        "ZooKeeper TLS configuration",
        "File with zookeeper.ssl.* and zookeeper.clientCnxnSocket; other keys are passed over.",
    ),
    ToolOption::text(
        "zookeeper.acl",
        "",
        "secure: Kafka's nodes become their brokers' own; unsecure: everybody's.",
    ),
    ToolOption::text("zookeeper.connect", "", "The ensemble: host:port,...[/chroot].").or("localhost:2181"),
    ToolOption::int("zookeeper.connection.timeout", "", "Milliseconds until there is a session.").or("30000"),
    ToolOption::int("zookeeper.session.timeout", "", "Milliseconds of the session.").or("30000"),
]);

const HELP: &str = "ZooKeeper Migration Tool Help. This tool updates the ACLs of znodes as part of the process of setting up \
                    ZooKeeper authentication.";
const LOGIN_FILE: &str = "java.security.auth.login.config";

pub fn main(call: &Call) -> ExitCode {
    match migrate(call) {
        // The tool prints its stack trace itself.
        Err(Stop::Uncaught(exception, message)) => {
            eprintln!("{exception}: {message}");
            ExitCode::FAILURE
        }
        result => end(&TABLE, result),
    }
}

fn migrate(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, HELP)?;
    let flags = JvmFlags::of_environment();
    let security = zk_security::of_option(&given)?;
    if flags.get(LOGIN_FILE).is_none() && !security.shows_certificate() {
        eprintln!(
            "ERROR: No JAAS configuration file has been specified and no TLS client certificate has been specified. Please make \
             sure that you set the system property {LOGIN_FILE} or provide a ZooKeeper client TLS configuration via \
             --zk-tls-config-file <filename> identifying at least zookeeper.ssl.client.enable, zookeeper.clientCnxnSocket, \
             and zookeeper.ssl.keystore.location"
        );
        return Err(incorrect());
    }
    if !security.is_somebody() {
        let file = flags.get(LOGIN_FILE).unwrap_or("null");
        println!("ERROR: Security isn't enabled, most likely the file isn't set properly: {file}");
        return Err(incorrect());
    }
    let secure = match given.text("zookeeper.acl")? {
        Some("secure") => true,
        Some("unsecure") => false,
        _ => return Err(Stop::Usage(HELP.to_owned())),
    };
    run(change(&given, security.with_acls(secure)))?
}

fn incorrect() -> Stop {
    Stop::Uncaught("java.lang.IllegalArgumentException", "Incorrect configuration".to_owned())
}

fn millis(given: &Given, option: &str) -> Result<Duration, Stop> {
    let given = given.number(option)?.unwrap_or(30_000);
    Ok(Duration::from_millis(u64::try_from(given).unwrap_or_default()))
}

async fn change(given: &Given, security: ZkSecurity) -> Result<(), Stop> {
    let connect = given.text("zookeeper.connect")?.unwrap_or("localhost:2181").trim_end_matches('/');
    let session = millis(given, "zookeeper.session.timeout")?;
    let patience = millis(given, "zookeeper.connection.timeout")?;
    let open =
        async |target: &str| Zk::connect_as(target, session, patience, &security).await.map_err(failed);
    let (hosts, chroot) = connect.split_at(connect.find('/').unwrap_or(connect.len()));
    let bare = open(hosts).await?;
    let is_there = chroot.is_empty() || bare.stat(chroot).await.map_err(failed)?.is_some();
    if !is_there {
        // Java's session is in a folder that is not there, and this tool makes none.
        tracing::warn!("Znode is gone, it could be have been legitimately deleted: /");
        tell_missing(given, &SECURE_ROOTS)?;
        let why = format!("KeeperErrorCode = NoNode for {}", SECURE_ROOTS[0]);
        return Err(Stop::Uncaught("org.apache.zookeeper.KeeperException$NoNodeException", why));
    }
    let zk = if chroot.is_empty() { bare } else { open(connect).await? };
    zk.set_default_acls("/").await.map_err(failed)?;
    let mut missing = Vec::new();
    for root in SECURE_ROOTS {
        if zk.stat(root).await.map_err(failed)?.is_none() {
            missing.push(root);
        }
    }
    tell_missing(given, &missing)?;
    for root in SECURE_ROOTS {
        if missing.contains(&root) {
            if root == "/controller" {
                continue;
            }
            zk.make_path(root).await.map_err(failed)?;
        }
        zk.set_default_acls_below(root).await.map_err(failed)?;
    }
    zk.close().await;
    Ok(())
}

fn tell_missing(given: &Given, missing: &[&str]) -> Result<(), Stop> {
    if missing.is_empty() {
        return Ok(());
    }
    println!("Warning: The following secure root paths do not exist in ZooKeeper: {}", missing.join(","));
    println!("That might be due to an incorrect chroot is specified when executing the command.");
    if given.has("enable.path.check") {
        println!("Exit the command.");
        return Err(Stop::Exit(1));
    }
    Ok(())
}

fn failed(error: ZkError) -> Stop {
    let exception = match &error {
        ZkError::Connect { .. } => "kafka.zookeeper.ZooKeeperClientTimeoutException",
        ZkError::Security(_) => "org.apache.kafka.common.KafkaException",
        _ => "org.apache.zookeeper.KeeperException",
    };
    Stop::Uncaught(exception, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_nobody_to_zookeeper_migrates_nothing() {
        let call = |words: &str| Call {
            name: "zookeeper-security-migration".into(),
            args: words.split_whitespace().map(str::to_owned).collect(),
        };
        let stopped = |words: &str| migrate(&call(words)).unwrap_err();
        assert!(matches!(stopped(""), Stop::Usage(text) if text == HELP));
        let why = stopped("--zookeeper.acl secure");
        assert!(matches!(&why, Stop::Uncaught(_, text) if text == "Incorrect configuration"), "{why:?}");
        let why = stopped("--zookeeper.acl secure --zk-tls-config-file /no/such/file");
        assert!(matches!(&why, Stop::Uncaught("java.nio.file.NoSuchFileException", _)), "{why:?}");
        // Values are looked at where they are used, as in Java: who is nobody hears of that first.
        let why = stopped("--zookeeper.acl secure --zookeeper.session.timeout x");
        assert!(matches!(&why, Stop::Uncaught(_, text) if text == "Incorrect configuration"), "{why:?}");
        let given = TABLE.parse(&call("--zookeeper.session.timeout x").args).unwrap();
        let why = millis(&given, "zookeeper.session.timeout").unwrap_err();
        assert!(
            matches!(&why, Stop::Uncaught(exception, _) if exception.starts_with("joptsimple")),
            "{why:?}"
        );
    }
}
