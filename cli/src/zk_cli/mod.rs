//! `zkCli [-server h:p[,h:p][/chroot]] [-timeout ms] [-r] [-waitforconnection] [command]`
//!
//! Outputs, streams and exit codes are those of ZooKeeper 3.9.3's `zkCli.sh`: 0 ok, 1 a command failed, 127 no such
//! command, 2 a client configuration that cannot be used. One command is run and the session is left open, as there.

mod base64;
pub mod client;
mod commands;
mod console;
mod multi;
pub mod print;
pub mod security;
mod session;
pub mod target;
#[cfg(test)]
mod tests;
mod watches;
mod words;

use crate::Call;
use base::Properties;
use client::Client;
use commands::{Commands, Outcome};
use console::{Console, Line};
use session::{Event, Security};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use target::Target;
use zk_server::tls::Tls;

const FIRST_PROMPT_WAIT: Duration = Duration::from_millis(300);

pub fn main(call: &Call) -> ExitCode {
    main_with(call, Properties::new())
}

/// As [`main`], with settings that count over those of the environment.
pub fn main_with(call: &Call, asked: Properties) -> ExitCode {
    let mut options = Options { asked, ..Options::parse(&call.args) };
    println!("Connecting to {}", options.server);
    if let Err(why) = options.read_client_configuration() {
        eprintln!("{why}");
        return ExitCode::from(2);
    }
    let mut tool = match Tool::new(options) {
        Ok(tool) => tool,
        Err(outcome) => {
            eprintln!("{}", outcome.text);
            return ExitCode::from(outcome.code);
        }
    };
    let code = match tool.options.command.clone() {
        Some(words) => tool.one_shot(words),
        None => tool.interactive(),
    };
    let _ = std::io::stdout().flush();
    ExitCode::from(code)
}

struct Options {
    server: String,
    /// Milliseconds, as they were typed.
    timeout: String,
    read_only: bool,
    wait: bool,
    client_configuration: Option<String>,
    tls: Option<Arc<Tls>>,
    login: Option<security::Login>,
    command: Option<Vec<String>>,
    asked: Properties,
}

impl Options {
    /// Unknown options are passed over, as the Java tool does.
    fn parse(args: &[String]) -> Options {
        let mut options = Options {
            server: "localhost:2181".into(),
            timeout: "30000".into(),
            read_only: false,
            wait: false,
            client_configuration: None,
            tls: None,
            login: None,
            command: None,
            asked: Properties::new(),
        };
        let mut args = args.iter();
        while let Some(word) = args.next() {
            let takes_value = ["-server", "-timeout", "-client-configuration"].contains(&word.as_str());
            let value = if takes_value { args.next() } else { None };
            match (word.as_str(), value) {
                ("-server", Some(server)) => options.server = server.clone(),
                ("-timeout", Some(ms)) => options.timeout = ms.clone(),
                ("-client-configuration", Some(file)) => options.client_configuration = Some(file.clone()),
                ("-r", _) => options.read_only = true,
                ("-waitforconnection", _) => options.wait = true,
                (_, None) if takes_value => {
                    eprintln!("Error: no argument found for option {word}");
                    return options;
                }
                (word, _) if word.starts_with('-') => {}
                _ => {
                    options.command = Some(std::iter::once(word).chain(args).cloned().collect());
                    return options;
                }
            }
        }
        options
    }

    /// What the file says, over the flags; TLS where they ask for it.
    fn read_client_configuration(&mut self) -> Result<(), String> {
        let mut asked = security::flags();
        asked.overlay(self.asked.clone());
        if let Some(file) = &self.client_configuration {
            if !std::path::Path::new(file).exists() {
                return Err(format!(
                    "org.apache.zookeeper.server.quorum.QuorumPeerConfig$ConfigException: Error while processing {file}\n\
                     Caused by: java.lang.IllegalArgumentException: {file} file is missing"
                ));
            }
            asked.overlay(Properties::read(file.as_ref()).map_err(|error| error.to_string())?);
        }
        if security::is_secure(&asked) {
            self.tls = Some(security::tls(&asked)?);
        }
        match security::login(&asked) {
            Ok(login) => self.login = login,
            Err(why) => eprintln!(
                "SASL configuration failed. Will continue connection to Zookeeper server without SASL authentication, if \
                 Zookeeper server allows it: {why}"
            ),
        }
        Ok(())
    }
}

/// The tool's state between commands.
struct Tool {
    options: Options,
    client: Arc<Client>,
    commands: Commands,
    console: Console,
    print_watches: Arc<AtomicBool>,
    /// The line of each command so far.
    history: Vec<String>,
    exit_code: u8,
}

impl Tool {
    fn new(options: Options) -> Result<Tool, Outcome> {
        let console = Console::new(options.command.is_none());
        let print_watches = Arc::new(AtomicBool::new(true));
        let client = Arc::new(connect(&options, &console, &print_watches)?);
        Ok(Tool {
            options,
            client,
            commands: Commands,
            console,
            print_watches,
            history: Vec::new(),
            exit_code: 0,
        })
    }

