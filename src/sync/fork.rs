//! Counts the forks of the process, in the child.
//!
//! A forked child shares the parent's shadow files and none of its threads or memory: a store must
//! not be used there. The count is taken by a handler that the C library runs in the child, so a
//! check costs one load. A child made by a raw `clone` system call is not counted; its first read
//! of the region faults, because the region is left out of every fork.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn in_child() {
    // ORDERING: Relaxed. The child has one thread.
    FORKS.fetch_add(1, Relaxed);
    super::epoch::begin_anew();
}

/// Forks between the first process of this image and this one.
#[inline]
pub fn count() -> u32 {
    // ORDERING: Relaxed. It changes only at a fork, which orders everything.
    FORKS.load(Relaxed)
}

/// Starts to count. Called by each open.
pub fn watch() {
    REGISTER.call_once(|| {
        // SAFETY: `in_child` is async-signal-safe: some atomic stores.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(failed, 0, "pthread_atfork: out of memory");
    });
}
