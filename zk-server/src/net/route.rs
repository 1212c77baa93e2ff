//! Ways to a server that has several addresses, any of which may be out of reach (`multiAddress.*`).

use super::endpoint::Endpoint;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::zk::Sid;

/// Which address of each server answered last: it is tried first the next time. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    reached: Arc<Mutex<BTreeMap<Sid, Endpoint>>>,
    /// How long one of several addresses is given before the next one is tried
    /// (`multiAddress.reachabilityCheckTimeoutMs`); `None`: as long as the only one.
    probe: Option<Duration>,
}

impl Routes {
    pub fn new(probe: Option<Duration>) -> Routes {
        Routes { probe, ..Routes::default() }
    }

    /// What a server's address is given that has others, if they are probed.
    pub fn probe(&self) -> Option<Duration> {
        self.probe
    }

    /// The attempts, in order, and how long each may take. Where all are slow, the first one gets its full time at last.
    fn attempts(&self, sid: Sid, endpoints: &[Endpoint], within: Duration) -> Vec<(Endpoint, Duration)> {
        let mut order = endpoints.to_vec();
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(&sid).cloned();
        order.sort_by_key(|endpoint| Some(endpoint) != reached.as_ref());
        match (&order[..], self.probe.filter(|probe| *probe < within)) {
            ([first, _, ..], Some(probe)) => {
                let last = (first.clone(), within);
                let probes = order.iter().map(|endpoint| (endpoint.clone(), probe));
                probes.chain([last]).collect()
            }
            _ => order.into_iter().map(|endpoint| (endpoint, within)).collect(),
        }
    }

    /// Connects to the first address that answers. Each that does not is told, with the address to show.
    pub async fn connect(
        &self,
        sid: Sid,
        endpoints: &[Endpoint],
        within: Duration,
        mut failed: impl FnMut(String, io::Error),
    ) -> Option<TcpStream> {
        for (endpoint, within) in self.attempts(sid, endpoints, within) {
            // The resolver's time counts, too, where others wait behind it.
            let attempt = match endpoints.len() {
                1 => endpoint.connect(within).await,
                _ => timeout(within, endpoint.connect(within))
                    .await
                    .unwrap_or_else(|_| Err((endpoint.shown(None), io::ErrorKind::TimedOut.into()))),
            };
            match attempt {
                Ok(stream) => {
                    let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
                    reached.insert(sid, endpoint);
                    return Some(stream);
                }
                Err((shown, error)) => failed(shown, error),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_address_that_answered_last_is_tried_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let both = [dead, open].map(|at| Endpoint::new(at.ip().to_string(), at.port()));
        let routes = Routes::new(Some(Duration::from_millis(500)));
        for expect in [1, 0] {
            let mut failures = 0;
            let stream = routes.connect(7, &both, LONG, |_, _| failures += 1).await.unwrap();
            assert_eq!((failures, stream.peer_addr().unwrap()), (expect, open));
        }
        assert!(routes.connect(7, &both[..1], LONG, |_, _| {}).await.is_none());
    }

    #[test]
    fn several_addresses_are_probed_and_a_slow_one_gets_its_time_at_last() {
        let (a, b) = (Endpoint::new("a", 1), Endpoint::new("b", 1));
        let probe = Duration::from_secs(1);
        let routes = Routes::new(Some(probe));
        assert_eq!(routes.attempts(1, std::slice::from_ref(&a), LONG), [(a.clone(), LONG)]);
        let expect = [(a.clone(), probe), (b.clone(), probe), (a.clone(), LONG)];
        assert_eq!(routes.attempts(1, &[a.clone(), b.clone()], LONG), expect);
        let patient = Routes::new(None);
        assert_eq!(patient.attempts(1, &[a.clone(), b.clone()], LONG), [(a, LONG), (b, LONG)]);
    }
}
