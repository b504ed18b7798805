//! The members of one store's shadow, real or simulated: all that the rooms above see of files.
#![forbid(unsafe_code)]

use super::block::FileIndex;
use super::blocking::{OpenedIo, Prefer, open_backend};
use super::file::ShadowFile;
use crate::sync::Arc;
use std::fmt;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

/// The members of one store's shadow, opened and locked, one a stripe.
///
/// Its own reads, writes and syncs are for superblocks, before a back end is opened and after it
/// is dropped; offsets and lengths are whole sectors of 4096 bytes, on every kind of member.
///
/// Each call panics if `file` is not below `count`.
pub trait Members: Send + Sync + fmt::Debug {
    /// How many.
    fn count(&self) -> u32;

    /// Size of `file`. Unit: bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn bytes(&self, file: FileIndex) -> io::Result<u64>;

    /// Fills `into` from byte `offset` of `file` on, and returns how much; less only at the end.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if not whole sectors, or the system's.
    fn read_at(&self, file: FileIndex, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `from` at byte `offset` of `file`. Not durable until synced.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if not whole sectors, or the system's; written in part, perhaps.
    fn write_at(&self, file: FileIndex, offset: u64, from: &[u8]) -> io::Result<()>;

    /// Makes what was written to `file` durable.
    ///
    /// # Errors
    ///
    /// The system's; nothing written since the last sync is known to be durable.
    fn sync(&self, file: FileIndex) -> io::Result<()>;

    /// Where `file` is, for messages.
    fn path(&self, file: FileIndex) -> &Path;

    /// Whether `file` is written past the page cache.
    fn is_direct(&self, file: FileIndex) -> bool;

    /// Has what follows go past the page cache, where that can be done, or as at first again; back
    /// ends that are open too. For a cold start: it reads everything, and once.
    fn go_directly(&self, direct: bool) {
        let _ = direct;
    }

    /// Opens a back end over all members. `region`, first byte and bytes, is registered with it
    /// if it is let, and must then stay mapped until the back end is dropped.
    fn io(&self, region: Option<(NonNull<u8>, usize)>, prefer: Prefer) -> OpenedIo;
}

/// Files and devices. The locks are held until this and its back ends are dropped.
#[derive(Clone, Debug)]
pub struct ShadowFiles {
    files: Arc<[ShadowFile]>,
}

impl ShadowFiles {
    /// The members in the order of their stripes.
    pub fn new(files: Vec<ShadowFile>) -> Self {
        Self { files: files.into() }
    }

    fn file(&self, file: FileIndex) -> &ShadowFile {
        member(&self.files, file)
    }
}

impl Members for ShadowFiles {
    #[expect(clippy::cast_possible_truncation, reason = "at most STRIPES_MAX")]
    fn count(&self) -> u32 {
        self.files.len() as u32
    }

    fn bytes(&self, file: FileIndex) -> io::Result<u64> {
        self.file(file).bytes()
    }

    fn read_at(&self, file: FileIndex, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file(file).read_at(offset, into)
    }

    fn write_at(&self, file: FileIndex, offset: u64, from: &[u8]) -> io::Result<()> {
        self.file(file).write_at(offset, from)
    }

    fn sync(&self, file: FileIndex) -> io::Result<()> {
        self.file(file).sync()
    }

    fn path(&self, file: FileIndex) -> &Path {
        self.file(file).path()
    }

    fn is_direct(&self, file: FileIndex) -> bool {
        self.file(file).is_direct()
    }

    fn go_directly(&self, direct: bool) {
        self.files.iter().for_each(|file| file.go_directly(direct));
    }

    fn io(&self, region: Option<(NonNull<u8>, usize)>, prefer: Prefer) -> OpenedIo {
        open_backend(&self.files, region, prefer)
    }
}

/// The member that `file` names.
///
/// # Panics
///
/// If there is none.
pub(super) fn member<T>(members: &[T], file: FileIndex) -> &T {
    let Some(member) = members.get(file.index()) else {
        panic!("file {} of {}", file.0, members.len());
    };
    member
}
