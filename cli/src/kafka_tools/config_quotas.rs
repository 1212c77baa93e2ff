//! `kafka-configs` of users, clients and addresses: quotas, and SCRAM credentials.

use super::config_options::Entities;
use super::config_scram;
use super::configs::Failure;
use super::{java_hash, json};
use client::Admin;
use client::cluster::Target;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::alter_client_quotas::{OpData, RequestEntityData, RequestEntryData};
use wire::kafka::describe_client_quotas::{ComponentData, EntryData};
use wire::kafka::describe_user_scram_credentials::{
    DescribeUserScramCredentialsResult as CredentialsResult, UserName,
};
use wire::kafka::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest, ErrorCode,
};

const OF_CLIENTS: [&str; 4] =
    ["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
const OF_ADDRESSES: [&str; 1] = ["connection_creation_rate"];
const MECHANISMS: [(i8, &str); 2] = [(1, "SCRAM-SHA-256"), (2, "SCRAM-SHA-512")];
/// `match_type`s.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// The request's name of an entity type.
fn wire_type(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

async fn quotas(admin: &Admin, entities: &Entities) -> Result<Vec<EntryData>, Failure> {
    if entities.names.len() > entities.types.len() {
        return Err(Failure::Plain("More entity names specified than entity types".to_owned()));
    }
    let mut names = entities.names.iter();
    let component = |kind: &String| {
        let (match_type, r#match) = match names.next() {
            Some(name) if name.is_empty() => (DEFAULT, None),
            Some(name) => (EXACT, Some(Str::from(name.as_str()))),
            None => (ANY, None),
        };
        ComponentData { entity_type: wire_type(kind).into(), match_type, r#match }
    };
    let components = entities.types.iter().map(component).collect();
    let request = DescribeClientQuotasRequest { components, strict: true };
    let response = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    Failure::checked(response.error_code, &response.error_message)?;
    Ok(response.entries.unwrap_or_default())
}

pub async fn describe(admin: &Admin, entities: &Entities, as_json: bool) -> Result<(), Failure> {
    let quotas = quotas(admin, entities).await?;
    let of_client = entities.types.iter().any(|kind| kind != "users");
    let of_users = !of_client && !entities.names.iter().any(String::is_empty);
    if !as_json {
        quotas.iter().for_each(|entry| println!("{}", line(entry)));
    }
    let credentials = match of_users {
        true => credentials(admin, &entities.names).await?,
        false => Vec::new(),
    };
    if as_json {
        let quotas: Vec<Value> = quotas.iter().map(document).collect();
        let credentials: Vec<Value> = credentials.iter().flat_map(credential_documents).collect();
        json::print(&json!({ "quotas": quotas, "scram_credentials": credentials }));
        return Ok(());
    }
    credentials.iter().for_each(print_credentials);
    Ok(())
}

/// A name that is null is the default's; one that is missing is not what the quota is about.
fn document(entry: &EntryData) -> Value {
    let entity =
        entry.entity.iter().map(|part| (part.entity_type.to_string(), json!(part.entity_name.as_deref())));
    let values = entry.values.iter().map(|pair| (pair.key.to_string(), json!(pair.value)));
    json!({
        "entity": entity.collect::<serde_json::Map<_, _>>(),
        "values": values.collect::<serde_json::Map<_, _>>(),
    })
}

fn mechanism(number: i8) -> &'static str {
    MECHANISMS.iter().find(|(known, _)| *known == number).map_or("UNKNOWN", |(_, name)| name)
}

fn credential_documents(result: &CredentialsResult) -> Vec<Value> {
    let infos = result.credential_infos.iter();
    infos
        .map(|info| {
            let mechanism = mechanism(info.mechanism);
            json!({ "user": &*result.user, "mechanism": mechanism, "iterations": info.iterations })
        })
        .collect()
}

fn line(entry: &EntryData) -> String {
    let names = [("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")];
    let entity = names.iter().filter_map(|(kind, shown)| {
        let part = entry.entity.iter().find(|part| part.entity_type == *kind)?;
        Some(match &part.entity_name {
            Some(name) => format!("{shown} '{name}'"),
            None => format!("the default {shown}"),
        })
    });
    let entity: Vec<String> = entity.collect();
    let mut values: Vec<_> = entry.values.iter().collect();
    // Java's map is made for so many entries, and doubles when it is three quarters full.
    let buckets = if values.len() < 4 { 4 } else { 8 };
    values.sort_by_key(|pair| java_hash(&pair.key) % buckets);
    let values: Vec<String> = values.iter().map(|pair| format!("{}={:?}", pair.key, pair.value)).collect();
    format!("Quota configs for {} are {}", entity.join(", "), values.join(", "))
}

async fn credentials(admin: &Admin, names: &[String]) -> Result<Vec<CredentialsResult>, Failure> {
    let users = names.iter().map(|name| UserName { name: name.as_str().into() });
    let request = DescribeUserScramCredentialsRequest { users: Some(users.collect()) };
    let response = admin.call(&Target::Controller, &request, |response| response.error_code).await?;
    Failure::checked(response.error_code, &response.error_message)?;
    Ok(response.results)
}

fn print_credentials(result: &CredentialsResult) {
    if !result.error_code.is_ok() {
        // A user without credentials is no error of the command.
        if result.error_code != ErrorCode::RESOURCE_NOT_FOUND {
            let why = result.error_message.as_deref().unwrap_or(result.error_code.message());
            let (user, exception) = (&result.user, result.error_code.exception());
            println!(
                "Error retrieving SCRAM credential configs for user-principal '{user}': {exception}: {why}"
            );
        }
        return;
    }
    let shown = result
        .credential_infos
        .iter()
        .map(|info| format!("{}=iterations={}", mechanism(info.mechanism), info.iterations));
    let shown: Vec<String> = shown.collect();
    println!("SCRAM credential configs for user-principal '{}' are {}", result.user, shown.join(", "));
}

pub async fn alter(
    admin: &Admin,
    entities: &Entities,
    added: BTreeMap<String, String>,
    deleted: Vec<String>,
) -> Result<(), Failure> {
    check_keys(&entities.types, &added, &deleted)?;
    if added.keys().chain(&deleted).any(|key| config_scram::is_mechanism(key)) {
        let user = match entities.names.first() {
            Some(name) if !name.is_empty() => name,
            _ => {
                return Err(Failure::Plain(
                    "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using \
                     --bootstrap-server."
                        .to_owned(),
                ));
            }
        };
        if added.keys().chain(&deleted).any(|key| !config_scram::is_mechanism(key)) {
            return Err(Failure::Plain(
                "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server."
                    .to_owned(),
            ));
        }
        return config_scram::alter(admin, user, added, deleted).await;
    }
    let old = quotas(admin, entities).await?;
    let is_set =
        |key: &String| old.first().is_some_and(|entry| entry.values.iter().any(|pair| *pair.key == **key));
    let invalid: Vec<&str> = deleted.iter().filter(|key| !is_set(key)).map(String::as_str).collect();
    if !invalid.is_empty() {
        return Err(Failure::Plain(format!("Invalid config(s): {}", invalid.join(","))));
    }
    let mut ops = Vec::new();
    for (key, value) in added {
        let number = value.parse().map_err(|_| {
            Failure::Plain(format!("Cannot parse quota configuration value for {key}: {value}"))
        })?;
        ops.push(OpData { key: key.into(), value: number, remove: false });
    }
    ops.extend(deleted.into_iter().map(|key| OpData { key: key.into(), value: 0.0, remove: true }));
    let entity = entities.types.iter().zip(&entities.names).map(|(kind, name)| RequestEntityData {
        entity_type: wire_type(kind).into(),
        entity_name: Some(Str::from(name.as_str())).filter(|name| !name.is_empty()),
    });
    let entry = RequestEntryData { entity: entity.collect(), ops };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let response = admin
        .call(&Target::Any, &request, |response| {
            response.entries.first().map_or(ErrorCode::NONE, |entry| entry.error_code)
        })
        .await?;
    response.entries.iter().try_for_each(|entry| Failure::checked(entry.error_code, &entry.error_message))
}

fn check_keys(types: &[String], added: &BTreeMap<String, String>, deleted: &[String]) -> Result<(), Failure> {
    let keys: Vec<&String> = added.keys().chain(deleted).collect();
    if types[0] == "ips" {
        let unknown: Vec<&str> =
            keys.iter().filter(|key| !OF_ADDRESSES.contains(&key.as_str())).map(|key| key.as_str()).collect();
        return match unknown.is_empty() {
            true => Ok(()),
            false => Err(Failure::Plain(format!(
                "Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config names: {}",
                unknown.join(",")
            ))),
        };
    }
    let of_user = types == ["users"];
    let is_known = |key: &str| OF_CLIENTS.contains(&key) || of_user && config_scram::is_mechanism(key);
    let (what, kind) =
        if of_user { ("quota and SCRAM credential configs", "users") } else { ("quota configs", "clients") };
    for (keys, done, set) in [
        (added.keys().collect::<Vec<_>>(), "added", "Set"),
        (deleted.iter().collect(), "deleted", "ArrayBuffer"),
    ] {
        let unknown: Vec<&str> = keys.into_iter().map(String::as_str).filter(|key| !is_known(key)).collect();
        if !unknown.is_empty() {
            return Err(Failure::Plain(format!(
                "Only {what} can be {done} for '{kind}' using --bootstrap-server. Unexpected config names: {set}({})",
                unknown.join(", ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::describe_client_quotas::{EntityData, ValueData};

    #[test]
    fn a_quota_names_user_then_client() {
        let part = |kind: &str, name: Option<&str>| EntityData {
            entity_type: kind.into(),
            entity_name: name.map(Str::from),
        };
        let entry = EntryData {
            entity: vec![part("client-id", None), part("user", Some("u"))],
            values: [("producer_byte_rate", 1024.0), ("consumer_byte_rate", 1.5)]
                .map(|(key, value)| ValueData { key: key.into(), value })
                .into(),
        };
        assert_eq!(
            line(&entry),
            "Quota configs for user-principal 'u', the default client-id are consumer_byte_rate=1.5, \
             producer_byte_rate=1024.0"
        );
    }

    #[test]
    fn keys_that_are_no_quotas_are_named() {
        let added = BTreeMap::from([("foo".to_owned(), "1".to_owned())]);
        let Err(Failure::Plain(why)) = check_keys(&["clients".to_owned()], &added, &[]) else {
            panic!("accepted")
        };
        assert!(why.ends_with("Unexpected config names: Set(foo)"), "{why}");
        assert!(check_keys(&["ips".to_owned()], &added, &[]).is_err());
        let fine = BTreeMap::from([("request_percentage".to_owned(), "1".to_owned())]);
        assert!(check_keys(&["users".to_owned(), "clients".to_owned()], &fine, &[]).is_ok());
    }
}
