//! How a client comes in by TLS, and who its certificate says it is.

use super::stream::{Stream, begins_with_tls};
use crate::tls::{ClientAuth, Tls, rfc2253};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tracing::{debug, info};
use wire::Str;
use wire::zk::Id;

/// What TLS connections of clients are answered with.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    pub tls: Arc<Tls>,
    /// `client.portUnification`: the plain port takes TLS, too.
    pub unified: bool,
    /// `X509AuthenticationProvider.superUser`: the subject that may do all.
    pub super_user: Option<Str>,
}

/// What a port expects of a new connection.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Plain,
    Tls(ClientTls),
    /// The first byte decides.
    Either(ClientTls),
}

impl Door {
    /// The connection, ready for its first request, with the ids of its certificate.
    pub async fn enter(&self, socket: TcpStream) -> io::Result<(Stream, Vec<Id>)> {
        let client = match self {
            Door::Tls(client) => client,
            Door::Either(client) if begins_with_tls(&socket).await? => client,
            Door::Plain | Door::Either(_) => return Ok((socket.into(), vec![])),
        };
        let config = client.tls.server().map_err(io::Error::other)?;
        let stream = Stream::accept_tls(socket, config).await?;
        debug!("Successful handshake: {}", stream.tls_shown().unwrap_or_default());
        let ids = client.ids(&stream)?;
        Ok((stream, ids))
    }
}

impl ClientTls {
    /// None where no certificate was asked for, or a wanted one was not shown.
    fn ids(&self, stream: &Stream) -> io::Result<Vec<Id>> {
        if self.tls.settings.client_auth == ClientAuth::None {
            return Ok(vec![]);
        }
        let shown = stream.certificates();
        let Some(certificate) = shown.first() else { return Ok(vec![]) };
        let subject = rfc2253(certificate)
            .ok_or_else(|| io::Error::other("the certificate's subject cannot be read"))?;
        let subject = Str::from(subject);
        let mut ids = Vec::with_capacity(2);
        if self.super_user.as_ref() == Some(&subject) {
            info!("Authenticated Id '{subject}' as super user");
            ids.push(Id { scheme: Str::from_static("super"), id: subject.clone() });
        }
        info!("Authenticated Id '{subject}' for scheme 'x509'");
        ids.push(Id { scheme: Str::from_static("x509"), id: subject });
        Ok(ids)
    }
}
