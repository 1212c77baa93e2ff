//! Delegation tokens as Kafka stores them: `/delegation_token/tokens/ID`, JSON, and notes of their changes.

use broker_core::acl::Principal;
use broker_core::quota::{desanitize, sanitize};
use serde_json::json;

use super::notes::Notes;
use super::{Zk, ZkError};
use crate::security::TokenInfo;

const TOKENS: &str = "/delegation_token/tokens";
/// Notes of changes: the token's id.
const CHANGES: Notes = Notes { root: "/delegation_token/token_changes", prefix: "token_change_" };
/// The version of a node; 3 came with the requester.
const VERSION: i64 = 3;

fn path(id: &str) -> String {
    format!("{TOKENS}/{id}")
}

/// A node as Kafka writes it, in its order of keys.
fn encode(token: &TokenInfo) -> String {
    let name = |principal: &Principal| json!(sanitize(&principal.to_string())).to_string();
    let renewers: Vec<String> = token.renewers.iter().map(name).collect();
    format!(
        r#"{{"issueTimestamp":{},"renewers":[{}],"tokenRequester":{},"maxTimestamp":{},"version":{VERSION},"tokenId":{},"owner":{},"expiryTimestamp":{}}}"#,
        token.issued_ms,
        renewers.join(","),
        name(&token.requester),
        token.max_ms,
        json!(token.id),
        name(&token.owner),
        token.expires_ms
    )
}

/// Reads a node; an empty one has no token.
fn decode(path: &str, data: &[u8]) -> Result<Option<TokenInfo>, ZkError> {
    if data.is_empty() {
        return Ok(None);
    }
    let bad = |problem: String| ZkError::BadData { path: path.to_owned(), problem };
    let node = Zk::json(path, data)?;
    let number = |key: &str| node[key].as_i64().ok_or_else(|| bad(format!("no number \"{key}\"")));
    let principal = |value: &serde_json::Value, key: &str| {
        let text = value.as_str().ok_or_else(|| bad(format!("no \"{key}\"")))?;
        Principal::parse(&desanitize(text)).map_err(|error| bad(error.to_string()))
    };
    let version = number("version")?;
    if !(1..=VERSION).contains(&version) {
        return Err(bad(format!("its version is {version}")));
    }
    let owner = principal(&node["owner"], "owner")?;
    let requester = match version {
        3.. => principal(&node["tokenRequester"], "tokenRequester")?,
        _ => owner.clone(),
    };
    let renewers = node["renewers"].as_array().ok_or_else(|| bad("no list \"renewers\"".to_owned()))?;
    let renewers = renewers.iter().map(|renewer| principal(renewer, "renewers")).collect::<Result<_, _>>()?;
    Ok(Some(TokenInfo {
        id: node["tokenId"].as_str().ok_or_else(|| bad("no \"tokenId\"".to_owned()))?.to_owned(),
        owner,
        requester,
        renewers,
        issued_ms: number("issueTimestamp")?,
        max_ms: number("maxTimestamp")?,
        expires_ms: number("expiryTimestamp")?,
    }))
}

impl Zk {
    /// Makes the nodes that tokens and their notes live under.
    pub async fn make_token_nodes(&self) -> Result<(), ZkError> {
        self.make_path(CHANGES.root).await?;
        self.make_path(TOKENS).await
    }

    /// The ids of all tokens.
    pub async fn token_ids(&self) -> Result<Vec<String>, ZkError> {
        self.children(TOKENS).await
    }

    /// A token, if there is one.
    pub async fn token(&self, id: &str) -> Result<Option<TokenInfo>, ZkError> {
        let path = path(id);
        match self.get(&path).await? {
            Some((data, _)) => decode(&path, &data),
            None => Ok(None),
        }
    }

    /// Stores a token, new or changed.
    pub async fn store_token(&self, token: &TokenInfo) -> Result<(), ZkError> {
        let path = path(&token.id);
        match self.set(&path, encode(token).as_bytes(), None).await {
            Err(error) if error.no_node() => self.create(&path, encode(token).as_bytes()).await,
            done => done.map(drop),
        }
    }

    pub async fn delete_token(&self, id: &str) -> Result<(), ZkError> {
        self.delete(&path(id)).await
    }

    /// Tells every broker that a token has changed.
    pub async fn note_token(&self, id: &str) -> Result<(), ZkError> {
        CHANGES.leave(self, id.as_bytes()).await
    }
}

/// Calls `changed` with the id of each token that a note names; see [`Notes::watch`].
pub async fn watch_tokens<F, Fut>(zk: Zk, armed: tokio::sync::oneshot::Sender<()>, mut changed: F) -> ZkError
where
    F: FnMut(String) -> Fut,
    Fut: Future<Output = ()>,
{
    let noted = |_: String, id: Vec<u8>| changed(String::from_utf8_lossy(&id).into_owned());
    CHANGES.watch(zk, armed, noted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"{"issueTimestamp":1,"renewers":["User%3Abob"],"tokenRequester":"User%3Asc","maxTimestamp":3,"version":3,"tokenId":"Ab_-1","owner":"User%3Aa%20b","expiryTimestamp":2}"#;

    #[test]
    fn a_token_is_written_in_kafkas_bytes_and_read_back() {
        let token = TokenInfo {
            id: "Ab_-1".to_owned(),
            owner: Principal::user("a b"),
            requester: Principal::user("sc"),
            renewers: vec![Principal::user("bob")],
            issued_ms: 1,
            max_ms: 3,
            expires_ms: 2,
        };
        assert_eq!(encode(&token), NODE);
        assert_eq!(decode("/p", NODE.as_bytes()).unwrap(), Some(token));
        assert_eq!(decode("/p", b"").unwrap(), None);
    }

    #[test]
    fn before_version_3_the_owner_asked_and_what_cannot_be_read_is_told_with_its_path() {
        let old =
            NODE.replace("\"version\":3", "\"version\":1").replace(r#""tokenRequester":"User%3Asc","#, "");
        let token = decode("/p", old.as_bytes()).unwrap().unwrap();
        assert_eq!(token.requester, token.owner);
        for (change, problem) in [
            (("\"version\":3", "\"version\":4"), "its version is 4"),
            (("User%3Abob", "bob"), "expected a string in format"),
            (("\"maxTimestamp\"", "\"x\""), "no number \"maxTimestamp\""),
        ] {
            let error = decode("/d/t", NODE.replace(change.0, change.1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("/d/t") && error.contains(problem), "{error}");
        }
    }
}
