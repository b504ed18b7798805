//! The few system calls on files that `std` does not have, each as a safe function.
//!
//! Checked by: `tests/io_files.rs`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes I/O on `file` wait (`O_NONBLOCK` off), and go past the page cache with `direct` alone.
///
/// # Errors
///
/// The system's; `EINVAL` if the file system has no direct I/O, and then nothing changed.
pub(super) fn set_flags(file: &File, direct: bool) -> io::Result<()> {
    // SAFETY: `file` keeps the descriptor open; F_GETFL takes no further argument.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    let flags = checked(flags)? & !(libc::O_NONBLOCK | libc::O_DIRECT);
    let flags = if direct { flags | libc::O_DIRECT } else { flags };
    // SAFETY: as above; F_SETFL takes one int.
    let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    checked(set).map(|_| ())
}

/// Reserves space for the first `bytes` bytes of `file`, and lengthens it to that; what it holds
/// stays.
///
/// # Errors
///
/// The system's: `EOPNOTSUPP` where the file system cannot, `ENOSPC`, `EFBIG`.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| too_big())?;
    loop {
        // SAFETY: `file` keeps the descriptor open; the rest are numbers.
        let allocated = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) };
        match checked(allocated) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| ()),
        }
    }
}

/// Refuses a file of `bytes` bytes if this process may not write one: the system would answer
/// with `SIGXFSZ`, which kills, and a library sets no signal handlers.
///
/// # Errors
///
/// `EFBIG`, from the limit (`RLIMIT_FSIZE`), or the system's.
pub(super) fn check_size_limit(bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable, and of the type that is filled.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    checked(got)?;
    if limit.rlim_cur == libc::RLIM_INFINITY || bytes <= limit.rlim_cur {
        return Ok(());
    }
    Err(too_big())
}

fn too_big() -> io::Error {
    io::Error::from_raw_os_error(libc::EFBIG)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
