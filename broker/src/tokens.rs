//! Delegation tokens: made, renewed, ended and followed, in ZooKeeper and in the copy that logins are checked by.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker_core::acl::Principal;
use tokio::sync::{oneshot, watch};
use wire::kafka::ErrorCode;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::security::{TokenCache, TokenInfo, TokenKey, Users};
use crate::shard::wall_clock;
use crate::zk::tokens::watch_tokens;
use crate::zk::{Zk, ZkError, catch_up, may_follow_again};

/// What the settings `delegation.token.*` make of a broker; only with a key there are tokens.
pub struct Tokens {
    key: TokenKey,
    users: Arc<Users>,
    lifetime_max_ms: i64,
    expiry_time_ms: i64,
    /// Held by whoever brings ZooKeeper's state into the copy, so that no older state overtakes a newer one.
    changing: tokio::sync::Mutex<()>,
}

/// Why a token was not changed: for the answer, or because of ZooKeeper.
#[derive(Debug)]
pub enum TokenError {
    Refused(ErrorCode),
    ZooKeeper(ZkError),
}

impl From<ZkError> for TokenError {
    fn from(error: ZkError) -> TokenError {
        TokenError::ZooKeeper(error)
    }
}

impl TokenError {
    /// As clients are told.
    pub fn code(&self) -> ErrorCode {
        match self {
            TokenError::Refused(code) => *code,
            TokenError::ZooKeeper(error) => {
                tracing::error!("{error}");
                ErrorCode::UNKNOWN_SERVER_ERROR
            }
        }
    }
}

impl Tokens {
    /// `None`: neither `delegation.token.secret.key` nor its old name `delegation.token.master.key` has a key.
    pub fn of(config: &BrokerConfig, users: &Arc<Users>) -> Option<Tokens> {
        let given = |key: &str| config.given().get(key);
        let secret = given("delegation.token.secret.key").or_else(|| given("delegation.token.master.key"))?;
        Some(Tokens {
            key: TokenKey::new(secret)?,
            users: users.clone(),
            lifetime_max_ms: config.int("delegation.token.max.lifetime.ms"),
            expiry_time_ms: config.int("delegation.token.expiry.time.ms"),
            changing: tokio::sync::Mutex::default(),
        })
    }

    fn cache(&self) -> &TokenCache {
        self.users.tokens()
    }

    /// Reads all tokens anew.
    pub async fn load(&self, zk: &Zk) -> Result<(), ZkError> {
        let _changing = self.changing.lock().await;
        let ids = zk.token_ids().await?;
        tracing::info!("Loading the token cache. Total token count: {}", ids.len());
        for id in &ids {
            match zk.token(id).await {
                Ok(token) => self.know(id, token),
                Err(error @ ZkError::BadData { .. }) => tracing::error!("{error}"),
                Err(error) => return Err(error),
            }
        }
        self.cache().retain(&ids);
        Ok(())
    }

    fn know(&self, id: &str, token: Option<TokenInfo>) {
        match token {
            Some(token) => self.cache().set(&self.key, token),
            None => self.cache().remove(id),
        }
    }

