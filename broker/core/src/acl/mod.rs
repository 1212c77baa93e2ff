//! Who may do what: principals, ACLs, and the decisions that follow from them, as Kafka's `AclAuthorizer` makes them.

mod binding;
mod principal;
mod table;
#[cfg(test)]
mod tests;
mod types;

pub use binding::{
    Binding, BindingError, CLUSTER_NAME, Entry, EntryFilter, Filter, Resource, ResourceFilter, WILDCARD,
};
pub use principal::{Principal, PrincipalError, USER};
pub use table::{Acls, Who, host_text};
pub use types::{Operation, PatternType, Permission, ResourceType};
