//! Delegation tokens: Create, Renew, Expire and Describe. None of them over a connection that shows nobody, or that was
//! itself opened by a token.

use broker_core::acl::{Operation, Principal, ResourceType, USER};
use bytes::Bytes;
use client::Protocol;
use wire::Str;
use wire::kafka::describe_delegation_token::{DescribedDelegationToken, DescribedDelegationTokenRenewer};
use wire::kafka::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, ErrorCode, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

use super::Call;
use crate::security::TokenInfo;
use crate::tokens::{TokenError, Tokens};

impl Call<'_> {
    /// Whether this connection shows well enough who asks.
    fn may_ask_for_tokens(&self) -> bool {
        let principal = self.peer.principal();
        match self.broker.config.listeners.protocol_of(&self.peer.listener) {
            Protocol::Plaintext => false,
            Protocol::Ssl => *principal != Principal::anonymous(),
            Protocol::SaslPlaintext | Protocol::SaslSsl => !self.peer.came_by_token(),
        }
    }

    /// The broker's tokens, or why there is nothing to say of them.
    fn tokens(&self) -> Result<&Tokens, ErrorCode> {
        match self.may_ask_for_tokens() {
            false => Err(ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED),
            true => self.broker.tokens.as_deref().ok_or(ErrorCode::DELEGATION_TOKEN_AUTH_DISABLED),
        }
    }
}

fn created(
    error_code: ErrorCode,
    owner: &Principal,
    requester: &Principal,
    token: Option<(TokenInfo, Vec<u8>)>,
) -> CreateDelegationTokenResponse {
    let response = CreateDelegationTokenResponse {
        error_code,
        principal_type: owner.kind.clone(),
        principal_name: owner.name.clone(),
        token_requester_principal_type: requester.kind.clone(),
        token_requester_principal_name: requester.name.clone(),
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..Default::default()
    };
    match token {
        None => response,
        Some((token, hmac)) => CreateDelegationTokenResponse {
            issue_timestamp_ms: token.issued_ms,
            expiry_timestamp_ms: token.expires_ms,
            max_timestamp_ms: token.max_ms,
            token_id: token.id.into(),
            hmac: hmac.into(),
            ..response
        },
    }
}

pub async fn create(call: &Call<'_>, request: CreateDelegationTokenRequest) -> CreateDelegationTokenResponse {
    let requester = call.peer.principal();
    let owner = match request.owner_principal_name.filter(|name| !name.is_empty()) {
        None => requester.clone(),
        Some(name) => Principal { kind: request.owner_principal_type.unwrap_or_default(), name },
    };
    let refused = |code: ErrorCode| created(code, &owner, requester, None);
    if !call.may_ask_for_tokens() {
        return refused(ErrorCode::DELEGATION_TOKEN_REQUEST_NOT_ALLOWED);
    }
    let for_others = || call.may(Operation::CreateTokens, ResourceType::User, &owner.to_string());
    if owner != *requester && !for_others() {
        return refused(ErrorCode::DELEGATION_TOKEN_AUTHORIZATION_FAILED);
    }
    let renewer = |kind: Str, name: Str| Principal { kind, name };
    let renewers = request.renewers.into_iter().map(|one| renewer(one.principal_type, one.principal_name));
    let renewers: Vec<Principal> = renewers.collect();
    if renewers.iter().any(|renewer| renewer.kind != USER) {
        return refused(ErrorCode::INVALID_PRINCIPAL_TYPE);
    }
    let tokens = match call.tokens() {
        Ok(tokens) => tokens,
        Err(code) => return refused(code),
    };
    let zk = call.broker.zk();
    match tokens.create(&zk, &owner, requester, renewers, request.max_lifetime_ms).await {
        Ok(token) => created(ErrorCode::NONE, &owner, requester, Some(token)),
        // As Java, which has forgotten by then who asked.
        Err(error) => created(error.code(), &Principal::anonymous(), &Principal::anonymous(), None),
    }
}

/// Error and time of expiry, as two answers have them.
fn outcome(changed: Result<i64, TokenError>) -> (ErrorCode, i64) {
    match changed {
        Ok(expires_ms) => (ErrorCode::NONE, expires_ms),
        // What went wrong in ZooKeeper leaves the field as it is by itself, what is refused sets it.
        Err(error @ TokenError::ZooKeeper(_)) => (error.code(), 0),
        Err(error) => (error.code(), -1),
    }
}

pub async fn renew(call: &Call<'_>, request: RenewDelegationTokenRequest) -> RenewDelegationTokenResponse {
    let (zk, who) = (call.broker.zk(), call.peer.principal());
    let changed = match call.tokens() {
        Ok(tokens) => tokens.renew(&zk, who, &request.hmac, request.renew_period_ms).await,
        Err(code) => Err(TokenError::Refused(code)),
    };
    let (error_code, expiry_timestamp_ms) = outcome(changed);
    RenewDelegationTokenResponse { error_code, expiry_timestamp_ms, ..Default::default() }
}

pub async fn expire(call: &Call<'_>, request: ExpireDelegationTokenRequest) -> ExpireDelegationTokenResponse {
    let (zk, who) = (call.broker.zk(), call.peer.principal());
    let changed = match call.tokens() {
        Ok(tokens) => tokens.expire(&zk, who, &request.hmac, request.expiry_time_period_ms).await,
        Err(code) => Err(TokenError::Refused(code)),
    };
    let (error_code, expiry_timestamp_ms) = outcome(changed);
    ExpireDelegationTokenResponse { error_code, expiry_timestamp_ms, ..Default::default() }
}

pub async fn describe(
    call: &Call<'_>,
    request: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    if let Err(error_code) = call.tokens() {
        return DescribeDelegationTokenResponse { error_code, ..Default::default() };
    }
    let owners = request.owners.map(|owners| {
        let owner = |one: wire::kafka::describe_delegation_token::DescribeDelegationTokenOwner| Principal {
            kind: one.principal_type,
            name: one.principal_name,
        };
        owners.into_iter().map(owner).collect::<Vec<_>>()
    });
    let who = call.peer.principal();
    let shown = |token: &TokenInfo| {
        let asked = owners.as_ref().is_none_or(|owners| owners.iter().any(|owner| token.concerns(owner)));
        asked
            && (token.concerns(who)
                || call.may(Operation::Describe, ResourceType::DelegationToken, &token.id)
                || call.may(Operation::DescribeTokens, ResourceType::User, &token.owner.to_string()))
    };
    let all = call.broker.users.tokens().all();
    let tokens = all.into_iter().filter(|(token, _)| shown(token));
    let tokens = tokens.map(|(token, hmac)| described(&token, hmac.into())).collect();
    DescribeDelegationTokenResponse { tokens, ..Default::default() }
}

fn described(token: &TokenInfo, hmac: Bytes) -> DescribedDelegationToken {
    let renewer = |renewer: &Principal| DescribedDelegationTokenRenewer {
        principal_type: renewer.kind.clone(),
        principal_name: renewer.name.clone(),
    };
    DescribedDelegationToken {
        principal_type: token.owner.kind.clone(),
        principal_name: token.owner.name.clone(),
        token_requester_principal_type: token.requester.kind.clone(),
        token_requester_principal_name: token.requester.name.clone(),
        issue_timestamp: token.issued_ms,
        expiry_timestamp: token.expires_ms,
        max_timestamp: token.max_ms,
        token_id: token.id.as_str().into(),
        hmac,
        renewers: token.renewers.iter().map(renewer).collect(),
    }
}
