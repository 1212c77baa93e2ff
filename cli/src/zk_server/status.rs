//! `zkServer status`: finds the client port in the configuration and asks the server `srvr`.

use super::place::Place;
use super::{FAILURE, SUCCESS};
use base::Properties;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Of connecting and of each read, as Java's own client of these words has it.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn status(place: &Place) -> ExitCode {
    let Some((host, port)) = client_port(place) else { return FAILURE };
    println!("Client port found: {port}. Client address: {host}. Client SSL: false.");
    let answer = port.parse().ok().and_then(|port| ask(&host, port, "srvr").ok()).unwrap_or_default();
    match answer.lines().find(|line| line.contains("Mode")) {
        Some(mode) => {
            println!("{}", mode.trim());
            SUCCESS
        }
        None => {
            println!("Error contacting service. It is probably not running.");
            FAILURE
        }
    }
}

/// From `clientPort`, else from this server's own line. Prints what was tried in vain.
fn client_port(place: &Place) -> Option<(String, String)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = place.key("clientPortAddress").unwrap_or("localhost").to_owned();
    if let Some(port) = place.key("clientPort").filter(|port| is_number(port)) {
        return Some((host, port.into()));
    }
    let myid = Path::new(place.key("dataDir").unwrap_or_default()).join("myid");
    let myid = fs::read_to_string(myid).unwrap_or_default().trim().to_owned();
    if is_number(&myid) {
        match client_part(place, &myid) {
            Some((None, port)) => return Some((host, port)),
            Some((Some(host), port)) => return Some((host, port)),
            None => println!("Client port not found in the server configs"),
        }
    } else {
        println!("myid could not be determined, will not able to locate clientPort in the server configs.");
    }
    println!("Client port not found. Looking for secureClientPort in the static config.");
    match place.key("secureClientPort") {
        Some(port) => {
            println!("secureClientPort is {port}, but this tool cannot ask over TLS yet. Terminating.")
        }
        None => println!("Unable to find either secure or unsecure client port in any configs. Terminating."),
    }
    None
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
fn ask(host: &str, port: u16, word: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
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
