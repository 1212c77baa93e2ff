//! Who asks: a principal's type and name.

use std::fmt;

use wire::Str;

/// The type that every authenticated user has.
pub const USER: &str = "User";

/// Who a connection belongs to, as ACLs name it: `User:alice`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Principal {
    /// `User`, unless something else than Kafka's own authentication made it.
    pub kind: Str,
    pub name: Str,
}

/// Text that is no principal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a string in format principalType:principalName but got {0}")]
pub struct PrincipalError(pub String);

impl Principal {
    /// A user.
    pub fn user(name: impl Into<Str>) -> Principal {
        Principal { kind: Str::from_static(USER), name: name.into() }
    }

    /// Whoever did not authenticate.
    pub fn anonymous() -> Principal {
        Principal { kind: Str::from_static(USER), name: Str::from_static("ANONYMOUS") }
    }

    /// Reads `type:name`; the name may hold further colons, and either may be empty.
    pub fn parse(text: &str) -> Result<Principal, PrincipalError> {
        match text.split_once(':') {
            Some((kind, name)) => Ok(Principal { kind: kind.into(), name: name.into() }),
            None => Err(PrincipalError(text.to_owned())),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_up_to_its_first_colon_and_written_back() {
        for text in ["User:alice", "User:CN=a:b,O=c", "User:", ":"] {
            assert_eq!(Principal::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Principal::parse("User:CN=a:b").unwrap(), Principal::user("CN=a:b"));
        assert_eq!(Principal::anonymous().to_string(), "User:ANONYMOUS");
        let error = Principal::parse("alice").unwrap_err().to_string();
        assert_eq!(error, "expected a string in format principalType:principalName but got alice");
    }
}
