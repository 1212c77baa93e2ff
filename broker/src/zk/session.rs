//! What became of the session with ZooKeeper since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zookeeper_client::SessionState;

/// Changes of its state, as its keeper saw them.
#[derive(Debug, Default)]
pub struct SessionFigures {
    /// Connections, the first of each session among them.
    pub connects: AtomicU64,
    /// Connections that were lost.
    pub disconnects: AtomicU64,
    /// Sessions that expired.
    pub expires: AtomicU64,
    /// Logins that ZooKeeper refused.
    pub refused_logins: AtomicU64,
}

impl SessionFigures {
    /// The session is in this state now.
    pub fn became(&self, state: SessionState) {
        let count = match state {
            SessionState::SyncConnected => &self.connects,
            SessionState::Disconnected => &self.disconnects,
            SessionState::Expired => &self.expires,
            SessionState::AuthFailed => &self.refused_logins,
            _ => return,
        };
        count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_session_counts_where_it_belongs() {
        let figures = SessionFigures::default();
        use SessionState::{Closed, Disconnected, Expired, SyncConnected};
        for state in
            [SyncConnected, Disconnected, SyncConnected, Disconnected, Expired, SyncConnected, Closed]
        {
            figures.became(state);
        }
        let counted = [&figures.connects, &figures.disconnects, &figures.expires, &figures.refused_logins];
        assert_eq!(counted.map(|count| count.load(Relaxed)), [3, 2, 1, 0]);
    }
}
