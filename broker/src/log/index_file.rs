//! A sorted file of entries of one size, the base of the offset and the time index. While its segment is the active one
//! the file has its full size (a hole, but for the entries); trimming cuts it to what is used.

use super::error::{At, LogError, Result};
use super::handle::Handle;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The last steps of a search happen in memory, on so many entries.
const BLOCK: u32 = 512;
/// Entries that are read at once from front to end.
const READ_BLOCK: u32 = 8192;

/// An index that starts over is overwritten up to so many bytes, and emptied from then on.
const BLANK_MAX: u64 = 64 << 10;

/// The file is opened with its first use; until then only its path is known. What was learned of it stays known when the
/// handle is given back.
#[derive(Debug)]
pub(crate) struct IndexFile {
    path: PathBuf,
    entry_size: u32,
    file: OnceLock<Handle>,
    /// The two below are what the file says.
    known: bool,
    entries: u32,
    /// The file's length, in entries.
    capacity: u32,
}

impl IndexFile {
    pub fn new(path: PathBuf, entry_size: u32) -> Self {
        Self { path, entry_size, file: OnceLock::new(), known: false, entries: 0, capacity: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file lies elsewhere now.
    pub fn relocate(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// True where a handle is held.
    pub fn is_open(&self) -> bool {
        self.file.get().is_some()
    }

    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Opens the file as it lies there, every whole entry taken as used; [`LogError::Corrupt`] where its length is no
    /// multiple of the entry size.
    pub fn open_existing(&mut self) -> Result<()> {
        let file = Handle::open(&self.path)?;
        let len = file.metadata().at("cannot stat", &self.path)?.len();
        let size = u64::from(self.entry_size);
        if len % size != 0 || len / size > u64::from(i32::MAX as u32) {
            return Err(LogError::corrupt(
                &self.path,
                len,
                format!("an index of {size} byte entries has {len} bytes"),
            ));
        }
        self.entries = (len / size) as u32;
        self.capacity = self.entries;
        self.file = OnceLock::from(file);
        self.known = true;
        Ok(())
    }

    /// Starts over with no entries and room for `bytes`; with 0 the file stays as long as it is until
    /// [`IndexFile::trim`]. What lies there is overwritten with zeros: there are file systems to which freeing a block takes
    /// milliseconds, and after a crash the indexes of thousands of logs start over.
    pub fn create(&mut self, bytes: u32) -> Result<()> {
        let file = Handle::open_or_create(&self.path)?;
        let len = blank(&file).at("cannot overwrite", &self.path)?;
        self.file = OnceLock::from(file);
        self.known = true;
        self.entries = 0;
        let size = u64::from(self.entry_size);
        match u32::try_from(len / size) {
            Ok(capacity) if bytes == 0 && len % size == 0 => {
                self.capacity = capacity;
                Ok(())
            }
            _ => self.set_capacity(bytes / self.entry_size),
        }
    }

    fn file(&self) -> Result<&File> {
        debug_assert!(self.known, "an index is looked at before it is used");
        if self.file.get().is_none() {
            let _ = self.file.set(Handle::open(&self.path)?);
        }
        Ok(self.file.get().expect("it was just set"))
    }

    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes in use.
    pub fn size(&self) -> u64 {
        u64::from(self.entries) * u64::from(self.entry_size)
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Makes the file `bytes` long, rounded down to whole entries, never less than is in use.
    pub fn reserve(&mut self, bytes: u32) -> Result<()> {
        let capacity = (bytes / self.entry_size).max(self.entries);
        if capacity == self.capacity { Ok(()) } else { self.set_capacity(capacity) }
    }

    pub fn trim(&mut self) -> Result<()> {
        if self.capacity == self.entries { Ok(()) } else { self.set_capacity(self.entries) }
    }

    fn set_capacity(&mut self, capacity: u32) -> Result<()> {
        let len = u64::from(capacity) * u64::from(self.entry_size);
        self.file()?.set_len(len).at("cannot resize", &self.path)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Forgets the entries from `entries` on; what they leave in the file is zeroed by trimming or overwritten.
    pub fn truncate(&mut self, entries: u32) -> Result<()> {
        if entries >= self.entries {
            return Ok(());
        }
        let capacity = self.capacity;
        self.entries = entries;
        self.set_capacity(entries)?;
        self.set_capacity(capacity)
    }

    pub fn append(&mut self, entry: &[u8]) -> Result<()> {
        debug_assert_eq!(entry.len(), self.entry_size as usize);
        self.file()?.write_all_at(entry, self.size()).at("cannot write", &self.path)?;
        self.entries += 1;
        self.capacity = self.capacity.max(self.entries);
        Ok(())
    }

    pub fn entry<const N: usize>(&self, n: u32) -> Result<[u8; N]> {
        debug_assert!(n < self.entries && N == self.entry_size as usize);
        let mut entry = [0; N];
        let position = u64::from(n) * u64::from(self.entry_size);
        self.file()?.read_exact_at(&mut entry, position).at("cannot read", &self.path)?;
        Ok(entry)
    }

    /// All entries in their order, with their numbers.
    pub fn for_each<const N: usize>(&self, mut look: impl FnMut(u32, &[u8; N]) -> Result<()>) -> Result<()> {
        let mut block = Vec::new();
        let mut from = 0;
        while from < self.entries {
            let count = (self.entries - from).min(READ_BLOCK);
            block.resize(count as usize * N, 0);
            let position = u64::from(from) * N as u64;
            self.file()?.read_exact_at(&mut block, position).at("cannot read", &self.path)?;
            for (n, entry) in (from..).zip(block.as_chunks::<N>().0) {
                look(n, entry)?;
            }
            from += count;
        }
        Ok(())
    }

    /// How many entries from the front satisfy `below`, which is true for a front part only.
    pub fn partition_point<const N: usize>(&self, below: impl Fn(&[u8; N]) -> bool) -> Result<u32> {
        let (mut low, mut high) = (0, self.entries);
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            if below(&self.entry(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut block = vec![0; (high - low) as usize * N];
        let position = u64::from(low) * u64::from(self.entry_size);
        self.file()?.read_exact_at(&mut block, position).at("cannot read", &self.path)?;
        let (entries, _) = block.as_chunks::<N>();
        Ok(low + entries.partition_point(below) as u32)
    }

    /// Another handle for a sync; `None` where the file was not touched.
    pub fn duplicate(&self) -> Result<Option<File>> {
        if !self.known {
            return Ok(None);
        }
        self.file()?.try_clone().at("cannot duplicate", &self.path).map(Some)
    }

    /// Gives the handle back; the next use opens the file anew.
    pub fn release(&mut self) {
        self.file.take();
    }

    /// What the file says is no longer known.
    pub fn forget(&mut self) {
        self.release();
        self.known = false;
    }

    pub fn exists(&self) -> Result<bool> {
        match self.path.metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("cannot stat", &self.path),
        }
    }
}

/// Overwrites a file with zeros where it is not a hole; one with much in it is emptied. Returns its length.
fn blank(file: &File) -> std::io::Result<u64> {
    let len = file.metadata()?.len();
    let (mut at, mut blanked) = (0, 0);
    while at < len {
        let from = match seek(file, SeekFrom::Data(at)) {
            Ok(from) => from,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let to = seek(file, SeekFrom::Hole(from))?.min(len);
        blanked += to - from;
        if blanked > BLANK_MAX {
            file.set_len(0)?;
            return Ok(0);
        }
        file.write_all_at(&vec![0; (to - from) as usize], from)?;
        at = to;
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn entries(index: &IndexFile) -> Vec<[u8; 8]> {
        (0..index.entries()).map(|n| index.entry::<8>(n).unwrap()).collect()
    }

    #[test]
    fn an_index_that_starts_over_shows_nothing_of_what_lay_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.index");
        // As a crash leaves it: much longer than what is in use; damaged; with more in it than is overwritten.
        let whole = |len: u64, used: usize| {
            let file = File::create(&path).unwrap();
            file.set_len(len).unwrap();
            file.write_all_at(&vec![7; used], 0).unwrap();
        };
        for (len, used) in [(80_000, 24), (24, 24), (30, 30), (0, 0), (1 << 20, 200_000), (8, 0)] {
            whole(len, used);
            let mut index = IndexFile::new(path.clone(), 8);
            index.create(0).unwrap();
            assert_eq!(index.entries(), 0);
            index.append(&[1; 8]).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes[..8] == [1; 8] && bytes[8..].iter().all(|byte| *byte == 0), "{len}, {used}");
            index.trim().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 8, "{len}, {used}");
            let mut again = IndexFile::new(path.clone(), 8);
            again.open_existing().unwrap();
            assert_eq!(entries(&again), [[1; 8]]);
        }
    }

    #[test]
    fn an_index_has_room_for_as_much_as_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.timeindex");
        for len in [0, 5, 24, 4000] {
            std::fs::write(&path, vec![1; len]).unwrap();
            let mut index = IndexFile::new(path.clone(), 12);
            index.create(1000).unwrap();
            assert_eq!((index.capacity(), index_len(&path)), (83, 996), "{len}");
        }
    }

    fn index_len(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().size()
    }
}
