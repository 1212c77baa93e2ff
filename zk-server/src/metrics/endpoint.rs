//! The port that Prometheus reads.

use super::page;
use crate::config::PrometheusEndpoint;
use crate::http::{Door, HttpPort};
use crate::net::endpoint::Endpoint;
use crate::net::listen;
use crate::server::inbox::Inbox;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base::metrics::prometheus::CONTENT_TYPE;
use std::io;
use std::time::Duration;
use tracing::info;

/// Jetty's default.
const IDLE: Duration = Duration::from_secs(30);

/// Must be called on the runtime.
pub(crate) fn start(at: &PrometheusEndpoint, inbox: Inbox) -> io::Result<HttpPort> {
    info!(
        "Starting /metrics HTTP endpoint at host: {}, port: {}, exportJvmInfo: {}",
        at.listen.host, at.listen.port, at.process
    );
    let address = Endpoint::from(&at.listen).resolve_blocking()?.into_iter().next();
    let listener = listen::bind(address.ok_or(io::ErrorKind::NotFound)?, 128)?;
    let router = Router::new().route("/metrics", any(metrics)).with_state(inbox);
    HttpPort::start(listener, Door::Plain, router, IDLE)
}

/// GET and POST, as the servlet behind it in Java.
async fn metrics(method: Method, State(inbox): State<Inbox>) -> Response {
    match method {
        Method::GET | Method::HEAD | Method::POST => {}
        Method::TRACE => return StatusCode::FORBIDDEN.into_response(),
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
    match inbox.look(|view| page(view)).await {
        Some(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
