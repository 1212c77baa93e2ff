//! Showing a login again on a connection that is in use (KIP-368), before the broker's patience ends. The connection's
//! writer does it when the time has come and somebody wants to send something: what was sent before is answered first,
//! what comes later waits.

use crate::connection::Awaited;
use crate::security::{AuthenticationError, Login, Security, Talk, authenticate};
use bytes::Bytes;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wire::Str;

/// Java's window: from 85% of the session's lifetime on, 95% at the latest, by chance.
const LIFETIME_USED: (f64, f64) = (0.85, 0.10);

/// When a connection's login has to be shown again, and what that takes.
#[derive(Debug)]
pub(crate) struct Reauthentication {
    security: Security,
    client_id: Str,
    correlation: Arc<AtomicI32>,
    /// `None`: never.
    due: Mutex<Option<Instant>>,
    /// Of SaslAuthenticate, once it is known.
    version: OnceLock<i16>,
}

impl Reauthentication {
    pub(crate) fn new(security: Security, client_id: Str, correlation: Arc<AtomicI32>) -> Reauthentication {
        let version = OnceLock::new();
        Reauthentication { security, client_id, correlation, due: Mutex::default(), version }
    }

    /// The session has begun anew and may last so long.
    pub(crate) fn session_began(&self, lifetime: Option<Duration>) {
        let used = LIFETIME_USED.0 + LIFETIME_USED.1 * rand::random::<f64>();
        let due = lifetime.map(|lifetime| Instant::now() + lifetime.mul_f64(used));
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    pub(crate) fn set_version(&self, version: i16) {
        let _ = self.version.set(version);
    }

    fn is_due(&self) -> bool {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|due| Instant::now() >= due)
    }

    /// Shows the login again, if it is time.
    pub(crate) async fn keep_session(
        &self,
        writer: &mut (impl AsyncWrite + Unpin + Send),
        awaited: &mpsc::UnboundedSender<Awaited>,
    ) -> Result<(), AuthenticationError> {
        let Some(login) = self.security.login().filter(|_| self.is_due()) else { return Ok(()) };
        self.show(login, writer, awaited).await
    }

    async fn show(
        &self,
        login: &Login,
        writer: &mut (impl AsyncWrite + Unpin + Send),
        awaited: &mpsc::UnboundedSender<Awaited>,
    ) -> Result<(), AuthenticationError> {
        let version = self.version.get().copied().unwrap_or(0).min(2);
        let mut talk = Live { reauthentication: self, writer, awaited };
        let lifetime = authenticate(&mut talk, login, version).await?;
        tracing::debug!("The login was shown again, the session may last {lifetime:?}");
        self.session_began(lifetime);
        Ok(())
    }
}

/// A connection in use, from its writer's side.
struct Live<'a, W> {
    reauthentication: &'a Reauthentication,
    writer: &'a mut W,
    awaited: &'a mpsc::UnboundedSender<Awaited>,
}

impl<W: AsyncWrite + Unpin + Send> Talk for Live<'_, W> {
    fn client_id(&self) -> Str {
        self.reauthentication.client_id.clone()
    }

    fn correlation(&mut self) -> i32 {
        self.reauthentication.correlation.fetch_add(1, Ordering::Relaxed)
    }

    async fn exchange(&mut self, correlation: i32, frame: Bytes) -> Result<Bytes, AuthenticationError> {
        let closed = || AuthenticationError::Io(std::io::ErrorKind::ConnectionAborted.into());
        let (reply, answer) = oneshot::channel();
        self.awaited.send(Awaited { correlation, reply }).map_err(|_| closed())?;
        self.writer.write_all(&frame).await?;
        self.writer.flush().await?;
        answer.await.map_err(|_| closed())
    }
}
