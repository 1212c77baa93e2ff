//! Incremental fetch sessions.
