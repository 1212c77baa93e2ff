//! The controller's channel to one broker: requests in order, one at a time, each repeated until it is answered or the
//! broker's registration is gone.

use std::time::Duration;

use broker_core::controller::{Event, ToBroker};
use client::{CallError, Connection, ConnectionOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::Str;
use wire::kafka::ErrorCode;

use super::active::Observed;

/// Pause before a broker that could not be reached is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// One registration of one broker. Dropping it ends it, whatever is still queued.
pub struct Channel {
    requests: mpsc::UnboundedSender<ToBroker>,
    task: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a broker is to be found.
#[derive(Debug, Clone)]
pub struct Target {
    pub broker: i32,
    pub address: String,
    pub timeout: Duration,
    /// This broker's own id, by which the other end logs it.
    pub controller: i32,
}

impl Channel {
    pub fn open(target: Target, observed: mpsc::UnboundedSender<Observed>) -> Channel {
        let (requests, queue) = mpsc::unbounded_channel();
        Channel { requests, task: tokio::spawn(run(target, queue, observed)) }
    }

    pub fn send(&self, request: ToBroker) {
        // The task ends only with this handle, so the queue is open.
        let _ = self.requests.send(request);
    }
}

async fn run(
    target: Target,
    mut queue: mpsc::UnboundedReceiver<ToBroker>,
    observed: mpsc::UnboundedSender<Observed>,
) {
    let mut connection = None;
    while let Some(request) = queue.recv().await {
        let event = loop {
            match exchange(&target, &mut connection, &request).await {
                Ok(event) => break event,
                Err(error) => {
                    tracing::warn!(
                        "[Controller id={}, targetBrokerId={}] Connection to node {} ({}) could not be used: {error}",
                        target.controller,
                        target.broker,
                        target.broker,
                        target.address
                    );
                    connection = None;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        if let Some(event) = event
            && observed.send(Observed::Answer(event)).is_err()
        {
            return;
        }
    }
}

async fn exchange(
    target: &Target,
    connection: &mut Option<Connection>,
    request: &ToBroker,
) -> Result<Option<Event>, CallError> {
    let open = match connection {
        Some(open) if !open.is_closed() => open,
        _ => {
            let options = ConnectionOptions {
                client_id: Str::from(target.controller.to_string()),
                setup_timeout: target.timeout,
                request_timeout: target.timeout,
                ..ConnectionOptions::default()
            };
            connection.insert(Connection::connect(&target.address, options).await?)
        }
    };
    let broker = target.broker;
    match request {
        ToBroker::LeaderAndIsr(request) => {
            let response = open.call(request).await?;
            log_refusal(broker, "LeaderAndIsr", response.error_code);
            Ok(Some(Event::LeaderAndIsrAnswered { broker, response }))
        }
        ToBroker::UpdateMetadata(request) => {
            let response = open.call(request).await?;
            log_refusal(broker, "UpdateMetadata", response.error_code);
            Ok(None)
        }
        ToBroker::StopReplica(request) => {
            let response = open.call(request).await?;
            log_refusal(broker, "StopReplica", response.error_code);
            Ok(Some(Event::StopReplicaAnswered { broker, request: request.clone(), response }))
        }
    }
}

fn log_refusal(broker: i32, api: &str, error: ErrorCode) {
    if error != ErrorCode::NONE {
        tracing::warn!("Broker {broker} refused {api}: {}", error.name());
    }
}
