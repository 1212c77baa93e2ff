//! `JVMFLAGS` and `SERVER_JVMFLAGS`: their `-DKEY=VALUE` words set properties, as they do for Java. What only a JVM
//! understands is passed over in silence.

use super::keys;
use base::Properties;

/// The properties of the flags that zoo.cfg could set too, under its names; and the flags' own.
pub fn read(jvm_flags: &str) -> Properties {
    let mut properties = Properties::new();
    for word in jvm_flags.split_whitespace() {
        let Some((name, value)) =
            word.strip_prefix("-D").map(|word| word.split_once('=').unwrap_or((word, "")))
        else {
            continue;
        };
        if let Some(opt) = keys::flag(name) {
            properties.set("JVMFLAGS", name, &keys::decoded(opt, value));
        } else if let Some(key) = name.strip_prefix("zookeeper.")
            && let Some(opt) = keys::PROPERTIES.iter().find(|opt| opt.key == key)
        {
            properties.set("JVMFLAGS", key, &keys::decoded(opt, value));
        } else if let Some(key) = name.strip_prefix("zookeeper.")
            && !keys::is_typed(key)
        {
            properties.set("JVMFLAGS", key, value);
        }
    }
    properties
}
