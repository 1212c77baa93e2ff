//! SCRAM credentials by `kafka-configs`: asked of brokers, or written into ZooKeeper before there is a broker to ask.

use super::config_brokers;
use super::config_options::Entities;
use super::configs::{Failure, to_add};
use base::Given;
use broker::zk::{Zk, ZkError};
use client::Admin;
use client::cluster::Target;
use client::security::scram::{Credential, Hash, ITERATIONS_MIN, random};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::kafka::alter_user_scram_credentials::{ScramCredentialDeletion, ScramCredentialUpsertion};
use wire::kafka::{AlterUserScramCredentialsRequest, ErrorCode};

const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

pub fn is_mechanism(key: &str) -> bool {
    Hash::of_mechanism(key).is_some()
}

/// `[iterations=N,]password=P`: N (`None`: not given) and P.
fn parse(mechanism: &str, text: &str) -> Result<(Option<i64>, String), Failure> {
    let invalid = || Failure::Plain(format!("Invalid credential property {mechanism}={text}"));
    if let Some(password) = text.strip_prefix("password=") {
        return Ok((None, password.to_owned()));
    }
    let rest = text.strip_prefix("iterations=").ok_or_else(invalid)?;
    let (count, rest) = rest.split_once(',').ok_or_else(invalid)?;
    let password = rest.strip_prefix("password=").ok_or_else(invalid)?;
    let count = count.parse().map_err(|_| invalid())?;
    Ok((Some(count).filter(|count| *count != -1), password.to_owned()))
}

/// At least Kafka's minimum of iterations.
fn checked(mechanism: &str, iterations: Option<i64>) -> Result<u32, Failure> {
    let iterations = iterations.unwrap_or(ITERATIONS_MIN.into());
    u32::try_from(iterations).ok().filter(|count| *count >= ITERATIONS_MIN).ok_or_else(|| {
        let why = format!(
            "Iterations {iterations} is less than the minimum {ITERATIONS_MIN} required for {mechanism}"
        );
        Failure::Plain(why)
    })
}

/// Changes one user's credentials by the controller.
pub async fn alter(
    admin: &Admin,
    user: &str,
    added: BTreeMap<String, String>,
    deleted: Vec<String>,
) -> Result<(), Failure> {
    let mut request = AlterUserScramCredentialsRequest::default();
    for hash in deleted.iter().filter_map(|name| Hash::of_mechanism(name)) {
        request.deletions.push(ScramCredentialDeletion { name: user.into(), mechanism: hash.number() });
    }
    for (mechanism, text) in &added {
        let Some(hash) = Hash::of_mechanism(mechanism) else { continue };
        let (iterations, password) = parse(mechanism, text)?;
        let iterations = checked(mechanism, iterations)?;
        let salt = random::<24>();
        request.upsertions.push(ScramCredentialUpsertion {
            name: user.into(),
            mechanism: hash.number(),
            iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
            salt: salt.to_vec().into(),
            salted_password: hash.salted_password(password.as_bytes(), &salt, iterations).into(),
        });
    }
    let first = |results: &[wire::kafka::alter_user_scram_credentials::AlterUserScramCredentialsResult]| {
        results.first().map_or(ErrorCode::NONE, |result| result.error_code)
    };
    let response = admin.call(&Target::Controller, &request, |response| first(&response.results)).await?;
    response.results.iter().try_for_each(|result| Failure::checked(result.error_code, &result.error_message))
}

impl From<ZkError> for Failure {
    fn from(error: ZkError) -> Failure {
        Failure::Failed(format!("org.apache.zookeeper.KeeperException: {error}"))
    }
}

/// `--zookeeper`: the nodes of users and brokers themselves; for what the first broker needs itself.
pub async fn by_zookeeper(given: &Given, entities: &Entities, zookeeper: &str) -> Result<(), Failure> {
    let security = super::zk_security::of_option(given).map_err(|stop| match stop {
        super::Stop::Uncaught(exception, why) => Failure::Failed(format!("{exception}: {why}")),
        stop => Failure::Plain(format!("{stop:?}")),
    })?;
    let zk = Zk::connect_as(zookeeper, SESSION_TIMEOUT, SESSION_TIMEOUT, &security).await?;
    let outcome = match (&*entities.types[0], given.has("describe")) {
        ("brokers", _) => config_brokers::execute(&zk, given, entities).await,
        (_, true) => describe(&zk, entities).await,
        (_, false) => alter_nodes(&zk, given, entities).await,
    };
    zk.close().await;
    outcome
}

async fn describe(zk: &Zk, entities: &Entities) -> Result<(), Failure> {
    let named = entities.names.first().filter(|name| !name.is_empty());
    let users = match named {
        Some(name) => vec![name.clone()],
        None => zk.users().await?,
    };
    for user in users {
        let config = zk.user(&user).await?;
        if named.is_some() || !config.is_empty() {
            let shown: Vec<String> = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
            println!("Configs for user-principal '{user}' are {}", shown.join(","));
        }
    }
    Ok(())
}

async fn alter_nodes(zk: &Zk, given: &Given, entities: &Entities) -> Result<(), Failure> {
    let user = match entities.names.first() {
        Some(name) if !name.is_empty() => name,
        _ => {
            return Err(Failure::Plain(
                "SCRAM credentials belong to one user: name it by --entity-name".to_owned(),
            ));
        }
    };
    let added = to_add(given)?;
    let deleted: Vec<String> = super::configs::to_delete(given);
    if let Some(other) = added.keys().chain(&deleted).find(|key| !is_mechanism(key)) {
        return Err(Failure::Plain(format!(
            "requirement failed: --bootstrap-server option must be specified to update users configs: {other}. User \
             configuration updates using ZooKeeper are only supported for SCRAM credential updates."
        )));
    }
    let mut config = zk.user(user).await?;
    let missing: Vec<&str> =
        deleted.iter().filter(|key| !config.contains_key(*key)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::Plain(format!("Invalid config(s): {}", missing.join(","))));
    }
    for (mechanism, text) in &added {
        let Some(hash) = Hash::of_mechanism(mechanism) else { continue };
        let (iterations, password) = parse(mechanism, text)?;
        let credential = Credential::of_password(hash, &password, checked(mechanism, iterations)?);
        config.insert(mechanism.clone(), credential.text());
    }
    deleted.iter().for_each(|key| drop(config.remove(key)));
    // Before the first broker these are missing.
    zk.make_base_nodes().await?;
    zk.change_user(user, &config).await?;
    println!("Completed updating config for entity: user-principal '{user}'.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_password_with_or_without_iterations() {
        assert_eq!(parse("M", "password=a=b").unwrap(), (None, "a=b".to_owned()));
        assert_eq!(parse("M", "iterations=8192,password=x").unwrap(), (Some(8192), "x".to_owned()));
        assert_eq!(parse("M", "iterations=-1,password=x").unwrap(), (None, "x".to_owned()));
        for wrong in ["x", "iterations=8192", "iterations=x,password=y", "iterations=8192,secret=y"] {
            let Err(Failure::Plain(why)) = parse("SCRAM-SHA-256", wrong) else { panic!("accepted") };
            assert_eq!(why, format!("Invalid credential property SCRAM-SHA-256={wrong}"));
        }
        assert!(checked("M", Some(4095)).is_err() && checked("M", None).is_ok());
    }
}
