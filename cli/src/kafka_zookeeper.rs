//! The commands for ZooKeeper that Kafka brings along: `zookeeper-server-start [-daemon] FILE`, `zookeeper-server-stop`
//! and `zookeeper-shell HOST:PORT[/PATH] [-zk-tls-config-file FILE] [words]`.

use crate::kafka_server::{signal_all, start_behind};
use crate::{Call, zk_cli, zk_server};
use base::Properties;
use std::path::Path;
use std::process::ExitCode;

const START: &str = "zookeeper-server-start";

pub fn start(call: &Call) -> ExitCode {
    match &call.args[..] {
        [] => {
            println!("USAGE: {} [-daemon] zookeeper.properties", call.name);
            ExitCode::FAILURE
        }
        [flag, rest @ ..] if flag == "-daemon" => start_behind(START, "zookeeper.out", rest),
        _ => zk_server::process::main(call),
    }
}

/// Signals every server of this installation (`SIGNAL`, else TERM), and does not wait.
pub fn stop(call: &Call) -> ExitCode {
    signal_all(call, &[START, zk_server::PROCESS], "zookeeper")
}

pub fn shell(call: &Call) -> ExitCode {
    if call.args.is_empty() {
        println!("USAGE: {} zookeeper_host:port[/path] [-zk-tls-config-file file] [args...]", call.name);
        return ExitCode::FAILURE;
    }
    let mut args = vec!["-server".to_owned()];
    args.extend(call.args.iter().cloned());
    let asked = match take_tls(&mut args) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("Exception in thread \"main\" {why}");
            return ExitCode::FAILURE;
        }
    };
    zk_cli::main_with(&Call { name: call.name.clone(), args }, asked)
}

/// Takes the file off the words, and gives what it says under the names of ZooKeeper's client.
fn take_tls(args: &mut Vec<String>) -> Result<Properties, String> {
    const OPTION: &str = "-zk-tls-config-file";
    let Some(place) = args.iter().position(|word| word == OPTION) else { return Ok(Properties::new()) };
    if place + 1 == args.len() {
        return Err(format!(
            "java.lang.IllegalArgumentException: Error: no filename provided with option {OPTION}"
        ));
    }
    let file = args.drain(place..place + 2).nth(1).unwrap_or_default();
    let said = Properties::read(Path::new(&file)).map_err(|error| error.to_string())?;
    of_client(&said)
}

/// Kafka's name of a setting, and ZooKeeper's.
const NAMES: [(&str, &str); 14] = [
    ("zookeeper.ssl.client.enable", "zookeeper.client.secure"),
    ("zookeeper.clientCnxnSocket", "zookeeper.clientCnxnSocket"),
    ("zookeeper.ssl.keystore.location", "zookeeper.ssl.keyStore.location"),
    ("zookeeper.ssl.keystore.password", "zookeeper.ssl.keyStore.password"),
    ("zookeeper.ssl.keystore.type", "zookeeper.ssl.keyStore.type"),
    ("zookeeper.ssl.truststore.location", "zookeeper.ssl.trustStore.location"),
    ("zookeeper.ssl.truststore.password", "zookeeper.ssl.trustStore.password"),
    ("zookeeper.ssl.truststore.type", "zookeeper.ssl.trustStore.type"),
    ("zookeeper.ssl.protocol", "zookeeper.ssl.protocol"),
    ("zookeeper.ssl.enabled.protocols", "zookeeper.ssl.enabledProtocols"),
    ("zookeeper.ssl.cipher.suites", "zookeeper.ssl.ciphersuites"),
    ("zookeeper.ssl.endpoint.identification.algorithm", "zookeeper.ssl.hostnameVerification"),
    ("zookeeper.ssl.crl.enable", "zookeeper.ssl.crl"),
    ("zookeeper.ssl.ocsp.enable", "zookeeper.ssl.ocsp"),
];

fn of_client(said: &Properties) -> Result<Properties, String> {
    let mut asked = Properties::new();
    for entry in said.iter() {
        let Some((_, name)) = NAMES.iter().find(|(name, _)| *name == entry.key) else {
            return Err(format!(
                "java.lang.IllegalArgumentException: {}: no setting of TLS to ZooKeeper",
                entry.key
            ));
        };
        let value = match *name {
            "zookeeper.ssl.hostnameVerification" => entry.value.eq_ignore_ascii_case("https").to_string(),
            _ => entry.value.clone(),
        };
        asked.set("-zk-tls-config-file", name, &value);
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_tls_go_by_the_names_of_zookeepers_client() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls");
        std::fs::write(
            &file,
            "zookeeper.ssl.client.enable=true\nzookeeper.ssl.endpoint.identification.algorithm=HTTPS\n\
             zookeeper.ssl.truststore.location=/t\n",
        )
        .unwrap();
        let file = file.display().to_string();
        let mut args =
            ["-server", "h:1", "-zk-tls-config-file", &file, "ls", "/"].map(str::to_owned).to_vec();
        let asked = take_tls(&mut args).unwrap();
        assert_eq!(args, ["-server", "h:1", "ls", "/"]);
        let value = |key: &str| asked.get(key).map(|entry| entry.value.clone());
        assert_eq!(value("zookeeper.client.secure").as_deref(), Some("true"));
        assert_eq!(value("zookeeper.ssl.hostnameVerification").as_deref(), Some("true"));
        assert_eq!(value("zookeeper.ssl.trustStore.location").as_deref(), Some("/t"));
        let mut args = vec!["-zk-tls-config-file".to_owned()];
        assert!(take_tls(&mut args).unwrap_err().contains("no filename provided"));
        let other = Properties::parse("x", b"foo=1").unwrap();
        assert!(of_client(&other).unwrap_err().contains("foo: "));
    }
}
