//! Open files of logs, counted over the whole process, as the limit on them is the process's. Owners of idle logs give
//! handles back before it is met; a file is opened again with its next use.

use super::error::{At, Result};
use std::fs::{File, OpenOptions};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Handles that logs hold at this moment, readers' slices among them.
pub fn open_handles() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// A file that is counted while it is open.
#[derive(Debug)]
pub struct Handle(File);

impl Handle {
    pub(crate) fn new(file: File) -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(file)
    }

    /// Opens an existing file for reading and writing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self::new).at("cannot open", path)
    }

    /// Opens a file as it is; one that is missing is made.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        file.map(Self::new).at("cannot create", path)
    }

    /// Opens a file that is empty from now on.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        file.map(Self::new).at("cannot create", path)
    }
}

impl Deref for Handle {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
