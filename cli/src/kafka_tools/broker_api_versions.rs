//! `kafka-broker-api-versions`: which versions of which requests each broker answers.

use super::{Stop, admin_options, end, help_or_version, json, require, run, throwable};
use crate::Call;
use base::{ToolOption, ToolOptions};
use client::{Admin, ClientError, Node};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use wire::kafka::api_versions::ApiVersion;
use wire::kafka::{APIS, ApiKey, ApiVersionsRequest, ApiVersionsResponse};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "bootstrap-server",
        "server(s) to use for bootstrapping",
        "REQUIRED: the brokers to start with.",
    ),
    ToolOption::text(
        "command-config",
        "command config property file",
        "File with settings for the admin client.",
    ),
    json::OPTION,
]);

/// How long brokers are looked for.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, versions(call))
}

fn versions(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, "This tool helps to retrieve broker version information.")?;
    require(&given, &["bootstrap-server"])?;
    let mut options = admin_options(&given, "command-config")?;
    options.api_timeout = PATIENCE;
    let bootstrap: Vec<String> = (1..)
        .zip(&options.bootstrap)
        .map(|(n, address)| format!("{address} (id: -{n} rack: null)"))
        .collect();
    run(show(Admin::new(options), given.has("json")))?.map_err(|_| {
        let why = format!("Request METADATA failed on brokers List({})", bootstrap.join(", "));
        Stop::Uncaught("java.lang.RuntimeException", why)
    })
}

async fn show(admin: Admin, as_json: bool) -> Result<(), ClientError> {
    let metadata = admin.metadata(None).await?;
    let mut brokers = Vec::new();
    for (id, node) in &metadata.brokers {
        let rack = node.rack.as_deref().unwrap_or("null");
        let name = format!("{}:{} (id: {id} rack: {rack})", node.host, node.port);
        let request = ApiVersionsRequest {
            client_software_name: "menagerie".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let asked = async { Ok::<_, ClientError>(admin.cluster().connect(*id).await?.call(&request).await?) };
        let answer = asked.await.and_then(|answer| {
            ClientError::check(answer.error_code, &None)?;
            Ok(answer)
        });
        if as_json {
            brokers.push(document(node, &answer));
            continue;
        }
        match answer {
            Ok(answer) => println!("{name} -> (\n\t{}\n)", lines(&answer.api_keys).join(",\n\t")),
            Err(error) => println!("{name} -> ERROR: {}", throwable(&error)),
        }
    }
    if as_json {
        json::print(&json!({ "brokers": brokers }));
    }
    Ok(())
}

fn document(node: &Node, answer: &Result<ApiVersionsResponse, ClientError>) -> Value {
    let mut broker =
        json!({ "id": node.id, "host": &*node.host, "port": node.port, "rack": node.rack.as_deref() });
    let api = |offered: &ApiVersion| {
        json!({
            "key": offered.api_key,
            "name": ApiKey::from_i16(offered.api_key).map(|key| key.api().name),
            "min_version": offered.min_version,
            "max_version": offered.max_version,
            "usable": usable(offered).ok(),
        })
    };
    match answer {
        Ok(answer) => broker["apis"] = answer.api_keys.iter().map(api).collect(),
        Err(error) => broker["error"] = throwable(error).into(),
    }
    broker
}

/// A line for each API that the broker or a client of this release knows, by key.
fn lines(offered: &[ApiVersion]) -> Vec<String> {
    let of_clients =
        APIS.iter().filter(|api| api.broker_versions.is_some() || api.key == ApiKey::ConsumerGroupHeartbeat);
    let mut lines: BTreeMap<i16, String> = of_clients
        .map(|api| (api.key as i16, format!("{}({}): UNSUPPORTED", api.name, api.key as i16)))
        .collect();
    lines.extend(offered.iter().map(|one| (one.api_key, line(one))));
    lines.into_values().collect()
}

fn line(offered: &ApiVersion) -> String {
    let (min, max) = (offered.min_version, offered.max_version);
    let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
    let Some(key) = ApiKey::from_i16(offered.api_key) else {
        return format!("UNKNOWN({}): {range}", offered.api_key);
    };
    let api = key.api();
    let usable = match usable(offered) {
        Ok(version) => format!("usable: {version}"),
        Err(why) => format!("unusable: node {why}"),
    };
    format!("{}({}): {range} [{usable}]", api.name, offered.api_key)
}

/// The highest version that both sides know, or why there is none.
fn usable(offered: &ApiVersion) -> Result<i16, &'static str> {
    let api = ApiKey::from_i16(offered.api_key).ok_or("too new")?.api();
    let (oldest, latest) = api.broker_versions.unwrap_or(api.versions);
    match () {
        () if latest < offered.min_version => Err("too new"),
        () if offered.max_version < oldest => Err("too old"),
        () => Ok(latest.min(offered.max_version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_shown_with_what_can_be_used_of_it() {
        let offered = |api_key: i16, min_version: i16, max_version: i16| ApiVersion {
            api_key,
            min_version,
            max_version,
        };
        assert_eq!(line(&offered(0, 0, 9)), "Produce(0): 0 to 9 [usable: 9]");
        assert_eq!(line(&offered(47, 0, 0)), "OffsetDelete(47): 0 [usable: 0]");
        assert_eq!(line(&offered(0, 90, 99)), "Produce(0): 90 to 99 [unusable: node too new]");
        assert_eq!(line(&offered(999, 0, 1)), "UNKNOWN(999): 0 to 1");
        assert!(lines(&[]).iter().any(|line| line == "Fetch(1): UNSUPPORTED"));
    }
}
