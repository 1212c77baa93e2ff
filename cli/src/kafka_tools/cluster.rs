//! `kafka-cluster`: a cluster's id, and brokers that are to be forgotten (KRaft only).

use super::argparse::{Arg, Command, Parser, Takes, Words};
use super::{Terse, admin_of, json, properties_of, run, value};
use crate::Call;
use client::{Admin, ClientError};
use serde_json::json as document;
use std::process::ExitCode;
use wire::kafka::{ErrorCode, UnregisterBrokerRequest};

const SERVER: Arg =
    Arg::text(&["--bootstrap-server", "-b"], "BOOTSTRAP_SERVER", "The brokers to start with.");
const CONFIG: Arg = Arg::text(&["--config", "-c"], "CONFIG", "File with settings for the admin client.");

pub const PARSER: Parser = Parser {
    prog: "kafka-cluster",
    description: "Tells of a cluster as a whole.",
    args: &[],
    one_of: &[],
    commands: &[
        Command { name: "cluster-id", doc: "The cluster's id.", args: &[SERVER, CONFIG, json::ARG] },
        Command {
            name: "unregister",
            doc: "Forgets a broker; of clusters with KRaft only.",
            args: &[
                SERVER,
                CONFIG,
                Arg::text(&["--id", "-i"], "ID", "The broker's id.").taking(Takes::Int).required(),
            ],
        },
    ],
};

pub fn main(call: &Call) -> ExitCode {
    super::end_terse(PARSER.read(&call.args).map_err(Terse::from).and_then(|words| cluster(&words)))
}

fn cluster(words: &Words) -> Result<(), Terse> {
    let config = words.text("--config");
    let settings = properties_of(config)?;
    let bootstrap = words.text("--bootstrap-server").or_else(|| value(&settings, "bootstrap.servers"));
    let Some(bootstrap) = bootstrap else {
        return Err(Terse::Said("Please specify --bootstrap-server.".to_owned()));
    };
    let admin = Admin::new(admin_of(bootstrap, config)?);
    match words.number("--id") {
        None => run(id(&admin, words.has("--json")))?,
        Some(broker) => run(unregister(&admin, broker as i32))?,
    }
}

async fn id(admin: &Admin, as_json: bool) -> Result<(), Terse> {
    let described = admin.describe_cluster().await.map_err(|error| Terse::executed("listNodes", error))?;
    let id = described.cluster_id;
    if as_json {
        json::print(&document!({ "cluster_id": &*id }));
    } else {
        println!("Cluster ID: {id}");
    }
    Ok(())
}

async fn unregister(admin: &Admin, broker_id: i32) -> Result<(), Terse> {
    let request = UnregisterBrokerRequest { broker_id };
    let asked = admin.call(&client::cluster::Target::Any, &request, |answer| answer.error_code).await;
    let answer = asked.and_then(|answer| ClientError::check(answer.error_code, &answer.error_message));
    match answer {
        Ok(()) => println!("Broker {broker_id} is no longer registered."),
        Err(error) if is_unsupported(&error) => {
            println!("The target cluster does not support the broker unregistration API.");
        }
        Err(error) => {
            tracing::error!(
                target: "org.apache.kafka.clients.admin.KafkaAdminClient",
                "{}Unregister broker request for broker ID {broker_id} failed: {error}",
                admin.cluster().log_prefix()
            );
            return Err(Terse::executed("unregisterBroker", error));
        }
    }
    Ok(())
}

/// The brokers know nothing of such requests.
pub fn is_unsupported(error: &ClientError) -> bool {
    matches!(error, ClientError::Call(client::CallError::Unsupported { .. }))
        || error.code() == Some(ErrorCode::UNSUPPORTED_VERSION)
}
