//! The admin server: commands over HTTP, answered in JSON. Shapes, names and statuses are those of ZooKeeper 3.9.3's.

mod commands;
mod json;
mod state;

pub(crate) use state::Limits;

use crate::config::Admin;
use crate::http::{Door, HttpPort, Remote};
use crate::net::endpoint::Endpoint;
use crate::net::listen;
use crate::server::inbox::{Inbox, Input, Look};
use crate::words::View;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::{Answer, Asked, Next, Verb};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;

#[derive(Debug, Clone)]
struct Context {
    config: Arc<Admin>,
    inbox: Inbox,
}

/// Must be called on the runtime.
pub(crate) fn start(config: &Admin, inbox: Inbox) -> io::Result<HttpPort> {
    let address = Endpoint::from(&config.listen).resolve_blocking()?.into_iter().next();
    let listener = listen::bind(address.ok_or(io::ErrorKind::NotFound)?, 128)?;
    let door = door(config, &inbox);
    let context = Context { config: Arc::new(config.clone()), inbox };
    let router = Router::new().fallback(serve).with_state(context);
    let port = HttpPort::start(listener, door, router, config.idle_timeout)?;
    info!(
        "Started AdminServer on address {}, port {} and command URL {}",
        config.listen.host, config.listen.port, config.url
    );
    Ok(port)
}

fn door(config: &Admin, inbox: &Inbox) -> Door {
    match &config.https {
        None => Door::Plain,
        Some(https) if !https.takes_plain => Door::Tls(https.tls.clone()),
        Some(https) => {
            let inbox = inbox.clone();
            let plain = move || {
                let count = |view: &mut View<'_>| view.clients.stats.admin.insecure_admin_count += 1;
                inbox.send(Input::Look(Look(Box::new(count))));
            };
            Door::Either { tls: https.tls.clone(), plain: Arc::new(plain) }
        }
    }
}

/// Whoever came by TLS is told to do so for the next day, as by Java.
async fn serve(
    context: State<Context>,
    ConnectInfo(remote): ConnectInfo<Remote>,
    request: Request,
) -> Response {
    let mut response = dispatch(context, remote.from, request).await;
    if remote.is_secure() {
        let day = HeaderValue::from_static("max-age=86400; includeSubDomains");
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, day);
    }
    response
}

/// By path, then by verb: what a servlet container does before the command is looked at.
async fn dispatch(State(context): State<Context>, from: SocketAddr, request: Request) -> Response {
    if request.method() == Method::TRACE {
        return StatusCode::FORBIDDEN.into_response();
    }
    let url = context.config.url.trim_end_matches('/');
    let path = request.uri().path().to_owned();
    let name = match path.strip_prefix(url) {
        Some("" | "/") => None,
        Some(rest) if rest.starts_with('/') => Some(decoded(&rest[1..])),
        _ => return page_of(StatusCode::NOT_FOUND),
    };
    let verb = match *request.method() {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Post,
        Method::OPTIONS => {
            return ([(header::ALLOW, "GET, HEAD, POST, TRACE, OPTIONS")], ()).into_response();
        }
        Method::PUT | Method::DELETE => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
        _ => return StatusCode::NOT_IMPLEMENTED.into_response(),
    };
    let Some(name) = name else { return Body::from(index(url)).into_response() };
    let asked = Asked {
        name,
        verb,
        arguments: arguments(request.uri().query().unwrap_or_default()),
        authorization: text_of(request.headers(), header::AUTHORIZATION),
        from: from.ip(),
    };
    let config = context.config.clone();
    match context.inbox.look(move |view| commands::run(&asked, &config, view)).await {
        Some(Next::Answer(answer)) => json_response(answer),
        Some(Next::Snapshot { disk, zxid, streaming }) => {
            state::snapshot(&context.inbox, disk, zxid, streaming).await
        }
        Some(Next::Restore { disk }) => state::restore(&context.inbox, disk, request.into_body()).await,
        Some(Next::List { name, body, list }) => {
            match commands::gather(&context.inbox, name, body, list).await {
                Some(answer) => json_response(answer),
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
        Some(Next::Bare(status)) => page_of(status),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn json_response(answer: Answer) -> Response {
    let text = json::text(&answer.body);
    (answer.status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// An error as a page.
fn page_of(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let title = format!("Error {} {reason}", status.as_u16());
    let page = format!(
        "<html>\n<head>\n<title>{title}</title>\n</head>\n<body><h2>{title}</h2>\n</body>\n</html>\n"
    );
    let headers = [
        (header::CACHE_CONTROL, "must-revalidate,no-cache,no-store"),
        (header::CONTENT_TYPE, "text/html;charset=iso-8859-1"),
    ];
    (status, headers, page).into_response()
}

/// Links to all commands.
fn index(url: &str) -> String {
    commands::names().map(|name| format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n")).collect()
}

/// `a=1&b=2`; of a repeated name the first counts.
fn arguments(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let form = |text: &str| decoded(&text.replace('+', " "));
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form(key), form(value))
        })
        .collect()
}

/// `%41` becomes `A`; what is no such escape stays.
fn decoded(text: &str) -> String {
    let mut to = vec![];
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escape = (*first == b'%').then(|| behind.get(..2)).flatten();
        let byte = escape
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                to.push(byte);
                rest = &behind[2..];
            }
            None => {
                to.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&to).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_repeated_arguments_counts_and_escapes_are_resolved() {
        let read = arguments("traceMask=1%32&traceMask=3&&streaming&a%=b+c");
        let pairs: Vec<(&str, &str)> = read.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(pairs, [("traceMask", "12"), ("traceMask", "3"), ("streaming", ""), ("a%", "b c")]);
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn the_index_links_primary_names_in_order() {
        let index = index("/commands");
        assert!(index.starts_with("<a href=\"/commands/configuration\">configuration</a>\n<br/>\n"));
        assert!(!index.contains("conf\""));
    }
}
