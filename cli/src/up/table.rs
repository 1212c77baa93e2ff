//! Who runs, where, in which role: asked of the servers and brokers themselves.

use super::plan::{CHROOT, Plan};
use super::{many, round_trip};
use anyhow::Result;
use std::fmt::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);

pub async fn of(plan: &Plan) -> Result<String> {
    let mut rows = vec![["", "id", "address", "role"].map(str::to_owned)];
    for server in &plan.servers {
        let role = mode(server.port).await.unwrap_or_else(|| "does not serve".into());
        rows.push([
            "ZooKeeper server".into(),
            server.id.to_string(),
            format!("127.0.0.1:{}", server.port),
            role,
        ]);
    }
    let metadata = round_trip::metadata(plan).await.ok();
    for broker in &plan.brokers {
        let id = broker.id as i32;
        let role = match &metadata {
            None => "does not answer".to_owned(),
            Some(known) if !known.brokers.contains_key(&id) => "not registered".to_owned(),
            Some(known) => {
                let partitions = known.topics.values().flat_map(|topic| topic.partitions.values());
                let (mut leads, mut follows) = (0, 0);
                for partition in partitions {
                    leads += usize::from(partition.leader == id);
                    follows += usize::from(partition.leader != id && partition.replicas.contains(&id));
                }
                let controls = if known.controller_id == id { "controller, " } else { "" };
                format!("{controls}leader of {}, follower of {follows}", many(leads, "partition"))
            }
        };
        rows.push(["Kafka broker".into(), id.to_string(), format!("127.0.0.1:{}", broker.port), role]);
    }
    let mut text = String::new();
    for [what, id, address, role] in rows {
        writeln!(text, "{what:<18} {id:>2}   {address:<18} {role}")?;
    }
    writeln!(text, "\nzookeeper.connect={}{CHROOT}\nbootstrap.servers={}", plan.connect(), plan.bootstrap())?;
    Ok(text)
}

/// Commands to go on with, as they are typed.
pub fn try_it(plan: &Plan) -> String {
    let menagerie = std::env::current_exe().map_or("menagerie".into(), |path| path.display().to_string());
    let (zookeeper, kafka) = (plan.servers[0].port, plan.brokers[0].port);
    let topic = round_trip::TOPIC;
    let mut text =
        format!("Try:\n  {menagerie} zkCli -server 127.0.0.1:{zookeeper} ls {CHROOT}/brokers/ids\n");
    for (tool, args) in [
        ("kafka-topics", "--describe".to_owned()),
        ("kafka-console-producer", format!("--topic {topic}")),
        ("kafka-console-consumer", format!("--topic {topic} --from-beginning")),
    ] {
        if crate::find(tool).is_some() {
            text += &format!("  {menagerie} {tool} --bootstrap-server 127.0.0.1:{kafka} {args}\n");
        }
    }
    text + "\nIt stays up: Ctrl-C stops it."
}

/// The server's place in the ensemble, by its answer to `srvr`; `None` while it does not serve.
pub async fn mode(port: u16) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_string)
    };
    tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
}
