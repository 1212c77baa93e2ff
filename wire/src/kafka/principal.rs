//! A principal as brokers hand it on in an Envelope; starts with its version as an `i16`.

use crate::Str;
use crate::kafka::codec::message;

message! { flexible 0..;
    /// Versions 0.
    pub struct DefaultPrincipalData {
        r#type: Str [0..],
        name: Str [0..],
        token_authenticated: bool [0..],
    }
}
