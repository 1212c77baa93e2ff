//! DescribeConfigs and IncrementalAlterConfigs of a broker's loggers (KIP-412).

use wire::kafka::ErrorCode;
use wire::kafka::describe_configs::DescribeConfigsResourceResult;
use wire::kafka::incremental_alter_configs::AlterableConfig;

use super::configs::{Refusal, refusal};
use crate::loggers::{self, Level, ROOT};

/// The source that Kafka names for all of them.
const DYNAMIC_BROKER_LOGGER: i8 = 6;

/// Every logger with its level.
pub fn describe() -> Vec<DescribeConfigsResourceResult> {
    let entry = |(name, level): (&str, Level)| DescribeConfigsResourceResult {
        name: name.into(),
        value: Some(level.name().into()),
        config_source: DYNAMIC_BROKER_LOGGER,
        ..Default::default()
    };
    loggers::levels().into_iter().map(entry).collect()
}

/// Sets and unsets levels, all or none.
pub fn alter(changes: &[AlterableConfig], validate_only: bool) -> Result<(), Refusal> {
    let changes = changes.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    if validate_only {
        return Ok(());
    }
    for (name, level) in &changes {
        match level {
            Some(level) => tracing::info!("Updating the log level of {name} to {}", level.name()),
            None => tracing::info!("Unset the log level of {name}"),
        }
    }
    loggers::change(changes.into_iter());
    Ok(())
}

fn checked(change: &AlterableConfig) -> Result<(&str, Option<Level>), Refusal> {
    let name: &str = &change.name;
    let exists = || match loggers::exists(name) {
        true => Ok(()),
        false => refusal(ErrorCode::INVALID_CONFIG, format!("Logger {name} does not exist!")),
    };
    match change.config_operation {
        super::configs::SET => {
            exists()?;
            let value = change.value.as_deref().unwrap_or_default();
            match Level::named(value) {
                Some(level) => Ok((name, Some(level))),
                None => {
                    let valid = Level::ALL.map(Level::name).join(", ");
                    let problem = format!(
                        "Cannot set the log level of {name} to {value} as it is not a supported log level. Valid log \
                         levels are {valid}"
                    );
                    refusal(ErrorCode::INVALID_CONFIG, problem)
                }
            }
        }
        super::configs::DELETE => {
            exists()?;
            if name == ROOT {
                let problem = format!("Removing the log level of the {ROOT} logger is not allowed");
                return refusal(ErrorCode::INVALID_REQUEST, problem);
            }
            Ok((name, None))
        }
        super::configs::APPEND => unsupported("APPEND operation"),
        super::configs::SUBTRACT => unsupported("SUBTRACT operation"),
        other => unsupported(&format!("Unknown operation type {other} is")),
    }
}

fn unsupported<T>(operation: &str) -> Result<T, Refusal> {
    let verb = if operation.ends_with(" is") { "" } else { " is" };
    let problem = format!("{operation}{verb} not allowed for the BROKER_LOGGER resource");
    refusal(ErrorCode::INVALID_REQUEST, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, config_operation: i8, value: Option<&str>) -> AlterableConfig {
        AlterableConfig { name: name.into(), config_operation, value: value.map(Into::into) }
    }

    #[test]
    fn loggers_are_refused_in_kafkas_words() {
        for (name, operation, value, code, problem) in [
            ("x", 0, Some("INFO"), ErrorCode::INVALID_CONFIG, "Logger x does not exist!"),
            ("x", 1, None, ErrorCode::INVALID_CONFIG, "Logger x does not exist!"),
            (
                "kafka",
                0,
                Some("OFF"),
                ErrorCode::INVALID_CONFIG,
                "Cannot set the log level of kafka to OFF as it is not a supported log level. Valid log levels are \
                 TRACE, ERROR, INFO, FATAL, DEBUG, WARN",
            ),
            (
                "root",
                1,
                None,
                ErrorCode::INVALID_REQUEST,
                "Removing the log level of the root logger is not allowed",
            ),
            (
                "kafka",
                2,
                Some("INFO"),
                ErrorCode::INVALID_REQUEST,
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ),
            (
                "kafka",
                9,
                Some("INFO"),
                ErrorCode::INVALID_REQUEST,
                "Unknown operation type 9 is not allowed for the BROKER_LOGGER resource",
            ),
        ] {
            let before = describe();
            // One mistake is the end of all.
            let all = [change("kafka", 0, Some("TRACE")), change(name, operation, value)];
            assert_eq!(alter(&all, false).unwrap_err(), (code, Some(problem.to_owned())));
            assert_eq!(describe(), before);
        }
        assert!(alter(&[change("kafka.log.LogCleaner", 0, Some("DEBUG"))], true).is_ok());
    }
}
