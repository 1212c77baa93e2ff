//! SaslHandshake and SaslAuthenticate where no login is under way: on a listener that asks for none, or too soon after the
//! last. What belongs to a login, the gate of its listener answers.

use wire::Str;
use wire::kafka::{
    ErrorCode, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::Call;

pub async fn handshake(_: &Call<'_>, _: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::ILLEGAL_SASL_STATE, ..Default::default() }
}

pub async fn authenticate(_: &Call<'_>, _: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    let message = "SaslAuthenticate request received after successful authentication";
    SaslAuthenticateResponse {
        error_code: ErrorCode::ILLEGAL_SASL_STATE,
        error_message: Some(Str::from_static(message)),
        ..Default::default()
    }
}
