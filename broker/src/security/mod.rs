//! Who may come in by which listener, and as whom: TLS and SASL of each, credentials, and how this broker comes to others.

mod gate;
mod mapping;
mod mechanism;
pub mod oauth;
mod tokens;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::tls::{Tls, rfc2253};
use arc_swap::ArcSwap;
use base::jaas::{Jaas, Module};
use broker_core::acl::Principal;
use client::security::{
    self, Login, OAUTHBEARER, PLAIN_MODULE, Protocol, Security, SecurityError, class_of, jaas_of_environment,
    module_of, ssl, unknown_mechanism,
};

use crate::config::{BrokerConfig, Endpoint, split_list};

pub use gate::{LoginGate, Told, Verdict};
use mapping::Rules;
use oauth::Validator;
pub use tokens::{TokenCache, TokenInfo, TokenKey};
pub use users::Users;

/// The prefix of a listener's own keys.
pub fn prefix(listener: &str) -> String {
    format!("listener.name.{}.", listener.to_lowercase())
}

/// A listener's value of a key: its own, or everybody's.
pub fn value(config: &BrokerConfig, listener: &str, key: &str) -> Option<String> {
    let given = config.given();
    given.get(&format!("{}{key}", prefix(listener))).or_else(|| given.get(key)).cloned()
}

/// A value for one mechanism of a listener: its own, the listener's, or everybody's.
fn of_mechanism(config: &BrokerConfig, listener: &str, mechanism: &str, key: &str) -> Option<String> {
    let own = format!("{}.{key}", mechanism.to_lowercase());
    value(config, listener, &own).or_else(|| value(config, listener, key))
}

/// The listener by which brokers come to each other lets them in by the stores with which they come.
fn check_among_brokers(tls: &Tls) -> Result<(), SecurityError> {
    tls.check_self().map_err(|error| SecurityError::Key {
        key: tls.settings.prefix.clone(),
        why: format!(
            "A client SSLEngine created with the provided settings can't connect to a server SSLEngine created with \
             those settings: {error}"
        ),
    })
}

/// A listener's TLS by its keys; the files are read.
pub fn listener_tls(config: &BrokerConfig, listener: &str) -> Result<Tls, SecurityError> {
    let lookup = |key: &str| value(config, listener, key);
    Ok(Tls::for_listener(ssl::settings(&prefix(listener), &lookup)?)?)
}

/// Where the broker's logins are written: keys of listeners, and the JAAS file.
#[derive(Default)]
pub struct Logins {
    file: Option<Jaas>,
}

impl Logins {
    /// Reads the file that `KAFKA_OPTS` names, if it names one.
    pub fn of_environment() -> Result<Logins, SecurityError> {
        Ok(Logins { file: jaas_of_environment()? })
    }

    /// The module of a mechanism on a listener, with where it stands. `None`: nobody says anything of it.
    fn module(
        &self,
        config: &BrokerConfig,
        listener: &str,
        mechanism: &str,
    ) -> Result<Option<(String, Module)>, SecurityError> {
        let key = format!("{}{}.sasl.jaas.config", prefix(listener), mechanism.to_lowercase());
        if let Some(text) = config.given().get(&key) {
            let module = Module::parse(&key, text)?;
            return Ok(Some((key, module)));
        }
        let (Some(file), Some(class)) = (&self.file, class_of(mechanism)) else { return Ok(None) };
        let own = format!("{}.KafkaServer", listener.to_lowercase());
        let section = if file.has(&own) { own } else { "KafkaServer".to_owned() };
        if !file.has(&section) {
            return Ok(None);
        }
        let module = module_of(file, &section, class)?.clone();
        Ok(Some((file.path.display().to_string(), module)))
    }
}

/// What one listener asks of who comes in.
pub struct ListenerSecurity {
    pub protocol: Protocol,
    /// Replaced when the listener's stores are others.
    tls: Option<ArcSwap<Tls>>,
    rules: Rules,
    sasl: Option<Sasl>,
    pub users: Arc<Users>,
    /// How long who is refused waits for the answer: `connection.failed.authentication.delay.ms`.
    pub failure_delay: Duration,
}

