//! From a line to words, and from words to options, as the Java tool's parsers do it.

use std::collections::BTreeMap;

/// Splits a line: blanks separate; a word that begins with a quote ends at the same quote.
pub fn split(line: &str) -> Vec<String> {
    // Nothing but blanks: Java's pattern finds the last one as a word.
    if let Some(blank) = line.chars().next_back().filter(|_| line.trim().is_empty()) {
        return vec![blank.to_string()];
    }
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'').then(|| rest[1..].find(first)).flatten();
        let end = match quoted {
            Some(at) => {
                words.push(rest[1..=at].to_owned());
                at + 2
            }
            None => {
                let skipped = matches!(first, '"' | '\'') as usize;
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                if end > skipped {
                    words.push(rest[skipped..end].to_owned());
                }
                end
            }
        };
        rest = rest[end..].trim_start();
    }
    words
}

/// A command's options and what is left, the command's name first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub args: Vec<String>,
    /// Letter -> value; empty for options without one.
    options: BTreeMap<char, String>,
    /// The letters in the order in which they were given.
    order: Vec<char>,
}

impl Parsed {
    pub fn has(&self, letter: char) -> bool {
        self.options.contains_key(&letter)
    }

    /// Of those letters, the two first that were given, if there are two: for options that exclude each other.
    pub fn first_two(&self, letters: &str) -> Option<(char, char)> {
        let mut given = self.order.iter().filter(|letter| letters.contains(**letter));
        let first = given.next()?;
        given.find(|second| *second != first).map(|second| (*first, *second))
    }

    /// All words as they are, for a command with options of its own kind.
    pub fn of_words(words: &[String]) -> Parsed {
        Parsed { args: words.to_vec(), ..Parsed::default() }
    }

    pub fn value(&self, letter: char) -> Option<&str> {
        self.options.get(&letter).map(String::as_str)
    }
}

/// `letters` as for getopt: a colon behind a letter asks for a value. Options stand anywhere before `--`.
pub fn parse(letters: &str, words: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.args.extend(words.by_ref().cloned());
        } else if word.len() > 1 && word.starts_with('-') {
            take_options(letters, word, &mut words, &mut parsed)?;
        } else {
            parsed.args.push(word.clone());
        }
    }
    Ok(parsed)
}

fn takes_value(letters: &str, letter: char) -> Option<bool> {
    let at = letters.find(letter).filter(|_| letter != ':')?;
    Some(letters[at + letter.len_utf8()..].starts_with(':'))
}

/// `-s`, `-v 3`, `-v=3`, `-v3`, `-sw`.
fn take_options<'a>(
    letters: &str,
    word: &str,
    words: &mut impl Iterator<Item = &'a String>,
    parsed: &mut Parsed,
) -> Result<(), String> {
    let unknown =
        || format!("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {word}");
    let body = &word[1..];
    for (at, letter) in body.char_indices() {
        match takes_value(letters, letter) {
            None => return Err(unknown()),
            Some(false) => {
                parsed.options.insert(letter, String::new());
                parsed.order.push(letter);
            }
            Some(true) => {
                let rest = &body[at + letter.len_utf8()..];
                let value = match rest.strip_prefix('=').unwrap_or(rest) {
                    "" => words.next().filter(|next| !is_option(letters, next)).cloned().ok_or_else(|| {
                        format!(
                            "org.apache.commons.cli.MissingArgumentException: Missing argument for option: {letter}"
                        )
                    })?,
                    inline => inline.to_owned(),
                };
                parsed.options.insert(letter, value);
                parsed.order.push(letter);
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_option(letters: &str, word: &str) -> bool {
    let mut chars = word.chars();
    chars.next() == Some('-') && chars.next().is_some_and(|letter| takes_value(letters, letter).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line)
    }

    #[test]
    fn quotes_keep_blanks_and_nothing_escapes() {
        assert_eq!(words("set /a  \"two words\" 'it''s'"), ["set", "/a", "two words", "it", "s"]);
        assert_eq!(words("create /a \"\""), ["create", "/a", ""]);
        assert_eq!(words("set /a a\"b c"), ["set", "/a", "a\"b", "c"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(words("  "), [" "]);
    }

    #[test]
    fn options_stand_anywhere_and_carry_values() {
        let parsed = parse("sv:", &words("set /a x -s -v 3")).unwrap();
        assert_eq!(parsed.args, ["set", "/a", "x"]);
        assert!(parsed.has('s') && parsed.value('v') == Some("3"));
        for form in ["-v=3", "-v3", "-sv 3"] {
            assert_eq!(parse("sv:", &words(form)).unwrap().value('v'), Some("3"), "{form}");
        }
        assert_eq!(parse("v:", &words("delete -v -1 /a")).unwrap().value('v'), Some("-1"));
        assert_eq!(parse("s", &words("set /a -- -5")).unwrap().args, ["set", "/a", "-5"]);
    }

    #[test]
    fn wrong_options_are_told_in_the_java_parser_s_words() {
        let wrong = |line: &str| parse("sv:", &words(line)).unwrap_err();
        assert!(wrong("get -z /a").ends_with("UnrecognizedOptionException: Unrecognized option: -z"));
        assert!(wrong("delete /a -v").ends_with("MissingArgumentException: Missing argument for option: v"));
        assert!(wrong("delete -v -s /a").ends_with("Missing argument for option: v"));
    }
}
