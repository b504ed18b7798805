//! The register of shadows open in this process.
//!
//! `flock` alone would let a second open through where the file system emulates it with POSIX
//! locks (NFS), which a process holds as a whole. The register knows a file by device and inode,
//! whatever path led there (symlink, hard link, bind mount), and a device by its number.
//!
//! Invariant
//! - C1  At most one `Claim` of an identity exists in the process.
//!
//! Checked by: the tests below (C1), `tests/io_files.rs` (with `flock`).
#![forbid(unsafe_code)]

use crate::sync::{Mutex, lock};
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

static CLAIMED: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// What a shadow is, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    File { device: u64, inode: u64 },
    Device { number: u64 },
}

/// The right to be the only open shadow on one file or device; given back on drop.
#[derive(Debug)]
pub(super) struct Claim(Identity);

impl Claim {
    /// Claims what `metadata` describes; `None` if this process has it open already.
    pub(super) fn new(metadata: &Metadata) -> Option<Self> {
        let identity = if metadata.file_type().is_block_device() {
            Identity::Device { number: metadata.rdev() }
        } else {
            Identity::File { device: metadata.dev(), inode: metadata.ino() }
        };
        let is_new = lock(&CLAIMED).insert(identity);
        // Made only then: the drop of one too many would give the other's claim back.
        is_new.then(|| Self(identity))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&CLAIMED).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Claim;
    use std::fs;

    #[test]
    fn second_claim_is_refused_and_leaves_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&path, "").expect("written");
        fs::hard_link(&path, &link).expect("linked");
        let claim = |path| Claim::new(&fs::metadata(path).expect("there"));
        let first = claim(&path);
        assert!(first.is_some());
        assert!(claim(&link).is_none());
        assert!(claim(&path).is_none(), "a refusal gave the claim back");
        drop(first);
        assert!(claim(&link).is_some());
    }
}
