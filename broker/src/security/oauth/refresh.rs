//! Key sets from an endpoint: fetched at the start, then regularly, and out of turn when a token names a key that is
//! not among them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use client::security::oauth::http::Endpoint;
use client::security::oauth::{OAuthError, Retry};
use tokio::sync::Notify;

use super::keys::{Key, read_set};

/// So many missing keys are remembered, each for so long: strangers must not have us ask all the time.
const MISSING_MAX: usize = 16;
const MISSING_FOR: Duration = Duration::from_secs(60);
const ID_MAX: usize = 1000;

/// Where keys are, and how often they are asked for.
pub struct Endpoints {
    pub endpoint: Endpoint,
    pub refresh: Duration,
    pub retry: Retry,
}

/// The keys of the moment.
pub struct KeySource {
    keys: ArcSwap<Vec<Key>>,
    /// `None`: they never change.
    endpoint: Option<Endpoints>,
    /// Ids of keys that were missing, with the time from which they may be asked for again.
    missing: Mutex<VecDeque<(String, Instant)>>,
    wanted: Arc<Notify>,
}

impl KeySource {
    pub fn fixed(keys: Vec<Key>) -> KeySource {
        KeySource { keys: ArcSwap::from_pointee(keys), ..KeySource::from(None) }
    }

    pub fn at(endpoint: Endpoints) -> KeySource {
        KeySource::from(Some(endpoint))
    }

    fn from(endpoint: Option<Endpoints>) -> KeySource {
        KeySource { keys: ArcSwap::default(), endpoint, missing: Mutex::default(), wanted: Arc::default() }
    }

    pub fn load(&self) -> Arc<Vec<Key>> {
        self.keys.load_full()
    }

    /// Fetches the keys, and again from then on for as long as somebody holds this.
    pub async fn start(self: &Arc<KeySource>) -> Result<(), OAuthError> {
        if let Some(endpoint) = &self.endpoint {
            self.keys.store(Arc::new(fetch(&endpoint.endpoint).await?));
            tokio::spawn(keep(Arc::downgrade(self), endpoint.refresh, self.wanted.clone()));
        }
        Ok(())
    }

    /// A token has named a key that is not there: it may be a new one.
    pub fn miss(&self, id: &str) {
        if self.endpoint.is_none() || id.len() > ID_MAX {
            return;
        }
        let now = Instant::now();
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.iter().any(|(known, again)| known == id && now < *again) {
            return;
        }
        missing.retain(|(known, _)| known != id);
        missing.push_back((id.to_owned(), now + MISSING_FOR));
        if missing.len() > MISSING_MAX {
            missing.pop_front();
        }
        self.wanted.notify_one();
    }

    async fn refresh(&self, endpoint: &Endpoints) {
        let url = &endpoint.endpoint.url;
        match endpoint.retry.run(|| fetch(&endpoint.endpoint)).await {
            Ok(keys) => {
                let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
                missing.retain(|(id, _)| keys.iter().all(|key| key.id.as_ref() != Some(id)));
                drop(missing);
                tracing::info!("OAuth JWKS refresh of {url} complete, {} keys", keys.len());
                self.keys.store(Arc::new(keys));
            }
            Err(error) => {
                tracing::warn!("OAuth JWKS refresh of {url} failed, the keys stay as they are: {error}");
            }
        }
    }
}

async fn fetch(endpoint: &Endpoint) -> Result<Vec<Key>, OAuthError> {
    let failed = |why: String| OAuthError::Endpoint { url: endpoint.url.clone(), why };
    let answer = endpoint.get().await?;
    match answer.status {
        200..=299 => read_set(&answer.body).map_err(failed),
        status => Err(failed(format!("it answered with status {status}"))),
    }
}

async fn keep(source: Weak<KeySource>, every: Duration, wanted: Arc<Notify>) {
    let mut next = tokio::time::Instant::now() + every;
    loop {
        let regular = tokio::select! {
            () = tokio::time::sleep_until(next) => true,
            () = wanted.notified() => false,
        };
        if regular {
            next = tokio::time::Instant::now() + every;
        }
        let Some(source) = source.upgrade() else { return };
        if let Some(endpoint) = &source.endpoint {
            source.refresh(endpoint).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::keys::tests::Pair;
    use super::*;

    /// Answers each connection with the next of these sets; stays on the last.
    async fn serve(sets: Vec<String>) -> Endpoint {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut sets = sets.into_iter();
            let mut current = String::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                current = sets.next().unwrap_or(current);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", current.len());
                stream.write_all((head + &current).as_bytes()).await.unwrap();
            }
        });
        let url = format!("http://{address}/keys");
        Endpoint::new(&url, (false, address.clone(), address, "/keys".to_owned()), &|_| None, (None, None))
            .unwrap()
    }

    fn retry() -> Retry {
        Retry { backoff: Duration::from_millis(1), backoff_max: Duration::from_millis(50) }
    }

    fn has(source: &KeySource, id: &str) -> bool {
        source.load().iter().any(|key| key.id.as_deref() == Some(id))
    }

    async fn until(what: impl Fn() -> bool) {
        for _ in 0..500 {
            if what() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not come");
    }

    #[tokio::test]
    async fn a_key_that_was_missing_is_asked_for_once_and_what_is_no_set_changes_nothing() {
        let pair = Pair::new();
        let endpoint = serve(vec![pair.set("a"), pair.set("b"), "<html>".to_owned()]).await;
        let source = Arc::new(KeySource::at(Endpoints {
            endpoint,
            refresh: Duration::from_secs(3600),
            retry: retry(),
        }));
        source.start().await.unwrap();
        assert!(has(&source, "a") && !has(&source, "b"));
        source.miss("b");
        until(|| has(&source, "b")).await;
        source.miss("c");
        source.miss("c");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(has(&source, "b"));
        assert_eq!(source.missing.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn keys_are_fetched_regularly_and_without_any_the_start_fails() {
        let pair = Pair::new();
        let endpoint = serve(vec![pair.set("a"), pair.set("b")]).await;
        let source = Arc::new(KeySource::at(Endpoints {
            endpoint,
            refresh: Duration::from_millis(50),
            retry: retry(),
        }));
        source.start().await.unwrap();
        until(|| has(&source, "b")).await;
        let endpoint = serve(vec!["{}".to_owned()]).await;
        let nothing =
            Arc::new(KeySource::at(Endpoints { endpoint, refresh: Duration::from_secs(1), retry: retry() }));
        assert!(nothing.start().await.unwrap_err().to_string().contains("no list \"keys\""));
    }
}
