//! Who may do what.

mod principal;

pub use principal::{Principal, PrincipalError, USER};
