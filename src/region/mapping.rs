//! Anonymous memory in huge pages: the one place that maps.
//!
//! - The memory is anonymous, because registered buffers must be, and it is never unmapped before
//!   the store ends.
//! - It is left out of a fork (`MADV_DONTFORK`): a child would copy every wblock that the parent
//!   writes on, page by page, and two processes would believe that they own the same shadow.
//! - Pages are faulted in at open, in parallel, so that no put pays for one: a 4 KiB fault costs
//!   1.8 us here, a huge page 0.25 us per 4 KiB.

use crate::config::HugePages;
use crate::sync::{AtomicU8, Relaxed};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::io;
use std::ptr::NonNull;

/// Bytes of a huge page on the machines that we run on (`x86_64`, `aarch64` with 4 KiB pages).
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One anonymous mapping, aligned to a huge page, readable and writable, zero at first.
#[derive(Debug)]
pub struct Mapping {
    /// Keeps the memory mapped; `base` points into it.
    _map: MmapRaw,
    base: NonNull<u8>,
    bytes: usize,
    /// What was granted, which `Explicit` may not be.
    huge_pages: HugePages,
}

// SAFETY: a mapping is memory, not tied to the thread that mapped it; who may touch which bytes
// when is argued by the users of `base`.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out an address and no access.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps at least `bytes` bytes, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// The system's, usually `ENOMEM` (`RLIMIT_AS`, overcommit). Nothing stays mapped.
    pub fn anonymous(bytes: usize, huge_pages: HugePages) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        if huge_pages == HugePages::Explicit
            && let Ok(map) = MmapOptions::new().len(bytes).huge(Some(21)).map_anon()
        {
            return Self::new(map.into(), bytes, HugePages::Explicit);
        }
        // One huge page more than asked for, so that an aligned start always fits.
        let mut options = MmapOptions::new();
        options.len(bytes + HUGE_PAGE_BYTES);
        if !cfg!(miri) {
            options.no_reserve_swap();
        }
        let map = options.map_anon()?;
        let granted =
            if huge_pages == HugePages::Off { HugePages::Off } else { HugePages::Transparent };
        Self::new(map.into(), bytes, granted)
    }

    fn new(map: MmapRaw, bytes: usize, huge_pages: HugePages) -> io::Result<Self> {
        // Miri knows neither advice nor a fork.
        if !cfg!(miri) {
            map.advise(Advice::DontFork)?;
        }
        if huge_pages == HugePages::Transparent {
            // A kernel without transparent huge pages refuses; small pages serve as well.
            let _ = map.advise(Advice::HugePage);
        }
        let start = map.as_mut_ptr();
        let skip = start.align_offset(HUGE_PAGE_BYTES);
        // SAFETY: the mapping is `bytes` plus one huge page long, or starts aligned (`Explicit`).
        let base = unsafe { start.add(skip) };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { _map: map, base, bytes, huge_pages })
    }

    /// The first byte, aligned to a huge page.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Usable bytes from [`base`](Self::base) on.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What kind of pages was granted.
    pub fn huge_pages(&self) -> HugePages {
        self.huge_pages
    }

    /// Faults in `bytes` bytes from `start` on, all writable.
    pub fn populate(&self, start: usize, bytes: usize) {
        assert!(start + bytes <= self.bytes, "populate beyond the mapping");
        // SAFETY: within the mapping, checked above.
        let first = unsafe { self.base.add(start) };
        // SAFETY: the range is mapped; MADV_POPULATE_WRITE changes no byte.
        let done =
            unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
        if done == 0 {
            return;
        }
        // Before Linux 5.14, touch the pages. An atomic add of zero changes nothing, whoever else
        // uses the page by now.
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: within the mapping, checked above.
            let page = unsafe { first.add(offset) }.cast::<AtomicU8>();
            // SAFETY: mapped, initialised (zero), aligned (one byte).
            let page = unsafe { page.as_ref() };
            // ORDERING: Relaxed. Nothing is communicated: the write is there for its page fault.
            page.fetch_add(0, Relaxed);
        }
    }

    /// Keeps the mapping in memory (`mlock`).
    ///
    /// # Errors
    ///
    /// The system's: `ENOMEM` or `EPERM` where `RLIMIT_MEMLOCK` is lower than the mapping.
    pub fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is mapped; locking changes no byte.
        let done = unsafe { libc::mlock(self.base.as_ptr().cast(), self.bytes) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
