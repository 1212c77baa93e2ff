//! What stands in requests about ACLs, users, quotas, delegation tokens and logins.

use bytes::Bytes;
use wire::Str;
use wire::kafka::ApiKey;

use super::draw::Drawer;

/// How everybody logs in.
pub const PASSWORD: &str = "secret";
/// Ten minutes, by which times of tokens are told apart.
const SPAN_MS: i64 = 600_000;

const ACLS: &[ApiKey] = &[ApiKey::CreateAcls, ApiKey::DescribeAcls, ApiKey::DeleteAcls];
const QUOTAS: &[ApiKey] = &[ApiKey::AlterClientQuotas, ApiKey::DescribeClientQuotas];
const USERS: &[ApiKey] = &[ApiKey::AlterUserScramCredentials, ApiKey::DescribeUserScramCredentials];
const TOKENS: &[ApiKey] = &[
    ApiKey::CreateDelegationToken,
    ApiKey::RenewDelegationToken,
    ApiKey::ExpireDelegationToken,
    ApiKey::DescribeDelegationToken,
];

impl Drawer<'_> {
    /// `None`: the field is no matter of this page.
    pub(super) fn guarded_int(&mut self) -> Option<i64> {
        let field = self.field();
        if self.is(ACLS) {
            let is_filter = self.key != ApiKey::CreateAcls;
            return Some(match field {
                "resource_type" | "resource_type_filter" => match is_filter {
                    true => self.of(&[1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 0, 9]),
                    false => self.of(&[2, 2, 2, 3, 3, 4, 5, 6, 7, 1, 0, 9]),
                },
                "resource_pattern_type" | "pattern_type_filter" => match is_filter {
                    true => self.of(&[1, 1, 2, 2, 3, 3, 4, 0, 5]),
                    false => self.of(&[3, 3, 3, 4, 4, 1, 2, 0, 5]),
                },
                "operation" => match is_filter && !self.one_in(3) {
                    true => 1,
                    false => self.of(&[2, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 1, 0, 15]),
                },
                _ => match is_filter && !self.one_in(3) {
                    true => 1,
                    false => self.of(&[3, 3, 3, 2, 2, 1, 0, 4]),
                },
            });
        }
        if self.is(USERS) {
            return Some(match field {
                "mechanism" => self.of(&[1, 1, 2, 2, 0, 3, -1]),
                _ => self.of(&[4096, 4096, 8192, 16_384, 4095, 16_385, 0, -1]),
            });
        }
        if self.is(TOKENS) {
            return Some(self.of(&[-1, -1, SPAN_MS, 2 * SPAN_MS, 144 * SPAN_MS, 10_000 * SPAN_MS, 0, -2]));
        }
        (field == "match_type").then(|| self.of(&[0, 0, 1, 1, 2, 2, 3, -1]))
    }

    pub(super) fn guarded_count(&mut self) -> Option<usize> {
        Some(match self.field() {
            "creations" | "filters" => self.of(&[1, 1, 2, 2, 3, 0]),
            "entries" => self.of(&[1, 1, 1, 2, 0]),
            "entity" => self.of(&[1, 1, 1, 2, 2, 0]),
            "components" => self.of(&[0, 1, 1, 1, 2, 2, 3]),
            "ops" => self.of(&[1, 1, 2, 2, 3, 0]),
            "deletions" | "upsertions" => self.of(&[0, 1, 1, 2]),
            "users" => self.of(&[0, 1, 1, 2]),
            "renewers" | "owners" => self.of(&[0, 0, 1, 1, 2]),
            _ => return None,
        })
    }

    pub(super) fn guarded_null(&mut self) -> Option<bool> {
        Some(match self.field() {
            "resource_name_filter" => self.one_in(2),
            "principal_filter" | "host_filter" => !self.one_in(3),
            "entity_name" => self.one_in(4),
            "match" | "r#match" => self.one_in(2),
            "users" | "owners" => self.one_in(3),
            // Java stumbles over an owner without a type.
            "owner_principal_type" => false,
            "owner_principal_name" => !self.one_in(4),
            _ => return None,
        })
    }

    pub(super) fn guarded_text(&mut self) -> Option<Str> {
        if self.is(ACLS) {
            return Some(match self.field() {
                "principal" | "principal_filter" => self.principal(),
                "host" | "host_filter" => {
                    self.of(&["*", "*", "*", "127.0.0.1", "10.1.2.3", "", "no host"]).into()
                }
                _ => self.resource(),
            });
        }
        if self.is(QUOTAS) {
            return Some(match self.field() {
                "entity_type" => {
                    self.of(&["user", "user", "user", "client-id", "client-id", "ip", "group", ""]).into()
                }
                "key" => self.quota().into(),
                _ => self.user(&["127.0.0.2", "", "no host"]),
            });
        }
        if self.is(USERS) {
            return Some(self.user(&["", "x y"]));
        }
        if self.is(TOKENS) {
            return Some(
                match self.field() {
                    "principal_type" | "owner_principal_type" => {
                        self.of(&["User", "User", "User", "User", "Group", ""])
                    }
                    _ => self.of(&["alice", "alice", "bob", "admin", "carol", ""]),
                }
                .into(),
            );
        }
        match self.field() {
            "mechanism" => Some(
                self.of(&["PLAIN", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "plain", ""]).into(),
            ),
            "path" => Some(match self.one_in(3) {
                true => self.of(&["/nowhere", "here", ""]).into(),
                false => self.learned(&self.known.log_dirs.clone()).unwrap_or_else(|| "/nowhere".into()),
            }),
            _ => None,
        }
    }

    pub(super) fn guarded_bytes(&mut self) -> Option<Bytes> {
        match self.field() {
            "hmac" if !self.one_in(4) => self.learned(&self.known.hmacs.clone()),
            "salt" => Some(Bytes::from_static(self.of(&[&b"a salt of sorts"[..], b"salt", b"", b"\0"]))),
            "salted_password" => {
                let len = self.of(&[32, 64, 64, 32, 1, 0]);
                Some(vec![7; len].into())
            }
            "auth_bytes" => Some(self.login()),
            _ => None,
        }
    }

    fn quota(&mut self) -> &'static str {
        let known = [
            "producer_byte_rate",
            "consumer_byte_rate",
            "request_percentage",
            "controller_mutation_rate",
            "connection_creation_rate",
        ];
        match self.below(10) {
            0 => self.of(&["no.such.quota", "", "SCRAM-SHA-256"]),
            _ => self.of(&known),
        }
    }

    /// Users and client ids that nobody is.
    fn user(&mut self, odd: &[&'static str]) -> Str {
        match self.below(8) {
            0 => self.of(odd).into(),
            1..5 => format!("{}u", self.prefix).into(),
            5 | 6 => format!("{}v", self.prefix).into(),
            _ => format!("{}a b/%+", self.prefix).into(),
        }
    }

    fn principal(&mut self) -> Str {
        match self.below(10) {
            0..4 => format!("User:{}u", self.prefix).into(),
            4..6 => "User:alice".into(),
            6 => "User:*".into(),
            7 => format!("Group:{}:v,w", self.prefix).into(),
            8 => "User:CN=x, O=\"y\"".into(),
            _ => self.of(&["alice", "", "User:", ":", ":x"]).into(),
        }
    }

    fn resource(&mut self) -> Str {
        match self.below(10) {
            0..3 => self.topic(),
            3..5 => self.group(),
            5 => self.transaction(),
            6 => self.prefix.into(),
            7 => "kafka-cluster".into(),
            8 => "*".into(),
            _ => self.of(&["", "alice", "User:alice", "a/b"]).into(),
        }
    }

    /// What a login sends, of each mechanism; the right thing at the wrong time is the wrong thing.
    fn login(&mut self) -> Bytes {
        let known = format!("\0alice\0{PASSWORD}");
        let other = format!("bob\0alice\0{PASSWORD}");
        let same = format!("alice\0alice\0{PASSWORD}");
        let text = match self.below(15) {
            0..4 => &known,
            4 => &other,
            5 => &same,
            6..9 => "n,,n=sam,r=differ",
            9 => "n,,n=none,r=differ",
            10 => "c=biws,r=differ,p=AAAA",
            _ => self.of(&[
                "",
                "\0alice\0wrong",
                "\0nobody-knows\0secret",
                "\0alice\0",
                "\0\0secret",
                "alice secret",
                "\0alice\0secret\0more",
                "y,,n=sam,r=differ",
                "n,a=bob,n=sam,r=differ",
                "n,,m=x,n=sam,r=differ",
                "n,,n=sam,r=differ,tokenauth=true",
            ]),
        };
        Bytes::copy_from_slice(text.as_bytes())
    }
}
