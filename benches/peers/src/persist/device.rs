//! What the device itself gives: the limit for durable puts, and for puts of large values.

use memmap2::MmapMut;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use rustix::io::pwrite;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const FILE_BYTES: u64 = 1 << 30;

/// Commits a second of `bytes` each, one after the other: a direct write and an `fdatasync`, in a
/// file that was written before. In space that is only reserved each takes twice as long, for the
/// file system commits its journal as well.
pub fn group_commit_rate(dir: &Path, bytes: usize, length: Duration) -> f64 {
    let (path, file) = create(dir, "device-commit");
    let all = buffer(8 << 20);
    (0..FILE_BYTES / all.len() as u64).for_each(|at| write(&file, &all, at));
    let buffer = buffer(bytes);
    let (start, mut commits, mut at) = (Instant::now(), 0.0, 0);
    while start.elapsed() < length {
        pwrite(&file, &buffer, at).expect("the device takes it");
        rustix::fs::fdatasync(&file).expect("the device takes it");
        at = (at + bytes as u64) % (FILE_BYTES - bytes as u64).next_multiple_of(4096);
        at -= at % 4096;
        commits += 1.0;
    }
    let rate = commits / start.elapsed().as_secs_f64();
    let _ = std::fs::remove_file(path);
    rate
}

/// Bytes a second that two threads write directly, 8 MiB at a time, over and over a file that was
/// written before.
pub fn append_rate(dir: &Path, length: Duration) -> f64 {
    const WRITE_BYTES: usize = 8 << 20;
    let (path, file) = create(dir, "device-append");
    let writes = FILE_BYTES / WRITE_BYTES as u64;
    let all = buffer(WRITE_BYTES);
    (0..writes).for_each(|at| write(&file, &all, at));
    let start = Instant::now();
    let written: f64 = thread::scope(|scope| {
        let (file, all) = (&file, &all);
        let worker = |first: u64| {
            move || {
                let (mut at, mut written) = (first, 0.0);
                while start.elapsed() < length {
                    write(file, all, at);
                    at = (at + 2) % writes;
                    written += 8.0 * f64::from(1 << 20);
                }
                written
            }
        };
        let threads = [0, 1].map(|first| scope.spawn(worker(first)));
        threads.map(|thread| thread.join().unwrap_or(0.0)).iter().sum()
    });
    let rate = written / start.elapsed().as_secs_f64();
    let _ = std::fs::remove_file(path);
    rate
}

fn write(file: &OwnedFd, buffer: &[u8], at: u64) {
    let offset = at * buffer.len() as u64;
    assert_eq!(pwrite(file, buffer, offset), Ok(buffer.len()), "the device takes it");
}

/// Aligned to a page, as direct writes ask for.
fn buffer(bytes: usize) -> MmapMut {
    let mut buffer = MmapMut::map_anon(bytes.next_multiple_of(4096)).expect("there is memory");
    buffer.fill(0x5a);
    buffer
}

fn create(dir: &Path, name: &str) -> (std::path::PathBuf, OwnedFd) {
    let path = dir.join(name);
    let direct = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT;
    let plain = OFlags::CREATE | OFlags::RDWR;
    let file = open(&path, direct, Mode::RUSR | Mode::WUSR)
        .or_else(|_| open(&path, plain, Mode::RUSR | Mode::WUSR)) // no direct writes here
        .expect("the file can be made");
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).expect("there is room");
    (path, file)
}
