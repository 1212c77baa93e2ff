//! The session and the servers themselves.

use super::super::client::Client;
use super::super::print;
use super::super::words::Parsed;
use super::{Outcome, number, usage_of};
use base::Properties;
use std::fs;
use wire::zk::{GetDataResponse, ReconfigRequest};
use zk_server::config::Member;

const VERSION: &str =
    "ZooKeeper CLI version: 3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on 2024-10-17 23:21 UTC";

pub fn close(client: &Client, _: &Parsed) -> Result<(), Outcome> {
    client.close();
    Ok(())
}

pub fn version(_: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    if parsed.args.len() > 1 {
        return Err(Outcome::failed("version "));
    }
    println!("{VERSION}");
    Ok(())
}

pub fn sync(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    match client.sync(&parsed.args[1]) {
        Ok(()) => println!("Sync is OK"),
        Err(super::Failure::Keeper { code, .. }) => println!("Sync has failed. rc={code}"),
        Err(malformed) => return Err(malformed.into()),
    }
    Ok(())
}

pub fn who_am_i(client: &Client, _: &Parsed) -> Result<(), Outcome> {
    let ids = client.who_am_i()?;
    println!("Auth scheme: User");
    ids.iter().for_each(|id| println!("{}: {}", id.scheme, id.user));
    Ok(())
}

pub fn config(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let reply = client.config(parsed.has('w'))?;
    let text = text_of(&reply);
    match parsed.has('c') {
        true => println!("{}", client_string(&text)),
        false => println!("{text}"),
    }
    if parsed.has('s') {
        println!("{}", print::stat(&reply.stat));
    }
    Ok(())
}

fn text_of(reply: &GetDataResponse) -> String {
    reply.data.as_ref().map_or("null".into(), |data| String::from_utf8_lossy(data).into_owned())
}

/// `<version> host:port,host:port`, with an empty item for a member whose line has no client part.
fn client_string(text: &str) -> String {
    let keys = Properties::parse("config", text.as_bytes()).unwrap_or_default();
    let version = keys.get("version").map_or("", |entry| entry.value.trim());
    let members = keys.iter().filter(|entry| entry.key.starts_with("server."));
    let client = |spec: &str| Member::parse(-1, spec.trim()).ok()?.client;
    let clients: Vec<String> = members
        .map(|entry| client(&entry.value).map_or(String::new(), |at| format!("{}:{}", at.host, at.port)))
        .collect();
    format!("{version} {}", clients.join(","))
}

pub fn reconfig(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let options = Reconfig::parse(&parsed.args)?;
    let reply = client.reconfig(&options.request()?)?;
    println!("Committed new configuration:\n{}", text_of(&reply));
    if options.stat {
        println!("{}", print::stat(&reply.stat));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Reconfig {
    stat: bool,
    version: Option<String>,
    file: Option<String>,
    members: Option<String>,
    add: Vec<String>,
    remove: Vec<String>,
}

impl Reconfig {
    /// Options are whole words, such as `-add`.
    fn parse(words: &[String]) -> Result<Reconfig, Outcome> {
        let mut options = Reconfig::default();
        let mut words = words.iter().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words.next().cloned().ok_or_else(|| {
                    Outcome::failed(format!(
                        "org.apache.commons.cli.MissingArgumentException: Missing argument for option: {}",
                        word.trim_start_matches('-')
                    ))
                })
            };
            match word.as_str() {
                "-s" => options.stat = true,
                "-v" => options.version = Some(value()?),
                "-file" => options.file = Some(value()?),
                "-members" => options.members = Some(value()?),
                "-add" => options.add.push(value()?),
                "-remove" => options.remove.push(value()?),
                other => {
                    return Err(Outcome::failed(format!(
                        "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {other}"
                    )));
                }
            }
        }
        Ok(options)
    }

    fn request(&self) -> Result<ReconfigRequest, Outcome> {
        let incremental = !self.add.is_empty() || !self.remove.is_empty();
        if !incremental && self.file.is_none() && self.members.is_none() {
            return Err(Outcome::failed(usage_of("reconfig")));
        }
        let config_id = match self.version.as_deref().map(|hex| i64::from_str_radix(hex, 16)) {
            None => -1,
            Some(Ok(version)) => version,
            Some(Err(_)) => {
                return Err(Outcome::failed("-v must be followed by a long (configuration version)"));
            }
        };
        if incremental && (self.file.is_some() || self.members.is_some()) {
            return Err(Outcome::failed(
                "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental \
                 modes is not allowed)",
            ));
        }
        if self.file.is_some() && self.members.is_some() {
            return Err(Outcome::failed(
                "Can't use -file and -members together (conflicting non-incremental modes)",
            ));
        }
        let lines = |items: &[String]| Some(items.join(",").to_lowercase()).filter(|_| !items.is_empty());
        let from_file = self.file.as_deref().map(members_of_file).transpose()?;
        Ok(ReconfigRequest {
            joining: lines(&self.add).map(Into::into),
            leaving: lines(&self.remove).map(Into::into),
            members: from_file
                .or_else(|| self.members.as_ref().map(|members| members.to_lowercase()))
                .map(Into::into),
            config_id,
        })
    }
}

fn members_of_file(file: &str) -> Result<String, Outcome> {
    let text = fs::read(file).map_err(|error| {
        // Java's own text names the file twice.
        let error = error.to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        Outcome::failed(format!("Error processing {file}{file} ({reason})"))
    })?;
    let keys = Properties::parse(file, &text).map_err(|error| Outcome::failed(error.to_string()))?;
    let mut lines: Vec<String> = Vec::new();
    for entry in keys.iter().filter(|entry| entry.key.starts_with("server.")) {
        let sid: i64 = number(&entry.key["server.".len()..])?;
        Member::parse(sid, entry.value.trim())
            .map_err(|wrong| Outcome::failed(entry.error(wrong).to_string()))?;
        lines.push(format!("{}={}", entry.key, entry.value.trim()));
    }
    Ok(lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_string_has_an_empty_item_where_a_line_has_no_client_part() {
        let text = "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant\nversion=100000000";
        assert_eq!(client_string(text), "100000000 0.0.0.0:2181,");
        assert_eq!(client_string(""), " ");
    }

    #[test]
    fn reconfig_does_not_mix_its_two_modes() {
        let request = |line: &str| {
            let words: Vec<String> = line.split(' ').map(String::from).collect();
            Reconfig::parse(&words).and_then(|options| options.request()).map_err(|outcome| outcome.text)
        };
        let asked = request("reconfig -add server.4=h:1:2;3 -remove 1 -v 1f").unwrap();
        assert_eq!((asked.joining.as_deref(), asked.config_id), (Some("server.4=h:1:2;3"), 31));
        assert!(
            request("reconfig -add x -members y")
                .unwrap_err()
                .starts_with("Can't use -file or -members together")
        );
        assert!(request("reconfig -v xyz -remove 1").unwrap_err().starts_with("-v must be followed"));
        assert!(request("reconfig -v 1").unwrap_err().starts_with("reconfig [-s] [-v version]"));
        assert!(request("reconfig -add").unwrap_err().ends_with("Missing argument for option: add"));
    }
}
