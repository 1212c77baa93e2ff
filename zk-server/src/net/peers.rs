//! How servers come to each other: plain or by TLS, with SASL or without, on the quorum port and the election port
//! alike.

use super::endpoint::Endpoint;
use super::stream::{Half, Stream, begins_with_tls};
use crate::config::security::QuorumTls;
use crate::sasl::quorum::{QuorumSasl, QuorumSaslError};
use crate::tls::matches_host;
use bytes::Bytes;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

/// What both ports between servers want of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerSecurity {
    pub tls: Option<QuorumTls>,
    pub sasl: Option<Arc<QuorumSasl>>,
    /// Every member's host names, for the certificate of one that dials.
    pub hosts: Arc<[String]>,
}

impl PeerSecurity {
    /// Answers whoever dialled us.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let Some(QuorumTls { tls, takes_plain, .. }) = &self.tls else { return Ok(socket.into()) };
        if *takes_plain {
            // Who says nothing for so long is taken for a plain one.
            match timeout(tls.settings.detect_within, begins_with_tls(&socket)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => {
                    info!("Accepted plaintext connection from {}", shown(&socket));
                    return Ok(socket.into());
                }
                Ok(Err(error)) => return Err(error),
            }
        }
        let config = tls.server().map_err(io::Error::other)?;
        let stream = Stream::accept_tls(socket, config).await?;
        if tls.settings.checks_client_host {
            self.check_host(&stream, None).await?;
        }
        info!("Accepted TLS connection from {}", described(&stream));
        Ok(stream)
    }

    /// Goes on with a connection that we dialled, to a server with these addresses.
    pub async fn dial(&self, socket: TcpStream, server: &[Endpoint]) -> io::Result<Stream> {
        let Some(QuorumTls { tls, dials: true, .. }) = &self.tls else { return Ok(socket.into()) };
        let config = tls.client().map_err(io::Error::other)?;
        let host = server.first().map_or("", |at| at.host.as_str());
        let stream = Stream::dial_tls(socket, config, host).await?;
        if tls.settings.checks_server_host {
            self.check_host(&stream, Some(server)).await?;
        }
        info!("SSL handshake complete with {}", described(&stream));
        Ok(stream)
    }

    /// The certificate must name the address, or the name by which we know it.
    async fn check_host(&self, stream: &Stream, dialled: Option<&[Endpoint]>) -> io::Result<()> {
        let certificates = stream.certificates();
        let Some(certificate) = certificates.first() else { return Ok(()) };
        let ip = stream.peer_addr()?.ip().to_canonical();
        let mut names = vec![ip.to_string()];
        match dialled {
            Some(server) => names.extend(server.iter().map(|at| at.host.clone())),
            None => names.extend(self.names_of(ip).await),
        }
        matches_host(certificate, &names).map_err(io::Error::other)
    }

    /// The members' names that lead to an address.
    async fn names_of(&self, ip: IpAddr) -> Vec<String> {
        let mut names = Vec::new();
        for host in self.hosts.iter() {
            match tokio::net::lookup_host((host.as_str(), 0)).await {
                Ok(mut found) => {
                    if found.any(|at| at.ip().to_canonical() == ip) {
                        names.push(host.clone());
                    }
                }
                Err(error) => debug!("{host} cannot be resolved: {error}"),
            }
        }
        names
    }

    /// SASL, for who dialled: proves that we belong here, where we are to.
    pub async fn prove(&self, stream: &Arc<Stream>) -> Result<(), QuorumSaslError> {
        match &self.sasl {
            Some(sasl) => sasl.prove(&mut Half(stream.clone())).await,
            None => Ok(()),
        }
    }

    /// SASL, for who was dialled. Answers with the bytes that were read and belong to what follows.
    pub async fn check(&self, stream: &Arc<Stream>) -> Result<Bytes, QuorumSaslError> {
        match &self.sasl {
            Some(sasl) => sasl.check(&mut Half(stream.clone())).await,
            None => Ok(Bytes::new()),
        }
    }

    /// Hanging up at once could take back what was just sent, where the other side has still something to say in TLS
    /// or SASL; then we wait until it hangs up, too.
    pub async fn hang_up(&self, stream: Arc<Stream>) {
        use tokio::io::AsyncWriteExt;
        if !stream.is_tls() && self.sasl.is_none() {
            return;
        }
        let mut half = Half(stream);
        let _ = timeout(std::time::Duration::from_secs(5), async {
            half.shutdown().await?;
            let mut rest = [0; 512];
            while half.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        })
        .await;
    }
}

fn shown(socket: &TcpStream) -> String {
    socket.peer_addr().map(|at| format!("/{at}")).unwrap_or_default()
}

fn described(stream: &Stream) -> String {
    format!("{} - {}", shown(stream.socket()), stream.tls_shown().unwrap_or_default())
}