    /// A new token, with its HMAC.
    pub async fn create(
        &self,
        zk: &Zk,
        owner: &Principal,
        requester: &Principal,
        renewers: Vec<Principal>,
        lifetime_ms: i64,
    ) -> Result<(TokenInfo, Vec<u8>), TokenError> {
        let _changing = self.changing.lock().await;
        let issued_ms = wall_clock();
        let lifetime_ms = match lifetime_ms {
            ..=0 => self.lifetime_max_ms,
            asked => asked.min(self.lifetime_max_ms),
        };
        let max_ms = issued_ms.saturating_add(lifetime_ms);
        let token = TokenInfo {
            id: URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes()),
            owner: owner.clone(),
            requester: requester.clone(),
            renewers,
            issued_ms,
            max_ms,
            expires_ms: max_ms.min(issued_ms.saturating_add(self.expiry_time_ms)),
        };
        self.store(zk, &token).await?;
        tracing::info!("Created a delegation token: {} for owner: {owner}", token.id);
        let hmac = self.key.sign(&token.id);
        Ok((token, hmac))
    }

    /// Lets a token live for so long from now on (negative: as long as new ones do); returns when it will expire.
    pub async fn renew(
        &self,
        zk: &Zk,
        who: &Principal,
        hmac: &[u8],
        period_ms: i64,
    ) -> Result<i64, TokenError> {
        let _changing = self.changing.lock().await;
        let token = self.changeable(who, hmac)?;
        let period_ms = if period_ms < 0 { self.expiry_time_ms } else { period_ms };
        self.expire_in(zk, &token, period_ms).await
    }

    /// Ends a token after so long, or at once if that is negative; returns when.
    pub async fn expire(
        &self,
        zk: &Zk,
        who: &Principal,
        hmac: &[u8],
        period_ms: i64,
    ) -> Result<i64, TokenError> {
        let _changing = self.changing.lock().await;
        let token = self.changeable(who, hmac)?;
        if period_ms < 0 {
            self.remove(zk, &token).await?;
            return Ok(wall_clock());
        }
        self.expire_in(zk, &token, period_ms).await
    }

    /// The token of an HMAC, if it is there and his to change.
    fn changeable(&self, who: &Principal, hmac: &[u8]) -> Result<Arc<TokenInfo>, TokenError> {
        let token = self.cache().of_hmac(hmac);
        let token = token.ok_or(TokenError::Refused(ErrorCode::DELEGATION_TOKEN_NOT_FOUND))?;
        match token.may_be_changed_by(who) {
            true => Ok(token),
            false => Err(TokenError::Refused(ErrorCode::DELEGATION_TOKEN_OWNER_MISMATCH)),
        }
    }

    async fn expire_in(&self, zk: &Zk, token: &TokenInfo, period_ms: i64) -> Result<i64, TokenError> {
        let now_ms = wall_clock();
        if token.is_over(now_ms) {
            return Err(TokenError::Refused(ErrorCode::DELEGATION_TOKEN_EXPIRED));
        }
        let expires_ms = token.max_ms.min(now_ms.saturating_add(period_ms));
        self.store(zk, &TokenInfo { expires_ms, ..token.clone() }).await?;
        tracing::info!("Delegation token {} of owner {} expires at {expires_ms}", token.id, token.owner);
        Ok(expires_ms)
    }

    async fn store(&self, zk: &Zk, token: &TokenInfo) -> Result<(), ZkError> {
        zk.store_token(token).await?;
        self.cache().set(&self.key, token.clone());
        zk.note_token(&token.id).await
    }

    async fn remove(&self, zk: &Zk, token: &TokenInfo) -> Result<(), ZkError> {
        tracing::info!("Delegation token expired for token: {} for owner: {}", token.id, token.owner);
        zk.delete_token(&token.id).await?;
        self.cache().remove(&token.id);
        zk.note_token(&token.id).await
    }

    /// Removes what has expired.
    async fn sweep(&self, zk: &Zk) -> Result<(), ZkError> {
        let _changing = self.changing.lock().await;
        let now_ms = wall_clock();
        for (token, _) in self.cache().all().iter().filter(|(token, _)| token.is_over(now_ms)) {
            self.remove(zk, token).await?;
        }
        Ok(())
    }

    /// Follows what others change, in every session.
    pub async fn follow(self: Arc<Tokens>, mut session: watch::Receiver<Zk>) {
        loop {
            let zk = session.borrow_and_update().clone();
            let ended = self.follow_in(&zk).await;
            if !may_follow_again(&mut session, ended).await {
                return;
            }
        }
    }

    /// Until the session ends, or something else goes wrong.
    async fn follow_in(&self, zk: &Zk) -> ZkError {
        let changed = |id: String| async move {
            let _changing = self.changing.lock().await;
            tracing::info!("Processing Token Notification for tokenId: {id}");
            match zk.token(&id).await {
                Ok(token) => self.know(&id, token),
                Err(error) => tracing::error!("{error}"),
            }
        };
        let (armed, is_armed) = oneshot::channel();
        tokio::select! {
            error = watch_tokens(zk.clone(), armed, changed) => error,
            error = catch_up([is_armed], self.load(zk)) => error,
        }
    }
}

/// Removes tokens that have expired, every `delegation.token.expiry.check.interval.ms` while this broker governs.
pub async fn sweep_while_governing(broker: Arc<Broker>, tokens: Arc<Tokens>) {
    let pause = broker.config.millis("delegation.token.expiry.check.interval.ms");
    let Some(controller) = broker.controller.get() else { return };
    let mut current = controller.follow();
    loop {
        if current.wait_for(|id| *id == broker.id).await.map(drop).is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {
                if let Err(error) = tokens.sweep(&broker.zk()).await {
                    tracing::error!("{error}");
                }
            }
            lost = async { current.wait_for(|id| *id != broker.id).await.map(drop) } => {
                if lost.is_err() {
                    return;
                }
            }
        }
    }
}
