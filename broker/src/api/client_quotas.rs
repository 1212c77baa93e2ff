//! DescribeClientQuotas and AlterClientQuotas: the settings of users, client ids and addresses in ZooKeeper.

use std::collections::BTreeMap;
use std::net::IpAddr;

use broker_core::quota::{DEFAULT, Name, QuotaKind};
use client::security::scram::Hash;
use wire::Str;
use wire::kafka::alter_client_quotas::{OpData, RequestEntityData, ResponseEntityData, ResponseEntryData};
use wire::kafka::describe_client_quotas::{ComponentData, EntityData, EntryData, ValueData};
use wire::kafka::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse, ErrorCode,
};

use super::Call;
use crate::quotas::CONNECTION_RATE;
use crate::zk::{ConfigEntity, Zk, ZkError};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// An error code and its text.
type Refusal = (ErrorCode, Option<Str>);

fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err((ErrorCode::INVALID_REQUEST, Some(message.into().into())))
}

fn zookeeper(error: ZkError) -> Refusal {
    tracing::error!("{error}");
    unknown_error()
}

fn unknown_error() -> Refusal {
    // Kafka does not tell more.
    (ErrorCode::UNKNOWN_SERVER_ERROR, None)
}

/// What a request wants of one type of entity.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Exact(Name),
    Any,
}

impl Wanted {
    fn read(component: &ComponentData) -> Result<Wanted, Refusal> {
        match (component.match_type, &component.r#match) {
            (0, Some(name)) => Ok(Wanted::Exact(Name::Named(name.to_string()))),
            (1, _) => Ok(Wanted::Exact(Name::Default)),
            (2, _) => Ok(Wanted::Any),
            (other, _) => {
                tracing::warn!(
                    "DescribeClientQuotas: unexpected match type {other}, or a match without a name"
                );
                Err(unknown_error())
            }
        }
    }
}

/// A filter: what of users, client ids and addresses, and whether nothing else may be named.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    user: Option<Wanted>,
    client_id: Option<Wanted>,
    ip: Option<Wanted>,
    strict: bool,
}

impl Filter {
    fn read(request: &DescribeClientQuotasRequest) -> Result<Filter, Refusal> {
        let mut filter = Filter { strict: request.strict, ..Default::default() };
        // Kafka reads all components before it looks at their types.
        let all: Vec<(&str, Wanted)> = request
            .components
            .iter()
            .map(|component| Ok((&*component.entity_type, Wanted::read(component)?)))
            .collect::<Result<_, Refusal>>()?;
        for (entity_type, wanted) in all {
            let (slot, name) = match entity_type {
                USER => (&mut filter.user, "user"),
                CLIENT_ID => (&mut filter.client_id, "client"),
                IP => (&mut filter.ip, "ip"),
                "" => return invalid("Unexpected empty filter component entity type"),
                other => {
                    let message = format!("Custom entity type '{other}' not supported");
                    return Err((ErrorCode::UNSUPPORTED_VERSION, Some(message.into())));
                }
            };
            if slot.replace(wanted).is_some() {
                return invalid(format!("Duplicate {name} filter component entity type"));
            }
        }
        if (filter.user.is_some() || filter.client_id.is_some()) && filter.ip.is_some() {
            return invalid(
                "Invalid entity filter component combination, IP filter component should not be used with user or \
                 clientId filter component.",
            );
        }
        Ok(filter)
    }

    fn matches(&self, wanted: &Option<Wanted>, name: &Option<Name>) -> bool {
        match wanted {
            Some(Wanted::Exact(exact)) => name.as_ref() == Some(exact),
            Some(Wanted::Any) => name.is_some(),
            None => name.is_none() || !self.strict,
        }
    }

    /// Whether users without a client id, client ids without a user, pairs and addresses may be wanted at all.
    fn wants_addresses(&self) -> bool {
        self.user.is_none() && self.client_id.is_none() && (self.ip.is_some() || !self.strict)
    }
}

pub async fn describe(call: &Call<'_>, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    let found = match Filter::read(&request) {
        Ok(filter) => find(&call.broker.zk(), &filter).await.map_err(zookeeper),
        Err(refusal) => Err(refusal),
    };
    match found {
        Ok(entries) => DescribeClientQuotasResponse {
            entries: Some(entries),
            error_message: Some(Str::default()),
            ..Default::default()
        },
        Err((error_code, error_message)) => {
            DescribeClientQuotasResponse { error_code, error_message, entries: None, ..Default::default() }
        }
    }
}

