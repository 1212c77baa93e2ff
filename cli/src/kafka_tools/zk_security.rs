//! How tools come to ZooKeeper: `--zk-tls-config-file`, and the flags of a JVM in `KAFKA_OPTS`.

use super::{Stop, properties_of, value};
use base::{Given, Properties};
use broker::zk::{JvmFlags, ZkSecurity};

/// By the file of `--zk-tls-config-file`, if one is named, and by the environment. What is made belongs to its maker, where
/// ZooKeeper is told who that is.
pub fn of_option(given: &Given) -> Result<ZkSecurity, Stop> {
    let file = file(given)?;
    let security = read(&|key| value(&file, key).map(str::to_owned))?;
    let is_somebody = security.is_somebody();
    Ok(security.with_acls(is_somebody))
}

/// The same without such an option.
pub fn of_environment() -> Result<ZkSecurity, Stop> {
    let security = read(&|_| None)?;
    let is_somebody = security.is_somebody();
    Ok(security.with_acls(is_somebody))
}

/// What `--zk-tls-config-file` names.
pub fn file(given: &Given) -> Result<Properties, Stop> {
    properties_of(given.text("zk-tls-config-file")?)
}

/// By Kafka's keys.
pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<ZkSecurity, Stop> {
    ZkSecurity::read(lookup, &JvmFlags::of_environment())
        .map_err(|error| Stop::Uncaught("org.apache.kafka.common.KafkaException", error.to_string()))
}
