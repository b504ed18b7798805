//! The file that others look at: replaced as a whole, by a rename, so that whoever opens it reads
//! one snapshot to its end.
#![forbid(unsafe_code)]

use super::document::TOP_MAGIC;
use crate::error::{Error, Result};
use crate::sync::{AtomicU64, Relaxed};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Only who runs the host may look.
const MODE: u32 = 0o600;

/// Makes names of this process differ.
static MADE: AtomicU64 = AtomicU64::new(0);

/// The file, and the name that it has until it is whole.
#[derive(Debug)]
pub(super) struct TopFile {
    path: PathBuf,
    unfinished: PathBuf,
}

impl TopFile {
    /// Nothing is written yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: something else is at `path`.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let refused = |source| Error::Io { op: "publish at", path: path.to_owned(), source };
        // The host may change its directory.
        let absolute = std::path::absolute(path).map_err(refused)?;
        check_is_ours(&absolute).map_err(refused)?;
        let name = path.file_name().ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
        // ORDERING: Relaxed. Uniqueness is all that is asked.
        let number = MADE.fetch_add(1, Relaxed);
        let unfinished = format!(".{}.{}-{number}", name.to_string_lossy(), std::process::id());
        Ok(Self { unfinished: absolute.with_file_name(unfinished), path: absolute })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what is there by `text`. Not synced: it is worth nothing after a crash.
    ///
    /// # Errors
    ///
    /// The system's. What was there still is.
    pub(super) fn replace(&self, text: &[u8]) -> io::Result<()> {
        let made = self.create();
        let replaced = made
            .and_then(|mut file| file.write_all(text))
            .and_then(|()| fs::rename(&self.unfinished, &self.path));
        replaced.inspect_err(|_| {
            let _ = fs::remove_file(&self.unfinished); // it may not even be there
        })
    }

    /// Never follows a link that somebody has put there.
    fn create(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        options.open(&self.unfinished).or_else(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            // Left by a process of this number that was killed.
            fs::remove_file(&self.unfinished)?;
            options.open(&self.unfinished)
        })
    }

    /// Nobody publishes here any more.
    pub(super) fn remove(&self) {
        // Whoever has removed it already was right.
        let _ = fs::remove_file(&self.path);
    }
}

/// A slip in a path must not cost a file: what is replaced is nothing, or one of these.
fn check_is_ours(path: &Path) -> io::Result<()> {
    let is_file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.is_file(),
    };
    let mut start = [0; TOP_MAGIC.len()];
    let is_ours = is_file && {
        // Shorter than that is none of ours.
        File::open(path)?.read_exact(&mut start).is_ok() && start == *TOP_MAGIC
    };
    if is_ours {
        return Ok(());
    }
    let what = "something else is there: name a path of its own, or remove it";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
}
