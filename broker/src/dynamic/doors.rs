//! The listeners that are open, as they come, go and get other stores while the broker runs; and what of them others are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use client::Protocol;
use client::security::SecurityError;
use tokio::sync::{mpsc, oneshot};

use super::check::{other_stores, successor};
use crate::broker::Broker;
use crate::config::{BrokerConfig, Endpoint};
use crate::net::{Change, Door};
use crate::security::{self, ListenerSecurity, Logins};
use crate::server::{StartError, bind, listen};
use crate::shard::wall_clock;
use crate::zk::Registration;

/// A listener that is open.
#[derive(Clone)]
pub struct Opened {
    pub address: SocketAddr,
    /// `None`: it asks for nothing.
    pub security: Option<Arc<ListenerSecurity>>,
}

/// All of them.
pub struct Doors {
    changes: mpsc::UnboundedSender<Change>,
    /// By the listener's name.
    open: Mutex<BTreeMap<String, Opened>>,
    registration: ArcSwap<Registration>,
}

impl Doors {
    pub fn new(
        changes: mpsc::UnboundedSender<Change>,
        open: BTreeMap<String, Opened>,
        registration: Registration,
    ) -> Doors {
        Doors { changes, open: Mutex::new(open), registration: ArcSwap::from_pointee(registration) }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a listener asks of who comes in; `None`: nothing, or there is no such listener.
    pub fn security(&self, listener: &str) -> Option<Arc<ListenerSecurity>> {
        self.open().get(listener)?.security.clone()
    }

    /// What this broker has in `/brokers/ids`.
    pub fn registration(&self) -> Arc<Registration> {
        self.registration.load_full()
    }

    /// The settings have become others. What cannot be done is told, and left as it was.
    pub async fn follow(&self, broker: &Broker, before: &BrokerConfig, now: &BrokerConfig) {
        for endpoint in &before.listeners.bound {
            if other_stores(before, now, &endpoint.listener)
                && let Err(problem) = self.renew(broker, now, &endpoint.listener).await
            {
                tracing::error!("Listener {}: {problem}", endpoint.listener);
            }
        }
        let is_in =
            |config: &BrokerConfig, name: &str| config.listeners.bound.iter().any(|one| one.listener == name);
        let gone: Vec<String> =
            self.open().keys().filter(|name| !is_in(now, name.as_str())).cloned().collect();
        for name in gone {
            self.close(name).await;
        }
        let come: Vec<&Endpoint> = {
            let open = self.open();
            now.listeners.bound.iter().filter(|endpoint| !open.contains_key(&endpoint.listener)).collect()
        };
        for endpoint in come {
            if let Err(error) = self.open_door(broker, now, endpoint).await {
                tracing::error!("Listener {} cannot be opened: {error}", endpoint.listener);
            }
        }
        self.tell(broker, now).await;
    }

    async fn close(&self, name: String) {
        tracing::info!("Closing listener {name}");
        let (done, closed) = oneshot::channel();
        if self.changes.send(Change::Close { name: name.clone(), done }).is_ok() {
            let _ = closed.await;
        }
        self.open().remove(&name);
    }

    async fn open_door(
        &self,
        broker: &Broker,
        config: &BrokerConfig,
        endpoint: &Endpoint,
    ) -> Result<(), StartError> {
        let security = match Protocol::named(&endpoint.protocol).unwrap_or_default() {
            Protocol::Plaintext => None,
            _ => {
                let logins = Logins::of_environment()?;
                let read = ListenerSecurity::read(config, endpoint, &logins, broker.users.clone())?;
                read.prepare().await?;
                Some(Arc::new(read))
            }
        };
        let socket = bind(config, endpoint).await?;
        let name = &endpoint.listener;
        let Door { listener, .. } = listen(config, name.clone(), socket, None)?;
        let address =
            listener.local_addr().map_err(|source| StartError::Bind { address: name.clone(), source })?;
        tracing::info!("Opened listener {name} at {address}");
        self.open().insert(name.clone(), Opened { address, security: security.clone() });
        let _ = self.changes.send(Change::Open(Door { name: name.as_str().into(), listener, security }));
        Ok(())
    }

    /// Has a listener use the stores that `config` names, where they may take the place of those of now; and this broker, where
    /// it goes to others by that listener.
    async fn renew(&self, broker: &Broker, config: &BrokerConfig, listener: &str) -> Result<(), String> {
        let Some(security) = self.security(listener) else { return Ok(()) };
        security.set_tls(successor(&security, config, listener)?);
        tracing::info!("Listener {listener} has other stores from now on");
        let logins = Logins::of_environment().map_err(|error| error.to_string())?;
        let listeners = &config.listeners;
        let ways = [
            (listeners.inter_broker == listener, &broker.among_brokers),
            (listeners.of_controller() == listener, &broker.of_controller),
        ];
        for (_, way) in ways.into_iter().filter(|(leads_there, _)| *leads_there) {
            let told = |error: SecurityError| error.to_string();
            let renewed = security::among_brokers(config, &logins, listener).map_err(told)?;
            renewed.prepare().await.map_err(told)?;
            way.store(renewed.into());
        }
        Ok(())
    }

    /// Reads the files of all stores again, which a change of settings asks for even where it leaves their names alone.
    pub async fn reload(&self, broker: &Broker) -> Result<(), String> {
        let config = broker.current();
        let with_stores: Vec<String> = {
            let open = self.open();
            let tls =
                open.iter().filter(|(_, one)| one.security.as_ref().is_some_and(|it| it.tls().is_some()));
            tls.map(|(name, _)| name.clone()).collect()
        };
        for listener in &with_stores {
            self.renew(broker, &config, listener).await?;
        }
        Ok(())
    }

    /// What goes into `/brokers/ids`; a port of 0 has become a real one.
    pub fn register(id: i32, config: &BrokerConfig, real_port: impl Fn(&str) -> Option<u16>) -> Registration {
        let endpoint = |endpoint: &Endpoint| {
            let port = match endpoint.port {
                0 => real_port(&endpoint.listener).unwrap_or(0),
                port => port,
            };
            (endpoint.listener.clone(), endpoint.protocol.clone(), endpoint.host.clone(), port)
        };
        Registration {
            id,
            endpoints: config.listeners.advertised.iter().map(endpoint).collect(),
            rack: config.text("broker.rack").filter(|rack| !rack.is_empty()).map(str::to_owned),
            timestamp: wall_clock(),
            version: config.protocol.registration(),
        }
    }

    /// Tells the cluster, where this broker's addresses are others now.
    async fn tell(&self, broker: &Broker, config: &BrokerConfig) {
        let known = self.registration();
        let mut registration = {
            let open = self.open();
            Doors::register(broker.id, config, |name| Some(open.get(name)?.address.port()))
        };
        registration.timestamp = known.timestamp;
        if registration.endpoints == known.endpoints {
            return;
        }
        self.registration.store(registration.clone().into());
        tracing::info!("Registering other addresses: {:?}", registration.endpoints);
        let path = format!("/brokers/ids/{}", broker.id);
        if let Err(error) = broker.zk().set(&path, &registration.json(), None).await {
            tracing::error!("{error}");
        }
    }
}
