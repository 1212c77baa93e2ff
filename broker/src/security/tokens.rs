//! Delegation tokens (KIP-48, KIP-373) as this broker knows them, at hand for logins and for the requests about tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_core::acl::Principal;
use client::security::scram::{Credential, Hash, ITERATIONS_MIN};

/// What a token's node says of it. Times in ms since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenInfo {
    pub id: String,
    pub owner: Principal,
    /// Who asked for it; with KIP-373 not always the owner.
    pub requester: Principal,
    pub renewers: Vec<Principal>,
    pub issued_ms: i64,
    pub max_ms: i64,
    pub expires_ms: i64,
}

impl TokenInfo {
    /// Owner, requester or renewer: whoever sees the token without any right.
    pub fn concerns(&self, who: &Principal) -> bool {
        self.owner == *who || self.requester == *who || self.renewers.contains(who)
    }

    /// Who may renew it, and end it.
    pub fn may_be_changed_by(&self, who: &Principal) -> bool {
        self.owner == *who || self.renewers.contains(who)
    }

    pub fn is_over(&self, now_ms: i64) -> bool {
        self.max_ms < now_ms || self.expires_ms < now_ms
    }
}

/// By which tokens are signed: `delegation.token.secret.key`.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

/// Without the key.
impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// `None`: an empty key, with which there are no tokens.
    pub fn new(secret: &str) -> Option<TokenKey> {
        (!secret.is_empty()).then(|| TokenKey(hmac::Key::new(hmac::HMAC_SHA512, secret.as_bytes())))
    }

    /// What whoever has the token shows, its id signed.
    pub fn sign(&self, id: &str) -> Vec<u8> {
        hmac::sign(&self.0, id.as_bytes()).as_ref().to_vec()
    }
}

/// A token with what belongs to its id: the same for its whole life, whatever happens to its times.
#[derive(Clone)]
struct Known {
    info: Arc<TokenInfo>,
    signed: Arc<Signed>,
}

struct Signed {
    hmac: Vec<u8>,
    /// Made when the first login asks: 4096 rounds for each of thousands of tokens would hold up the start.
    credentials: [OnceLock<Credential>; Hash::ALL.len()],
}

/// All tokens, by id.
#[derive(Default)]
pub struct TokenCache(RwLock<BTreeMap<String, Known>>);

impl TokenCache {
    fn read<T>(&self, with: impl FnOnce(&BTreeMap<String, Known>) -> T) -> T {
        with(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a token over as its node has it.
    pub fn set(&self, key: &TokenKey, info: TokenInfo) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let signed = match known.get(&info.id) {
            Some(before) => before.signed.clone(),
            None => Arc::new(Signed { hmac: key.sign(&info.id), credentials: Default::default() }),
        };
        known.insert(info.id.clone(), Known { info: Arc::new(info), signed });
    }

    pub fn remove(&self, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Forgets all tokens but these.
    pub fn retain(&self, ids: &[String]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| ids.contains(id));
    }

    pub fn get(&self, id: &str) -> Option<Arc<TokenInfo>> {
        self.read(|known| Some(known.get(id)?.info.clone()))
    }

    /// The token that has this HMAC.
    pub fn of_hmac(&self, hmac: &[u8]) -> Option<Arc<TokenInfo>> {
        let same = |known: &&Known| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&known.signed.hmac, hmac).is_ok()
        };
        self.read(|known| Some(known.values().find(same)?.info.clone()))
    }

    /// Every token with its HMAC, in the order of their ids.
    pub fn all(&self) -> Vec<(Arc<TokenInfo>, Vec<u8>)> {
        self.read(|known| {
            known.values().map(|known| (known.info.clone(), known.signed.hmac.clone())).collect()
        })
    }

    /// By which a login shows that it has the token: its password is the HMAC in Base64.
    pub fn credential(&self, id: &str, hash: Hash) -> Option<(Arc<TokenInfo>, Credential)> {
        let known = self.read(|known| known.get(id).cloned())?;
        let at = Hash::ALL.iter().position(|one| *one == hash)?;
        let make = || Credential::of_password(hash, &BASE64.encode(&known.signed.hmac), ITERATIONS_MIN);
        Some((known.info.clone(), known.signed.credentials[at].get_or_init(make).clone()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(id: &str, owner: &'static str, expires_ms: i64) -> TokenInfo {
        TokenInfo {
            id: id.to_owned(),
            owner: Principal::user(owner),
            requester: Principal::user(owner),
            renewers: vec![Principal::user("ren")],
            issued_ms: 0,
            max_ms: 1_000_000,
            expires_ms,
        }
    }

    #[test]
    fn a_token_keeps_its_hmac_and_credential_when_its_times_change() {
        let (cache, key) = (TokenCache::default(), TokenKey::new("secret").unwrap());
        cache.set(&key, token("a", "ann", 10));
        let (_, before) = cache.credential("a", Hash::Sha256).unwrap();
        cache.set(&key, token("a", "ann", 20));
        let (info, after) = cache.credential("a", Hash::Sha256).unwrap();
        assert!(before == after && info.expires_ms == 20);
        assert_eq!(cache.of_hmac(&key.sign("a")).unwrap().id, "a");
        assert!(cache.of_hmac(b"x").is_none() && cache.credential("b", Hash::Sha512).is_none());
        cache.retain(&[]);
        assert!(cache.all().is_empty() && cache.get("a").is_none());
    }

    #[test]
    fn ids_are_signed_by_hmac_sha_512_and_the_key_is_not_shown() {
        // echo -n id | openssl dgst -sha512 -hmac key
        let signed = TokenKey::new("key").unwrap().sign("id");
        assert_eq!(signed.len(), 64);
        assert_eq!(
            BASE64.encode(&signed),
            "aSA7IkWyB8Yvd5QD6kFnqpTOWxStWVN2+Jx9S1KGvERNr7Vtzbym26dQs3UQ858IduHslsBkS5g2QsF591iFjA=="
        );
        assert_eq!(format!("{:?}", TokenKey::new("hidden").unwrap()), "TokenKey");
        assert!(TokenKey::new("").is_none());
    }
}