async fn find(zk: &Zk, filter: &Filter) -> Result<Vec<EntryData>, ZkError> {
    let mut found = Vec::new();
    if filter.ip.is_none() {
        let mut all = zk.entities("users").await?;
        all.extend(zk.entities("clients").await?);
        all.extend(zk.client_ids_of_users().await?);
        for (path, config) in all {
            let Some(entity) = broker_core::quota::Entity::parse(&path) else { continue };
            if filter.matches(&filter.user, &entity.user)
                && filter.matches(&filter.client_id, &entity.client_id)
            {
                let names = [(USER, &entity.user), (CLIENT_ID, &entity.client_id)];
                let keys: Vec<&str> = QuotaKind::ALL.iter().map(|kind| kind.key()).collect();
                found.extend(entry(&names, &config, &keys));
            }
        }
    }
    if filter.wants_addresses() {
        for (path, config) in zk.entities("ips").await? {
            let name = path.strip_prefix("ips/").map(Name::read);
            if filter.matches(&filter.ip, &name) || filter.ip.is_none() {
                found.extend(entry(&[(IP, &name)], &config, &[CONNECTION_RATE]));
            }
        }
    }
    Ok(found)
}

/// `None` where nothing of these keys is set.
fn entry(
    names: &[(&'static str, &Option<Name>)],
    config: &BTreeMap<String, String>,
    keys: &[&str],
) -> Option<EntryData> {
    let value = |key: &&str| {
        let value = config.get(*key)?.trim().parse().ok()?;
        Some(ValueData { key: (*key).into(), value })
    };
    let values: Vec<ValueData> = keys.iter().filter_map(value).collect();
    let named = names.iter().filter_map(|(kind, name)| {
        let entity_name = name.as_ref()?.name().map(Str::from);
        Some(EntityData { entity_type: Str::from_static(kind), entity_name })
    });
    (!values.is_empty()).then(|| EntryData { entity: named.collect(), values })
}

pub async fn alter(call: &Call<'_>, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut places = BTreeMap::new();
    for entry in &request.entries {
        let outcome = alter_one(call, &entry.entity, &entry.ops, request.validate_only).await;
        let (error_code, error_message) = outcome.err().unwrap_or((ErrorCode::NONE, None));
        let name = |entity: &RequestEntityData| ResponseEntityData {
            entity_type: entity.entity_type.clone(),
            entity_name: entity.entity_name.clone(),
        };
        // The last name of a type counts.
        let counts = |at: usize| {
            entry.entity[at + 1..].iter().all(|other| other.entity_type != entry.entity[at].entity_type)
        };
        let entity: Vec<_> =
            (0..entry.entity.len()).filter(|&at| counts(at)).map(|at| name(&entry.entity[at])).collect();
        let parts = entity.iter().map(|part| (part.entity_type.clone(), part.entity_name.clone()));
        let parts: BTreeMap<Str, Option<Str>> = parts.collect();
        let told = ResponseEntryData { error_code, error_message, entity };
        // Of an entity that is named twice the last outcome is told.
        match places.get(&parts) {
            Some(&place) => entries[place] = told,
            None => {
                places.insert(parts, entries.len());
                entries.push(told);
            }
        }
    }
    AlterClientQuotasResponse { entries, ..Default::default() }
}

async fn alter_one(
    call: &Call<'_>,
    entity: &[RequestEntityData],
    ops: &[OpData],
    validate_only: bool,
) -> Result<(), Refusal> {
    let target = Target::read(entity)?;
    if let Some(host) = target.host()
        && !resolves(host).await
    {
        return invalid(format!("{host} is not a valid IP or resolvable host."));
    }
    let zk = call.broker.zk();
    let mut config = zk.config(&ConfigEntity::Other(target.path.clone())).await.map_err(zookeeper)?;
    for op in ops {
        target.apply(&mut config, op)?;
    }
    if validate_only {
        return Ok(());
    }
    target.check(&config)?;
    zk.change_quotas(&target.path, &config).await.map_err(zookeeper)
}

async fn resolves(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
        || tokio::net::lookup_host((host, 0)).await.is_ok_and(|mut found| found.next().is_some())
}

/// Where settings go, below `/config`.
struct Target {
    path: String,
    addresses: bool,
}

impl Target {
    fn read(entity: &[RequestEntityData]) -> Result<Target, Refusal> {
        if entity.is_empty() {
            return invalid("Invalid empty client quota entity");
        }
        let (mut user, mut client_id, mut ip) = (None, None, None);
        for (at, RequestEntityData { entity_type, entity_name }) in entity.iter().enumerate() {
            // The last name of a type counts.
            if entity[at + 1..].iter().any(|later| later.entity_type == *entity_type) {
                continue;
            }
            let name = entity_name.as_ref().map_or(Name::Default, |name| Name::Named(name.to_string()));
            match &**entity_type {
                USER => user = Some(name.node()),
                CLIENT_ID => client_id = Some(name.node()),
                IP => ip = Some(name.node()),
                other => return invalid(format!("Unhandled client quota entity type: {other}")),
            }
            if entity_name.as_ref().is_some_and(|name| name.is_empty()) {
                return invalid(format!("Empty {entity_type} not supported"));
            }
        }
        let (path, addresses) = match (user, client_id, ip) {
            (Some(user), Some(client_id), None) => (format!("users/{user}/clients/{client_id}"), false),
            (Some(user), None, None) => (format!("users/{user}"), false),
            (None, Some(client_id), None) => (format!("clients/{client_id}"), false),
            (None, None, Some(ip)) => (format!("ips/{ip}"), true),
            (_, _, Some(_)) => {
                return invalid(
                    "Invalid quota entity combination, IP entity should not be used with user/client ID entity.",
                );
            }
            _ => return invalid("Invalid client quota entity"),
        };
        Ok(Target { path, addresses })
    }

    /// The address that has to exist.
    fn host(&self) -> Option<&str> {
        self.path.strip_prefix("ips/").filter(|name| *name != DEFAULT)
    }

    /// Of a user, or of a user's client.
    fn is_user(&self) -> bool {
        self.path.starts_with("users/")
    }

    fn apply(&self, config: &mut BTreeMap<String, String>, op: &OpData) -> Result<(), Refusal> {
        if op.remove {
            config.remove(&*op.key);
            return Ok(());
        }
        let kind = QuotaKind::ALL.into_iter().find(|kind| kind.key() == &*op.key);
        let value = match (self.addresses, kind, &*op.key) {
            (false, Some(QuotaKind::Request | QuotaKind::ControllerMutation), _) => java_double(op.value),
            (false, Some(_), key) => whole(key, op.value, "LONG", i64::MAX)?,
            (true, _, CONNECTION_RATE) => whole(CONNECTION_RATE, op.value, "INT", i64::from(i32::MAX))?,
            // A user's settings hold these, too; Java stumbles over their type.
            (_, _, key) if self.is_user() && Hash::of_mechanism(key).is_some() => return Err(unknown_error()),
            (_, _, key) => return invalid(format!("Invalid configuration key {key}")),
        };
        config.insert(op.key.to_string(), value);
        Ok(())
    }

    /// What Kafka checks when it writes: that nothing else is there, and that rates of addresses are not negative.
    fn check(&self, config: &BTreeMap<String, String>) -> Result<(), Refusal> {
        if !self.addresses {
            return Ok(());
        }
        match config.get(CONNECTION_RATE) {
            Some(rate) if rate.starts_with('-') => {
                tracing::info!(
                    "Invalid value {rate} for configuration {CONNECTION_RATE}: Value must be at least 0"
                );
                Err(unknown_error())
            }
            _ => Ok(()),
        }
    }
}

/// A number that has to be whole, to a millionth.
fn whole(key: &str, value: f64, kind: &str, most: i64) -> Result<String, Refusal> {
    const EPSILON: f64 = 1e-6;
    let number = ((value + EPSILON) as i64).clamp(-most - 1, most);
    if (number as f64 - value).abs() > EPSILON {
        return invalid(format!("Configuration {key} must be a {kind} value"));
    }
    Ok(number.to_string())
}

/// A number as Java writes a double: `200.0`, `1.0E7`, `1.0E-4`.
pub fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(entity_type: &str, match_type: i8, name: Option<&str>) -> ComponentData {
        ComponentData { entity_type: entity_type.into(), match_type, r#match: name.map(Str::from) }
    }

    fn filter(components: Vec<ComponentData>, strict: bool) -> Result<Filter, String> {
        let request = DescribeClientQuotasRequest { components, strict };
        Filter::read(&request).map_err(|(_, message)| message.unwrap_or_default().to_string())
    }

    #[test]
    fn filters_are_checked_in_kafkas_words() {
        let wrong = |components| filter(components, false).unwrap_err();
        assert_eq!(wrong(vec![component("", 2, None)]), "Unexpected empty filter component entity type");
        assert_eq!(wrong(vec![component("team", 2, None)]), "Custom entity type 'team' not supported");
        assert_eq!(
            wrong(vec![component("user", 2, None), component("user", 1, None)]),
            "Duplicate user filter component entity type"
        );
        assert!(
            wrong(vec![component("ip", 2, None), component("client-id", 1, None)])
                .starts_with("Invalid entity filter component combination, IP filter component")
        );
        assert_eq!(wrong(vec![component("user", 9, None)]), "");
    }

    #[test]
    fn a_strict_filter_wants_nothing_that_it_does_not_name() {
        let named = Some(Name::Named("a".into()));
        let strict = filter(vec![component("user", 0, Some("a"))], true).unwrap();
        assert!(strict.matches(&strict.user, &named) && strict.matches(&strict.client_id, &None));
        assert!(!strict.matches(&strict.client_id, &named) && !strict.wants_addresses());
        let loose = filter(vec![component("user", 2, None)], false).unwrap();
        assert!(loose.matches(&loose.client_id, &named) && !loose.matches(&loose.user, &None));
        assert!(filter(vec![], false).unwrap().wants_addresses());
        assert!(!filter(vec![], true).unwrap().wants_addresses());
    }

    fn target(entity: &[(&str, Option<&str>)]) -> Result<Target, String> {
        let data = |(kind, name): &(&str, Option<&str>)| RequestEntityData {
            entity_type: (*kind).into(),
            entity_name: name.map(Str::from),
        };
        let entity: Vec<_> = entity.iter().map(data).collect();
        Target::read(&entity).map_err(|(_, message)| message.unwrap_or_default().to_string())
    }

    #[test]
    fn entities_have_a_path_or_are_refused() {
        let path = |entity: &[(&str, Option<&str>)]| target(entity).unwrap().path;
        assert_eq!(path(&[("user", Some("a b")), ("client-id", None)]), "users/a%20b/clients/<default>");
        assert_eq!(path(&[("ip", Some("10.0.0.1"))]), "ips/10.0.0.1");
        let wrong = |entity: &[(&str, Option<&str>)]| target(entity).err().unwrap();
        assert_eq!(wrong(&[]), "Invalid empty client quota entity");
        assert_eq!(wrong(&[("user", Some(""))]), "Empty user not supported");
        assert_eq!(wrong(&[("team", None)]), "Unhandled client quota entity type: team");
        assert_eq!(
            wrong(&[("ip", None), ("user", None)]),
            "Invalid quota entity combination, IP entity should not be used with user/client ID entity."
        );
    }

    #[test]
    fn values_are_kept_as_kafka_writes_them() {
        let target = target(&[("user", Some("u"))]).unwrap();
        let mut config = BTreeMap::new();
        let mut set = |key: &str, value| {
            let op = OpData { key: key.into(), value, remove: false };
            target.apply(&mut config, &op).map_err(|(_, message)| message.unwrap().to_string())?;
            Ok::<_, String>(config[key].clone())
        };
        assert_eq!(set("producer_byte_rate", 1048576.0).unwrap(), "1048576");
        assert_eq!(set("request_percentage", 200.0).unwrap(), "200.0");
        assert_eq!(set("controller_mutation_rate", 12_345_678.0).unwrap(), "1.2345678E7");
        assert_eq!(
            set("consumer_byte_rate", 1.5).unwrap_err(),
            "Configuration consumer_byte_rate must be a LONG value"
        );
        assert_eq!(set("bogus", 1.0).unwrap_err(), "Invalid configuration key bogus");
        assert_eq!(
            set(CONNECTION_RATE, 1.0).unwrap_err(),
            "Invalid configuration key connection_creation_rate"
        );
    }

    #[test]
    fn of_two_names_of_one_type_only_the_last_one_is_looked_at() {
        let path = |names: [&'static str; 2]| {
            target(&names.map(|name| ("user", Some(name)))).map(|target| target.path)
        };
        assert_eq!(path(["", "u"]).unwrap(), "users/u");
        assert!(path(["u", ""]).is_err());
    }

    #[test]
    fn a_credential_is_no_number_and_only_users_have_one() {
        let set = |entity: &[(&'static str, Option<&'static str>)]| {
            let op = OpData { key: "SCRAM-SHA-256".into(), value: 1.0, remove: false };
            target(entity).unwrap().apply(&mut BTreeMap::new(), &op).unwrap_err()
        };
        assert_eq!(set(&[("user", None)]), unknown_error());
        assert_eq!(set(&[("user", Some("u")), ("client-id", None)]), unknown_error());
        assert_eq!(set(&[("client-id", Some("c"))]).0, ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let all = [(0.0, "0.0"), (0.001, "0.001"), (0.0001, "1.0E-4"), (1e7, "1.0E7"), (-2.5e10, "-2.5E10")];
        for (value, text) in all {
            assert_eq!(java_double(value), text);
        }
    }

    #[test]
    fn an_entity_without_quotas_is_not_described() {
        let scram = BTreeMap::from([("SCRAM-SHA-256".to_owned(), "salt=".to_owned())]);
        let name = Some(Name::Default);
        let keys = ["producer_byte_rate"];
        assert!(entry(&[(USER, &name)], &scram, &keys).is_none());
        let set = BTreeMap::from([("producer_byte_rate".to_owned(), "10".to_owned())]);
        let entry = entry(&[(USER, &name), (CLIENT_ID, &None)], &set, &keys).unwrap();
        assert_eq!((entry.entity.len(), entry.entity[0].entity_name.is_none()), (1, true));
        assert_eq!(entry.values[0].value, 10.0);
    }
}
