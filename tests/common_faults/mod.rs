//! What the tests of real crashes and real faults share: a child that writes and journals, the
//! oracle that holds what is left against the journal, and disks of the tests' own.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, of which each test uses a part"
)]

pub mod disks;
pub mod oracle;
pub mod victim;
pub mod work;

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Shown by the harness only when the test fails, or under `--nocapture`.
pub fn say(line: &str) {
    // Nobody may listen.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The number in the variable `name`, or `default`.
pub fn amount(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seed of this run, printed.
pub fn seed() -> u64 {
    let seed = amount("BRINDLE_SEED", now_us());
    say(&format!("BRINDLE_SEED={seed} repeats it"));
    seed
}

/// Microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_micros()).expect("and earlier than the year 500000")
}

/// Runs `work` for each of `cases` on `lanes` threads; a panic of one is the test's.
pub fn in_lanes<T: Send + Sync>(lanes: usize, cases: &[T], work: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(case) =
                    cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    work(case);
                }
            });
        }
    });
}
