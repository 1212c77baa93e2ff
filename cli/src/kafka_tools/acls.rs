//! `kafka-acls`: who may do what, told to brokers, or, as once, to their ZooKeeper.

use super::acls_options::{TABLE, Wanted, check, filters, principals, wanted};
use super::{Failed, Stop, admin_options, end, help_or_version, json, run, throwable, zk_security};
use crate::Call;
use base::Given;
use broker::acl::{Binding, Entry, EntryFilter, Filter, Operation, PatternType, Permission, Resource};
use broker::acl::{ResourceFilter, ResourceType};
use broker::authorizer::{ACL_AUTHORIZER, AclError, Authorizer, Settings};
use broker::zk::{Zk, ZkSecurity};
use client::cluster::Target;
use client::{Admin, ClientError};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;
use wire::kafka::create_acls::AclCreation;
use wire::kafka::delete_acls::DeleteAclsFilter;
use wire::kafka::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, ErrorCode};

const DEPRECATED: &str = "Warning: support for ACL configuration directly through the authorizer is deprecated and will be \
     removed in a future release. Please use --bootstrap-server instead to set ACLs through the admin client.";

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, administer(call))
}

fn administer(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, "This tool helps to manage acls on kafka.")?;
    check(&given)?;
    if !given.has("bootstrap-server") {
        eprintln!("{DEPRECATED}");
    }
    run(work(&given))?.map_err(|error| match error {
        Failed::Stop(Stop::Uncaught(exception, message)) => {
            let first = message.lines().next().unwrap_or_default();
            println!("Error while executing ACL command: {first}\n{exception}: {message}");
            Stop::Exit(1)
        }
        Failed::Stop(stop) => stop,
        Failed::Client(error) => {
            let text = throwable(&error);
            println!("Error while executing ACL command: {text}");
            println!("java.util.concurrent.ExecutionException: {text}");
            Stop::Exit(1)
        }
    })
}

/// Where ACLs are asked for.
enum Store {
    Brokers(Admin),
    ZooKeeper(Box<Authorizer>, Zk),
}

type Listed = BTreeMap<Resource, BTreeSet<Entry>>;

async fn work(given: &Given) -> Result<(), Failed> {
    if given.has("add") {
        let wanted = wanted(given)?;
        refuse_vague_additions(given, &wanted)?;
        let store = open(given).await?;
        for (resource, entries) in wanted {
            println!("Adding ACLs for resource `{resource}`: \n {} \n", lines(&entries));
            store.add(&resource, entries).await?;
        }
        list(given, &store).await
    } else if given.has("remove") {
        let store = open(given).await?;
        for (resource, entries) in wanted(given)? {
            if confirmed(given, &resource, &entries)? {
                store.remove(&resource, entries).await?;
            }
        }
        list(given, &store).await
    } else {
        list(given, &open(given).await?).await
    }
}

fn refuse_vague_additions(given: &Given, wanted: &Wanted) -> Result<(), Stop> {
    let pattern = super::acls_options::pattern(given)?;
    if !matches!(pattern, PatternType::Literal | PatternType::Prefixed) {
        let problem =
            format!("A '--resource-pattern-type' value of '{pattern}' is not valid when adding acls.");
        return Err(Stop::Usage(problem));
    }
    if wanted.values().any(BTreeSet::is_empty) {
        return Err(Stop::Usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs."
                .to_owned(),
        ));
    }
    Ok(())
}

fn lines(entries: &BTreeSet<Entry>) -> String {
    entries.iter().map(|entry| format!("\t{entry}")).collect::<Vec<_>>().join("\n")
}

/// `--force`, or a "y" on stdin.
fn confirmed(given: &Given, resource: &Resource, entries: &BTreeSet<Entry>) -> Result<bool, Stop> {
    if given.has("force") {
        return Ok(true);
    }
    match entries.is_empty() {
        true => {
            println!("Are you sure you want to delete all ACLs for resource filter `{resource}`? (y/n)")
        }
        false => println!(
            "Are you sure you want to remove ACLs: \n {} \n from resource filter `{resource}`? (y/n)",
            lines(entries)
        ),
    }
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(read) if read > 0 => Ok(answer.trim_end_matches(['\n', '\r']).eq_ignore_ascii_case("y")),
        _ => Err(Stop::Uncaught(
            "java.lang.NullPointerException",
            "Cannot invoke \"String.equalsIgnoreCase(String)\" because the return value of \
             \"scala.io.StdIn$.readLine()\" is null"
                .to_owned(),
        )),
    }
}

