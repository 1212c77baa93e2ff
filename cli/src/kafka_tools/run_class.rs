//! `kafka-run-class [-daemon] [-name NAME] [-loggc] CLASS [words]`: the main classes that Kafka's scripts run, each by the
//! tool that stands in for it.

use crate::Call;
use std::process::ExitCode;

/// Main class, tool.
const CLASSES: [(&str, &str); 40] = [
    ("kafka.Kafka", "kafka-server-start"),
    ("kafka.admin.AclCommand", "kafka-acls"),
    ("kafka.admin.BrokerApiVersionsCommand", "kafka-broker-api-versions"),
    ("kafka.admin.ConfigCommand", "kafka-configs"),
    ("kafka.admin.ConsumerGroupCommand", "kafka-consumer-groups"),
    ("kafka.admin.DelegationTokenCommand", "kafka-delegation-tokens"),
    ("kafka.admin.DeleteRecordsCommand", "kafka-delete-records"),
    ("kafka.admin.FeatureCommand", "kafka-features"),
    ("kafka.admin.LeaderElectionCommand", "kafka-leader-election"),
    ("kafka.admin.LogDirsCommand", "kafka-log-dirs"),
    ("kafka.admin.ReassignPartitionsCommand", "kafka-reassign-partitions"),
    ("kafka.admin.TopicCommand", "kafka-topics"),
    ("kafka.admin.ZkSecurityMigrator", "zookeeper-security-migration"),
    ("kafka.tools.ClusterTool", "kafka-cluster"),
    ("kafka.tools.ConsoleConsumer", "kafka-console-consumer"),
    ("kafka.tools.ConsoleProducer", "kafka-console-producer"),
    ("kafka.tools.ConsumerPerformance", "kafka-consumer-perf-test"),
    ("kafka.tools.DumpLogSegments", "kafka-dump-log"),
    ("kafka.tools.EndToEndLatency", "kafka-e2e-latency"),
    ("kafka.tools.GetOffsetShell", "kafka-get-offsets"),
    ("kafka.tools.JmxTool", "kafka-jmx"),
    ("kafka.tools.ReplicaVerificationTool", "kafka-replica-verification"),
    ("kafka.tools.StorageTool", "kafka-storage"),
    ("kafka.tools.StreamsResetter", "kafka-streams-application-reset"),
    ("org.apache.kafka.shell.MetadataShell", "kafka-metadata-shell"),
    ("org.apache.kafka.tools.ClusterTool", "kafka-cluster"),
    ("org.apache.kafka.tools.ConsumerPerformance", "kafka-consumer-perf-test"),
    ("org.apache.kafka.tools.EndToEndLatency", "kafka-e2e-latency"),
    ("org.apache.kafka.tools.GetOffsetShell", "kafka-get-offsets"),
    ("org.apache.kafka.tools.JmxTool", "kafka-jmx"),
    ("org.apache.kafka.tools.MetadataQuorumCommand", "kafka-metadata-quorum"),
    ("org.apache.kafka.tools.ProducerPerformance", "kafka-producer-perf-test"),
    ("org.apache.kafka.tools.StreamsResetter", "kafka-streams-application-reset"),
    ("org.apache.kafka.tools.TransactionsCommand", "kafka-transactions"),
    ("org.apache.kafka.tools.VerifiableConsumer", "kafka-verifiable-consumer"),
    ("org.apache.kafka.tools.VerifiableProducer", "kafka-verifiable-producer"),
    ("org.apache.kafka.trogdor.coordinator.CoordinatorClient", "trogdor"),
    ("org.apache.zookeeper.ZooKeeperMain", "zkCli"),
    ("org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka", "zkCli"),
    ("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper-server-start"),
];

pub fn main(call: &Call) -> ExitCode {
    match Target::read(&call.args) {
        None => {
            println!("USAGE: {} [-daemon] [-name servicename] [-loggc] classname [opts]", call.name);
            ExitCode::FAILURE
        }
        Some(Err(class)) => {
            let known: Vec<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
            eprintln!(
                "Error: Could not find or load main class {class}\nThis is no Java: what stands here in place of a class is \
                 known by its name. Known are: {}",
                known.join(", ")
            );
            ExitCode::FAILURE
        }
        Some(Ok(target)) => match crate::find(target.tool) {
            Some(tool) => tool(&Call { name: target.tool.to_owned(), args: target.args }),
            None => {
                eprintln!("{}: not here", target.tool);
                ExitCode::FAILURE
            }
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    tool: &'static str,
    args: Vec<String>,
}

impl Target {
    /// `None`: no class is named. The error is the name of a class that nothing stands for.
    fn read(words: &[String]) -> Option<Result<Target, String>> {
        let (mut behind, mut words) = (false, words);
        loop {
            words = match words {
                [flag, rest @ ..] if flag == "-daemon" => {
                    behind = true;
                    rest
                }
                [flag, rest @ ..] if flag == "-loggc" => rest,
                [flag, _, rest @ ..] if flag == "-name" => rest,
                _ => break,
            };
        }
        let (class, args) = words.split_first()?;
        let Some((_, tool)) = CLASSES.iter().find(|(known, _)| known == class) else {
            return Some(Err(class.clone()));
        };
        let mut args = args.to_vec();
        // Servers know how to stay behind; other tools end by themselves.
        if behind && tool.ends_with("-server-start") {
            args.insert(0, "-daemon".to_owned());
        }
        Some(Ok(Target { tool, args }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Result<Target, String>> {
        Target::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_class_is_its_tool_and_what_the_script_takes_is_taken_off() {
        let target = read("-daemon -name kafkaServer -loggc kafka.Kafka server.properties").unwrap().unwrap();
        assert_eq!(
            (target.tool, target.args.join(" ")),
            ("kafka-server-start", "-daemon server.properties".to_owned())
        );
        let target = read("kafka.tools.GetOffsetShell --time -1").unwrap().unwrap();
        assert_eq!((target.tool, target.args.len()), ("kafka-get-offsets", 2));
        assert_eq!(read("no.Such x"), Some(Err("no.Such".to_owned())));
        assert_eq!(read("-loggc"), None);
    }
}
