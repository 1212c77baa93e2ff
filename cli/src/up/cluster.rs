//! The servers and brokers of a plan, in this process.

use super::plan::Plan;
use super::table;
use anyhow::{Context, Result, anyhow};
use base::Properties;
use broker::BrokerConfig;
use broker::server::Running;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;
use zk_server::config::Config;
use zk_server::server::{Exit, Server};

/// How long servers may take to find a leader, and the ensemble to answer.
const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(2);

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
        for (member, (id, server)) in plan.servers.iter().zip(&self.servers) {
            let serves = async {
                // A leader, or follower, serves a moment after it has become one.
                while table::mode(member.port).await.is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                serves = tokio::time::timeout(PATIENCE, serves) => serves
                    .with_context(|| format!("ZooKeeper server {id} does not serve within {PATIENCE:?}"))?,
                exit = server.ended() => return Err(ended(*id, &exit)),
            }
        }
        Ok(())
    }

    /// Starts the brokers, all at a time.
    pub async fn start_brokers(&mut self, plan: &Plan) -> Result<()> {
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

    /// Waits until a server or a broker ends by itself, and says why.
    pub async fn ended(&self) -> anyhow::Error {
        let mut ends: Vec<Pin<Box<dyn Future<Output = anyhow::Error>>>> = vec![];
        for (id, server) in &self.servers {
            ends.push(Box::pin(async { ended(*id, &server.ended().await) }));
        }
        for broker in &self.brokers {
            ends.push(Box::pin(async {
                anyhow!("Kafka broker {} ended: {}", broker.id(), broker.halted().await)
            }));
        }
        poll_fn(|context| {
            let mut over = ends.iter_mut().filter_map(|end| match end.as_mut().poll(context) {
                Poll::Ready(why) => Some(why),
                Poll::Pending => None,
            });
            over.next().map_or(Poll::Pending, Poll::Ready)
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