async fn list(given: &Given, store: &Store) -> Result<(), Failed> {
    let filters = filters(given)?;
    let mut listed = Listed::new();
    if filters.is_empty() {
        let any = ResourceFilter { kind: ResourceType::Any, pattern: PatternType::Any, name: None };
        store.list(any, &mut listed).await?;
    }
    for resource in filters {
        store.list(as_filter(resource), &mut listed).await?;
    }
    let principals = principals(given, "principal")?;
    if given.has("json") {
        print_json(&listed, &principals);
        return Ok(());
    }
    if principals.is_empty() {
        print(&listed);
    }
    for principal in principals {
        println!("ACLs for principal `{principal}`");
        let mut his = listed.clone();
        his.values_mut().for_each(|entries| entries.retain(|entry| entry.principal == principal));
        his.retain(|_, entries| !entries.is_empty());
        print(&his);
    }
    Ok(())
}

fn print_json(listed: &Listed, principals: &BTreeSet<wire::Str>) {
    let mut acls = Vec::new();
    for (resource, entries) in listed {
        let wanted =
            entries.iter().filter(|one| principals.is_empty() || principals.contains(&one.principal));
        acls.extend(wanted.map(|entry| {
            serde_json::json!({
                "resource_type": resource.kind.to_string(), "resource_name": &*resource.name,
                "pattern_type": resource.pattern.to_string(), "principal": &*entry.principal, "host": &*entry.host,
                "operation": entry.operation.to_string(), "permission_type": entry.permission.to_string(),
            })
        }));
    }
    json::print(&serde_json::json!({ "acls": acls }));
}

fn print(listed: &Listed) {
    for (resource, entries) in listed {
        println!("Current ACLs for resource `{resource}`: \n {} \n", lines(entries));
    }
}

fn as_filter(resource: Resource) -> ResourceFilter {
    ResourceFilter { kind: resource.kind, pattern: resource.pattern, name: Some(resource.name) }
}

/// All entries of a resource, or exactly these.
fn entry_filters(entries: BTreeSet<Entry>) -> Vec<EntryFilter> {
    if entries.is_empty() {
        return vec![EntryFilter::ANY];
    }
    let exactly = |entry: Entry| EntryFilter {
        principal: Some(entry.principal),
        host: Some(entry.host),
        operation: entry.operation,
        permission: entry.permission,
    };
    entries.into_iter().map(exactly).collect()
}

async fn open(given: &Given) -> Result<Store, Stop> {
    if given.has("bootstrap-server") {
        return Ok(Store::Brokers(Admin::new(admin_options(given, "command-config")?)));
    }
    let (connect, security) = zookeeper(given)?;
    let failed = |error: broker::zk::ZkError| {
        Stop::Uncaught("kafka.zookeeper.ZooKeeperClientException", error.to_string())
    };
    let patience = Duration::from_secs(18);
    let zk = Zk::connect_as(&connect, patience, patience, &security).await.map_err(failed)?;
    zk.make_acl_nodes().await.map_err(failed)?;
    let authorizer = Authorizer::new(Settings { super_users: BTreeSet::new(), allow_if_none: false });
    authorizer.load(&zk).await.map_err(failed)?;
    Ok(Store::ZooKeeper(Box::new(authorizer), zk))
}

/// `--authorizer-properties` as Java's authorizer reads them: where its ZooKeeper is, and how to come to it.
fn zookeeper(given: &Given) -> Result<(String, ZkSecurity), Stop> {
    let config = |message: String| Stop::Uncaught("org.apache.kafka.common.config.ConfigException", message);
    if let Some(class) = given.text("authorizer")?.filter(|class| *class != ACL_AUTHORIZER) {
        return Err(Stop::Uncaught("java.lang.ClassNotFoundException", class.to_owned()));
    }
    let mut properties = BTreeMap::new();
    for pair in given.texts("authorizer-properties") {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            let problem = format!("Missing value for key {pair}");
            Stop::Uncaught("java.lang.IllegalArgumentException", problem)
        })?;
        properties.insert(key.to_owned(), value.to_owned());
    }
    for entry in zk_security::file(given)?.iter() {
        properties.insert(entry.key.clone(), entry.value.clone());
    }
    // The authorizer's own keys count before the broker's.
    let own =
        |key: &str| properties.get(&format!("authorizer.{key}")).or_else(|| properties.get(key)).cloned();
    let security = zk_security::read(&own)?;
    let security = match properties.contains_key("zookeeper.set.acl") {
        true => security,
        // Java's answer depends on the login alone.
        false => {
            let by_login = security.has_login();
            security.with_acls(by_login)
        }
    };
    let missing = || {
        config("Missing required configuration \"zookeeper.connect\" which has no default value.".to_owned())
    };
    let connect = properties.get("authorizer.zookeeper.url").or_else(|| properties.get("zookeeper.connect"));
    Ok((connect.cloned().ok_or_else(missing)?, security))
}

