//! The servers and brokers of a plan, in this process.

use super::plan::{CHROOT, Member, Plan};
use anyhow::{Context, Result, anyhow};
use base::Properties;
use broker::BrokerConfig;
use broker::server::Running;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;
use zk_core::peer::Mode;
use zk_server::config::Config;
use zk_server::server::{Exit, Server};
use zookeeper_client::Client;

/// How long servers may take to find a leader, and the ensemble to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What runs, so far.
#[derive(Default)]
pub struct Cluster {
    servers: Vec<(u32, Server)>,
    brokers: Vec<Running>,
}

impl Cluster {
    /// Starts the servers and waits until they serve.
    pub async fn start_servers(&mut self, plan: &Plan) -> Result<()> {
        for member in &plan.servers {
            let named = || format!("ZooKeeper server {}", member.id);
            let config = Config::load(&plan.server_config(member), "").with_context(named)?;
            self.servers.push((member.id, Server::start(config).await.with_context(named)?));
        }
        for (id, server) in &self.servers {
            let serves = async {
                let mut modes = server.modes();
                modes.wait_for(|mode| *mode != Mode::Looking).await.is_ok()
            };
            tokio::select! {
                serves = tokio::time::timeout(PATIENCE, serves) => {
                    serves.ok().filter(|serves| *serves).with_context(|| format!("ZooKeeper server {id}: no leader was found within {PATIENCE:?}"))?;
                }
                exit = server.ended() => return Err(ended(*id, &exit)),
            }
        }
        Ok(())
    }

    /// Starts the brokers, all at a time.
    pub async fn start_brokers(&mut self, plan: &Plan) -> Result<()> {
        forget_the_killed(plan).await?;
        let mut starts = JoinSet::new();
        for member in &plan.brokers {
            let (config, id) = (plan.broker_config(member), member.id);
            starts.spawn(async move {
                let config = BrokerConfig::read(&Properties::read(&config)?)?;
                broker::server::start(config).await.with_context(|| format!("Kafka broker {id}"))
            });
        }
        let mut failed = None;
        while let Some(started) = starts.join_next().await {
            match started? {
                Ok(broker) => self.brokers.push(broker),
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        self.brokers.sort_by_key(Running::id);
        failed.map_or(Ok(()), Err)
    }

    /// Waits until a server ends by itself, and says why.
    pub async fn ended(&self) -> anyhow::Error {
        let mut servers: Vec<_> = self.servers.iter().map(|(id, server)| (*id, Box::pin(server.ended()))).collect();
        poll_fn(|context| {
            for (id, exit) in &mut servers {
                if let Poll::Ready(exit) = exit.as_mut().poll(context) {
                    return Poll::Ready(ended(*id, &exit));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The brokers first: they take leave of the ensemble.
    pub async fn stop(self) {
        let mut stops = JoinSet::new();
        for broker in self.brokers {
            stops.spawn(broker.stop());
        }
        while stops.join_next().await.is_some() {}
        for (_, server) in self.servers {
            stops.spawn(async move { drop(server.stop().await) });
        }
        while stops.join_next().await.is_some() {}
    }
}

fn ended(id: u32, exit: &Exit) -> anyhow::Error {
    anyhow!("ZooKeeper server {id} ended: {}", exit.why)
}

/// Deletes the registrations that brokers of a killed process have left: the sessions live on in the ensemble's data
/// for a while, but nobody else can be these brokers, since this process holds the folder.
async fn forget_the_killed(plan: &Plan) -> Result<()> {
    let target = format!("{}{CHROOT}", plan.connect());
    let connecting = Client::connector().connect(&target);
    let client = tokio::time::timeout(PATIENCE, connecting).await.unwrap_or(Err(zookeeper_client::Error::Timeout));
    let client = client.with_context(|| format!("ZooKeeper at {target}"))?;
    for Member { id, .. } in &plan.brokers {
        forget(&client, &format!("/brokers/ids/{id}")).await?;
    }
    let elected = client.get_data("/controller").await.ok();
    let elected = elected.and_then(|(data, _): (Vec<u8>, _)| serde_json::from_slice(&data).ok());
    let elected = elected.and_then(|node: serde_json::Value| node["brokerid"].as_u64());
    if plan.brokers.iter().any(|broker| elected == Some(broker.id.into())) {
        forget(&client, "/controller").await?;
    }
    Ok(())
}

async fn forget(client: &Client, path: &str) -> Result<()> {
    match client.delete(path, None).await {
        Ok(()) | Err(zookeeper_client::Error::NoNode) => Ok(()),
        Err(why) => Err(why).with_context(|| format!("ZooKeeper node {CHROOT}{path}")),
    }
}
