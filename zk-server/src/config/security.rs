//! The keys of TLS, of SASL and of who may do all.

use super::{HostPort, keys};
use crate::net::secure::ClientTls;
use crate::sasl::jaas::{Jaas, JaasError};
pub(crate) use crate::sasl::quorum::QuorumSasl;
use crate::tls::{Tls, of_admin, of_clients, of_quorum};
use base::{ConfigError, Opt, Settings};
use std::sync::Arc;
use tracing::info;
use wire::Str;
use zk_core::sasl::SaslUsers;

/// Read from the file only.
pub static TYPED: &[Opt] = &[
    Opt::int_opt("secureClientPort", 0, 65535, "Port for clients by TLS."),
    Opt::text(
        "secureClientPortAddress",
        "Address that secureClientPort is bound to; all where it is not set.",
    ),
    Opt::bool("sslQuorum", "false", "Servers talk to each other by TLS."),
    Opt::bool("portUnification", "false", "Quorum and election port take TLS and plain connections."),
    Opt::bool("sslQuorumReloadCertFiles", "false", "Changed stores of ssl.quorum.* are read again."),
    Opt::bool("quorum.auth.enableSasl", "false", "Servers can prove who they are by SASL."),
    Opt::bool("quorum.auth.learnerRequireSasl", "false", "Who dials proves who it is."),
    Opt::bool("quorum.auth.serverRequireSasl", "false", "Who does not prove who it is, is sent away."),
    Opt::text("quorum.auth.learner.saslLoginContext", "JAAS section of who dials.").or("QuorumLearner"),
    Opt::text("quorum.auth.server.saslLoginContext", "JAAS section of who is dialled.").or("QuorumServer"),
];

/// Read from the file, else from `-Dzookeeper.KEY`.
pub static PROPERTIES: &[Opt] = &[
    Opt::bool("client.portUnification", "false", "clientPort takes TLS and plain connections."),
    Opt::bool("admin.portUnification", "false", "The admin server takes HTTPS and HTTP."),
    Opt::bool("admin.forceHttps", "false", "The admin server takes HTTPS alone."),
    Opt::bool("admin.needClientAuth", "false", "Who comes by HTTPS has to show a certificate."),
    Opt::int(
        HANDSHAKES,
        "-1",
        i32::MIN as i64,
        i32::MAX as i64,
        "TLS handshakes of clients at a time; -1: all.",
    ),
    Opt::bool("client.certReload", "false", "Stores of ssl.* that change are always read again here."),
    Opt::text("ssl.authProvider", "Scheme of the ids that certificates give: x509.").or("x509"),
    Opt::text("X509AuthenticationProvider.superUser", "Subject of the certificate whose owner may do all."),
    Opt::text("sasl.serverconfig", "JAAS section with the users of clients.").or("Server"),
    Opt::bool("sessionRequireClientSASLAuth", "false", "Who has not come by SASL is sent away."),
    Opt::bool("allowSaslFailedClients", "false", "Who fails in SASL keeps its connection."),
    Opt::text("letAnySaslUserDoX", "Id of ACLs that everybody has who came by SASL."),
    Opt::text("superUser", "SASL user who may do all; superUser.X names more."),
    Opt::password("SASLAuthenticationProvider.superPassword", "Password of the SASL user super."),
];

/// Read from `-DKEY` only.
pub static FLAGS: &[Opt] = &[Opt::text(JAAS, "File with the users and passwords of SASL.")];
const HANDSHAKES: &str = "netty.server.outstandingHandshake.limit";
const JAAS: &str = "java.security.auth.login.config";

/// What the operator says of TLS and SASL.
#[derive(Debug, Clone)]
pub struct Security {
    /// `secureClientPort(Address)`: where clients are listened for by TLS alone.
    pub secure_client: Option<HostPort>,
    /// `client.portUnification`: the plain client port takes TLS, too.
    pub client_unified: bool,
    /// `ssl.*`; `None`: no client can come by TLS.
    pub tls: Option<Arc<Tls>>,
    /// `netty.server.outstandingHandshake.limit`; `None`: no limit.
    pub handshakes_max: Option<usize>,
    /// `X509AuthenticationProvider.superUser`
    pub x509_super_user: Option<Str>,
    /// `ssl.quorum.*`; `None`: servers talk plain.
    pub quorum_tls: Option<QuorumTls>,
    /// The users of the JAAS file's section for clients; `None`: clients cannot come by SASL.
    pub sasl_users: Option<Arc<SaslUsers>>,
    /// `quorum.auth.*`; `None`: servers take each other at their word.
    pub quorum_sasl: Option<Arc<QuorumSasl>>,
}