/// A listener's logins.
struct Sasl {
    /// As they are told to clients.
    mechanisms: Vec<String>,
    /// Names and passwords of PLAIN.
    passwords: BTreeMap<String, String>,
    /// Whose tokens are believed, with OAUTHBEARER.
    bearer: Option<Arc<Validator>>,
    /// After which a login has to be shown again, by mechanism.
    reauthentication: BTreeMap<String, Duration>,
    receive_max: usize,
}

impl ListenerSecurity {
    /// Reads a listener's keys and files; every mistake shows here, before a port is open.
    pub fn read(
        config: &BrokerConfig,
        endpoint: &Endpoint,
        logins: &Logins,
        users: Arc<Users>,
    ) -> Result<ListenerSecurity, SecurityError> {
        let listener = &*endpoint.listener;
        let lookup = |key: &str| value(config, listener, key);
        let protocol = Protocol::named(&endpoint.protocol).unwrap_or_default();
        let tls = match protocol.is_tls() {
            true => {
                let tls = listener_tls(config, listener)?;
                if listener == config.listeners.inter_broker {
                    check_among_brokers(&tls)?;
                }
                Some(ArcSwap::from_pointee(tls))
            }
            false => None,
        };
        let rules = lookup("ssl.principal.mapping.rules").unwrap_or_else(|| "DEFAULT".to_owned());
        let rules = Rules::parse(&rules)
            .map_err(|why| SecurityError::Key { key: "ssl.principal.mapping.rules".to_owned(), why })?;
        let sasl = match protocol.is_sasl() {
            true => Some(Sasl::read(config, listener, logins)?),
            false => None,
        };
        let failure_delay = config.millis("connection.failed.authentication.delay.ms");
        Ok(ListenerSecurity { protocol, tls, rules, sasl, users, failure_delay })
    }

    /// Gets what logins are checked by from elsewhere: the keys of OAUTHBEARER's tokens.
    pub async fn prepare(&self) -> Result<(), SecurityError> {
        match self.sasl.as_ref().and_then(|sasl| sasl.bearer.as_ref()) {
            Some(validator) => validator.prepare().await,
            None => Ok(()),
        }
    }

    /// TLS for who comes in from now on; `None`: the listener has none.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        Some(self.tls.as_ref()?.load_full())
    }

    /// From now on by these stores.
    pub fn set_tls(&self, tls: Tls) {
        if let Some(current) = &self.tls {
            current.store(Arc::new(tls));
        }
    }

    /// The principal that a client's certificate makes; `None`: no rule fits its name.
    pub fn principal_of(&self, certificate: &[u8]) -> Option<Principal> {
        Some(Principal::user(self.rules.apply(&rfc2253(certificate)?)?))
    }
}

impl Sasl {
    fn read(config: &BrokerConfig, listener: &str, logins: &Logins) -> Result<Sasl, SecurityError> {
        const ENABLED: &str = "sasl.enabled.mechanisms";
        let enabled = value(config, listener, ENABLED).unwrap_or_else(|| "GSSAPI".to_owned());
        let mechanisms: Vec<String> = split_list(&enabled).map(str::to_owned).collect();
        if mechanisms.is_empty() {
            let why = "No SASL mechanisms are enabled".to_owned();
            return Err(SecurityError::Key { key: ENABLED.to_owned(), why });
        }
        let (mut passwords, mut bearer) = (BTreeMap::new(), None);
        let mut reauthentication = BTreeMap::new();
        if let Some(mechanism) = mechanisms.iter().find(|mechanism| class_of(mechanism).is_none()) {
            return Err(unknown_mechanism(ENABLED, mechanism));
        }
        for mechanism in &mechanisms {
            refuse_classes(config, listener, mechanism)?;
            let module = logins.module(config, listener, mechanism)?;
            if mechanism == "PLAIN" {
                let Some((place, module)) = module else { return Err(no_entry(listener, mechanism)) };
                passwords = plain_passwords(&place, &module)?;
            } else if mechanism == OAUTHBEARER {
                let Some((place, module)) = module else { return Err(no_entry(listener, mechanism)) };
                let lookup = |key: &str| of_mechanism(config, listener, mechanism, key);
                bearer = Some(Arc::new(Validator::read(&place, &module, &lookup)?));
            }
            let key = format!("{}.connections.max.reauth.ms", mechanism.to_lowercase());
            let ms = value(config, listener, &key)
                .or_else(|| value(config, listener, "connections.max.reauth.ms"));
            if let Some(ms) = ms.and_then(|ms| ms.parse::<u64>().ok()).filter(|ms| *ms > 0) {
                reauthentication.insert(mechanism.clone(), Duration::from_millis(ms));
            }
        }
        let receive_max = usize::try_from(config.int("sasl.server.max.receive.size")).unwrap_or(0);
        Ok(Sasl { mechanisms, passwords, bearer, reauthentication, receive_max })
    }
}

