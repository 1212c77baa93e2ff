//! `ssl.principal.mapping.rules`: the name of a certificate's owner, made into a user's.

use fancy_regex::Regex;

#[derive(Debug)]
enum Rule {
    /// The name as it is.
    Default,
    Rewrite {
        pattern: Regex,
        replacement: String,
        case: Case,
    },
}

#[derive(Debug, Clone, Copy)]
enum Case {
    Kept,
    Lower,
    Upper,
}

/// The first rule that fits counts.
#[derive(Debug)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// `RULE:pattern/replacement/[L|U]` or `DEFAULT`, separated by commas; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Rules, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let behind = match rest.strip_prefix("RULE:") {
                None => {
                    let behind =
                        rest.strip_prefix("DEFAULT").ok_or_else(|| format!("Invalid rule: `{rest}`"))?;
                    rules.push(Rule::Default);
                    behind
                }
                Some(rule) => {
                    let invalid = || format!("Invalid rule: `{rest}`, write RULE:pattern/replacement/[L|U]");
                    let (pattern, rule) = up_to_slash(rule).ok_or_else(invalid)?;
                    let (replacement, rule) = up_to_slash(rule).ok_or_else(invalid)?;
                    let (case, behind) = match rule.as_bytes().first() {
                        Some(b'L') => (Case::Lower, &rule[1..]),
                        Some(b'U') => (Case::Upper, &rule[1..]),
                        _ => (Case::Kept, rule),
                    };
                    let pattern =
                        Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
                    rules.push(Rule::Rewrite { pattern, replacement: replacement.to_owned(), case });
                    behind
                }
            };
            let behind = behind.trim_start_matches(' ');
            rest = match behind.strip_prefix([',', '\n']) {
                Some(next) => next.trim_start(),
                None if behind.is_empty() => behind,
                None => return Err(format!("Invalid rule: `{rest}`")),
            };
        }
        Ok(Rules(rules))
    }

    /// The user's name; `None`: no rule fits.
    pub fn apply(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|rule| match rule {
            Rule::Default => Some(name.to_owned()),
            Rule::Rewrite { pattern, replacement, case } => {
                let found = pattern.captures(name).ok().flatten()?;
                let groups: Vec<_> =
                    (0..found.len()).map(|at| found.get(at).map(|group| group.as_str())).collect();
                let made = expanded(replacement, &groups);
                Some(match case {
                    Case::Kept => made,
                    Case::Lower => made.to_lowercase(),
                    Case::Upper => made.to_uppercase(),
                })
            }
        })
    }
}

/// What stands before the next slash that no backslash escapes, and behind it.
fn up_to_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' if !escaped => escaped = true,
            '/' if !escaped => return Some((&text[..at], &text[at + 1..])),
            _ => escaped = false,
        }
    }
    None
}

/// `$1` is the first group; a group that is not there stays as it is written.
fn expanded(replacement: &str, groups: &[Option<&str>]) -> String {
    let mut made = String::new();
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        let digit = letters.peek().and_then(|digit| digit.to_digit(10)).filter(|_| letter == '$');
        match digit {
            Some(group) => {
                letters.next();
                match groups.get(group as usize) {
                    Some(group) => made.push_str(group.unwrap_or_default()),
                    None => made.push_str(&format!("${group}")),
                }
            }
            None if letter == '\\' => made.extend(letters.next()),
            None => made.push(letter),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_makes_the_name() {
        let text = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?)$/$1@$2/L,\
                    RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U,DEFAULT";
        let rules = Rules::parse(text).unwrap();
        let name = |owner: &str| rules.apply(owner).unwrap();
        assert_eq!(name("CN=Kafka,OU=ServiceUsers,O=X"), "Kafka");
        assert_eq!(name("CN=Ann,OU=Admins,O=X"), "ann@admins");
        assert_eq!(name("O=X,cn=bob"), "BOB");
        assert_eq!(name("UID=7"), "UID=7");
        assert_eq!(Rules::parse("RULE:^CN=(.*)$/$1$9/").unwrap().apply("CN=a").unwrap(), "a$9");
    }

    #[test]
    fn a_name_that_no_rule_fits_has_no_user_and_broken_rules_are_refused() {
        assert_eq!(Rules::parse("RULE:^CN=(.*)$/$1/").unwrap().apply("O=x"), None);
        for wrong in ["default", "RULE:x", "RULE:x/y", "RULE:(/y/", "RULE:x/y/L oops", "DEFAULTS"] {
            assert!(Rules::parse(wrong).is_err(), "{wrong}");
        }
    }
}
