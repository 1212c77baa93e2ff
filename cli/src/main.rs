//! `menagerie`: every server and every tool in one binary, chosen by the name it is called by (`zkServer.sh` is a
//! link to it) or by its first argument (`menagerie zkServer start`).

mod bench;
mod install;
mod kafka_server;
mod kafka_tools;
mod kafka_zookeeper;
mod up;
mod zk_cli;
mod zk_history;
mod zk_server;
mod zk_tools;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// How a tool was called.
pub struct Call {
    /// As the user typed it, for usage lines.
    pub name: String,
    /// What follows the name.
    pub args: Vec<String>,
}

type Tool = fn(&Call) -> ExitCode;

const TOOLS: &[(&str, Tool)] = &[
    ("up", |call| up::main(&call.args)),
    ("zkServer", zk_server::main),
    ("zkCli", zk_cli::main),
    ("zkCleanup", zk_tools::cleanup::main),
    ("zkServer-initialize", zk_tools::initialize::main),
    ("zkSnapShotToolkit", zk_tools::snapshot_toolkit::main),
    ("zkSnapshotComparer", zk_tools::snapshot_comparer::main),
    ("zkSnapshotRecursiveSummaryToolkit", zk_tools::snapshot_summary::main),
    ("zkTxnLogToolkit", zk_tools::txnlog_toolkit::main),
    ("zk-restore", zk_history::restore::main),
    ("zk-who", zk_history::who::main),
    (zk_server::PROCESS, zk_server::process::main),
    ("kafka-server-start", kafka_server::start),
    ("kafka-server-stop", kafka_server::stop),
    ("kafka-acls", kafka_tools::acls::main),
    ("kafka-topics", kafka_tools::topics::main),
    ("kafka-console-producer", kafka_tools::console_producer::main),
    ("kafka-console-consumer", kafka_tools::console_consumer::main),
    ("kafka-consumer-groups", kafka_tools::consumer_groups::main),
    ("kafka-configs", kafka_tools::configs::main),
    ("kafka-producer-perf-test", kafka_tools::producer_perf::main),
    ("kafka-consumer-perf-test", kafka_tools::consumer_perf::main),
    ("kafka-dump-log", kafka_tools::dump_log::main),
    ("kafka-get-offsets", kafka_tools::get_offsets::main),
    ("kafka-broker-api-versions", kafka_tools::broker_api_versions::main),
    ("kafka-delegation-tokens", kafka_tools::delegation_tokens::main),
    ("kafka-delete-records", kafka_tools::delete_records::main),
    ("kafka-leader-election", kafka_tools::leader_election::main),
    ("kafka-log-dirs", kafka_tools::log_dirs::main),
    ("kafka-transactions", kafka_tools::transactions::main),
    ("kafka-reassign-partitions", kafka_tools::reassign_partitions::main),
    ("zookeeper-security-migration", kafka_tools::zookeeper_security_migration::main),
    ("kafka-cluster", kafka_tools::cluster::main),
    ("kafka-e2e-latency", kafka_tools::e2e_latency::main),
    ("kafka-features", kafka_tools::features::main),
    ("kafka-metadata-quorum", kafka_tools::metadata_quorum::main),
    ("kafka-replica-verification", kafka_tools::replica_verification::main),
    ("kafka-run-class", kafka_tools::run_class::main),
    ("kafka-storage", kafka_tools::storage::main),
    ("kafka-streams-application-reset", kafka_tools::streams_reset::main),
    ("kafka-verifiable-consumer", kafka_tools::verifiable_consumer::main),
    ("kafka-verifiable-producer", kafka_tools::verifiable_producer::main),
    ("zookeeper-server-start", kafka_zookeeper::start),
    ("zookeeper-server-stop", kafka_zookeeper::stop),
    ("zookeeper-shell", kafka_zookeeper::shell),
    ("kafka-jmx", kafka_tools::refused::main),
    ("kafka-metadata-shell", kafka_tools::refused::main),
    ("trogdor", kafka_tools::refused::main),
    ("connect-distributed", kafka_tools::refused::main),
    ("connect-standalone", kafka_tools::refused::main),
    ("connect-mirror-maker", kafka_tools::refused::main),
    ("kafka-mirror-maker", kafka_tools::refused::main),
    ("bench", |call| bench::main(&call.args)),
];

fn main() -> ExitCode {
    let mut words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_default();
    let args: Vec<String> = words.collect();
    if let Some(tool) = find(&name) {
        return tool(&Call { name, args });
    }
    match args.split_first() {
        Some((first, rest)) if find(first).is_some() => {
            let call = Call { name: format!("{name} {first}"), args: rest.to_vec() };
            find(first).expect("just found")(&call)
        }
        Some((first, _)) if !first.starts_with('-') => {
            eprintln!("{name}: there is no tool {first}\n{}", usage(&name));
            ExitCode::from(2)
        }
        _ => {
            println!("{}", usage(&name));
            ExitCode::SUCCESS
        }
    }
}

/// By name, with or without folder and `.sh`.
fn find(name: &str) -> Option<Tool> {
    let bare = bare(name);
    TOOLS.iter().find(|(tool, _)| *tool == bare).map(|(_, tool)| *tool)
}

/// The name as the table has it; of `menagerie TOOL` the last word.
fn bare(name: &str) -> &str {
    let name = name.rsplit(' ').next().unwrap_or(name);
    let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or_default();
    file.strip_suffix(".sh").unwrap_or(file)
}

fn usage(name: &str) -> String {
    let tools: Vec<&str> =
        TOOLS.iter().map(|(tool, _)| *tool).filter(|tool| !tool.starts_with('-')).collect();
    format!("Usage: {name} TOOL [arguments]\nTools: {}", tools.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_its_name_with_or_without_folder_and_sh() {
        for name in ["zkServer", "zkServer.sh", "/opt/x/bin/zkServer.sh", "./zkServer"] {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(find("menagerie").is_none());
        assert!(find("zkServer.bat").is_none());
    }

    #[test]
    fn every_tool_has_one_name_and_hidden_ones_are_not_listed() {
        let mut names: Vec<_> = TOOLS.iter().map(|(name, _)| *name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), TOOLS.len());
        assert!(!usage("m").contains(zk_server::PROCESS));
    }
}
