//! Connections to other brokers, on the listener that brokers use among themselves.

use std::time::Duration;

use client::{CallError, Connection, ConnectionOptions};
use tokio::sync::Mutex;

use crate::broker::Broker;

/// Why a broker cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("no controller is known")]
    NoController,
    #[error("the address of broker {0} is not known")]
    NoAddress(i32),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Connects to a live broker; `purpose` is seen in its logs as part of the client id.
pub async fn connect(broker: &Broker, node: i32, purpose: &str) -> Result<Connection, PeerError> {
    let now = broker.metadata.snapshot();
    let listener = &broker.config.listeners.inter_broker;
    let (host, port) = now.address(node, listener).ok_or(PeerError::NoAddress(node))?;
    let millis = |key: &str| broker.config.millis(key);
    let options = ConnectionOptions {
        client_id: format!("broker-{}-{purpose}", broker.id).into(),
        setup_timeout: millis("socket.connection.setup.timeout.ms"),
        request_timeout: millis("controller.socket.timeout.ms"),
        security: client::Security::clone(&broker.among_brokers.load()),
        ..ConnectionOptions::default()
    };
    Ok(Connection::connect(&format!("{host}:{port}"), options).await?)
}

/// The connection to whoever is the controller.
#[derive(Default)]
pub struct ControllerLink {
    current: Mutex<Option<(i32, Connection)>>,
}

impl ControllerLink {
    /// A connection to the current controller, the last one if it still is.
    pub async fn get(&self, broker: &Broker) -> Result<Connection, PeerError> {
        let controller = broker.controller_id().ok_or(PeerError::NoController)?;
        let mut current = self.current.lock().await;
        if let Some((node, connection)) = &*current
            && *node == controller
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let connection = connect(broker, controller, "to-controller").await?;
        *current = Some((controller, connection.clone()));
        Ok(connection)
    }

    /// The answer showed that the controller is another one by now, or does not answer.
    pub async fn forget(&self) {
        *self.current.lock().await = None;
    }
}

/// Pause before something is sent to the controller again.
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);