/// TLS between servers.
#[derive(Debug, Clone)]
pub struct QuorumTls {
    pub tls: Arc<Tls>,
    /// Others are dialled by TLS (`sslQuorum`).
    pub dials: bool,
    /// Others may come plain (`portUnification`).
    pub takes_plain: bool,
}

/// How the admin server speaks HTTPS.
#[derive(Debug, Clone)]
pub struct AdminHttps {
    pub tls: Arc<Tls>,
    /// HTTP is answered, too.
    pub takes_plain: bool,
}

impl Security {
    /// Every file that the keys name is read, so that a mistake shows before a port is open.
    pub fn read(settings: &Settings) -> Result<Security, ConfigError> {
        let jaas = jaas(settings)?;
        let secure_client = secure_address(settings)?;
        let client_unified = settings.bool("client.portUnification");
        let tls = match secure_client.is_some() || client_unified {
            true => {
                check_ssl_provider(settings)?;
                // Java reads its stores anew for each connection.
                let tls = of_clients(settings)?;
                let asks =
                    if secure_client.is_some() { "secureClientPort" } else { "client.portUnification" };
                Some(Arc::new(Tls::for_server(tls, true).map_err(|error| named(settings, asks, &error))?))
            }
            false => None,
        };
        Ok(Security {
            secure_client,
            client_unified,
            tls,
            handshakes_max: usize::try_from(settings.int(HANDSHAKES)).ok().filter(|max| *max > 0),
            x509_super_user: settings.text_opt("X509AuthenticationProvider.superUser").map(Str::from),
            quorum_tls: quorum_tls(settings)?,
            sasl_users: sasl_users(settings, jaas.as_ref())?.map(Arc::new),
            quorum_sasl: quorum_sasl(settings, jaas.as_ref())?.map(Arc::new),
        })
    }

    pub(crate) fn client_tls(&self) -> Option<ClientTls> {
        Some(ClientTls {
            tls: self.tls.clone()?,
            unified: self.client_unified,
            super_user: self.x509_super_user.clone(),
        })
    }
}

/// The error with the file and the line of the key that it names, else of the one that asks for TLS.
fn named(settings: &Settings, asks: &str, error: &crate::tls::TlsError) -> ConfigError {
    let message = error.to_string();
    let key = message.split_once(": ").map(|(key, _)| key);
    match key.filter(|key| keys::table().get(key).is_some() && settings.is_given(key)) {
        Some(key) => settings.error(key, &message[key.len() + 2..]),
        None => settings.error(asks, message),
    }
}

fn secure_address(settings: &Settings) -> Result<Option<HostPort>, ConfigError> {
    let address = settings.text_opt("secureClientPortAddress");
    match settings.int_opt("secureClientPort") {
        None if address.is_some() => Err(settings.error(
            "secureClientPortAddress",
            "secureClientPortAddress is set but secureClientPort is not set",
        )),
        None => {
            info!("secureClientPort is not set");
            Ok(None)
        }
        Some(port) => {
            let host = address.unwrap_or("0.0.0.0");
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let at = HostPort::new(bare, port as u16);
            info!("secureClientPortAddress is {at}");
            Ok(Some(at))
        }
    }
}

/// Certificates are only made into ids of the scheme `x509`; a class of the operator's cannot be loaded.
fn check_ssl_provider(settings: &Settings) -> Result<(), ConfigError> {
    let scheme = settings.text("ssl.authProvider");
    if scheme != "x509" {
        return Err(settings.error(
            "ssl.authProvider",
            format!("No auth provider configured for the SSL authentication scheme '{scheme}'; x509 is here"),
        ));
    }
    let key = format!("{}x509", keys::PROVIDER);
    match settings.unknown.iter().find(|entry| entry.key == key && entry.value.trim() != keys::X509_PROVIDER)
    {
        Some(other) => {
            Err(other.error(format!("`{}`: classes cannot be loaded here: remove this line", other.value)))
        }
        None => Ok(()),
    }
}