impl Store {
    async fn add(&self, resource: &Resource, entries: BTreeSet<Entry>) -> Result<(), Failed> {
        let bindings: Vec<Binding> =
            entries.into_iter().map(|entry| Binding { resource: resource.clone(), entry }).collect();
        match self {
            Store::Brokers(admin) => create(admin, bindings).await?,
            Store::ZooKeeper(authorizer, zk) => {
                let results = authorizer.create(zk, &bindings).await;
                results.iter().filter_map(|result| result.as_ref().err()).for_each(|e| report("adding", e));
            }
        }
        Ok(())
    }

    async fn remove(&self, resource: &Resource, entries: BTreeSet<Entry>) -> Result<(), Failed> {
        let resource = as_filter(resource.clone());
        let with = |entry| Filter { resource: resource.clone(), entry };
        let filters: Vec<Filter> = entry_filters(entries).into_iter().map(with).collect();
        match self {
            Store::Brokers(admin) => delete(admin, filters).await?,
            Store::ZooKeeper(authorizer, zk) => {
                let results = authorizer.delete(zk, &filters).await.into_iter().flatten();
                results.filter_map(|(_, error)| error).for_each(|error| report("removing", &error));
            }
        }
        Ok(())
    }

    async fn list(&self, resource: ResourceFilter, listed: &mut Listed) -> Result<(), Failed> {
        let found = match self {
            Store::Brokers(admin) => describe(admin, resource).await?,
            Store::ZooKeeper(authorizer, _) => {
                authorizer.matching(&Filter { resource, entry: EntryFilter::ANY })
            }
        };
        for Binding { resource, entry } in found {
            listed.entry(resource).or_default().insert(entry);
        }
        Ok(())
    }
}

fn report(doing: &str, error: &AclError) {
    println!("Error while {doing} ACLs: {error}");
}

async fn create(admin: &Admin, bindings: Vec<Binding>) -> Result<(), ClientError> {
    let creation = |Binding { resource, entry }: Binding| AclCreation {
        resource_type: resource.kind.code(),
        resource_name: resource.name,
        resource_pattern_type: resource.pattern.code(),
        principal: entry.principal,
        host: entry.host,
        operation: entry.operation.code(),
        permission_type: entry.permission.code(),
    };
    let request = CreateAclsRequest { creations: bindings.into_iter().map(creation).collect() };
    let response = admin.call(&Target::Any, &request, |_| ErrorCode::NONE).await?;
    response
        .results
        .iter()
        .try_for_each(|result| ClientError::check(result.error_code, &result.error_message))
}

async fn delete(admin: &Admin, filters: Vec<Filter>) -> Result<(), ClientError> {
    let filter = |Filter { resource, entry }: Filter| DeleteAclsFilter {
        resource_type_filter: resource.kind.code(),
        resource_name_filter: resource.name,
        pattern_type_filter: resource.pattern.code(),
        principal_filter: entry.principal,
        host_filter: entry.host,
        operation: entry.operation.code(),
        permission_type: entry.permission.code(),
    };
    let request = DeleteAclsRequest { filters: filters.into_iter().map(filter).collect() };
    let response = admin.call(&Target::Any, &request, |_| ErrorCode::NONE).await?;
    response.filter_results.iter().try_for_each(|result| {
        ClientError::check(result.error_code, &result.error_message)?;
        let mut all = result.matching_acls.iter();
        all.try_for_each(|one| ClientError::check(one.error_code, &one.error_message))
    })
}

async fn describe(admin: &Admin, filter: ResourceFilter) -> Result<Vec<Binding>, ClientError> {
    let request = DescribeAclsRequest {
        resource_type_filter: filter.kind.code(),
        resource_name_filter: filter.name,
        pattern_type_filter: filter.pattern.code(),
        principal_filter: None,
        host_filter: None,
        operation: Operation::Any.code(),
        permission_type: Permission::Any.code(),
    };
    let response = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    ClientError::check(response.error_code, &response.error_message)?;
    let mut found = Vec::new();
    for listed in response.resources {
        let resource = Resource {
            kind: ResourceType::from_code(listed.resource_type),
            pattern: PatternType::from_code(listed.pattern_type),
            name: listed.resource_name,
        };
        found.extend(listed.acls.into_iter().map(|one| Binding {
            resource: resource.clone(),
            entry: Entry {
                principal: one.principal,
                host: one.host,
                operation: Operation::from_code(one.operation),
                permission: Permission::from_code(one.permission_type),
            },
        }));
    }
    Ok(found)
}
