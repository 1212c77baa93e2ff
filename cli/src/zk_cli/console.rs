//! Where lines come from and events go: a terminal with editing, history and completion, or a pipe.

use super::client::Client;
use super::commands::Commands;
use super::session::State;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex};

pub enum Line {
    Text(String),
    End,
}

pub struct Console {
    /// `None`: lines come from a pipe, or none are read at all.
    editor: Option<Editor<Completion, DefaultHistory>>,
    printer: Printer,
}

/// Prints from another thread without spoiling the line that is being typed.
#[derive(Clone, Default)]
pub struct Printer {
    terminal: Option<Arc<Mutex<dyn ExternalPrinter + Send>>>,
}

impl Printer {
    pub fn print(&self, text: &str) {
        let printed = self.terminal.as_ref().and_then(|terminal| {
            let mut terminal = terminal.lock().ok()?;
            terminal.print(text.to_owned()).ok()
        });
        if printed.is_none() {
            print!("{text}");
            let _ = io::stdout().flush();
        }
    }
}

impl Console {
    pub fn new(interactive: bool) -> Console {
        let terminal = interactive && io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut editor = if terminal { Editor::new().ok() } else { None };
        let mut printer = Printer::default();
        if let Some(editor) = &mut editor
            && let Ok(external) = editor.create_external_printer()
        {
            printer.terminal = Some(Arc::new(Mutex::new(external)));
        }
        Console { editor, printer }
    }

    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    pub fn read(&mut self, prompt: &str, client: &Arc<Client>) -> Line {
        let Some(editor) = &mut self.editor else { return read_pipe(prompt) };
        editor.set_helper(Some(Completion { client: client.clone() }));
        match editor.readline(prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                Line::Text(line)
            }
            Err(_) => Line::End,
        }
    }
}

/// Prompt and line are shown, so that the output reads like a session.
fn read_pipe(prompt: &str) -> Line {
    print!("{prompt}");
    let _ = io::stdout().flush();
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(len) if len > 0 => {
            let line = line.trim_end_matches(['\n', '\r']).to_owned();
            println!("{line}");
            Line::Text(line)
        }
        _ => Line::End,
    }
}

/// Completes the first word to a command, and words that begin with a slash to nodes.
struct Completion {
    client: Arc<Client>,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let word = &typed[start..];
        if word.starts_with('/') {
            return Ok(self.complete_path(start, word));
        }
        let commands = Commands::names().filter(|name| start == 0 && name.starts_with(word));
        Ok((start, commands.map(|name| format!("{name} ")).collect()))
    }
}

impl Completion {
    fn complete_path(&self, start: usize, word: &str) -> (usize, Vec<String>) {
        let (parent, begun) = word.rsplit_once('/').unwrap_or(("", word));
        let at = start + parent.len() + 1;
        if !matches!(self.client.state(), State::Connected | State::ConnectedReadOnly) {
            return (at, Vec::new());
        }
        let parent = if parent.is_empty() { "/" } else { parent };
        let (names, _) = self.client.children(parent, false).unwrap_or_default();
        (at, names.into_iter().filter(|name| name.starts_with(begun)).collect())
    }
}