/// Java's own classes for logins cannot be loaded here.
fn refuse_classes(config: &BrokerConfig, listener: &str, mechanism: &str) -> Result<(), SecurityError> {
    for class in
        ["sasl.server.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class"]
    {
        let key = format!("{}.{class}", mechanism.to_lowercase());
        // What OAUTHBEARER's own parts know, they say themselves.
        let is_judged = mechanism == OAUTHBEARER && class != "sasl.login.class";
        let given = of_mechanism(config, listener, mechanism, class);
        if let Some(name) = given.filter(|name| !name.is_empty() && !is_judged) {
            let why = format!("`{name}`: Java's classes cannot be loaded here; remove it");
            return Err(SecurityError::Key { key, why });
        }
    }
    Ok(())
}

fn no_entry(listener: &str, mechanism: &str) -> SecurityError {
    let (lower, prefix) = (listener.to_lowercase(), prefix(listener));
    SecurityError::Key {
        key: format!("{prefix}{}.sasl.jaas.config", mechanism.to_lowercase()),
        why: format!(
            "Could not find a 'KafkaServer' or '{lower}.KafkaServer' entry in the JAAS configuration: write this key, or \
             name a file by -Djava.security.auth.login.config in KAFKA_OPTS"
        ),
    }
}

fn plain_passwords(place: &str, module: &Module) -> Result<BTreeMap<String, String>, SecurityError> {
    if module.class != PLAIN_MODULE {
        let why = format!("PLAIN needs {PLAIN_MODULE}, and not {}", module.class);
        return Err(SecurityError::Key { key: place.to_owned(), why });
    }
    let user =
        |(key, value): (&String, &String)| Some((key.strip_prefix("user_")?.to_owned(), value.clone()));
    Ok(module.options.iter().filter_map(user).collect())
}

/// How this broker connects to others: by the protocol of the listener among brokers, with that listener's stores and login.
pub fn among_brokers(
    config: &BrokerConfig,
    logins: &Logins,
    listener: &str,
) -> Result<Security, SecurityError> {
    const MECHANISM: &str = "sasl.mechanism.inter.broker.protocol";
    let protocol = config.listeners.protocol_of(listener);
    let lookup = |key: &str| value(config, listener, key);
    let login = match protocol.is_sasl() {
        false => None,
        true => {
            let mechanism = lookup(MECHANISM).unwrap_or_else(|| "GSSAPI".to_owned());
            if class_of(&mechanism).is_none() {
                return Err(unknown_mechanism(MECHANISM, &mechanism));
            }
            let module = logins.module(config, listener, &mechanism)?;
            let (place, module) = module.ok_or_else(|| no_entry(listener, &mechanism))?;
            let own = |key: &str| of_mechanism(config, listener, &mechanism, key);
            Some(Login::read(&place, &mechanism, &module, &own)?)
        }
    };
    security::Security::new(protocol, &prefix(listener), &lookup, login)
}
