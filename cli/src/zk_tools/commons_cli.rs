//! A command line as commons-cli's `DefaultParser` reads it: clusters of letters, long names and their beginnings,
//! values behind `=` or in the next word, and its complaints.

/// `-z`, `--zxid`, and whether a value follows.
pub struct Flag {
    pub letter: char,
    pub long: &'static str,
    pub valued: bool,
    pub required: bool,
}

impl Flag {
    pub const fn new(letter: char, long: &'static str) -> Flag {
        Flag { letter, long, valued: false, required: false }
    }

    pub const fn valued(self) -> Flag {
        Flag { valued: true, ..self }
    }

    pub const fn required(self) -> Flag {
        Flag { required: true, ..self }
    }
}

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    options: Vec<(char, String)>,
    pub args: Vec<String>,
}

impl Given {
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }

    /// The first one counts, as in Java.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options.iter().find(|(given, _)| *given == letter).map(|(_, value)| value.as_str())
    }
}

/// The error is commons-cli's message.
pub fn parse(flags: &'static [Flag], words: &[String]) -> Result<Given, String> {
    let mut parser = Parser { flags, given: Given::default(), pending: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parser.given.args.extend(words.by_ref().cloned());
            break;
        }
        parser.word(word)?;
    }
    parser.end_pending()?;
    let missing: Vec<String> = (flags.iter().filter(|flag| flag.required))
        .filter(|flag| !parser.given.has(flag.letter))
        .map(|flag| flag.letter.to_string())
        .collect();
    match missing.len() {
        0 => Ok(parser.given),
        1 => Err(format!("Missing required option: {}", missing[0])),
        _ => Err(format!("Missing required options: {}", missing.join(", "))),
    }
}

struct Parser {
    flags: &'static [Flag],
    given: Given,
    /// A flag whose value is still to come.
    pending: Option<char>,
}

impl Parser {
    fn word(&mut self, word: &str) -> Result<(), String> {
        if let Some(letter) = self.pending
            && !self.is_option(word)
        {
            self.pending = None;
            self.given.options.push((letter, unquoted(word).into()));
            return Ok(());
        }
        match word.strip_prefix('-') {
            None | Some("") => {
                self.given.args.push(word.into());
                Ok(())
            }
            Some(body) => match body.strip_prefix('-') {
                Some(body) => self.long(word, body),
                None => self.short(word, body),
            },
        }
    }

    fn long(&mut self, word: &str, body: &str) -> Result<(), String> {
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        match (&self.matching(name)[..], value) {
            ([], _) => Err(unknown(word)),
            ([flag], None) => self.take(flag),
            ([flag], Some(value)) if flag.valued => self.take_value(flag, value),
            ([_], Some(_)) => Err(unknown(word)),
            (several, _) => {
                let names: Vec<String> = several.iter().map(|flag| format!("'{}'", flag.long)).collect();
                let shown = word.split('=').next().unwrap_or(word);
                Err(format!("Ambiguous option: '{shown}'  (could be: {})", names.join(", ")))
            }
        }
    }

    /// `-z 5`, `-z=5`, `-z5`, `-rv`, and also `-zxid 5`.
    fn short(&mut self, word: &str, body: &str) -> Result<(), String> {
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let mut letters = name.chars();
        if let (Some(letter), None) = (letters.next(), letters.next()) {
            return match (self.flag(letter), value) {
                (Some(flag), None) => self.take(flag),
                (Some(flag), Some(value)) if flag.valued => self.take_value(flag, value),
                _ => Err(unknown(word)),
            };
        }
        if !self.matching(name).is_empty() {
            return self.long(word, body);
        }
        self.cluster(word, body)
    }

    fn cluster(&mut self, word: &str, body: &str) -> Result<(), String> {
        for (at, letter) in body.char_indices() {
            let Some(flag) = self.flag(letter) else { return Err(unknown(word)) };
            self.take(flag)?;
            let rest = &body[at + letter.len_utf8()..];
            if self.pending.is_some() && !rest.is_empty() {
                self.pending = None;
                self.given.options.push((letter, unquoted(rest).into()));
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, flag: &Flag) -> Result<(), String> {
        self.end_pending()?;
        match flag.valued {
            true => self.pending = Some(flag.letter),
            false => self.given.options.push((flag.letter, String::new())),
        }
        Ok(())
    }

    fn take_value(&mut self, flag: &Flag, value: &str) -> Result<(), String> {
        self.end_pending()?;
        self.given.options.push((flag.letter, unquoted(value).into()));
        Ok(())
    }

    fn end_pending(&mut self) -> Result<(), String> {
        match self.pending.take() {
            Some(letter) => Err(format!("Missing argument for option: {letter}")),
            None => Ok(()),
        }
    }

    fn flag(&self, letter: char) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.letter == letter)
    }

    fn matching(&self, name: &str) -> Vec<&'static Flag> {
        let exact: Vec<_> = self.flags.iter().filter(|flag| flag.long == name).collect();
        match exact.is_empty() {
            true => self.flags.iter().filter(|flag| flag.long.starts_with(name)).collect(),
            false => exact,
        }
    }

    /// A negative number is a value.
    fn is_option(&self, word: &str) -> bool {
        let Some(body) = word.strip_prefix('-').filter(|body| !body.is_empty()) else { return false };
        if word.parse::<f64>().is_ok() {
            return false;
        }
        let name = body.strip_prefix('-').unwrap_or(body).split('=').next().unwrap_or_default();
        !self.matching(name).is_empty()
            || name.chars().next().is_some_and(|letter| self.flag(letter).is_some())
    }
}

fn unknown(word: &str) -> String {
    format!("Unrecognized option: {word}")
}

/// commons-cli takes a pair of quotes off a value.
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLAGS: &[Flag] = &[
        Flag::new('r', "recover"),
        Flag::new('v', "verbose"),
        Flag::new('z', "zxid").valued(),
        Flag::new('x', "verify"),
    ];
    static NEEDED: &[Flag] =
        &[Flag::new('l', "left").valued().required(), Flag::new('b', "bytes").valued().required()];

    fn given(line: &str) -> Result<Given, String> {
        parse(FLAGS, &words(line))
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_come_as_letters_clusters_long_names_and_their_beginnings() {
        for line in [
            "-rv f -z 5",
            "-r -v f -z=5",
            "--recover --verbose f --zxid 5",
            "--rec --verb f --z=5",
            "-vrz5 f",
        ] {
            let given = given(line).unwrap();
            assert!(given.has('r') && given.has('v') && !given.has('x'), "{line}");
            assert_eq!((given.value('z'), &given.args[..]), (Some("5"), &["f".to_owned()][..]), "{line}");
        }
        assert_eq!(given("-z -5").unwrap().value('z'), Some("-5"));
        assert_eq!(given("-r -- -v").unwrap().args, ["-v"]);
    }

    #[test]
    fn complaints_are_commons_cli_s() {
        assert_eq!(given("-q").unwrap_err(), "Unrecognized option: -q");
        assert_eq!(given("--quiet").unwrap_err(), "Unrecognized option: --quiet");
        assert_eq!(given("-z").unwrap_err(), "Missing argument for option: z");
        assert_eq!(given("-z -r").unwrap_err(), "Missing argument for option: z");
        assert_eq!(given("--ver").unwrap_err(), "Ambiguous option: '--ver'  (could be: 'verbose', 'verify')");
        assert_eq!(parse(NEEDED, &[]).unwrap_err(), "Missing required options: l, b");
        assert_eq!(parse(NEEDED, &words("-l x")).unwrap_err(), "Missing required option: b");
    }
}