    fn one_shot(&mut self, words: Vec<String>) -> u8 {
        self.run(words);
        self.exit_code
    }

    fn interactive(&mut self) -> u8 {
        println!("Welcome to ZooKeeper!");
        println!("JLine support is enabled");
        // A server that answers at once is shown as connected by the first prompt.
        self.client.wait_connected(FIRST_PROMPT_WAIT);
        loop {
            let prompt =
                format!("[zk: {}({}) {}] ", self.options.server, self.client.state(), self.history.len());
            match self.console.read(&prompt, &self.client) {
                Line::Text(line) if line.is_empty() => {}
                Line::Text(line) => {
                    self.history.push(line.clone());
                    if self.run(words::split(&line)) {
                        return self.exit_code;
                    }
                }
                Line::End => return self.exit_code,
            }
        }
    }

    /// Runs one command; true: the tool is to end.
    fn run(&mut self, words: Vec<String>) -> bool {
        match self.dispatch(words) {
            Ok(true) => return true,
            Ok(false) => self.exit_code = 0,
            Err(outcome) => {
                eprintln!("{}", outcome.text);
                self.exit_code = outcome.code;
                return outcome.ends;
            }
        }
        false
    }

    fn dispatch(&mut self, words: Vec<String>) -> Result<bool, Outcome> {
        let Some(name) = words.first() else {
            eprintln!("{}", self.commands.usage());
            return Err(Outcome::failed("No command entered"));
        };
        if !self.commands.knows(name) {
            eprintln!("{}", self.commands.usage());
            let text = format!("Command not found: Command not found {name}");
            return Err(Outcome { text, code: 127, ends: false });
        }
        match (name.as_str(), words.get(1)) {
            ("quit", _) => {
                self.client.close();
                return Ok(true);
            }
            ("redo", Some(number)) => return self.redo(number),
            ("history", _) => self.show_history(),
            ("printwatches", Some(word)) => self.print_watches.store(word == "on", Ordering::Relaxed),
            ("printwatches", None) => {
                let on = self.print_watches.load(Ordering::Relaxed);
                println!("printwatches is {}", if on { "on" } else { "off" });
            }
            ("connect", server) => {
                let server = server.cloned().unwrap_or_else(|| self.options.server.clone());
                self.reconnect(server)?;
            }
            _ => {}
        }
        if !self.client.state().is_alive() {
            println!("Not connected");
            return Ok(false);
        }
        self.commands.run(&self.client, &words)?;
        Ok(false)
    }

    /// Runs an earlier line again; it stands in the history in place of the `redo`.
    fn redo(&mut self, number: &str) -> Result<bool, Outcome> {
        let here = self.history.len().saturating_sub(1);
        let number: i64 = commands::whole_number(number)?;
        if number < 0 || here as i64 <= number {
            return Err(Outcome::failed("Command index out of range"));
        }
        let line = self.history[number as usize].clone();
        let words = words::split(&line);
        if words.first().is_some_and(|name| name == "redo") {
            return Err(Outcome::failed("No redoing redos"));
        }
        self.history[here] = line;
        self.dispatch(words)
    }

    /// The last eleven lines, this one included; a one-shot call has none.
    fn show_history(&self) {
        match self.history.len() {
            0 => println!("0 - null"),
            len => (len.saturating_sub(11)..len).for_each(|at| println!("{at} - {}", self.history[at])),
        }
    }

    fn reconnect(&mut self, server: String) -> Result<(), Outcome> {
        if self.client.state().is_alive() {
            self.client.close();
        }
        self.options.server = server;
        self.client = Arc::new(connect(&self.options, &self.console, &self.print_watches)?);
        Ok(())
    }
}

fn connect(options: &Options, console: &Console, print_watches: &Arc<AtomicBool>) -> Result<Client, Outcome> {
    let timeout_ms: i32 = commands::whole_number(&options.timeout)?;
    let target =
        Target::parse(&options.server).map_err(|why| Outcome::thrown("IllegalArgumentException", &why))?;
    let (print_watches, printer) = (print_watches.clone(), console.printer());
    let tell = move |event: &Event| {
        if print_watches.load(Ordering::Relaxed) {
            printer.print(&format!("\nWATCHER::\n\n{event}\n"));
        }
    };
    let security = Security { tls: options.tls.clone(), login: options.login.clone() };
    let client = Client::start(target, security, timeout_ms, options.read_only, tell);
    if options.wait && !client.wait_connected(Duration::from_millis(timeout_ms.max(0) as u64)) {
        client.close();
        return Err(Outcome::failed(
            "Exception in thread \"main\" java.io.IOException: org.apache.zookeeper.KeeperException$ConnectionLossException: \
             KeeperErrorCode = ConnectionLoss\n\
             Caused by: org.apache.zookeeper.KeeperException$ConnectionLossException: KeeperErrorCode = ConnectionLoss",
        ));
    }
    Ok(client)
}
