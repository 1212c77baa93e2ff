//! Where things are: `PREFIX/bin/menagerie` and, beside `bin`, `conf`, `config` and `logs`.

use std::env;
use std::path::PathBuf;

/// `PREFIX/bin`, the folder of the real binary behind whatever link was called.
pub fn bin() -> PathBuf {
    let binary = env::current_exe().and_then(|path| path.canonicalize()).unwrap_or_default();
    binary.parent().map(PathBuf::from).unwrap_or_default()
}