fn quorum_tls(settings: &Settings) -> Result<Option<QuorumTls>, ConfigError> {
    let (dials, unified) = (settings.bool("sslQuorum"), settings.bool("portUnification"));
    if !dials && !unified {
        return Ok(None);
    }
    let reloads = settings.bool("sslQuorumReloadCertFiles");
    let tls = of_quorum(settings)?;
    let named = |error| named(settings, if dials { "sslQuorum" } else { "portUnification" }, &error);
    let tls = Tls::for_server(tls, reloads).map_err(named)?;
    // Whoever is dialled is checked, too.
    tls.client().map_err(named)?;
    Ok(Some(QuorumTls { tls: Arc::new(tls), dials, takes_plain: unified }))
}

/// With the stores of `ssl.quorum.*` and nothing else of it, as Java's.
pub(super) fn admin_https(settings: &Settings) -> Result<Option<AdminHttps>, ConfigError> {
    const FORCED: &str = "admin.forceHttps";
    const UNIFIED: &str = "admin.portUnification";
    let forced = settings.bool(FORCED);
    if !forced && !settings.bool(UNIFIED) {
        return Ok(None);
    }
    let tls = of_admin(settings, settings.bool("admin.needClientAuth"))?;
    let tls = Tls::for_server(tls, settings.bool("sslQuorumReloadCertFiles"))
        .map_err(|error| named(settings, if forced { FORCED } else { UNIFIED }, &error))?;
    Ok(Some(AdminHttps { tls: Arc::new(tls), takes_plain: !forced }))
}

fn jaas(settings: &Settings) -> Result<Option<Jaas>, ConfigError> {
    let Some(path) = settings.text_opt(JAAS).filter(|path| !path.is_empty()) else { return Ok(None) };
    Jaas::read(path).map(Some).map_err(|error| settings.error(JAAS, error.to_string()))
}

/// Without that section there is no SASL, as in Java.
fn sasl_users(settings: &Settings, jaas: Option<&Jaas>) -> Result<Option<SaslUsers>, ConfigError> {
    let section = settings.text("sasl.serverconfig");
    let Some(jaas) = jaas.filter(|jaas| jaas.has(section)) else { return Ok(None) };
    let passwords = jaas.users(section).map_err(|error| settings.error(JAAS, error.to_string()))?;
    let more = settings.unknown.iter().filter(|entry| entry.key.starts_with("superUser."));
    let super_users = settings.text_opt("superUser").into_iter().chain(more.map(|entry| entry.value.trim()));
    Ok(Some(SaslUsers {
        passwords,
        super_password: settings.text_opt("SASLAuthenticationProvider.superPassword").map(Into::into),
        super_users: super_users.filter(|user| !user.is_empty()).map(Str::from).collect(),
        keeps_failed: settings.bool("allowSaslFailedClients"),
        secret: crate::sasl::random(),
    }))
}

fn quorum_sasl(settings: &Settings, jaas: Option<&Jaas>) -> Result<Option<QuorumSasl>, ConfigError> {
    const ENABLE: &str = "quorum.auth.enableSasl";
    const LEARNER: &str = "quorum.auth.learnerRequireSasl";
    const SERVER: &str = "quorum.auth.serverRequireSasl";
    let [enabled, proves, requires] = [ENABLE, LEARNER, SERVER].map(|key| settings.bool(key));
    for (needed, has, wanted, wants) in [
        (ENABLE, enabled, SERVER, requires),
        (ENABLE, enabled, LEARNER, proves),
        (LEARNER, proves, SERVER, requires),
    ] {
        if wants && !has {
            let message = format!("{needed} is disabled, so cannot enable {wanted}");
            return Err(settings.error(wanted, message));
        }
    }
    if !enabled {
        return Ok(None);
    }
    let Some(jaas) = jaas else {
        let message = format!("a file with users and passwords is needed: set -D{JAAS}=FILE in JVMFLAGS");
        return Err(settings.error(ENABLE, message));
    };
    let wrong = |error: JaasError| settings.error(ENABLE, error.to_string());
    Ok(Some(QuorumSasl {
        users: jaas.users(settings.text("quorum.auth.server.saslLoginContext")).map_err(wrong)?,
        login: jaas.login(settings.text("quorum.auth.learner.saslLoginContext")).map_err(wrong)?,
        proves,
        requires,
    }))
}
