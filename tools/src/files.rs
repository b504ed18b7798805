//! Files of a shadow: found, opened read-only, and their superblock copies read. Nothing is locked,
//! mapped or written.

use crate::error::Failure;
use crate::output::is_silent;
use brindle::format::{CopyError, Found, SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET, choose};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Looks at something that a live store may be writing, before it is believed to be damaged.
pub(crate) const RETRIES: u32 = 3;
/// Time between two such looks.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Waits between two such looks; not where nobody can be writing.
pub(crate) fn pause() {
    if !is_silent() {
        thread::sleep(RETRY_PAUSE);
    }
}

/// A failure of `op` on `path`.
pub(crate) fn failed(op: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { op, path: path.clone(), source }
}

/// Paths of the shadow files in `dir`, in the order of their stripes.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut stripes = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let name = entry.map_err(failed("list", dir))?.file_name();
        let stripe = name.to_str().and_then(|name| {
            let digits = name.strip_prefix("stripe-")?.strip_suffix(".shadow")?;
            let stripe = digits.parse::<u32>().ok()?;
            (format!("{stripe:03}") == digits).then_some(stripe)
        });
        stripes.extend(stripe);
    }
    stripes.sort_unstable();
    Ok(stripes.into_iter().map(|n| dir.join(format!("stripe-{n:03}.shadow"))).collect())
}

/// Opens a file or block device read-only. Anything else is not even opened: a FIFO would wait.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Failure> {
    let kind = fs::metadata(path).map_err(failed("open", path))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let found = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a character device",
        };
        return Err(Failure::NotAShadow { path: path.to_owned(), found: found.to_owned() });
    }
    let mut file = File::open(path).map_err(failed("open", path))?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed("size", path))?;
    Ok((file, bytes))
}

/// What the superblock copies say. A copy that is being rewritten is looked at again.
pub(crate) fn find(file: &File) -> io::Result<(Found, [Vec<u8>; 2])> {
    let mut attempt = 0;
    loop {
        let a = read_copy(file, 0)?;
        let b = read_copy(file, SUPERBLOCK_COPY_B_OFFSET)?;
        let found = choose(&a, &b);
        let is_settled = match &found {
            Found::Superblock { damaged, .. } => {
                damaged.is_none_or(|copy| copy.error != CopyError::Checksum)
            }
            Found::Damaged { .. } => false,
            Found::AllZero | Found::Foreign { .. } | Found::NewerFormat(_) => true,
        };
        if is_settled || attempt == RETRIES {
            return Ok((found, [a, b]));
        }
        attempt += 1;
        pause();
    }
}

fn read_copy(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    let read = read_at(file, &mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
