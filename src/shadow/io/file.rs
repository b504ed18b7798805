//! Shadow files and devices: opened once, locked, of a known size, written past the page cache.
//!
//! States    `closed --[open, create]--> open and locked --[drop]--> closed`
//!
//! Invariants
//! - F1  While open, no other open of the same file or device succeeds: not in this process (by
//!   the register of `claim`, whatever the path), not in another (by `flock`), and for a device
//!   not by the system either (`O_EXCL`: no mount, no open partition of it).
//! - F2  Opening never blocks and never touches what is no file or block device: its kind is
//!   looked at before and, as paths change, again after.
//! - F3  A file that `create` made and could not finish is removed; one that it finished is there
//!   after a power cut (file and directory were synced), with all its space.
//! - F4  A child of fork that drops its copy leaves the parent's lock alone.
//!
//! Checked by: `tests/io_files.rs`.
#![forbid(unsafe_code)]

use super::claim::Claim;
use super::{sector, system};
use crate::planted::{Bug, is_planted};
use crate::sync::Arc;
use std::fs::{self, File, FileType, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Records are nobody else's to read.
const MODE: u32 = 0o600;
/// Zeros written at once where space cannot be reserved otherwise.
const ZEROS_BYTES: usize = 1 << 20;

/// Why a shadow could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Open already, in this process or another, or in use by the system (a mounted device).
    #[error("in use by another store, process or mount")]
    Locked,
    /// Neither a regular file nor a block device, but this; it was not touched.
    #[error("{0}, not a file or block device")]
    NotAFile(&'static str),
    /// The system refused the named step.
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
}

/// An open, locked shadow. Clones are handles to the same one; the last one dropped unlocks it.
#[derive(Clone, Debug)]
pub struct ShadowFile(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    file: File,
    path: PathBuf,
    is_direct: bool,
    is_device: bool,
    /// Who opened it (F4).
    process: u32,
    /// Given back last, after the file is closed.
    _claim: Claim,
}

impl ShadowFile {
    /// Opens and locks the existing file or block device at `path`.
    ///
    /// Devices are written past the page cache; files too, with `direct`, where the file system
    /// can ([`is_direct`](Self::is_direct) says).
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing was changed.
    pub fn open(path: &Path, direct: bool) -> Result<Self, OpenError> {
        let found = fs::metadata(path).map_err(|error| OpenError::Io("find", error))?;
        check_kind(found.file_type())?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if found.file_type().is_block_device() {
            options.custom_flags(libc::O_NONBLOCK | libc::O_EXCL);
        } else {
            options.custom_flags(libc::O_NONBLOCK);
        }
        let file = options.open(path).map_err(|error| {
            let is_busy = error.kind() == io::ErrorKind::ResourceBusy;
            if is_busy { OpenError::Locked } else { OpenError::Io("open", error) }
        })?;
        Self::lock(file, path, direct)
    }

    /// Creates, locks and preallocates a file of `bytes` zeros at `path`, where nothing may be.
    ///
    /// Cost: three syncs; where the file system cannot reserve space, `bytes` bytes are written.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]: [`OpenError::Io`] with `AlreadyExists`, `ENOSPC`, `EFBIG` and others.
    /// What was created is removed again (F3).
    pub fn create(path: &Path, bytes: u64, direct: bool) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(MODE);
        let file = options.open(path).map_err(|error| OpenError::Io("create", error))?;
        let shadow = Self::lock(file, path, direct).inspect_err(|error| {
            // Whoever locked it in the moment between owns it now.
            if !matches!(error, OpenError::Locked) {
                remove(path);
            }
        })?;
        // Removed before it is unlocked, so that nobody opens it half made.
        shadow.finish(bytes).inspect_err(|_| remove(path))?;
        Ok(shadow)
    }

    /// Gives a new file its space, and makes file and entry durable.
    fn finish(&self, bytes: u64) -> Result<(), OpenError> {
        self.allocate(bytes).map_err(|error| OpenError::Io("allocate", error))?;
        self.0.file.sync_all().map_err(|error| OpenError::Io("sync", error))?;
        sync_directory(&self.0.path).map_err(|error| OpenError::Io("sync the directory of", error))
    }

    fn lock(file: File, path: &Path, direct: bool) -> Result<Self, OpenError> {
        let metadata = file.metadata().map_err(|error| OpenError::Io("examine", error))?;
        check_kind(metadata.file_type())?;
        let claim = Claim::new(&metadata).ok_or(OpenError::Locked)?;
        let lock = if is_planted(Bug::NoLock) { Ok(()) } else { file.try_lock() };
        match lock {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io("lock", error)),
        }
        let is_device = metadata.file_type().is_block_device();
        // From here on the lock is given up by drop.
        let mut shadow = Locked {
            file,
            path: path.to_owned(),
            is_direct: false,
            is_device,
            process: std::process::id(),
            _claim: claim,
        };
        shadow.set_flags(direct || is_device)?;
        Ok(Self(Arc::new(shadow)))
    }

    /// Reserves space for `bytes` bytes, and lengthens a shorter file to that; what it holds
    /// stays. Not durable until synced. Of a device, only the size is checked.
    ///
    /// # Errors
    ///
    /// The system's: `ENOSPC`, `EFBIG`. A file may have grown in part.
    pub fn allocate(&self, bytes: u64) -> io::Result<()> {
        let before = self.bytes()?;
        if self.0.is_device {
            let fits = bytes <= before;
            return if fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) };
        }
        system::check_size_limit(bytes)?;
        match system::allocate(&self.0.file, bytes) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.write_zeros(before, bytes)
            }
            other => other,
        }
    }

    /// Zeros from the end of the file, `before`, to `bytes`: written, as that is what takes space.
    fn write_zeros(&self, before: u64, bytes: u64) -> io::Result<()> {
        if bytes <= before {
            return Ok(());
        }
        self.0.file.set_len(bytes)?;
        let zeros = vec![0; ZEROS_BYTES];
        let sector = u64::from(crate::unit::SECTOR_BYTES);
        // What lies before the first whole sector was in use, and needs no space.
        let mut at = before.next_multiple_of(sector);
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            self.write_at(
                at,
                zeros.get(..left.next_multiple_of(sector_bytes())).unwrap_or(&zeros),
            )?;
            at += left as u64;
        }
        self.0.file.set_len(bytes)
    }

    /// Size of the file or device.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bytes(&self) -> io::Result<u64> {
        if self.0.is_device {
            // The end of a device is its size; the position is used by nobody.
            return (&self.0.file).seek(SeekFrom::End(0));
        }
        self.0.file.metadata().map(|metadata| metadata.len())
    }

    /// Reads whole sectors from byte `offset` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `offset` or the length is not whole sectors, or the system's.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        sector::read_whole(offset, into, |room, at| self.0.file.read_at(room, at))
    }

    /// Writes whole sectors at byte `offset`. Not durable until synced.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `offset` or the length is not whole sectors, or the system's; sectors may
    /// have been written in part.
    pub fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        sector::write_whole(offset, from, |part, at| self.0.file.write_at(part, at))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// The system's; then nothing written since the last sync is known to be durable, and a later
    /// success says nothing about it.
    pub fn sync(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether reads and writes go past the page cache.
    pub fn is_direct(&self) -> bool {
        self.0.is_direct
    }

    /// Has reads and writes go past the page cache, if a sector can be read so, or as at first
    /// again.
    pub fn go_directly(&self, direct: bool) {
        if self.0.is_direct {
            return;
        }
        let mut sector = [0; sector_bytes()];
        let is_set = system::set_flags(&self.0.file, direct).is_ok();
        if direct && !(is_set && self.read_at(0, &mut sector).is_ok()) {
            let _ = system::set_flags(&self.0.file, false);
        }
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.0.is_device
    }

    /// The open file, for a back end.
    pub(super) fn file(&self) -> &File {
        &self.0.file
    }
}

impl Locked {
    fn set_flags(&mut self, direct: bool) -> Result<(), OpenError> {
        self.is_direct = direct && system::set_flags(&self.file, true).is_ok();
        if self.is_direct {
            return Ok(());
        }
        system::set_flags(&self.file, false).map_err(|error| OpenError::Io("set up", error))
    }
}

/// Unlocks by word, not by closing: the kernel keeps the file open a while after a ring that had
/// registered it, and a child of fork for as long as it lives.
impl Drop for Locked {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // A lock that cannot be given up now goes with the last descriptor.
            let _ = self.file.unlock();
        }
    }
}

fn check_kind(kind: FileType) -> Result<(), OpenError> {
    let other = match kind {
        _ if kind.is_file() || kind.is_block_device() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() => "a character device",
        _ => "something unknown",
    };
    Err(OpenError::NotAFile(other))
}

/// Takes back what `create` made; why it had to is the error to tell, not that this failed.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Makes the entry of `path` in its directory durable.
///
/// # Errors
///
/// The system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

const fn sector_bytes() -> usize {
    crate::unit::SECTOR_BYTES as usize
}
