//! The words of ACLs: kinds of resources, of patterns, operations and permissions, with the codes that requests use
//! and both of their spellings: `TRANSACTIONAL_ID` in messages, `TransactionalId` in ZooKeeper and on command lines.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident $code:literal $upper:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$value_doc])* $value = $code,)*
        }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL_VALUES: &'static [$name] = &[$($name::$value),*];

            /// By the code that requests use; one that nobody knows is `Unknown`.
            pub fn from_code(code: i8) -> $name {
                match code {
                    $($code => $name::$value,)*
                    _ => $name::Unknown,
                }
            }

            /// The code that requests use.
            pub fn code(self) -> i8 {
                self as i8
            }

            /// As Java's enum spells it: `TRANSACTIONAL_ID`.
            pub fn upper(self) -> &'static str {
                match self {
                    $($name::$value => $upper,)*
                }
            }

            /// As ZooKeeper's nodes and command lines spell it: `TransactionalId`.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$value => stringify!($value),)*
                }
            }

            /// By its name without underscores, in any case; what nobody knows is `Unknown`.
            pub fn from_name(name: &str) -> $name {
                let found = Self::ALL_VALUES.iter().find(|value| value.name().eq_ignore_ascii_case(name));
                found.copied().unwrap_or($name::Unknown)
            }

            /// By Java's spelling, in any case; what nobody knows is `Unknown`.
            pub fn from_upper(name: &str) -> $name {
                let found = Self::ALL_VALUES.iter().find(|value| value.upper().eq_ignore_ascii_case(name));
                found.copied().unwrap_or($name::Unknown)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.upper())
            }
        }
    };
}

words! {
    /// What an ACL protects.
    ResourceType {
        Unknown 0 "UNKNOWN",
        /// In filters only.
        Any 1 "ANY",
        Topic 2 "TOPIC",
        Group 3 "GROUP",
        Cluster 4 "CLUSTER",
        TransactionalId 5 "TRANSACTIONAL_ID",
        DelegationToken 6 "DELEGATION_TOKEN",
        User 7 "USER",
    }
}

words! {
    /// How an ACL's resource name is meant.
    PatternType {
        Unknown 0 "UNKNOWN",
        /// In filters only: either type, the name as it is.
        Any 1 "ANY",
        /// In filters only: whatever affects the named resource.
        Match 2 "MATCH",
        /// The resource of this name; `*` is every resource.
        Literal 3 "LITERAL",
        /// Every resource whose name begins so.
        Prefixed 4 "PREFIXED",
    }
}

words! {
    /// What somebody wants to do.
    Operation {
        Unknown 0 "UNKNOWN",
        /// In filters only.
        Any 1 "ANY",
        /// In ACLs: every operation.
        All 2 "ALL",
        Read 3 "READ",
        Write 4 "WRITE",
        Create 5 "CREATE",
        Delete 6 "DELETE",
        Alter 7 "ALTER",
        Describe 8 "DESCRIBE",
        ClusterAction 9 "CLUSTER_ACTION",
        DescribeConfigs 10 "DESCRIBE_CONFIGS",
        AlterConfigs 11 "ALTER_CONFIGS",
        IdempotentWrite 12 "IDEMPOTENT_WRITE",
        CreateTokens 13 "CREATE_TOKENS",
        DescribeTokens 14 "DESCRIBE_TOKENS",
    }
}

words! {
    /// What an ACL says of it.
    Permission {
        Unknown 0 "UNKNOWN",
        /// In filters only.
        Any 1 "ANY",
        Deny 2 "DENY",
        Allow 3 "ALLOW",
    }
}

impl ResourceType {
    /// The kinds that ACLs can be set on.
    pub const CONCRETE: &'static [ResourceType] = &[
        ResourceType::Topic,
        ResourceType::Group,
        ResourceType::Cluster,
        ResourceType::TransactionalId,
        ResourceType::DelegationToken,
        ResourceType::User,
    ];

    /// The operations that make sense on it, in the order of their codes.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe, DescribeConfigs,
            DescribeTokens, IdempotentWrite, Read, Write,
        };
        match self {
            ResourceType::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            ResourceType::Group => &[Read, Delete, Describe],
            ResourceType::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            ResourceType::TransactionalId => &[Write, Describe],
            ResourceType::DelegationToken => &[Describe],
            ResourceType::User => &[CreateTokens, DescribeTokens],
            ResourceType::Unknown | ResourceType::Any => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_a_code_and_two_spellings() {
        assert_eq!(ResourceType::from_code(5), ResourceType::TransactionalId);
        assert_eq!(ResourceType::TransactionalId.upper(), "TRANSACTIONAL_ID");
        assert_eq!(ResourceType::from_name("transactionalid"), ResourceType::TransactionalId);
        assert_eq!(ResourceType::from_upper("TRANSACTIONAL_ID"), ResourceType::TransactionalId);
        assert_eq!(Operation::from_name("Transactional_Id"), Operation::Unknown);
        assert_eq!(Operation::from_code(99), Operation::Unknown);
        for operation in Operation::ALL_VALUES {
            assert_eq!(Operation::from_code(operation.code()), *operation);
            assert_eq!(Operation::from_name(operation.name()), *operation);
            assert_eq!(operation.upper().replace('_', ""), operation.name().to_uppercase());
        }
    }
}
