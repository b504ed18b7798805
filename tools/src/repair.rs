//! A damaged copy of a superblock, written anew from the one that counts.
//!
//! The file is locked as a store locks it, so that nobody else writes a superblock meanwhile. The
//! copy that counts is read again under the lock, and only the other one is written: a crash in
//! between leaves what there was.

use crate::error::Failure;
use crate::files::read_at;
use crate::shadow::{Member, copy_name};
use brindle::format::{CopyName, Found, SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET, choose};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes the damaged copy of `member` anew; which one that was, if there was one.
pub(crate) fn repair(member: &Member) -> Result<Option<&'static str>, Failure> {
    if member.damaged_copy.is_none() {
        return Ok(None);
    }
    let failed = |op| move |source| Failure::File { op, path: member.path.clone(), source };
    let file = lock(&member.path)?;
    let copies = [read(&file, CopyName::A), read(&file, CopyName::B)];
    let [Ok(a), Ok(b)] = copies else {
        let [a, b] = copies.map(Result::err);
        let source = a.or(b).unwrap_or_else(|| io::ErrorKind::Other.into());
        return Err(failed("read")(source));
    };
    let (good, damaged) = match choose(&a, &b) {
        Found::Superblock { copy: CopyName::A, damaged: Some(damaged), .. } => (a, damaged.copy),
        Found::Superblock { copy: CopyName::B, damaged: Some(damaged), .. } => (b, damaged.copy),
        // A store has mended it meanwhile, or all is lost: the check that follows says so.
        Found::Superblock { damaged: None, .. }
        | Found::AllZero
        | Found::Foreign { .. }
        | Found::NewerFormat(_)
        | Found::Damaged { .. } => return Ok(None),
    };
    file.write_all_at(&good, offset(damaged)).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    let again = read(&file, damaged).map_err(failed("read"))?;
    if again != good {
        let source = io::Error::other("it reads back as something else");
        return Err(failed("repair")(source));
    }
    Ok(Some(copy_name(damaged)))
}

fn lock(path: &Path) -> Result<File, Failure> {
    let failed = |op| move |source| Failure::File { op, path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let source = io::Error::other("a store has it open, and mends it itself");
            Err(failed("lock")(source))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(failed("lock")(source)),
    }
}

const fn offset(copy: CopyName) -> u64 {
    match copy {
        CopyName::A => 0,
        CopyName::B => SUPERBLOCK_COPY_B_OFFSET,
    }
}

/// A copy; zeros where the file ends.
fn read(file: &File, copy: CopyName) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    read_at(file, &mut bytes, offset(copy))?;
    Ok(bytes)
}
