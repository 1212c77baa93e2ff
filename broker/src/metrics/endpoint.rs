//! The port at `menagerie.metrics.address`: `GET /metrics` for the broker and its topics, `GET /metrics/partitions` for each
//! partition. It shows and takes nothing; a connection is good for one answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::metrics::page::{Ask, HEAD_MAX, Status, ask, refused, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Part, page};
use crate::broker::Broker;

/// Who asks and who is answered at a time; others wait.
const ASKERS_MAX: usize = 8;
/// For a whole question and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the port; an error names the address.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!("Metrics are shown at http://{}/metrics", listener.local_addr()?);
    Ok(listener)
}

/// Answers until the task is aborted.
pub async fn serve(listener: TcpListener, broker: Arc<Broker>) {
    let seats = Arc::new(Semaphore::new(ASKERS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("Error accepting on the port for metrics: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, one(stream, &broker)).await;
            drop(seat);
        });
    }
}

async fn one(mut stream: TcpStream, broker: &Broker) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    let asked = loop {
        if let Some(asked) = ask(&head) {
            break asked;
        }
        let room = HEAD_MAX.saturating_sub(head.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let answer = match asked {
        Ask::Refused(status) => refused(status),
        Ask::Page { path, head } => {
            let part = match path.as_str() {
                "/metrics" => Some(Part::Broker),
                "/metrics/partitions" => Some(Part::Partitions),
                _ => None,
            };
            match part {
                None => refused(Status::NotFound),
                Some(part) => match page(broker, part).await {
                    Some(page) => shown(&page, head),
                    None => refused(Status::Unavailable),
                },
            }
        }
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await
}
