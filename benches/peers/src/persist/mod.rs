//! Engines that persist: puts sustained, puts that wait for the disk, and how long they take to
//! open again.

mod device;
mod durable;
mod reopen;
mod sustained;

pub use device::{append_rate, group_commit_rate};
pub use durable::{Durable, measure_durable};
pub use reopen::{Reopen, measure_reopen, reopen};
pub use sustained::{Sustained, measure_sustained};

use hdrhistogram::Histogram;
use std::fs;
use std::path::Path;

/// p50, p99, p99.9, p99.99 and the maximum. Unit: microseconds.
pub fn percentiles(histogram: &Histogram<u64>) -> [f64; 5] {
    [50.0, 99.0, 99.9, 99.99, 100.0]
        .map(|one| crate::latency::microseconds(histogram.value_at_percentile(one)))
}

/// Bytes of all files in `folder`, as far as the disk has given them room.
fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(folder)
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn files(folder: &Path) -> Vec<fs::File> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if let Ok(file) = fs::File::open(&path) {
            files.push(file);
        }
    }
    files
}

/// Has the kernel forget what it keeps of the files in `folder`, so that they are read again.
fn evict(folder: &Path) {
    for file in files(folder) {
        let _ = file.sync_all();
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}
