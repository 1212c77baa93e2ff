//! `zkServer status`: finds the client port in the configuration and asks the server `srvr`.

use super::place::Place;
use super::{FAILURE, SUCCESS};
use crate::zk_cli::security;
use base::Properties;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use zk_server::tls::Tls;
use zk_server::tls::blocking::Socket;

/// Of connecting and of each read, as Java's own client of these words has it.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn status(place: &Place) -> ExitCode {
    let Some(found) = client_port(place).or_else(|| secure_port(place)) else { return FAILURE };
    let Found { host, port, tls } = &found;
    println!("Client port found: {port}. Client address: {host}. Client SSL: {tls}.");
    let stores = tls.then(|| security::tls(&security::flags()));
    let answer = match (stores.transpose(), port.parse()) {
        (Ok(stores), Ok(port)) => ask(host, port, "srvr", stores.as_deref()).ok(),
        (Err(why), _) => {
            eprintln!("{why}");
            None
        }
        (Ok(_), Err(_)) => None,
    };
    match answer.unwrap_or_default().lines().find(|line| line.contains("Mode")) {
        Some(mode) => {
            println!("{}", mode.trim());
            SUCCESS
        }
        None => {
            if *tls {
                println!("{}", tls_note(port));
            }
            println!("Error contacting service. It is probably not running.");
            FAILURE
        }
    }
}

/// Where the server is asked.
struct Found {
    host: String,
    port: String,
    tls: bool,
}

impl Found {
    fn plain(host: impl Into<String>, port: impl Into<String>) -> Option<Found> {
        Some(Found { host: host.into(), port: port.into(), tls: false })
    }
}

/// What the script says where a TLS port does not answer.
fn tls_note(port: &str) -> String {
    format!(
        " \n\
         Note: We used secureClientPort ({port}) to establish connection, but we failed. The 'status'\n  \
         command establishes a client connection to the server to execute diagnostic commands. Please make sure you\n  \
         provided all the Client SSL connection related parameters in the CLIENT_JVMFLAGS environment variable! E.g.:\n  \
         CLIENT_JVMFLAGS=\"-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty\n  \
         -Dzookeeper.ssl.trustStore.location=/tmp/clienttrust.jks -Dzookeeper.ssl.trustStore.password=password\n  \
         -Dzookeeper.ssl.keyStore.location=/tmp/client.jks -Dzookeeper.ssl.keyStore.password=password\n  \
         -Dzookeeper.client.secure=true\" ./zkServer.sh status\n "
    )
}

/// From `clientPort`, else from this server's own line. Prints what was tried in vain.
fn client_port(place: &Place) -> Option<Found> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = place.key("clientPortAddress").unwrap_or("localhost").to_owned();
    if let Some(port) = place.key("clientPort").filter(|port| is_number(port)) {
        return Found::plain(host, port);
    }
    let myid = Path::new(place.key("dataDir").unwrap_or_default()).join("myid");
    let myid = fs::read_to_string(myid).unwrap_or_default().trim().to_owned();
    if is_number(&myid) {
        match client_part(place, &myid) {
            Some((own, port)) => return Found::plain(own.unwrap_or(host), port),
            None => println!("Client port not found in the server configs"),
        }
    } else {
        println!("myid could not be determined, will not able to locate clientPort in the server configs.");
    }
    None
}

fn secure_port(place: &Place) -> Option<Found> {
    println!("Client port not found. Looking for secureClientPort in the static config.");
    let Some(port) = place.key("secureClientPort") else {
        println!("Unable to find either secure or unsecure client port in any configs. Terminating.");
        return None;
    };
    let host = place.key("secureClientPortAddress").unwrap_or("localhost");
    Some(Found { host: host.into(), port: port.into(), tls: true })
}

/// What stands behind the `;` of the server's line, here or in the dynamic file.
fn client_part(place: &Place, myid: &str) -> Option<(Option<String>, String)> {
    let key = format!("server.{myid}");
    let part = |keys: &Properties| {
        keys.get(&key)
            .and_then(|entry| entry.value.split_once(';'))
            .map(|(_, client)| client.trim().to_owned())
    };
    let client = part(&place.keys).or_else(|| {
        println!("Client port not found in static config file. Looking in dynamic config file.");
        let dynamic = Properties::read(Path::new(place.key("dynamicConfigFile")?)).ok()?;
        part(&dynamic)
    })?;
    match client.rsplit_once(':') {
        Some((host, port)) => Some((Some(host.trim_matches(['[', ']']).into()), port.into())),
        None => Some((None, client)),
    }
}

/// One four-letter word and everything that comes back.
fn ask(host: &str, port: u16, word: &str, tls: Option<&Tls>) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                // Java's own client of these words does not look for the host's name either.
                let mut stream = match tls {
                    Some(tls) => Socket::dial_tls(stream, tls, host, false)?,
                    None => Socket::from(stream),
                };
                stream.write_all(word.as_bytes())?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
